/*
 * Allreduce through one leader a host: reduce to it along a tree, recursive multiplying among
 * leaders, broadcast from it.
 *
 * Steps   2 ceil(log2 l) rounds inside hosts of l ranks, about log4 h rounds across h hosts
 * Bytes   n a message
 * Order   fixed, but rank order only if hosts have neighbouring ranks
 * Best    small n with several ranks a host
 * Source  Graham and Shipman, MPI support for multi-core architectures, EuroPVM/MPI 2008, for
 *         leaders
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "collectives/cost.h"
#include "collectives/phases.h"

static void build(const struct shl_shape *shape, struct shl_builder *builder,
                  const struct shl_host_index *index)
{
    struct shl_team local = shl_team_local(shape->hosts, index, shape->rank);
    struct shl_team leaders = shl_team_across(shape->hosts, index, shape->rank, 0);
    struct shl_tree tree = {.parent = UINT32_MAX};
    shl_tree_halving(&local, 0, &tree);
    struct shl_tree_phase phase = {.rank = shape->rank,
                                   .tree = &tree,
                                   .trees = 1,
                                   .count = shape->chunks,
                                   .grain = shape->chunks,
                                   .from = SHL_INPUT,
                                   .into = SHL_OUTPUT};
    shl_build_scratch(builder, 2 * shape->chunks);
    shl_phase_tree_reduce(builder, &phase);
    if (local.me == 0)
        shl_phase_exchange(builder, &leaders, 4, local.count > 1 ? SHL_OUTPUT : SHL_INPUT,
                           shape->chunks, SHL_STEP_FINAL);
    phase.from = SHL_OUTPUT;
    shl_phase_tree_broadcast(builder, &phase);
}

enum shoal_status shl_build_allreduce_leaders(const struct shl_shape *shape,
                                              struct shl_builder *builder)
{
    struct shl_host_index *made;
    const struct shl_host_index *index;
    SHL_TRY(shl_host_index_get(shape->hosts, &index, &made));
    build(shape, builder, index);
    shl_host_index_free(made);
    return SHOAL_OK;
}

struct shl_time shl_cost_allreduce_leaders(const struct shl_price *price)
{
    struct shl_price leaders = *price; /* as if there were nobody else */
    uint32_t levels = shl_log2_ceil(price->local_max);
    leaders.rank_count = price->hosts;
    leaders.local_max = leaders.local_min = 1;
    leaders.scattered = false;
    struct shl_time time = shl_price_levels(price, 0, levels, price->bytes, true);
    time = shl_time_then(time, shl_cost_allreduce_recursive_multiplying(&leaders));
    return shl_time_then(time, shl_price_levels(price, 0, levels, price->bytes, false));
}
