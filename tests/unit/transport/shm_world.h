/*
 * Worlds of the shared-memory transport for its unit tests: several ranks in this process, where
 * every step is under the test's control, or one process a rank.
 *
 * The channels that control would make are socket pairs; descriptors pass through control's own
 * functions.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef UNIT_SHM_WORLD_H
#define UNIT_SHM_WORLD_H

#include "core/config.h"
#include "core/heap.h"
#include "transport/transport.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#include <cmocka.h>

#define SHM_WORLD_MAX 80

struct shm_rank {
    struct shl_config config;
    struct shl_transport_env env;
    struct shl_heap *heap;
    struct shl_transport *t;
    bool reaches[SHM_WORLD_MAX];
    uint64_t ended_seq; /* operations below it are not wanted */
    unsigned seen, lost;
    struct shl_tag seen_tag;
    struct shl_signature seen_signature;
    uint32_t lost_peer;
    char lost_cause[256];
};

/* A description of the world that shm_rank_open reads; set before. */
struct shm_world {
    uint32_t size;
    uint32_t copy;               /* value of SHOAL_SHM_COPY: 0 auto, 1 staged, 2 cma */
    uint64_t nt_bytes;           /* 0: chosen */
    uint64_t attach_ms;          /* deadline of attach */
    uint32_t hub;                /* the lowest rank that takes part */
    int pairs[SHM_WORLD_MAX][2]; /* the hub's end, the other end */
};

void shm_world_init(struct shm_world *world, uint32_t size);
void shm_world_close(struct shm_world *world); /* the channels' ends that are still open */

/* Everything but attach; and everything. close undoes both. */
enum shoal_status shm_rank_prepare(struct shm_world *world, struct shm_rank *self, uint32_t rank);
enum shoal_status shm_rank_attach(struct shm_world *world, struct shm_rank *self);
enum shoal_status shm_rank_open(struct shm_world *world, struct shm_rank *self, uint32_t rank);
void shm_rank_close(struct shm_rank *self);

/* All ranks in this process; attach runs in a thread each. Fails the test on any error. */
struct shm_rank *shm_world_open_here(struct shm_world *world);
void shm_world_close_here(struct shm_world *world, struct shm_rank *ranks);

/* One process a rank, running `body`; its result is the exit status. Returns the number of ranks
 * that ended with anything but 0, counting `killed` (or none: UINT32_MAX) as right when it died of
 * SIGKILL. */
typedef int (*shm_body)(struct shm_world *world, uint32_t rank, void *arg);
unsigned shm_world_fork(struct shm_world *world, uint32_t killed, shm_body body, void *arg);

/* A transfer filled in; done() does nothing. */
void shm_xfer_init(struct shl_xfer *xfer, uint32_t peer, uint64_t seq, uint32_t msg, void *data,
                   uint64_t bytes);

/* In a forked rank: leave with a message when something is wrong. */
#define MUST(condition)                                                                            \
    ((condition)                                                                                   \
         ? (void)0                                                                                 \
         : (fprintf(stderr, "%s:%d: not true: %s\n", __FILE__, __LINE__, #condition), _exit(1)))

#endif
