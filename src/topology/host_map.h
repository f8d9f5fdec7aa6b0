/*
 * Which ranks share a host.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef SHL_TOPOLOGY_HOST_MAP_H
#define SHL_TOPOLOGY_HOST_MAP_H

#include "core/status.h"

#include <stdbool.h>
#include <stdint.h>

/*
 * shl_host_map_fill - number hosts by first appearance, the same on every rank.
 *
 * host_id(arg, rank)  identity of the rank's host, see core/host.h; NULL or "" is a host of its own
 * host_of             receives rank_count host numbers
 * host_count          receives the number of hosts
 */
enum shoal_status shl_host_map_fill(uint32_t rank_count,
                                    const char *(*host_id)(void *arg, uint32_t rank), void *arg,
                                    uint32_t *host_of, uint32_t *host_count);

#endif
