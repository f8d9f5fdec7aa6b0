/*
 * A world for the conformance suite: N ranks of one transport, connected, in this process.
 *
 * The suite knows transports only through an adapter. Tests are written against the contract in
 * transport/transport.h and must hold for every adapter; what only some can do (crash a rank) is
 * skipped where the adapter has no function for it.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef CONFORMANCE_WORLD_H
#define CONFORMANCE_WORLD_H

#include "core/sys.h"
#include "transport/transport.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define WORLD_RANKS_MAX 16
#define WORLD_RECORDS_MAX 256
#define WORLD_OPERATIONS_MAX 64

/* What the engine would hold for one rank: its callbacks and what they were told. */
struct world_seen {
    uint32_t peer;
    struct shl_tag tag;
    struct shl_signature signature;
};

struct world_rank {
    struct world *world;
    struct shl_transport_env env;
    struct shl_transport *t;
    bool reaches[WORLD_RANKS_MAX];
    bool crashed;                                  /* not polled any more */
    struct shl_tag unwanted[WORLD_OPERATIONS_MAX]; /* operations that `wanted` refuses */
    size_t unwanted_count;
    size_t asked;                              /* calls of `wanted` */
    struct world_seen seen[WORLD_RECORDS_MAX]; /* the first ones */
    size_t seen_count;
    enum shoal_status lost[WORLD_RANKS_MAX]; /* 0: not lost */
    unsigned lost_calls[WORLD_RANKS_MAX];
};

struct world {
    const struct conformance_adapter *adapter;
    const struct shl_transport_ops *ops;
    uint64_t seed, random_state;
    uint32_t size;
    struct world_rank ranks[WORLD_RANKS_MAX];
    void *state; /* the adapter's */
};

struct conformance_adapter {
    const char *name;
    unsigned seeds;     /* how often a test that depends on chance is repeated */
    bool attach_blocks; /* attach waits for peers: one thread a rank */
    bool no_sweep;      /* of failed allocations: prepare and meet would take most of them */

    /* Make what the ranks need: world->ops, and in each rank's env config, control, heap. Epoch
     * and incarnation are set by the suite between open and attach. */
    enum shoal_status (*prepare)(struct world *world);
    /* All ranks are open and described, none is attached. May be NULL. */
    enum shoal_status (*meet)(struct world *world);
    /* Nothing happened in a poll of all ranks: let time pass. false: nothing can happen any more.
     */
    bool (*idle)(struct world *world);
    void (*cleanup)(struct world *world); /* transports are closed */
    /* The rank's process dies now. NULL: this adapter cannot. */
    void (*crash)(struct world *world, uint32_t rank);
};

/* What the suite's main runs: every test, for one adapter. Returns the exit status. */
int conformance_run(const struct conformance_adapter *adapter);

/* world_create - open, describe, attach; on failure everything is undone. The status is the first
 * failure's. world_open fails the test instead. */
enum shoal_status world_create(const struct conformance_adapter *adapter, uint32_t size,
                               uint64_t seed, struct world **world);
struct world *world_open(const struct conformance_adapter *adapter, uint32_t size, uint64_t seed);
void world_close(struct world *world);

/* world_poll - poll every rank once; true when anything happened. */
bool world_poll(struct world *world);

/* world_run - poll, and let time pass when nothing happens, until done(arg). Fails the test when
 * that does not come about. */
void world_run(struct world *world, bool (*done)(void *arg), void *arg);

/* world_settle - poll until nothing has happened for a good while (simulated: for ever). */
void world_settle(struct world *world);

void world_unwant(struct world *world, uint32_t rank, uint32_t comm, uint64_t seq);
bool world_saw(const struct world *world, uint32_t rank, uint32_t peer, const struct shl_tag *tag,
               const struct shl_signature *signature);

uint64_t world_random(struct world *world, uint64_t bound);

/* CHECK - like assert_true, and says which transport and seed. */
#define CHECK(world, condition)                                                                    \
    ((condition) ? (void)0 : world_fail(world, #condition, __FILE__, __LINE__))
#define CHECK_OK(world, call)                                                                      \
    do {                                                                                           \
        enum shoal_status check_status = (call);                                                   \
        if (check_status != SHOAL_OK)                                                              \
            world_fail_status(world, #call, check_status, __FILE__, __LINE__);                     \
    } while (0)

void world_fail(const struct world *world, const char *what, const char *file, int line);
void world_fail_status(const struct world *world, const char *what, enum shoal_status status,
                       const char *file, int line);

#endif
