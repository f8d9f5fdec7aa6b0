/*
 * A proxy between ranks that cuts connections at random places, in a thread of its own.
 *
 * For each address it is given it listens at another one, and passes bytes on in pieces of random
 * size. After a random number of bytes, or never, a connection is cut, with or without a reset.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef MULTIPROC_CONTROL_PROXY_H
#define MULTIPROC_CONTROL_PROXY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct proxy;

/* Everything random follows from the seed, except what the kernel's timing adds. */
struct proxy *proxy_create(uint64_t seed);
/* Replaces the address text ("host:port") by the proxy's own. Before proxy_start. */
void proxy_insert(struct proxy *proxy, char *address, size_t capacity);
void proxy_start(struct proxy *proxy);
/* New connections live for at most so many bytes, until so many were cut; 0: as long as they like.
 * A cut can take along what was passed on and not read yet, so on a machine that is short of time
 * most connections move nothing: without an end to the cuts a test may take any time. */
void proxy_set_life(struct proxy *proxy, uint32_t bytes_max, uint64_t cuts_max);
uint64_t proxy_cuts(const struct proxy *proxy);
void proxy_destroy(struct proxy *proxy);

#endif
