/*
 * Reduce-scatter: every rank gets its block of the result.
 *
 *   direct     every rank sends block j to rank j, which combines in rank order: 1 round of p - 1
 *              messages
 *   ring       p - 1 rounds, pipelined in `chunks` messages, among neighbours only
 *   circulant  ceil(log2 p) rounds of at most two messages
 *
 * Bytes   each sends (p - 1)/p n, the least possible
 * Best    direct: few ranks, or operations that do not commute; circulant: small blocks and many
 *         ranks; ring: large blocks
 * Source  direct is folklore; ring: Patarasuk and Yuan, JPDC 69(2), 2009; circulant: Traeff,
 *         arXiv:2410.14234
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "collectives/cost.h"
#include "collectives/phases.h"

static struct shl_phase whole(const struct shl_shape *shape)
{
    struct shl_phase phase = {.team = shl_team_all(shape, 0),
                              .units = shape->chunks,
                              .grain = 1,
                              .from = SHL_INPUT,
                              .in_scratch = true,
                              .result = shl_span(SHL_OUTPUT, 0, shape->chunks),
                              .flags = SHL_STEP_FINAL};
    return phase;
}

enum shoal_status shl_build_reduce_scatter_direct(const struct shl_shape *shape,
                                                  struct shl_builder *builder)
{
    struct shl_phase phase = whole(shape);
    shl_build_blocks(builder, shape->rank_count);
    shl_build_scratch(builder, (shape->rank_count - 1) * shape->chunks);
    shl_phase_direct_reduce_scatter(builder, &phase);
    return SHOAL_OK;
}

enum shoal_status shl_build_reduce_scatter_ring(const struct shl_shape *shape,
                                                struct shl_builder *builder)
{
    struct shl_phase phase = whole(shape);
    shl_build_blocks(builder, shape->rank_count);
    shl_build_scratch(builder, 2 * shape->chunks);
    shl_phase_ring_reduce_scatter(builder, &phase);
    return SHOAL_OK;
}

enum shoal_status shl_build_reduce_scatter_circulant(const struct shl_shape *shape,
                                                     struct shl_builder *builder)
{
    struct shl_phase phase = whole(shape);
    shl_build_blocks(builder, shape->rank_count);
    shl_build_scratch(builder, (shape->rank_count + 1) / 2 * shape->chunks);
    shl_phase_circulant_reduce_scatter(builder, &phase);
    return SHOAL_OK;
}

struct shl_time shl_cost_reduce_scatter_direct(const struct shl_price *price)
{
    uint32_t count = price->rank_count;
    double part = price->bytes / count;
    struct shl_time time = shl_price_all_to_all(price, 1, count, part, true);
    /* The order of ranks is not that of arrival, so the last piece may have to wait for all. */
    time.path_s += (count - 2.0) * part / price->chunks * price->gamma_s;
    return time;
}

struct shl_time shl_cost_reduce_scatter_ring(const struct shl_price *price)
{
    return shl_price_ring(price, price->bytes / price->rank_count, 1, true);
}

struct shl_time shl_cost_reduce_scatter_circulant(const struct shl_price *price)
{
    return shl_price_circulant(price, price->bytes / price->rank_count, true);
}
