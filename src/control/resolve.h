/*
 * Host names to addresses, within a deadline.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef SHL_CONTROL_RESOLVE_H
#define SHL_CONTROL_RESOLVE_H

#include "control/sock.h"

/*
 * shl_resolve - look a host up; numeric hosts cost nothing. Blocks until the deadline at most: the
 * resolver of the C library knows no deadline, so a thread asks it.
 *
 * found    up to `capacity` addresses in the resolver's order
 * Errors   SHOAL_ERR_SYSTEM names the host and the resolver's reason; SHOAL_ERR_TIMEOUT
 */
enum shoal_status shl_resolve(const char *host, uint16_t port, uint64_t deadline_ns,
                              struct shl_sockaddr *found, uint32_t capacity, uint32_t *count);

#endif
