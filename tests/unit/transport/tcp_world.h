/*
 * Worlds of tcp transports for unit tests: the conformance suite's world and messages, over
 * loopback connections that can run through a proxy which cuts them.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef UNIT_TRANSPORT_TCP_WORLD_H
#define UNIT_TRANSPORT_TCP_WORLD_H

#include "conformance/message.h"
#include "conformance/world.h"
#include "support/tcp_net.h"
#include "transport/tcp/tcp_link.h"

/* Where a proxied connection ends when its bytes are used up. */
enum tcp_cut {
    TCP_CUT_BOTH,  /* both ends notice: closed or reset, by chance */
    TCP_CUT_LOWER, /* only the end of the lower rank notices, the other stays silent */
    TCP_CUT_HIGHER
};

struct tcp_setup {
    const char *const *settings; /* "SHOAL_KEY=value", up to a NULL */
    /* Each proxied connection is cut after a number of bytes between these; max 0: no proxy. */
    uint64_t cut_min, cut_max;
    enum tcp_cut cut;
};

/* tcp_world_open - as world_open; the setup is copied. */
struct world *tcp_world_open(const struct tcp_setup *setup, uint32_t size, uint64_t seed);

struct tcp_net *tcp_world_net(struct world *world);
uint32_t tcp_world_cuts(const struct world *world); /* connections cut so far */
void tcp_world_calm(struct world *world);           /* cut no more */
/* The link from one rank to another; NULL before its first use. */
struct shl_tcp_link *tcp_world_link(struct world *world, uint32_t rank, uint32_t peer);

/* A random plan: most small, some of nearly a megabyte, all kinds of skew and element. */
void tcp_world_plan(struct world *world, uint64_t seq, uint32_t msg, struct message_plan *plan);

/* Make `count` random messages, post them in random order while polling, run, verify, free. */
void tcp_world_storm(struct world *world, uint64_t seq, uint32_t count);

#endif
