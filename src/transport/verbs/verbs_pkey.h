/*
 * SHOAL_IB_PKEY: which partition key a port's queue pairs have.
 *
 * A number is an index of the port's table, as in NCCL_IB_PKEY; one that starts with 0x is a key,
 * whose index is looked up, since it differs from host to host. Membership (bit 15) does not count
 * in a comparison.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef SHL_TRANSPORT_VERBS_PKEY_H
#define SHL_TRANSPORT_VERBS_PKEY_H

#include "transport/verbs/verbs_port.h"
#include "transport/verbs/verbs_sys.h"

struct shl_verbs_pkey {
    bool wanted;   /* false: entry 0, which is not looked at */
    bool by_value; /* `number` is a key; else an index */
    uint32_t number;
};

enum shoal_status shl_verbs_pkey_parse(const char *text, struct shl_verbs_pkey *pkey);

/* shl_verbs_pkey_find - set pkey_index of a usable port, or reject it with the reason. `entries`:
 * length of its table. */
void shl_verbs_pkey_find(const struct shl_verbs_pkey *pkey, struct ibv_context *context,
                         uint32_t entries, struct shl_verbs_port *port);

#endif
