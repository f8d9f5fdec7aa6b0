/*
 * The matrix of who reaches whom. What to evict is a minimum vertex cover of the broken pairs.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "elastic/membership/reach.h"

#include <string.h>

#define SEARCH_NODES_MAX 512u

void shl_reach_reset(struct shl_reach *reach, uint32_t count)
{
    reach->count = count;
    reach->broken = 0;
    memset(reach->numbers, 0, count * sizeof(reach->numbers[0]));
    memset(reach->rows, 0, count * sizeof(reach->rows[0]));
    memset(reach->pairs, 0, count * sizeof(reach->pairs[0]));
}

bool shl_reach_report(struct shl_reach *reach, uint32_t from, uint64_t number,
                      const struct shl_set *row)
{
    if (from >= reach->count || number <= reach->numbers[from])
        return false;
    struct shl_set clean = {{0}};
    for (uint32_t i = 0; i < reach->count; i++)
        if (i != from && shl_set_has(row, i))
            shl_set_put(&clean, i);
    bool changed = memcmp(&clean, &reach->rows[from], sizeof(clean)) != 0;
    reach->broken += shl_set_empty(&reach->rows[from]) && !shl_set_empty(&clean);
    reach->broken -= !shl_set_empty(&reach->rows[from]) && shl_set_empty(&clean);
    reach->numbers[from] = number;
    reach->rows[from] = clean;
    for (uint32_t i = 0; i < reach->count && changed; i++) {
        if (i == from)
            continue;
        bool is = shl_set_has(&clean, i) || shl_set_has(&reach->rows[i], from);
        (is ? shl_set_put : shl_set_take)(&reach->pairs[i], from);
        (is ? shl_set_put : shl_set_take)(&reach->pairs[from], i);
    }
    return changed;
}

bool shl_reach_broken(const struct shl_reach *reach)
{
    return reach->broken > 0;
}

struct search {
    const struct shl_reach *reach;
    uint32_t nodes; /* visited; bounds the time, after which the best so far is taken */
    uint32_t best_count;
    struct shl_set best;
};

/* Broken pairs of `at` with members that are still in. */
static uint32_t degree(const struct shl_reach *reach, const struct shl_set *out, uint32_t at)
{
    uint32_t count = 0;
    for (size_t i = 0; i < SHL_SET_WORDS; i++)
        count += (uint32_t)__builtin_popcountll(reach->pairs[at].words[i] & ~out->words[i]);
    return count;
}

static uint32_t complaints(const struct shl_reach *reach, const struct shl_set *out, uint32_t at)
{
    uint32_t count = 0;
    for (size_t i = 0; i < SHL_SET_WORDS; i++)
        count += (uint32_t)__builtin_popcountll(reach->rows[at].words[i] & ~out->words[i]);
    return count;
}

/* Of those still in, the one with the most broken pairs; of equals the one that misses fewest
 * itself, since who is dead or stopped misses nobody; of these the highest. */
static uint32_t worst(const struct shl_reach *reach, const struct shl_set *out, uint32_t *pairs)
{
    uint32_t chosen = SHL_MEMBER_NONE, least = 0;
    *pairs = 0;
    for (uint32_t i = 0; i < reach->count; i++) {
        uint32_t count = shl_set_has(out, i) ? 0 : degree(reach, out, i);
        uint32_t own = complaints(reach, out, i);
        if (count > *pairs || (count && count == *pairs && own <= least)) {
            *pairs = count;
            least = own;
            chosen = i;
        }
    }
    return chosen;
}

/* Takes out everyone that `at` does not reach, so that `at` may stay. */
static void take_out_neighbours(const struct shl_reach *reach, uint32_t at, struct shl_set *out)
{
    for (size_t i = 0; i < SHL_SET_WORDS; i++)
        out->words[i] |= reach->pairs[at].words[i];
}

/* Either the worst one goes, or all that it does not reach. Depth is at most best_count. */
static void search(struct search *search_, struct shl_set out)
{
    uint32_t pairs, count = shl_set_count(&out);
    if (count >= search_->best_count || ++search_->nodes > SEARCH_NODES_MAX)
        return;
    uint32_t at = worst(search_->reach, &out, &pairs);
    if (at == SHL_MEMBER_NONE) {
        search_->best = out;
        search_->best_count = count;
        return;
    }
    struct shl_set without = out;
    shl_set_put(&without, at);
    search(search_, without);
    take_out_neighbours(search_->reach, at, &out);
    search(search_, out);
}

void shl_reach_evict(const struct shl_reach *reach, uint32_t keep, struct shl_set *evicted)
{
    struct shl_set start = {{0}};
    uint32_t pairs;
    if (keep != SHL_MEMBER_NONE)
        take_out_neighbours(reach, keep, &start);
    *evicted = start;
    for (uint32_t at; (at = worst(reach, evicted, &pairs)) != SHL_MEMBER_NONE;)
        shl_set_put(evicted, at);
    uint32_t count = shl_set_count(evicted);
    if (count > SHL_REACH_EXACT_MAX)
        return;
    struct search found = {.reach = reach, .best_count = count, .best = *evicted};
    search(&found, start);
    *evicted = found.best;
}
