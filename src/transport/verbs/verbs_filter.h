/*
 * SHOAL_IB_HCA: which devices and ports the user allows. Pure.
 *
 * A comma list of device names, each with an optional ":port". A name is a prefix, unless the list
 * starts with "="; a list that starts with "^" names what not to use; "^=" does both. The same
 * rules as NCCL_IB_HCA, so lists can be carried over.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef SHL_TRANSPORT_VERBS_FILTER_H
#define SHL_TRANSPORT_VERBS_FILTER_H

#include "transport/verbs/verbs_port.h"

#define SHL_VERBS_FILTER_MAX 32

struct shl_verbs_filter {
    bool exclude;
    bool exact;
    uint32_t count; /* 0: everything is allowed */
    struct {
        char name[SHL_VERBS_NAME_BYTES];
        uint32_t port; /* 0: all */
    } items[SHL_VERBS_FILTER_MAX];
};

enum shoal_status shl_verbs_filter_parse(const char *spec, struct shl_verbs_filter *filter);

/* Is this port allowed? port 0: is any port of this device? */
bool shl_verbs_filter_allows(const struct shl_verbs_filter *filter, const char *device,
                             uint32_t port);

#endif
