/*
 * All ranks' schedules in the compact form that the simulator runs.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef SHL_COLLECTIVES_SIMULATE_LOAD_H
#define SHL_COLLECTIVES_SIMULATE_LOAD_H

#include "collectives/simulate.h"

struct shl_sim_step {
    uint64_t bytes;
    uint32_t rank, order; /* whose step, and which of its */
    uint32_t partner;     /* SHL_NONE for local steps */
    uint32_t waits, depth;
    uint32_t first_next, next_count;
    bool sends, combines;
};

struct shl_sim_load {
    const struct shl_host_map *hosts;
    uint32_t host_count, local_max;
    struct shl_sim_step *steps;
    uint32_t *nexts; /* step numbers over all ranks */
    uint32_t step_count, step_capacity, next_count, next_capacity;
    uint64_t total_bytes, net_bytes, rank_bytes_max, rank_messages_max;
    uint32_t rank_steps_max;
};

/* On error the caller still calls fini. */
enum shoal_status shl_sim_load_init(struct shl_sim_load *load,
                                    const struct shl_simulate_query *query);
void shl_sim_load_fini(struct shl_sim_load *load);

static inline uint32_t shl_sim_host(const struct shl_sim_load *load, uint32_t rank)
{
    return load->hosts ? load->hosts->host_of[rank] : rank;
}

#endif
