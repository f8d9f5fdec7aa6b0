/*
 * Event simulation of all ranks' schedules on a modelled fabric.
 *
 * The model. A message of b bytes keeps the port that it leaves through, and then the one that it
 * comes in by, busy for SHL_MESSAGE_GAP * alpha + b * beta; the rest of alpha is spent under way.
 * Nobody's message holds up another's but at these ports. Ranks have a
 * port each way inside their host; what goes to other hosts shares the host's one port each way,
 * and `oversubscription` > 1 makes all hosts share a core with that much less capacity than their
 * ports. Messages above SHL_EAGER_BYTES start only when the receiver is ready and has said so
 * (alpha). Combining b bytes keeps a rank busy for b * gamma. Local ranks beyond the cores of a
 * host slow everything that a core does in proportion.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef SHL_COLLECTIVES_SIMULATE_H
#define SHL_COLLECTIVES_SIMULATE_H

#include "collectives/schedule.h"

#define SHL_MESSAGE_GAP 0.3
#define SHL_EAGER_BYTES 8192

struct shl_simulate_query {
    const struct shl_algorithm *algorithm;
    struct shl_shape shape; /* rank is ignored */
    uint64_t bytes;         /* of the larger buffer; rounded up to whole elements of every rank */
    uint32_t elem_bytes;
    const struct shl_costs *costs;
    double oversubscription; /* 1 or less: none */
};

struct shl_simulation {
    double seconds;
    double algbw_bytes_per_s, busbw_bytes_per_s; /* as nccl-tests define them */
    uint64_t bytes_sent_max, bytes_sent_total;   /* by a rank, by all */
    uint64_t bytes_net_total;                    /* between hosts */
    uint64_t messages_max;                       /* sent by a rank */
    uint64_t steps_total;
    uint32_t steps_max; /* of a rank */
    uint32_t rounds;    /* longest chain of messages, each waiting for the one before */
};

/*
 * shl_simulate - build every rank's schedule, one at a time, and run them together.
 *
 * Errors  SHOAL_ERR_UNSUPPORTED: more than SHL_SIMULATED_STEPS_MAX steps in all; deadlock is
 *         SHOAL_ERR_INTERNAL
 * Cost    about 80 bytes and a microsecond a step
 * Threads any
 */
#define SHL_SIMULATED_STEPS_MAX (1u << 25)
enum shoal_status shl_simulate(const struct shl_simulate_query *query,
                               struct shl_simulation *result);

/* What nccl-tests multiply bytes over time with to compare collectives and rank counts. */
double shl_busbw_factor(enum shoal_collective collective, uint32_t rank_count);

#endif
