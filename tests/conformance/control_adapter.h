/*
 * The program of an adapter that differs from others in transport and settings only: its ranks are
 * connected by real control objects.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef CONFORMANCE_CONTROL_ADAPTER_H
#define CONFORMANCE_CONTROL_ADAPTER_H

#include "conformance/world.h"

struct control_adapter {
    const char *name;
    unsigned seeds; /* as of struct conformance_adapter */
    const struct shl_transport_ops *ops;
    const char *const *settings; /* "SHOAL_KEY=value" texts, NULL at the end */
};

/* What main returns. Once a process. */
int control_adapter_run(const struct control_adapter *adapter);

#endif
