/*
 * Allreduce around a ring, or around two in opposite directions: reduce-scatter, then allgather.
 *
 * Steps   2(p - 1) rounds of blocks of n / p, each pipelined in `chunks` messages; with two rings
 *         blocks are half as large and go both ways
 * Bytes   2(p - 1)/p n sent and received by every rank, the least possible
 * Order   block b combines ranks b + 1, b + 2, ..., b: fixed, but not rank order
 * Best    large n and few ranks, or when only neighbours may talk; two rings where a rank sends to
 *         both neighbours faster than to one
 * Source  Patarasuk and Yuan, Bandwidth optimal all-reduce algorithms, JPDC 69(2), 2009
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "collectives/cost.h"
#include "collectives/phases.h"

static void build(const struct shl_shape *shape, struct shl_builder *builder,
                  const struct shl_host_index *index, uint32_t rings)
{
    struct shl_phase phase = {.team = shl_team_ring(shape, index, 0),
                              .units = shape->chunks,
                              .grain = 1,
                              .flags = SHL_STEP_FINAL};
    shl_build_blocks(builder, rings * shape->rank_count);
    for (int gather = 0; gather < 2; gather++) {
        phase.from = gather ? SHL_OUTPUT : SHL_INPUT;
        for (uint32_t ring = 0; ring < rings; ring++) {
            phase.backwards = ring == 1;
            phase.first = ring * shape->rank_count * shape->chunks;
            if (gather)
                shl_phase_ring_allgather(builder, &phase);
            else
                shl_phase_ring_reduce_scatter(builder, &phase);
        }
    }
}

enum shoal_status shl_build_allreduce_ring(const struct shl_shape *shape,
                                           struct shl_builder *builder)
{
    struct shl_host_index *made;
    const struct shl_host_index *index;
    SHL_TRY(shl_host_index_get(shape->hosts, &index, &made));
    build(shape, builder, index, 1);
    shl_host_index_free(made);
    return SHOAL_OK;
}

enum shoal_status shl_build_allreduce_two_rings(const struct shl_shape *shape,
                                                struct shl_builder *builder)
{
    struct shl_host_index *made;
    const struct shl_host_index *index;
    SHL_TRY(shl_host_index_get(shape->hosts, &index, &made));
    build(shape, builder, index, 2);
    shl_host_index_free(made);
    return SHOAL_OK;
}

struct shl_time shl_cost_allreduce_ring(const struct shl_price *price)
{
    double part = price->bytes / price->rank_count;
    return shl_time_then(shl_price_ring(price, part, 1, true),
                         shl_price_ring(price, part, 1, false));
}

struct shl_time shl_cost_allreduce_two_rings(const struct shl_price *price)
{
    double part = price->bytes / price->rank_count / 2;
    return shl_time_then(shl_price_ring(price, part, 2, true),
                         shl_price_ring(price, part, 2, false));
}
