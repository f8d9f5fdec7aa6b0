/*
 * Settings for a test, whatever the environment says.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef SUPPORT_CONFIG_H
#define SUPPORT_CONFIG_H

#include "core/config.h"

/* shl_test_config - defaults but for `settings`, "SHOAL_KEY=value" up to a NULL; itself may be
 * NULL. Fails the test when they are refused. Free it with shl_config_free. */
void shl_test_config(struct shl_config *config, const char *const *settings);

#endif
