/*
 * Broadcast down a binomial tree, within a dissemination of tokens.
 *
 * Numbered from the root, in round k every rank sends to the one 2^k further: the data if it has
 * them and the other does not, else a token. So the same rounds that spread the data tell everyone
 * that all have started.
 *
 * Steps   ceil(log2 p) rounds, whole n each, pipelined in `chunks` messages
 * Bytes   the root sends ceil(log2 p) n, others less
 * Best    small n
 * Source  Hensgen, Finkel and Manber, Two algorithms for barrier synchronization, IJPP 17(1), 1988,
 *         for the pattern; the binomial tree in it is folklore
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "collectives/cost.h"
#include "collectives/phases.h"

enum shoal_status shl_build_broadcast_binomial(const struct shl_shape *shape,
                                               struct shl_builder *builder)
{
    struct shl_team team = shl_team_all(shape, shape->root);
    enum shl_buffer from = team.me == 0 ? SHL_INPUT : SHL_OUTPUT;
    uint32_t heard[32], round = 0;
    for (uint32_t skip = 1; skip < team.count; skip *= 2, round++) {
        uint32_t to = shl_team_rank(&team, shl_rank_add(team.me, skip, team.count));
        uint32_t source = shl_team_rank(&team, shl_rank_sub(team.me, skip, team.count));
        bool gives = team.me < skip && team.me + skip < team.count;
        bool takes = team.me >= skip && team.me < 2 * skip;
        for (uint32_t at = 0; at < (gives ? shape->chunks : 1); at++) {
            shl_build_send(builder, to, gives ? shl_span(from, at, 1) : shl_token());
            for (uint32_t i = 0; i < round; i++)
                shl_build_after(builder, heard[i]);
        }
        heard[round] =
            shl_build_recv(builder, source, takes ? shl_span(SHL_OUTPUT, 0, 1) : shl_token());
        for (uint32_t at = 1; takes && at < shape->chunks; at++)
            shl_build_recv(builder, source, shl_span(SHL_OUTPUT, at, 1));
    }
    if (team.me == 0)
        shl_build_copy(builder, shl_span(SHL_OUTPUT, 0, shape->chunks),
                       shl_span(SHL_INPUT, 0, shape->chunks), 0);
    return SHOAL_OK;
}

struct shl_time shl_cost_broadcast_binomial(const struct shl_price *price)
{
    struct shl_time time = {0}; /* ranks of a host that have the data all send them in a round */
    for (uint32_t skip = 1; skip < price->rank_count; skip *= 2)
        time = shl_time_then(time, shl_price_round(price, skip, price->bytes, false));
    return time;
}
