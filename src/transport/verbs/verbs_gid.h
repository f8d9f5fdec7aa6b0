/*
 * Which entry of a RoCE port's GID table to use. Pure.
 *
 * The table has holes, entries of interfaces in other network namespaces, and for each address an
 * entry a protocol version; the index of the right one differs from host to host and changes when
 * a link flaps, so it is found by type and value.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef SHL_TRANSPORT_VERBS_GID_H
#define SHL_TRANSPORT_VERBS_GID_H

#include "control/interface.h"
#include "transport/verbs/verbs_port.h"

enum shl_verbs_gid_type { SHL_VERBS_GID_IB, SHL_VERBS_GID_ROCE1, SHL_VERBS_GID_ROCE2 };

struct shl_verbs_gid {
    uint8_t raw[SHL_VERBS_GID_BYTES];
    uint32_t index;
    enum shl_verbs_gid_type type;
};

#define SHL_VERBS_GID_ANY (-1)

/*
 * shl_verbs_gid_choose - fill gid_index, gid, gid_text, interface and reason of `port`; false: no
 * entry will do, and reason says what is wrong with each.
 *
 * wanted      index that the user asks for, SHL_VERBS_GID_ANY: choose RoCE v2 with an IPv4 address,
 *             then RoCE v2 with a routable IPv6 address, each only when an interface that is up in
 *             our network namespace has the address
 * interfaces  of our network namespace
 */
bool shl_verbs_gid_choose(const struct shl_verbs_gid *gids, uint32_t count, int64_t wanted,
                          const struct shl_interface *interfaces, uint32_t interface_count,
                          struct shl_verbs_port *port);

/* "10.0.0.1" of an IPv4-mapped one, else as IPv6. */
void shl_verbs_gid_format(const uint8_t *gid, char text[SHL_VERBS_GID_TEXT_BYTES]);

#endif
