/*
 * Placing: keep what can stay, fill what is missing, even out, choose owners. Path: api/placement.c
 * checks; quota.c says how many each is to hold; even.c evens out.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "elastic/shards/placement.h"

#include "core/sys.h"

#include <string.h>

/* ---- copies --------------------------------------------------------------------------------- */

/* Copies that share a host make way for those that must be on others. Of several the member that is
 * furthest above its quota gives up. */
static void drop_crowded(struct shl_placement *placement, uint32_t *row)
{
    for (;;) {
        uint32_t count = shl_row_held(placement, row);
        uint32_t more_hosts = placement->spread - shl_row_hosts(placement, row);
        uint32_t victim = SHL_NO_MEMBER;
        int64_t worst = INT64_MIN;
        if (count + more_hosts <= placement->copies)
            return;
        for (uint32_t k = 0; k < count; k++) {
            const struct shl_placed_member *member = &placement->members[row[k]];
            int64_t above = (int64_t)member->load - member->high;
            if (shl_row_on_host(placement, row, member->host) > 1 && above >= worst) {
                victim = k;
                worst = above;
            }
        }
        shl_row_drop(placement, row, victim);
    }
}

/* How good a member is as a holder: less is better, from the first that differs on. */
struct merit {
    int64_t above; /* its quota; below that it is no matter how far */
    uint64_t meets;
    int64_t load;
    uint64_t taste;
};

static bool is_better(const struct merit *merit, const struct merit *than)
{
    if (merit->above != than->above)
        return merit->above < than->above;
    if (merit->meets != than->meets)
        return merit->meets < than->meets;
    if (merit->load != than->load)
        return merit->load < than->load;
    return merit->taste < than->taste;
}

/* Whoever is below its quota, and least together with the holders, on another host where that is
 * needed. */
static uint32_t choose(const struct shl_placement *placement, uint32_t shard, const uint32_t *row)
{
    uint32_t missing = placement->copies - shl_row_held(placement, row);
    uint32_t hosts = shl_row_hosts(placement, row), best = SHL_NO_MEMBER;
    bool elsewhere = hosts < placement->spread && placement->spread - hosts >= missing;
    struct merit best_merit = {.above = 0};
    for (uint32_t m = 0; m < placement->member_count; m++) {
        const struct shl_placed_member *member = &placement->members[m];
        int64_t load = (int64_t)member->load - member->high;
        if (shl_row_has(placement, row, m) ||
            (elsewhere && shl_row_on_host(placement, row, member->host) > 0))
            continue;
        struct merit merit = {.above = load < 0 ? -1 : load,
                              .meets = shl_row_meets(placement, row, UINT32_MAX, m),
                              .load = load,
                              .taste = shl_row_taste(placement, shard, m)};
        if (best == SHL_NO_MEMBER || is_better(&merit, &best_merit)) {
            best = m;
            best_merit = merit;
        }
    }
    return best;
}

static void fill(struct shl_placement *placement)
{
    for (uint32_t shard = 0; shard < placement->shards; shard++) {
        uint32_t *row = shl_row(placement, shard);
        while (shl_row_held(placement, row) > placement->copies)
            shl_row_drop(placement, row, shl_row_held(placement, row) - 1);
        drop_crowded(placement, row);
    }
    for (uint32_t shard = 0; shard < placement->shards; shard++) {
        uint32_t *row = shl_row(placement, shard);
        while (shl_row_held(placement, row) < placement->copies)
            shl_row_add(placement, row, choose(placement, shard, row));
    }
}

/* ---- owners --------------------------------------------------------------------------------- */

static void make_owner(struct shl_placement *placement, uint32_t *row, uint32_t at)
{
    uint32_t owner = row[at];
    memmove(&row[1], &row[0], at * sizeof(*row));
    row[0] = owner;
    placement->members[owner].owns++;
}

/* The holder that owns least, if that is `than` fewer than the owner; else 0. */
static uint32_t lighter(const struct shl_placement *placement, const uint32_t *row, uint32_t than)
{
    uint32_t best = 0;
    for (uint32_t k = 1; k < placement->copies; k++)
        if (placement->members[row[k]].owns + than <= placement->members[row[best]].owns) {
            best = k;
            than = 1;
        }
    return best;
}

static bool was_owner(const struct shl_placement *placement, uint32_t shard, uint32_t member)
{
    return placement->before[(size_t)shard * placement->width] == member;
}

/* Each change makes the sum of squares of `owns` smaller, so it ends. */
static void choose_owners(struct shl_placement *placement)
{
    for (uint32_t shard = 0; shard < placement->shards; shard++) {
        uint32_t *row = shl_row(placement, shard);
        for (uint32_t k = 0; k < placement->copies; k++)
            if (was_owner(placement, shard, row[k])) {
                make_owner(placement, row, k);
                break;
            }
    }
    for (uint32_t shard = 0; shard < placement->shards; shard++) {
        uint32_t *row = shl_row(placement, shard);
        if (!was_owner(placement, shard, row[0]))
            make_owner(placement, row, lighter(placement, row, 1));
    }
    for (bool changed = true; changed;) {
        changed = false;
        for (uint32_t shard = 0; shard < placement->shards; shard++) {
            uint32_t *row = shl_row(placement, shard), at = lighter(placement, row, 2);
            if (at == 0)
                continue;
            placement->members[row[0]].owns--;
            make_owner(placement, row, at);
            changed = true;
        }
    }
}

/* ---- in and out ----------------------------------------------------------------------------- */

static uint32_t find_member(const struct shl_placement *placement, uint64_t id)
{
    uint32_t low = 0, high = placement->member_count;
    while (low < high) {
        uint32_t middle = (low + high) / 2;
        if (placement->members[middle].id < id)
            low = middle + 1;
        else
            high = middle;
    }
    bool found = low < placement->member_count && placement->members[low].id == id;
    return found ? low : SHL_NO_MEMBER;
}

/* Insertion: members come almost in order, or are few. Hosts are numbered by first appearance. */
static enum shoal_status read_members(struct shl_placement *placement,
                                      const struct shoal_place_options *options)
{
    for (uint32_t i = 0; i < options->member_count; i++) {
        const struct shoal_member *from = &options->members[i];
        uint32_t host = 0, at = i;
        if (from->id == 0)
            return shl_fail(SHOAL_ERR_INVALID, "member %u has the id 0, which means nobody", i);
        while (host < i && options->members[host].host != from->host)
            host++;
        host = host < i ? placement->members[find_member(placement, options->members[host].id)].host
                        : placement->hosts++;
        while (at > 0 && placement->members[at - 1].id > from->id)
            at--;
        if (at > 0 && placement->members[at - 1].id == from->id)
            return shl_fail(SHOAL_ERR_INVALID, "two members have the id %llu",
                            (unsigned long long)from->id);
        memmove(&placement->members[at + 1], &placement->members[at],
                (i - at) * sizeof(placement->members[0]));
        placement->members[at] = (struct shl_placed_member){.id = from->id, .host = host};
        placement->member_count++;
    }
    return SHOAL_OK;
}

static void read_holders(struct shl_placement *placement, const uint64_t *holders)
{
    size_t entries = (size_t)placement->shards * placement->width;
    memset(placement->table, 0xff, entries * sizeof(*placement->table));
    memset(placement->before, 0xff, entries * sizeof(*placement->before));
    for (size_t i = 0; i < entries; i++) {
        uint32_t shard = (uint32_t)(i / placement->width), *row = shl_row(placement, shard);
        uint32_t member = holders[i] ? find_member(placement, holders[i]) : SHL_NO_MEMBER;
        if (member == SHL_NO_MEMBER || shl_row_has(placement, row, member))
            continue;
        placement->before[i] = member;
        shl_row_add(placement, row, member);
    }
}

/* What one shard adds to the result; its ids are not yet replaced. */
static void count_shard(const struct shl_placement *placement, uint32_t shard, const uint64_t *ids,
                        struct shoal_place_result *result)
{
    const uint32_t *row = shl_row(placement, shard);
    bool had = false, has = false;
    uint32_t fresh = 0;
    for (uint32_t k = 0; k < placement->width; k++) {
        had |= ids[k] != 0;
        has |= placement->before[(size_t)shard * placement->width + k] != SHL_NO_MEMBER;
        fresh += row[k] != SHL_NO_MEMBER && !shl_row_had(placement, shard, row[k]);
    }
    result->copies += has ? fresh : 0;
    result->lost += had && !has;
    result->owners += had && ids[0] != placement->members[row[0]].id;
}

static void write_holders(const struct shl_placement *placement, uint64_t *holders,
                          struct shoal_place_result *result)
{
    for (uint32_t shard = 0; shard < placement->shards; shard++) {
        uint64_t *ids = &holders[(size_t)shard * placement->width];
        const uint32_t *row = shl_row(placement, shard);
        count_shard(placement, shard, ids, result);
        for (uint32_t k = 0; k < placement->width; k++)
            ids[k] = row[k] == SHL_NO_MEMBER ? 0 : placement->members[row[k]].id;
    }
}

static enum shoal_status place(struct shl_placement *placement,
                               const struct shoal_place_options *options, const uint64_t *holders)
{
    size_t entries = (size_t)placement->shards * placement->width;
    placement->members =
        shl_mem->alloc((size_t)options->member_count * sizeof(*placement->members));
    placement->table = shl_mem->alloc(entries * sizeof(*placement->table));
    placement->before = shl_mem->alloc(entries * sizeof(*placement->before));
    if (!placement->members || !placement->table || !placement->before)
        return shl_fail_errno("cannot allocate a placement of %u shards on %u members",
                              placement->shards, options->member_count);
    SHL_TRY(read_members(placement, options));
    uint32_t count = placement->member_count;
    if (count <= SHL_PLACE_PAIRS_MAX)
        placement->pairs = shl_mem->alloc((size_t)count * count * sizeof(*placement->pairs));
    if (count <= SHL_PLACE_PAIRS_MAX && !placement->pairs)
        return shl_fail_errno("cannot allocate the pairs of %u members", count);
    placement->copies = placement->width < count ? placement->width : count;
    placement->spread = placement->copies < placement->hosts ? placement->copies : placement->hosts;
    SHL_TRY(shl_placement_quota(placement));
    read_holders(placement, holders);
    fill(placement);
    shl_placement_even_out(placement);
    choose_owners(placement);
    return SHOAL_OK;
}

enum shoal_status shl_place(const struct shoal_place_options *options, uint64_t *holders,
                            struct shoal_place_result *result)
{
    struct shl_placement placement = {.shards = options->shards, .width = options->replicas + 1};
    enum shoal_status status = place(&placement, options, holders);
    if (status == SHOAL_OK)
        write_holders(&placement, holders, result);
    shl_mem->free(placement.pairs);
    shl_mem->free(placement.before);
    shl_mem->free(placement.table);
    shl_mem->free(placement.members);
    return status;
}
