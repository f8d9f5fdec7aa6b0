/*
 * Rank arithmetic: teams of ranks, and which ranks share a host. Pure functions of their arguments.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef SHL_COLLECTIVES_RANK_MAP_H
#define SHL_COLLECTIVES_RANK_MAP_H

#include "collectives/schedule.h"

/* (rank + steps) mod count and (rank - steps) mod count, for rank and steps <= count. */
static inline uint32_t shl_rank_add(uint32_t rank, uint32_t steps, uint32_t count)
{
    uint32_t sum = rank + steps;
    return sum >= count ? sum - count : sum;
}

static inline uint32_t shl_rank_sub(uint32_t rank, uint32_t steps, uint32_t count)
{
    return rank >= steps ? rank - steps : rank + count - steps;
}

/* Smallest k with 2^k >= value. */
static inline uint32_t shl_log2_ceil(uint32_t value)
{
    return value <= 1 ? 0 : 32 - (uint32_t)__builtin_clz(value - 1);
}

/*
 * Ranks that run one phase together, numbered 0..count-1. Member i is ranks[i], or, without an
 * array, rank (first + i) mod count: all ranks, renumbered so that `first` is member 0.
 */
struct shl_team {
    uint32_t count, me;
    uint32_t first;
    const uint32_t *ranks;
};

static inline uint32_t shl_team_rank(const struct shl_team *team, uint32_t member)
{
    return team->ranks ? team->ranks[member] : shl_rank_add(team->first, member, team->count);
}

/* All ranks, with `first` as member 0. */
struct shl_team shl_team_all(const struct shl_shape *shape, uint32_t first);

/* Ranks by host. Hosts keep their numbers; within a host ranks ascend. */
struct shl_host_index {
    uint32_t host_count;
    uint32_t local_min, local_max; /* ranks on the smallest and on the largest host */
    uint32_t *host_first;          /* host_count + 1 indices into by_host */
    uint32_t *by_host;             /* ranks, those of host 0 first */
    uint32_t *local_of;            /* index of a rank within its host */
};

/* shl_host_index_make - allocates; SHOAL_ERR_INVALID when the map is not well formed. */
enum shoal_status shl_host_index_make(const struct shl_host_map *hosts,
                                      struct shl_host_index **index);
void shl_host_index_free(struct shl_host_index *index);

#endif
