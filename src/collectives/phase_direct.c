/*
 * Direct phases: every member exchanges with every other one at once, in one round.
 *
 * Members serve each other in turn (me + 1, me + 2, ...), so no receiver is everybody's first, and
 * piece by piece, so that combining one goes on beside receiving the next.
 *
 * In direct_reduce_scatter parts arrive in any order and are combined in the order of members: the
 * own contribution with a neighbour's as that arrives, the others from scratch. In
 * pairwise_reduce_scatter each arriving part is added to the sum so far, without scratch, in the
 * order me - 1, me - 2, ...
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "collectives/phases.h"

/* Member whose contribution is combined with ours as it arrives. */
static uint32_t neighbour_of(const struct shl_team *team)
{
    return team->me + 1 < team->count ? team->me + 1 : team->me - 1;
}

/* Scratch slot, in the order of members; we share one with the neighbour. */
static uint32_t slot_of(const struct shl_team *team, uint32_t member)
{
    uint32_t pair = team->me + 1 < team->count ? team->me : team->me - 1;
    return member <= pair ? member : member - 1;
}

static struct shl_span result_of(const struct shl_phase *phase, uint32_t at)
{
    if (phase->in_scratch)
        return shl_span((enum shl_buffer)phase->result.buffer, phase->result.first + at,
                        phase->grain);
    return shl_span(SHL_OUTPUT, shl_part(phase, phase->team.me) + at, phase->grain);
}

static void receive_part(struct shl_builder *builder, const struct shl_phase *phase,
                         uint32_t member, uint32_t at)
{
    const struct shl_team *team = &phase->team;
    uint32_t unit = shl_part(phase, team->me) + at, peer = shl_team_rank(team, member);
    struct shl_span slot =
        shl_scratch(slot_of(team, member) * phase->units + at, phase->grain, unit);
    if (member != neighbour_of(team)) {
        shl_build_recv(builder, peer, slot);
        return;
    }
    bool only = team->count == 2;
    shl_build_recv_reduce(builder, peer, only ? result_of(phase, at) : slot,
                          shl_span(phase->from, unit, phase->grain),
                          (member < team->me ? SHL_STEP_SWAP : 0) | (only ? phase->flags : 0));
}

static void combine_parts(struct shl_builder *builder, const struct shl_phase *phase, uint32_t at)
{
    uint32_t slots = phase->team.count - 1, unit = shl_part(phase, phase->team.me) + at;
    struct shl_span sum = shl_scratch(at, phase->grain, unit);
    for (uint32_t slot = 1; slot < slots; slot++) {
        struct shl_span next = shl_scratch(slot * phase->units + at, phase->grain, unit);
        bool last = slot + 1 == slots;
        shl_build_reduce(builder, last ? result_of(phase, at) : sum, sum, next,
                         last ? phase->flags : 0);
    }
}

void shl_phase_direct_reduce_scatter(struct shl_builder *builder, const struct shl_phase *phase)
{
    const struct shl_team *team = &phase->team;
    for (uint32_t at = 0; at < phase->units; at += phase->grain) {
        for (uint32_t turn = 1; turn < team->count; turn++) {
            uint32_t to = shl_rank_add(team->me, turn, team->count);
            uint32_t source = shl_rank_sub(team->me, turn, team->count);
            shl_build_send(builder, shl_team_rank(team, to),
                           shl_span(phase->from, shl_part(phase, to) + at, phase->grain));
            receive_part(builder, phase, source, at);
        }
        combine_parts(builder, phase, at);
    }
}

void shl_phase_pairwise_reduce_scatter(struct shl_builder *builder, const struct shl_phase *phase,
                                       uint32_t owners)
{
    const struct shl_team *team = &phase->team;
    for (uint32_t at = 0; at < phase->units; at += phase->grain) {
        struct shl_span sum = shl_span(phase->from, shl_part(phase, team->me) + at, phase->grain);
        for (uint32_t turn = 1; turn < team->count; turn++) {
            uint32_t to = shl_rank_add(team->me, turn, team->count);
            uint32_t source = shl_rank_sub(team->me, turn, team->count);
            unsigned flags = turn + 1 == team->count ? phase->flags : 0;
            struct shl_span dst = shl_span(SHL_OUTPUT, sum.first, phase->grain);
            if (to < owners)
                shl_build_send(builder, shl_team_rank(team, to),
                               shl_span(phase->from, shl_part(phase, to) + at, phase->grain));
            if (team->me < owners)
                shl_build_recv_reduce(builder, shl_team_rank(team, source), dst, sum, flags);
            sum = dst;
        }
    }
}

void shl_phase_pairwise_allgather(struct shl_builder *builder, const struct shl_phase *phase,
                                  uint32_t owners)
{
    const struct shl_team *team = &phase->team;
    for (uint32_t at = 0; at < phase->units; at += phase->grain) {
        uint32_t mine = phase->from == SHL_INPUT ? at : shl_part(phase, team->me) + at;
        for (uint32_t turn = 1; turn < team->count; turn++) {
            uint32_t to = shl_rank_add(team->me, turn, team->count);
            uint32_t source = shl_rank_sub(team->me, turn, team->count);
            if (team->me < owners)
                shl_build_send(builder, shl_team_rank(team, to),
                               shl_span(phase->from, mine, phase->grain));
            if (source < owners)
                shl_build_recv(builder, shl_team_rank(team, source),
                               shl_span(SHL_OUTPUT, shl_part(phase, source) + at, phase->grain));
        }
    }
}
