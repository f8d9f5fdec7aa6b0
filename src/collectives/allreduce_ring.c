/*
 * Allreduce around a ring: reduce-scatter, then allgather.
 *
 * Steps   2(p - 1) rounds, blocks of n / p, each pipelined in `chunks` messages
 * Bytes   2(p - 1)/p n sent and received by every rank, the least possible
 * Order   block b combines ranks b + 1, b + 2, ..., b: fixed, but not rank order
 * Best    large n and few ranks, or when only neighbours may talk
 * Source  Patarasuk and Yuan, Bandwidth optimal all-reduce algorithms, JPDC 69(2), 2009
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "collectives/phases.h"

enum shoal_status shl_build_allreduce_ring(const struct shl_shape *shape,
                                           struct shl_builder *builder)
{
    shl_build_blocks(builder, shape->rank_count);
    struct shl_phase phase = {.team = shl_team_all(shape, 0),
                              .units = shape->chunks,
                              .grain = 1,
                              .from = SHL_INPUT,
                              .flags = SHL_STEP_FINAL};
    shl_phase_ring_reduce_scatter(builder, &phase);
    phase.from = SHL_OUTPUT;
    shl_phase_ring_allgather(builder, &phase);
    return SHOAL_OK;
}
