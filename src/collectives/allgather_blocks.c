/*
 * Allgather: every rank gets everyone's block.
 *
 *   direct     every rank sends its block to everyone: 1 round of p - 1 messages
 *   ring       p - 1 rounds, pipelined in `chunks` messages, among neighbours only
 *   circulant  ceil(log2 p) rounds of at most two messages, straight into final places
 *
 * Bytes   each sends and receives (p - 1) blocks, the least possible
 * Best    direct: few ranks; circulant: small blocks and many ranks; ring: large blocks
 * Source  direct is folklore; ring: Patarasuk and Yuan, JPDC 69(2), 2009; circulant: Traeff,
 *         arXiv:2410.14234, which reverses Bruck et al., IEEE TPDS 8(11), 1997
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "collectives/cost.h"
#include "collectives/phases.h"

/* Sends of the own block start from the input, so they do not wait for the copy. */
static struct shl_phase begin(const struct shl_shape *shape, struct shl_builder *builder)
{
    struct shl_phase phase = {
        .team = shl_team_all(shape, 0), .units = shape->chunks, .grain = 1, .from = SHL_INPUT};
    shl_build_blocks(builder, shape->rank_count);
    shl_build_copy(builder, shl_span(SHL_OUTPUT, shape->rank * shape->chunks, shape->chunks),
                   shl_span(SHL_INPUT, 0, shape->chunks), 0);
    return phase;
}

enum shoal_status shl_build_allgather_direct(const struct shl_shape *shape,
                                             struct shl_builder *builder)
{
    struct shl_phase phase = begin(shape, builder);
    shl_phase_pairwise_allgather(builder, &phase, shape->rank_count);
    return SHOAL_OK;
}

enum shoal_status shl_build_allgather_ring(const struct shl_shape *shape,
                                           struct shl_builder *builder)
{
    struct shl_phase phase = begin(shape, builder);
    shl_phase_ring_allgather(builder, &phase);
    return SHOAL_OK;
}

enum shoal_status shl_build_allgather_circulant(const struct shl_shape *shape,
                                                struct shl_builder *builder)
{
    struct shl_phase phase = begin(shape, builder);
    shl_phase_circulant_allgather(builder, &phase, SHL_NONE);
    return SHOAL_OK;
}

struct shl_time shl_cost_allgather_direct(const struct shl_price *price)
{
    double part = price->bytes / price->rank_count;
    return shl_price_all_to_all(price, 1, price->rank_count, part, false);
}

struct shl_time shl_cost_allgather_ring(const struct shl_price *price)
{
    return shl_price_ring(price, price->bytes / price->rank_count, 1, false);
}

struct shl_time shl_cost_allgather_circulant(const struct shl_price *price)
{
    return shl_price_circulant(price, price->bytes / price->rank_count, false);
}
