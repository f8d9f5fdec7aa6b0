/*
 * Broadcast as a scatter from the root followed by an allgather.
 *
 * The scatter halves the ranks, numbered from the root, again and again and sends the upper half
 * its blocks. The allgather is circulant, without messages to the root, which has everything.
 *
 * Steps   2 ceil(log2 p) rounds
 * Bytes   the root sends (p - 1)/p n and its part of the allgather; others receive n
 * Best    middle n, many ranks
 * Source  van de Geijn and Watts for the split (Barnett et al., SHPCC 1994); allgather by Traeff,
 *         arXiv:2410.14234
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "collectives/cost.h"
#include "collectives/phases.h"

static void scatter(const struct shl_shape *shape, struct shl_builder *builder,
                    const struct shl_team *team)
{
    uint32_t low = 0, high = team->count;
    while (high - low > 1) {
        uint32_t middle = low + (high - low + 1) / 2;
        uint32_t first = middle * shape->chunks, count = (high - middle) * shape->chunks;
        enum shl_buffer from = low == 0 ? SHL_INPUT : SHL_OUTPUT;
        if (team->me == low)
            shl_build_send(builder, shl_team_rank(team, middle), shl_span(from, first, count));
        if (team->me == middle)
            shl_build_recv(builder, shl_team_rank(team, low), shl_span(SHL_OUTPUT, first, count));
        low = team->me < middle ? low : middle;
        high = team->me < middle ? middle : high;
    }
}

enum shoal_status shl_build_broadcast_scatter_allgather(const struct shl_shape *shape,
                                                        struct shl_builder *builder)
{
    struct shl_phase phase = {
        .team = shl_team_all(shape, shape->root), .units = shape->chunks, .from = SHL_INPUT};
    uint32_t all = shape->rank_count * shape->chunks;
    shl_build_blocks(builder, shape->rank_count);
    scatter(shape, builder, &phase.team);
    shl_phase_circulant_allgather(builder, &phase, 0);
    if (phase.team.me == 0)
        shl_build_copy(builder, shl_span(SHL_OUTPUT, 0, all), shl_span(SHL_INPUT, 0, all), 0);
    shl_phase_tokens(builder, shape);
    return SHOAL_OK;
}

struct shl_time shl_cost_broadcast_scatter_allgather(const struct shl_price *price)
{
    double part = price->bytes / price->rank_count;
    struct shl_time data = shl_time_then(shl_price_scatter(price, price->bytes),
                                         shl_price_circulant(price, part, false));
    return shl_time_beside(data, shl_price_tokens(price));
}
