/*
 * Reduction as a reduce-scatter followed by a gather to the root.
 *
 * Both in ceil(log2 p) rounds, numbered from the root. Ranks other than the root work in scratch:
 * they have no output.
 *
 * Steps   2 ceil(log2 p) rounds
 * Bytes   every rank sends at most 2(p - 1)/p n; the root receives that
 * Order   fixed, but not rank order
 * Best    middle n, many ranks
 * Source  Thakur, Rabenseifner and Gropp, IJHPCA 19(1), 2005, for the split; reduce-scatter by
 *         Traeff, arXiv:2410.14234
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "collectives/cost.h"
#include "collectives/phases.h"

/* Members low..high-1 halve; the first of the upper half sends its parts to the first of all. */
static void gather(const struct shl_shape *shape, struct shl_builder *builder,
                   const struct shl_team *team, uint32_t low, uint32_t high)
{
    uint32_t middle = low + (high - low + 1) / 2, chunks = shape->chunks;
    if (high - low < 2)
        return;
    if (team->me < middle)
        gather(shape, builder, team, low, middle);
    else
        gather(shape, builder, team, middle, high);
    uint32_t first = middle * chunks, count = (high - middle) * chunks;
    if (team->me == middle)
        shl_build_send(builder, shl_team_rank(team, low), shl_scratch(0, count, first));
    if (team->me == low)
        shl_build_recv(builder, shl_team_rank(team, middle),
                       low == 0 ? shl_span(SHL_OUTPUT, first, count)
                                : shl_scratch((middle - low) * chunks, count, first));
}

enum shoal_status shl_build_reduce_scatter_gather(const struct shl_shape *shape,
                                                  struct shl_builder *builder)
{
    uint32_t chunks = shape->chunks, count = shape->rank_count;
    struct shl_phase phase = {.team = shl_team_all(shape, shape->root),
                              .units = chunks,
                              .from = SHL_INPUT,
                              .in_scratch = true,
                              .flags = SHL_STEP_FINAL};
    uint32_t me = phase.team.me;
    shl_build_blocks(builder, count);
    shl_build_scratch(builder, (count + 1) / 2 * chunks);
    phase.result = me == 0 ? shl_span(SHL_OUTPUT, 0, chunks) : shl_scratch(0, chunks, me * chunks);
    shl_phase_circulant_reduce_scatter(builder, &phase);
    gather(shape, builder, &phase.team, 0, count);
    shl_phase_tokens(builder, shape);
    return SHOAL_OK;
}

struct shl_time shl_cost_reduce_scatter_gather(const struct shl_price *price)
{
    double part = price->bytes / price->rank_count;
    struct shl_time data = shl_time_then(shl_price_circulant(price, part, true),
                                         shl_price_scatter(price, price->bytes));
    return shl_time_beside(data, shl_price_tokens(price));
}
