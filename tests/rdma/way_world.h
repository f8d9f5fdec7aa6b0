/*
 * A world whose ways to peers a test holds up, fails or lets carry nothing, by rank and rail.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef TESTS_RDMA_WAY_WORLD_H
#define TESTS_RDMA_WAY_WORLD_H

#include "rdma/in_place_world.h"

#include <pthread.h>
#include <stdatomic.h>

/* The kernel's answers. */
struct way_kernel {
    pthread_mutex_t gate; /* while it is locked, pairs of rails[held] connect nobody */
    pthread_t tester;     /* but those of this thread */
    uint32_t held;        /* rails, as bits */
    uint32_t unheld;      /* so many of a rank, first, are not held */
    atomic_uint asked[WORLD_RANKS_MAX]; /* connecting by rank, in other threads */
    atomic_uint begun;                  /* connecting by rank 0 and a rail that is held */
    int errors[RAILS];                  /* what becomes of connecting by rail; 0: it works */
    uint32_t dead;                      /* rails, as bits, by which nothing arrives */
    atomic_uint written;                /* messages, or parts of them, by these */
};

extern struct way_kernel kernel;
extern struct world *world; /* the one that is open */

/* open_ranks - a world whose kernel answers as told from now on; set to nothing special. */
void open_ranks(uint32_t size);
/* A message there in place, and a short one back. */
void exchange(uint32_t a, uint32_t b, uint64_t seq);
/* Predicates of world_run: rank 0 and *peer have a way; by all rails. */
bool is_connected(void *peer);
bool has_all_rails(void *peer);

#endif
