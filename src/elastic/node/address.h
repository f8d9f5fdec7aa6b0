/*
 * A member's address in the record: where its node listens, in at most SHL_MEMBER_ADDRESS_MAX
 * bytes.
 *
 *   u8 version 2, u64 digest of the host's identity, u64 digest of the failure domain,
 *   then addresses, best first, to the end:
 *   u8 family 4 or 6, 4 or 16 bytes, u16 port
 *
 * The name of the local socket follows from the member's id, so it needs no room.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef SHL_ELASTIC_NODE_ADDRESS_H
#define SHL_ELASTIC_NODE_ADDRESS_H

#include "control/dial.h"
#include "elastic/membership/members.h"

struct shl_node_address {
    uint64_t host;   /* equal: the same host and network namespace */
    uint64_t domain; /* equal: they fail together, as containers of one machine do */
    uint32_t count;
    struct shl_sockaddr tcp[SHL_DIAL_CANDIDATES];
};

/* As many addresses as fit. */
void shl_node_address_put(struct shl_member *member, const struct shl_node_address *address);
/* false: not written by this version. */
bool shl_node_address_get(const struct shl_member *member, struct shl_node_address *address);

/* The abstract Unix socket of a member. */
enum shoal_status shl_node_address_local(uint64_t id, struct shl_sockaddr *addr);
/* A digest of this host's identity. */
enum shoal_status shl_node_address_host(uint64_t *host);
/* A digest of `name`, or, where that is empty, of the machine, whatever namespaces this is in. */
enum shoal_status shl_node_address_domain(const char *name, uint64_t *domain);

/* How to dial `address` from `host`: the local socket first, loopback only on the same host. */
void shl_node_address_target(const struct shl_node_address *address, uint64_t id, uint64_t host,
                             struct shl_dial_target *target);

#endif
