/*
 * Circulant phases: reduce-scatter and allgather in ceil(log2 p) rounds, p - 1 parts, for any p.
 *
 * A member numbers parts from its own: R[i] is its partial result of part me + i (mod p), of which
 * it keeps R[0..have-1]. In a round it halves `have` (rounding up): the upper R[half..have-1] go to
 * the member `half` further on, for whom they are R[0..], and the same arrive from the one `half`
 * back. The allgather runs the rounds backwards.
 *
 * Source: Traeff, Optimal, non-pipelined reduce-scatter and allreduce algorithms, arXiv:2410.14234.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "collectives/phases.h"

/* R[begin .. begin + count - 1] of a member, cut where part numbers wrap around. */
struct run {
    uint32_t index; /* of the first R */
    uint32_t unit;  /* first unit of its part */
    uint32_t units;
};

static uint32_t cut(const struct shl_phase *phase, uint32_t begin, uint32_t count,
                    struct run runs[2])
{
    uint32_t members = phase->team.count, part = shl_rank_add(phase->team.me, begin, members);
    uint32_t before_wrap = members - part < count ? members - part : count;
    runs[0] = (struct run){begin, shl_part(phase, part), before_wrap * phase->units};
    runs[1] =
        (struct run){begin + before_wrap, shl_part(phase, 0), (count - before_wrap) * phase->units};
    return before_wrap < count ? 2 : 1;
}

static struct shl_span partial(const struct shl_phase *phase, const struct run *run)
{
    if (phase->in_scratch)
        return shl_scratch(run->index * phase->units, run->units, run->unit);
    return shl_span(SHL_OUTPUT, run->unit, run->units);
}

/* After an odd first round the middle part, R[half - 1], has only this member's contribution. */
static bool middle_is_sent_alone(uint32_t half)
{
    return half > 1 && half - (half + 1) / 2 == 1;
}

void shl_phase_circulant_reduce_scatter(struct shl_builder *builder, const struct shl_phase *phase)
{
    const struct shl_team *team = &phase->team;
    bool first = true, untouched = false; /* untouched: the parts to be sent are in `from` */
    for (uint32_t have = team->count, half; have > 1; have = half, first = false) {
        struct run runs[2];
        half = (have + 1) / 2;
        uint32_t moved = have - half;
        uint32_t to = shl_team_rank(team, shl_rank_add(team->me, half, team->count));
        uint32_t source = shl_team_rank(team, shl_rank_sub(team->me, half, team->count));
        for (uint32_t i = 0, n = cut(phase, half, moved, runs); i < n; i++)
            shl_build_send(builder, to,
                           first || untouched ? shl_span(phase->from, runs[i].unit, runs[i].units)
                                              : partial(phase, &runs[i]));
        for (uint32_t i = 0, n = cut(phase, 0, moved, runs); i < n; i++) {
            struct shl_span dst = partial(phase, &runs[i]), src = dst;
            if (first)
                src = shl_span(phase->from, runs[i].unit, runs[i].units);
            if (half == 1 && phase->in_scratch)
                dst = phase->result;
            shl_build_recv_reduce(builder, source, dst, src, half == 1 ? phase->flags : 0);
        }
        untouched = first && moved < half && middle_is_sent_alone(half);
        if (first && moved < half && !untouched && phase->from != SHL_OUTPUT) {
            cut(phase, half - 1, 1, runs);
            shl_build_copy(builder, partial(phase, &runs[0]),
                           shl_span(phase->from, runs[0].unit, runs[0].units), 0);
        }
    }
}

void shl_phase_circulant_allgather(struct shl_builder *builder, const struct shl_phase *phase,
                                   uint32_t knows_all)
{
    const struct shl_team *team = &phase->team;
    uint32_t kept[33], rounds = 0;
    for (uint32_t have = team->count; have > 1; have = (have + 1) / 2)
        kept[rounds++] = have;
    while (rounds-- > 0) {
        struct run runs[2];
        uint32_t have = kept[rounds], half = (have + 1) / 2, moved = have - half;
        uint32_t to = shl_rank_sub(team->me, half, team->count);
        uint32_t source = shl_rank_add(team->me, half, team->count);
        for (uint32_t i = 0, n = cut(phase, 0, moved, runs); to != knows_all && i < n; i++) {
            bool own_input = half == 1 && phase->from == SHL_INPUT && knows_all == SHL_NONE;
            struct shl_span src = shl_span(SHL_OUTPUT, runs[i].unit, runs[i].units);
            if (own_input)
                src = shl_span(SHL_INPUT, 0, phase->units);
            else if (team->me == knows_all)
                src.buffer = (uint8_t)phase->from;
            shl_build_send(builder, shl_team_rank(team, to), src);
        }
        for (uint32_t i = 0, n = cut(phase, half, moved, runs); team->me != knows_all && i < n; i++)
            shl_build_recv(builder, shl_team_rank(team, source),
                           shl_span(SHL_OUTPUT, runs[i].unit, runs[i].units));
    }
}
