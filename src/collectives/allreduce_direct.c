/*
 * Allreduce in two rounds: every rank sends block j to rank j, which combines them in rank order
 * and sends the result to all.
 *
 * Steps   2 rounds of p - 1 messages
 * Bytes   2(p - 1)/p n sent and received by every rank, the least possible
 * Order   rank order
 * Best    middle and large n among few ranks, and for operations that do not commute
 * Source  folklore; for instance Thakur, Rabenseifner and Gropp, IJHPCA 19(1), 2005, section 3
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "collectives/cost.h"
#include "collectives/phases.h"

enum shoal_status shl_build_allreduce_direct(const struct shl_shape *shape,
                                             struct shl_builder *builder)
{
    shl_build_blocks(builder, shape->rank_count);
    shl_build_scratch(builder, (shape->rank_count - 1) * shape->chunks);
    struct shl_phase phase = {.team = shl_team_all(shape, 0),
                              .units = shape->chunks,
                              .grain = 1,
                              .from = SHL_INPUT,
                              .flags = SHL_STEP_FINAL};
    shl_phase_direct_reduce_scatter(builder, &phase);
    phase.from = SHL_OUTPUT;
    shl_phase_pairwise_allgather(builder, &phase, shape->rank_count);
    return SHOAL_OK;
}

struct shl_time shl_cost_allreduce_direct(const struct shl_price *price)
{
    uint32_t count = price->rank_count;
    double part = price->bytes / count;
    struct shl_time time = shl_price_all_to_all(price, 1, count, part, true);
    /* The order of ranks is not that of arrival, so the last piece may have to wait for all. */
    time.path_s += (count - 2.0) * part / price->chunks * price->gamma_s;
    return shl_time_then(time, shl_price_all_to_all(price, 1, count, part, false));
}
