/*
 * Allreduce by hosts: reduce-scatter inside each host, allreduce of every slice across hosts by the
 * ranks that own it, allgather inside each host.
 *
 * There are as many slices as the smallest host has ranks; ranks beyond that only contribute. So
 * all network ports of equal hosts work, and with one rank on a host there is one leader each.
 *
 * Steps   1 + 2 ceil(log2 hosts) + 1 rounds; those inside hosts of up to (ranks of the host) - 1
 *         messages, pipelined in `chunks`
 * Bytes   across hosts 2(h - 1)/h n a host, the least possible; inside 2(l - 1)/l n a rank
 * Order   fixed, but not rank order
 * Best    middle and large n with several ranks a host
 * Source  Bayatpour et al., Scalable reduction collectives with data partitioning-based
 *         multi-leader design, SC 2017; across hosts Traeff, arXiv:2410.14234
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "collectives/cost.h"
#include "collectives/phases.h"

static void build(const struct shl_shape *shape, struct shl_builder *builder,
                  const struct shl_host_index *index)
{
    uint32_t owners = index->local_min, slice = index->host_count * shape->chunks;
    struct shl_phase local = {.team = shl_team_local(shape->hosts, index, shape->rank),
                              .units = slice,
                              .grain = index->host_count,
                              .from = SHL_INPUT};
    uint32_t me = local.team.me;
    shl_build_blocks(builder, owners * index->host_count);
    shl_phase_pairwise_reduce_scatter(builder, &local, owners);
    if (me < owners) {
        struct shl_phase across = {.team = shl_team_across(shape->hosts, index, shape->rank, me),
                                   .first = me * slice,
                                   .units = shape->chunks,
                                   .from = local.team.count > 1 ? SHL_OUTPUT : SHL_INPUT,
                                   .flags = SHL_STEP_FINAL};
        shl_phase_circulant_reduce_scatter(builder, &across);
        across.from = SHL_OUTPUT;
        shl_phase_circulant_allgather(builder, &across, SHL_NONE);
    }
    local.from = SHL_OUTPUT;
    shl_phase_pairwise_allgather(builder, &local, owners);
}

enum shoal_status shl_build_allreduce_hierarchical(const struct shl_shape *shape,
                                                   struct shl_builder *builder)
{
    struct shl_host_index *made;
    const struct shl_host_index *index;
    SHL_TRY(shl_host_index_get(shape->hosts, &index, &made));
    build(shape, builder, index);
    shl_host_index_free(made);
    return SHOAL_OK;
}

struct shl_time shl_cost_allreduce_hierarchical(const struct shl_price *price)
{
    struct shl_price inside = *price, across = *price;
    inside.hosts = 1;
    across.rank_count = across.hosts;
    across.local_max = 1;
    across.scattered = false;
    double slice = price->bytes / price->local_min, part = slice / price->hosts;
    struct shl_time time = shl_time_then(shl_price_circulant(&across, part, true),
                                         shl_price_circulant(&across, part, false));
    time.net_s *= price->local_min; /* as many ranks of a host do so at once */
    if (price->local_max > 1) {
        time = shl_time_then(shl_price_all_to_all(&inside, 1, price->local_max, slice, true), time);
        time =
            shl_time_then(time, shl_price_all_to_all(&inside, 1, price->local_max, slice, false));
    }
    return time;
}
