/*
 * Which address of this host leads to which port of which device, as rdma_cm sees it.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef SHL_TRANSPORT_VERBS_CM_ADDRESS_H
#define SHL_TRANSPORT_VERBS_CM_ADDRESS_H

#include "control/interface.h"
#include "transport/verbs/verbs_port.h"

/* An address, IPv4-mapped or IPv6, and where it leads. */
struct shl_verbs_cm_address {
    char device[SHL_VERBS_NAME_BYTES];
    uint32_t port;
    uint8_t address[SHL_VERBS_GID_BYTES];
    char interface[32];
};

struct shl_verbs_cm_addresses {
    bool known;        /* looked up; false: not yet */
    char why_not[256]; /* rdma_cm does not work here; "": it does */
    uint32_t count;
    struct shl_verbs_cm_address list[SHL_INTERFACES_MAX];
};

/* shl_verbs_cm_addresses_find - try each address of interfaces that are up; IPv4 comes first. */
void shl_verbs_cm_addresses_find(const struct shl_interface *interfaces, uint32_t count,
                                 struct shl_verbs_cm_addresses *out);

/*
 * shl_verbs_cm_address_choose - give `port` its address; false: it has none, and reason says why.
 * A RoCE port must be reached by the address of its GID.
 */
bool shl_verbs_cm_address_choose(const struct shl_verbs_cm_addresses *addresses,
                                 struct shl_verbs_port *port);

/* The socket address of an IPv4-mapped or IPv6 one. */
void shl_verbs_cm_sockaddr(const uint8_t *address, uint16_t port, struct shl_sockaddr *out);

#endif
