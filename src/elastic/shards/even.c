/*
 * Evening out: members that hold too much give to those that hold too little.
 *
 * What a holder would get anew anyway goes to another at no cost, also over several members: so
 * that is tried first (shift). What it had is taken only when nothing else helps (take).
 *
 * Invariant: every row keeps its copies and their hosts.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "elastic/shards/placement.h"

#define WINDOW 32u /* rows that are compared before one is taken */

/* ---- what costs nothing -----------------------------------------------------------------------
 */

/* How a member is reached: by taking the fresh copy at `at` of `shard` from `from`. */
struct reached {
    uint32_t from, shard, at;
    bool is;
};

struct search {
    struct shl_placement *placement;
    struct reached reached[SHL_PLACE_PAIRS_MAX];
    uint32_t queue[SHL_PLACE_PAIRS_MAX], count;
};

/* Members that could have fresh copies of `from` instead. */
static void look_from(struct search *search, uint32_t from)
{
    struct shl_placement *placement = search->placement;
    for (uint32_t shard = 0; shard < placement->shards; shard++) {
        uint32_t *row = shl_row(placement, shard);
        uint32_t at = 0;
        while (at < placement->copies && row[at] != from)
            at++;
        if (at == placement->copies || shl_row_had(placement, shard, from))
            continue;
        for (uint32_t m = 0; m < placement->member_count; m++) {
            if (search->reached[m].is || !shl_row_may_replace(placement, row, at, m))
                continue;
            search->reached[m] = (struct reached){from, shard, at, true};
            search->queue[search->count++] = m;
        }
    }
}

/* From the last to the first: wherever it ends early, one has given and the next has got. */
static bool pass_on(struct search *search, uint32_t last, uint32_t first)
{
    bool any = false;
    for (uint32_t m = last; m != first; m = search->reached[m].from) {
        const struct reached *how = &search->reached[m];
        uint32_t *row = shl_row(search->placement, how->shard);
        if (!shl_row_may_replace(search->placement, row, how->at, m))
            return any;
        shl_row_replace(search->placement, row, how->at, m);
        any = true;
    }
    return any;
}

/* One fresh copy from `first` to any that has less than its low, or high, by the shortest way. */
static bool shift_one(struct shl_placement *placement, uint32_t first, bool to_low)
{
    struct search search = {.placement = placement, .queue = {first}, .count = 1};
    search.reached[first].is = true;
    for (uint32_t next = 0; next < search.count; next++) {
        uint32_t m = search.queue[next];
        const struct shl_placed_member *member = &placement->members[m];
        if (member->load < (to_low ? member->low : member->high) && m != first)
            return pass_on(&search, m, first);
        look_from(&search, m);
    }
    return false;
}

/* Is there a way to even out, with givers above high, or with takers below low? */
static bool is_uneven(const struct shl_placement *placement, bool to_low)
{
    bool uneven = false;
    for (uint32_t m = 0; m < placement->member_count; m++) {
        const struct shl_placed_member *member = &placement->members[m];
        uneven |= to_low ? member->load < member->low : member->load > member->high;
    }
    return uneven;
}

static void shift(struct shl_placement *placement, bool to_low)
{
    if (placement->member_count > SHL_PLACE_PAIRS_MAX || !is_uneven(placement, to_low))
        return;
    for (uint32_t m = 0; m < placement->member_count; m++) {
        const struct shl_placed_member *member = &placement->members[m];
        uint32_t bound = to_low ? member->low : member->high;
        uint32_t tries = member->load > bound ? member->load - bound : 0;
        while (tries-- && member->load > bound && shift_one(placement, m, to_low))
            ;
    }
}

/* ---- what costs a copy ------------------------------------------------------------------------
 */

/* A holder that may give its shard to a member, and how good that is. */
struct gift {
    uint32_t *row;
    uint32_t at;
    int64_t above, pairs; /* what it has too much; how much more often they meet then */
};

static bool is_better(const struct gift *gift, const struct gift *than)
{
    if (!than->row || gift->above != than->above)
        return !than->row || gift->above > than->above;
    return gift->pairs < than->pairs;
}

/* `spare`: having more than the lower of its two numbers is enough to give. */
static void look_at(struct shl_placement *placement, uint32_t *row, uint32_t member, bool spare,
                    struct gift *best)
{
    for (uint32_t k = 0; k < placement->copies; k++) {
        const struct shl_placed_member *giver = &placement->members[row[k]];
        struct gift gift = {row, k, (int64_t)giver->load - (spare ? giver->low : giver->high), 0};
        if (gift.above <= 0 || !shl_row_may_replace(placement, row, k, member))
            continue;
        gift.pairs = (int64_t)shl_row_meets(placement, row, k, member) -
                     (int64_t)shl_row_meets(placement, row, k, row[k]);
        if (is_better(&gift, best))
            *best = gift;
    }
}

static void take_for(struct shl_placement *placement, uint32_t member, uint32_t until, bool spare)
{
    const struct shl_placed_member *taker = &placement->members[member];
    uint32_t window = !placement->pairs            ? 1
                      : placement->shards < WINDOW ? placement->shards
                                                   : WINDOW;
    uint32_t start = (uint32_t)(shl_row_taste(placement, 0, member) % placement->shards);
    for (uint64_t i = 0, none = 0; taker->load < until && none < placement->shards;) {
        struct gift best = {.row = NULL};
        for (uint32_t k = 0; k < window; k++, i++)
            look_at(placement, shl_row(placement, (uint32_t)((start + i) % placement->shards)),
                    member, spare, &best);
        none = best.row ? 0 : none + window;
        if (best.row)
            shl_row_replace(placement, best.row, best.at, member);
    }
}

/* First from those above both of their numbers, to those below both: moves that cannot be spared.
 */
void shl_placement_even_out(struct shl_placement *placement)
{
    shift(placement, false);
    shift(placement, true);
    for (uint32_t m = 0; m < placement->member_count; m++)
        take_for(placement, m, placement->members[m].low, false);
    for (uint32_t m = 0; m < placement->member_count; m++)
        take_for(placement, m, placement->members[m].low, true);
    for (uint32_t m = 0; m < placement->member_count; m++)
        take_for(placement, m, placement->members[m].high, false);
}
