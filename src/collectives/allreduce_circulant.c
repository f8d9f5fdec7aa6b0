/*
 * Allreduce on a circulant graph: reduce-scatter, then allgather, both in ceil(log2 p) rounds.
 *
 * Steps   2 ceil(log2 p) rounds of at most two messages
 * Bytes   2(p - 1)/p n sent and received by every rank, the least possible, for every p
 * Order   fixed, but not rank order
 * Best    middle and large n at any p; the reference where ranks come and go
 * Source  Traeff, Optimal, non-pipelined reduce-scatter and allreduce algorithms, arXiv:2410.14234
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "collectives/cost.h"
#include "collectives/phases.h"

enum shoal_status shl_build_allreduce_circulant(const struct shl_shape *shape,
                                                struct shl_builder *builder)
{
    shl_build_blocks(builder, shape->rank_count);
    struct shl_phase phase = {.team = shl_team_all(shape, 0),
                              .units = shape->chunks,
                              .from = SHL_INPUT,
                              .flags = SHL_STEP_FINAL};
    shl_phase_circulant_reduce_scatter(builder, &phase);
    phase.from = SHL_OUTPUT;
    shl_phase_circulant_allgather(builder, &phase, SHL_NONE);
    return SHOAL_OK;
}

struct shl_time shl_cost_allreduce_circulant(const struct shl_price *price)
{
    double part = price->bytes / price->rank_count;
    return shl_time_then(shl_price_circulant(price, part, true),
                         shl_price_circulant(price, part, false));
}
