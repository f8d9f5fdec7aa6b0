/*
 * The list of algorithms. Path: algorithms.def has one line for each, select.c chooses among them.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "collectives/cost.h"
#include "collectives/schedule_builder.h"

#include <string.h>

#define shl_collective_of_allreduce SHOAL_ALLREDUCE
#define shl_collective_of_broadcast SHOAL_BROADCAST
#define shl_collective_of_reduce SHOAL_REDUCE
#define shl_collective_of_reduce_scatter SHOAL_REDUCE_SCATTER
#define shl_collective_of_allgather SHOAL_ALLGATHER
#define shl_collective_of_barrier SHOAL_BARRIER

static const struct shl_algorithm algorithms[] = {
#define SHL_ALGORITHM(which, algorithm_name, ...)                                                  \
    {.name = #algorithm_name,                                                                      \
     .collective = shl_collective_of_##which,                                                      \
     .build = shl_build_##which##_##algorithm_name,                                                \
     .cost = shl_cost_##which##_##algorithm_name,                                                  \
     __VA_ARGS__},
#include "collectives/algorithms.def"
#undef SHL_ALGORITHM
};

size_t shl_algorithm_count(void)
{
    return sizeof(algorithms) / sizeof(algorithms[0]);
}

const struct shl_algorithm *shl_algorithm_at(size_t index)
{
    return index < shl_algorithm_count() ? &algorithms[index] : NULL;
}

const struct shl_algorithm *shl_algorithm_find(enum shoal_collective collective, const char *name)
{
    for (size_t i = 0; i < shl_algorithm_count(); i++) {
        if (algorithms[i].collective == collective && strcmp(algorithms[i].name, name) == 0)
            return &algorithms[i];
    }
    return NULL;
}

bool shl_algorithm_suits(const struct shl_algorithm *algorithm, uint32_t rank_count,
                         const struct shl_host_map *hosts)
{
    bool several = hosts && hosts->host_count > 1 && hosts->host_count < rank_count;
    return rank_count >= algorithm->ranks_min &&
           (algorithm->ranks_max == 0 || rank_count <= algorithm->ranks_max) &&
           (several || !algorithm->needs_hosts);
}

enum shoal_status shl_algorithm_legal(const struct shl_algorithm *algorithm, uint32_t rank_count,
                                      const struct shl_host_map *hosts)
{
    if (rank_count < algorithm->ranks_min)
        return shl_fail(SHOAL_ERR_INVALID, "%s %s needs at least %u ranks, there are %u",
                        shoal_collective_string(algorithm->collective), algorithm->name,
                        algorithm->ranks_min, rank_count);
    if (algorithm->ranks_max && rank_count > algorithm->ranks_max)
        return shl_fail(SHOAL_ERR_INVALID, "%s %s is for at most %u ranks, there are %u",
                        shoal_collective_string(algorithm->collective), algorithm->name,
                        algorithm->ranks_max, rank_count);
    if (hosts && hosts->rank_count != rank_count)
        return shl_fail(SHOAL_ERR_INVALID, "the host map has %u ranks, the communicator %u",
                        hosts->rank_count, rank_count);
    if (!shl_algorithm_suits(algorithm, rank_count, hosts))
        return shl_fail(SHOAL_ERR_INVALID,
                        "%s %s needs several hosts and several ranks on one of them",
                        shoal_collective_string(algorithm->collective), algorithm->name);
    return SHOAL_OK;
}
