/*
 * Ring phases: p - 1 rounds, in each of which every member sends one part to the next one.
 *
 * Round t of the reduce-scatter: member m passes on its partial result of part m - t - 1 and adds
 * its contribution to that of part m - t - 2, which arrives. A message carries `grain` units, so
 * the next round begins before this one has ended.
 *
 * Source: Patarasuk and Yuan, Bandwidth optimal all-reduce algorithms, JPDC 69(2), 2009.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "collectives/phases.h"

/* Where the partial result of a round's incoming part lies; `at` counts units within the part. */
static struct shl_span partial(const struct shl_phase *phase, uint32_t round, uint32_t part,
                               uint32_t at)
{
    if (!phase->in_scratch)
        return shl_span(SHL_OUTPUT, part + at, phase->grain);
    if (round + 2 == phase->team.count)
        return shl_span((enum shl_buffer)phase->result.buffer, phase->result.first + at,
                        phase->grain);
    return shl_scratch(round % 2 * phase->units + at, phase->grain, part + at);
}

/* Member `steps` behind `me` in the direction in which the ring turns. */
static uint32_t behind(const struct shl_phase *phase, uint32_t steps)
{
    const struct shl_team *team = &phase->team;
    steps %= team->count;
    return phase->backwards ? shl_rank_add(team->me, steps, team->count)
                            : shl_rank_sub(team->me, steps, team->count);
}

void shl_phase_ring_reduce_scatter(struct shl_builder *builder, const struct shl_phase *phase)
{
    uint32_t count = phase->team.count;
    uint32_t next = shl_team_rank(&phase->team, behind(phase, count - 1));
    uint32_t previous = shl_team_rank(&phase->team, behind(phase, 1));
    for (uint32_t round = 0; round + 1 < count; round++) {
        uint32_t out = shl_part(phase, behind(phase, round + 1));
        uint32_t in = shl_part(phase, behind(phase, round + 2));
        unsigned flags = round + 2 == count ? phase->flags : 0;
        for (uint32_t at = 0; at < phase->units; at += phase->grain) {
            struct shl_span mine = shl_span(phase->from, in + at, phase->grain);
            shl_build_send(builder, next,
                           round == 0 ? shl_span(phase->from, out + at, phase->grain)
                                      : partial(phase, round - 1, out, at));
            shl_build_recv_reduce(builder, previous, partial(phase, round, in, at), mine,
                                  SHL_STEP_SWAP | flags);
        }
    }
}

void shl_phase_ring_allgather(struct shl_builder *builder, const struct shl_phase *phase)
{
    uint32_t count = phase->team.count;
    uint32_t next = shl_team_rank(&phase->team, behind(phase, count - 1));
    uint32_t previous = shl_team_rank(&phase->team, behind(phase, 1));
    for (uint32_t round = 0; round + 1 < count; round++) {
        uint32_t out = shl_part(phase, behind(phase, round));
        uint32_t in = shl_part(phase, behind(phase, round + 1));
        for (uint32_t at = 0; at < phase->units; at += phase->grain) {
            bool own_input = round == 0 && phase->from == SHL_INPUT;
            shl_build_send(builder, next,
                           own_input ? shl_span(SHL_INPUT, at, phase->grain)
                                     : shl_span(SHL_OUTPUT, out + at, phase->grain));
            shl_build_recv(builder, previous, shl_span(SHL_OUTPUT, in + at, phase->grain));
        }
    }
}
