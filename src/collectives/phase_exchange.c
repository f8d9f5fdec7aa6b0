/*
 * Recursive multiplying: allreduce of whole vectors in rounds of small all-to-all exchanges.
 *
 * In a round with radix f, f members whose numbers differ in one digit tell each other what they
 * have, and each combines the f values in the order of members, so all get the same expression over
 * a run of neighbours. Radix 2 in every round is recursive doubling, one round of radix p the flat
 * exchange. Members beyond the product of the radices are paired with a neighbour first, which
 * tells them the result at the end.
 *
 * Source: Thakur, Rabenseifner and Gropp, IJHPCA 19(1), 2005, for doubling; Ruefenacht, Bull and
 * Booth, Parallel Computing 69, 2017, for multiplying.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "collectives/phases.h"

struct exchange {
    struct shl_builder *builder;
    const struct shl_team *team;
    uint32_t pairs; /* core members 0..pairs-1 stand for two members each */
    uint32_t me;    /* among the core */
    uint32_t units;
    struct shl_span have; /* what this rank has combined so far */
};

static uint32_t core_rank(const struct exchange *x, uint32_t core)
{
    return shl_team_rank(x->team, core < x->pairs ? 2 * core : core + x->pairs);
}

static struct shl_span whole(const struct exchange *x, enum shl_buffer buffer)
{
    return shl_span(buffer, 0, x->units);
}

/* One of two scratch images; rounds alternate, so nothing waits for what it has just sent. */
static struct shl_span image(const struct exchange *x, uint32_t which)
{
    return shl_scratch(which * x->units, x->units, 0);
}

/*
 * dst = what we have so far combined with a message. A message must not wait for our own sends, as
 * our peers' may wait for us in turn; in place, OUTPUT does while our input is being sent from
 * there, so then the message arrives in scratch.
 */
static void take(struct exchange *x, uint32_t peer, struct shl_span dst, struct shl_span sum,
                 unsigned flags)
{
    if (dst.buffer == SHL_OUTPUT && x->have.buffer != SHL_SCRATCH) {
        shl_build_recv(x->builder, peer, image(x, 1));
        shl_build_reduce(x->builder, dst, sum, image(x, 1), flags);
    } else {
        shl_build_recv_reduce(x->builder, peer, dst, sum, flags);
    }
}

/*
 * Combine what `radix` members have, of which we are number `digit`: from the left, our own when
 * its turn comes. Only the last step writes `into`, which may be where our own input lies.
 */
static void combine_group(struct exchange *x, uint32_t radix, uint32_t digit, uint32_t stride,
                          struct shl_span sum, struct shl_span into, unsigned flags)
{
    uint32_t base = x->me - digit * stride;
    for (uint32_t i = digit < 2 ? 1 : 0; i < radix; i++) {
        bool last = i + 1 == radix;
        struct shl_span dst = last ? into : sum;
        uint32_t peer = core_rank(x, base + i * stride);
        unsigned final = last ? flags : 0;
        if (i == 1 && digit == 1)
            take(x, core_rank(x, base), dst, x->have, SHL_STEP_SWAP | final);
        else if (i == 1 && digit == 0)
            take(x, peer, dst, x->have, final);
        else if (i == 0)
            shl_build_recv(x->builder, peer, dst);
        else if (i == digit)
            shl_build_reduce(x->builder, dst, sum, x->have, final);
        else
            take(x, peer, dst, sum, final);
    }
}

static void run_rounds(struct exchange *x, const struct shl_radices *radices, unsigned flags)
{
    uint32_t stride = 1;
    for (uint32_t round = 0; round < radices->rounds; round++) {
        uint32_t radix = radices->radix[round], digit = x->me / stride % radix;
        bool last = round + 1 == radices->rounds;
        struct shl_span sum = image(x, round % 2), into = last ? whole(x, SHL_OUTPUT) : sum;
        for (uint32_t turn = 1; turn < radix; turn++) {
            uint32_t other = (digit + turn) % radix;
            shl_build_send(x->builder, core_rank(x, x->me - digit * stride + other * stride),
                           x->have);
        }
        combine_group(x, radix, digit, stride, sum, into, last ? flags : 0);
        x->have = into;
        stride *= radix;
    }
}

void shl_phase_exchange(struct shl_builder *builder, const struct shl_team *team,
                        uint32_t radix_max, enum shl_buffer from, uint32_t units, unsigned flags)
{
    struct shl_radices radices;
    shl_radices_find(team->count, radix_max, &radices);
    struct exchange x = {.builder = builder, .team = team, .units = units};
    x.pairs = team->count - radices.core;
    x.have = whole(&x, from);
    bool paired = team->me < 2 * x.pairs;
    uint32_t pair = shl_team_rank(team, paired ? team->me ^ 1 : team->me);
    if (paired && team->me % 2 == 1) {
        shl_build_send(builder, pair, x.have);
        shl_build_recv(builder, pair, whole(&x, SHL_OUTPUT));
        return;
    }
    x.me = paired ? team->me / 2 : team->me - x.pairs;
    if (paired) {
        struct shl_span sum = radices.rounds ? image(&x, 1) : whole(&x, SHL_OUTPUT);
        shl_build_recv_reduce(builder, pair, sum, x.have, radices.rounds ? 0 : flags);
        x.have = sum;
    }
    run_rounds(&x, &radices, flags);
    if (paired)
        shl_build_send(builder, pair, whole(&x, SHL_OUTPUT));
}
