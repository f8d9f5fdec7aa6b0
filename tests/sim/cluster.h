/*
 * A cluster: N virtual ranks in one thread, each with an engine over the simulated transport.
 *
 * The simulated network carries messages and, on ports of its own, the mail that in production
 * goes over the control mesh. What control would find out, the cluster finds out by the virtual
 * clock: a crash when its reset arrives, a partition when silence has lasted SHOAL_DEAD_AFTER_MS.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef SIM_CLUSTER_H
#define SIM_CLUSTER_H

#include "core/config.h"
#include "engine/comm.h"
#include "transport/sim/sim_transport.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define CLUSTER_RANKS_MAX 64
#define CLUSTER_MAIL_MAX 4096 /* mails of one rank in the life of a cluster */
#define MICRO 1000u
#define MILLI 1000000u

struct member {
    struct cluster *cluster;
    uint32_t rank;
    bool crashed;
    struct shl_engine *engine;
    struct shoal_comm *comm;
    struct shl_sim_port *port; /* for mail */
    uint32_t mails;            /* flooded so far */
    uint8_t heard[CLUSTER_RANKS_MAX][CLUSTER_MAIL_MAX / 8];
    bool told_lost[CLUSTER_RANKS_MAX];
};

struct cluster_options {
    uint32_t size;
    uint64_t seed;
    bool bad_network;          /* overtaking, loss, duplicates */
    const char *algorithm;     /* SHOAL_ALGORITHM; NULL: chosen */
    const uint32_t *host_of;   /* NULL: every rank its own host */
    uint64_t bytes_per_second; /* 0: no limit */
};

struct cluster {
    struct shl_sim_network *network;
    struct shl_config config;
    uint64_t seed, random_state;
    uint32_t size;
    struct member members[CLUSTER_RANKS_MAX];
    bool partitioned;
    uint64_t looked_ns; /* when deadlines were looked after last */
    uint64_t cut_ns[CLUSTER_RANKS_MAX][CLUSTER_RANKS_MAX]; /* 0: not cut */
};

/* cluster_create - on failure everything is undone. cluster_open fails the test instead. */
enum shoal_status cluster_create(const struct cluster_options *options, struct cluster **cluster);
struct cluster *cluster_open(const struct cluster_options *options);
void cluster_close(struct cluster *cluster);

uint64_t cluster_now_ns(const struct cluster *cluster);
uint64_t cluster_random(struct cluster *cluster, uint64_t bound);

/* cluster_turn - every rank makes progress once; when nothing happens, time goes on, at most to
 * `limit_ns`. */
void cluster_turn(struct cluster *cluster, uint64_t limit_ns);

void cluster_crash(struct cluster *cluster, uint32_t rank);
/* Cut every link between ranks with a bit in `side` (rank 0: bit 0) and the others. */
void cluster_partition(struct cluster *cluster, uint64_t side);

/* CHECK - like assert_true, and says which seed and size. */
#define CHECK(cluster, condition)                                                                  \
    ((condition) ? (void)0 : cluster_fail(cluster, #condition, __FILE__, __LINE__))
void cluster_fail(const struct cluster *cluster, const char *what, const char *file, int line);

#endif
