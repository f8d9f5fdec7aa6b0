/*
 * Reduction up a binomial tree, within a dissemination of tokens.
 *
 * Numbered from the root, in round k every rank sends to the one 2^k before it: what it has
 * combined if bit k is its lowest, else a token. So the rounds that bring the data to the root also
 * tell everyone that all have started.
 *
 * Steps   ceil(log2 p) rounds, whole n each, pipelined in `chunks` messages
 * Bytes   every rank but the root sends n once; the root receives ceil(log2 p) n
 * Order   numbered from the root: rank order only for root 0
 * Best    small n
 * Source  Hensgen, Finkel and Manber, Two algorithms for barrier synchronization, IJPP 17(1), 1988,
 *         for the pattern; the binomial tree in it is folklore
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "collectives/cost.h"
#include "collectives/phases.h"

static struct shl_span partial(bool root, uint32_t at)
{
    return root ? shl_span(SHL_OUTPUT, at, 1) : shl_scratch(at, 1, at);
}

static void exchange(const struct shl_shape *shape, struct shl_builder *builder,
                     const struct shl_team *team, uint32_t skip, bool *summed, uint32_t *heard,
                     uint32_t round)
{
    uint32_t to = shl_team_rank(team, shl_rank_sub(team->me, skip, team->count));
    uint32_t source = shl_team_rank(team, shl_rank_add(team->me, skip, team->count));
    bool gives = team->me % (2 * skip) == skip, root = team->me == 0;
    bool takes = team->me % (2 * skip) == 0 && team->me + skip < team->count;
    unsigned flags = root && 2 * skip >= team->count ? SHL_STEP_FINAL : 0;
    for (uint32_t at = 0; at < (gives ? shape->chunks : 1); at++) {
        struct shl_span mine = *summed ? partial(root, at) : shl_span(SHL_INPUT, at, 1);
        shl_build_send(builder, to, gives ? mine : shl_token());
        for (uint32_t i = 0; i < round; i++)
            shl_build_after(builder, heard[i]);
    }
    for (uint32_t at = 0; at < (takes ? shape->chunks : 1); at++) {
        struct shl_span mine = *summed ? partial(root, at) : shl_span(SHL_INPUT, at, 1);
        uint32_t step = takes
                            ? shl_build_recv_reduce(builder, source, partial(root, at), mine, flags)
                            : shl_build_recv(builder, source, shl_token());
        heard[round] = at == 0 ? step : heard[round];
    }
    *summed = *summed || takes;
}

enum shoal_status shl_build_reduce_binomial(const struct shl_shape *shape,
                                            struct shl_builder *builder)
{
    struct shl_team team = shl_team_all(shape, shape->root);
    uint32_t heard[32], round = 0;
    bool summed = false;
    shl_build_scratch(builder, shape->chunks);
    for (uint32_t skip = 1; skip < team.count; skip *= 2, round++)
        exchange(shape, builder, &team, skip, &summed, heard, round);
    return SHOAL_OK;
}

struct shl_time shl_cost_reduce_binomial(const struct shl_price *price)
{
    uint32_t net, local;
    shl_price_split_levels(price, &net, &local);
    struct shl_time data = shl_price_levels(price, net, local, price->bytes, true);
    struct shl_time tokens = shl_price_tokens(price); /* the data take the place of some */
    tokens.net_s -= net * price->net.gap_s;
    tokens.local_s -= local * price->local.gap_s;
    return shl_time_beside(data, tokens);
}
