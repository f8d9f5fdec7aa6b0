/*
 * Checking layouts and answering who holds what.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "collectives/spread.h"

#include "core/sys.h"

#include <inttypes.h>

static enum shoal_status check_ranks(const struct shoal_layout *layout, uint32_t size,
                                     const char *what, uint32_t *ranks)
{
    if (layout->first_rank >= size)
        return shl_fail(SHOAL_ERR_INVALID, "%s: first_rank %u is not below size %u", what,
                        layout->first_rank, size);
    uint32_t most = size - layout->first_rank;
    if (layout->ranks > most)
        return shl_fail(SHOAL_ERR_INVALID, "%s: %u parts from rank %u on, but there are %u ranks",
                        what, layout->ranks, layout->first_rank, size);
    *ranks = layout->ranks > 0 ? layout->ranks : most;
    return SHOAL_OK;
}

static enum shoal_status make_room(struct shl_spread *spread, size_t count)
{
    size_t bytes;
    if (__builtin_mul_overflow(count + 1, sizeof(*spread->parts), &bytes))
        return shl_fail(SHOAL_ERR_INVALID, "%zu spans are more than memory holds", count);
    spread->parts = shl_mem->alloc(bytes);
    if (!spread->parts)
        return shl_fail(SHOAL_ERR_NOMEM, "no memory for a layout of %zu parts", count);
    return SHOAL_OK;
}

static enum shoal_status add_blocks(struct shl_spread *spread, const struct shoal_layout *layout,
                                    uint32_t ranks, const char *what)
{
    uint64_t each = spread->total / ranks + (spread->total % ranks != 0), first = 0;
    const uint64_t *counts = layout->kind == SHOAL_LAYOUT_BLOCKS ? layout->counts : NULL;
    if (layout->kind == SHOAL_LAYOUT_BLOCKS && !counts)
        return shl_fail(SHOAL_ERR_INVALID, "%s: counts is NULL", what);
    SHL_TRY(make_room(spread, ranks));
    for (uint32_t i = 0; i < ranks; i++) {
        uint64_t left = spread->total - first;
        uint64_t count = counts ? counts[i] : each < left ? each : left;
        if (count > left)
            return shl_fail(SHOAL_ERR_INVALID,
                            "%s: counts up to the one of part %u are more than the %" PRIu64
                            " elements",
                            what, i, spread->total);
        if (count > 0)
            spread->parts[spread->part_count++] = (struct shl_spread_part){
                .first = first, .count = count, .rank = layout->first_rank + i};
        first += count;
    }
    if (first != spread->total)
        return shl_fail(SHOAL_ERR_INVALID,
                        "%s: counts are %" PRIu64 " together, but there are %" PRIu64 " elements",
                        what, first, spread->total);
    return SHOAL_OK;
}

/* ---- spans ---------------------------------------------------------------------------------- */

/* A heap sort: it needs neither memory nor luck. */
static void sift_down(struct shl_spread_part *parts, size_t at, size_t count)
{
    for (size_t child; (child = 2 * at + 1) < count; at = child) {
        if (child + 1 < count && parts[child + 1].first > parts[child].first)
            child++;
        if (parts[at].first >= parts[child].first)
            return;
        struct shl_spread_part swap = parts[at];
        parts[at] = parts[child];
        parts[child] = swap;
    }
}

static void sort_parts(struct shl_spread_part *parts, size_t count)
{
    for (size_t i = count / 2; i-- > 0;)
        sift_down(parts, i, count);
    for (size_t last = count; last-- > 1;) {
        struct shl_spread_part swap = parts[0];
        parts[0] = parts[last];
        parts[last] = swap;
        sift_down(parts, 0, last);
    }
}

static enum shoal_status check_overlap(const struct shl_spread *spread, const char *what)
{
    for (size_t i = 1; i < spread->part_count; i++) {
        const struct shl_spread_part *one = &spread->parts[i - 1], *next = &spread->parts[i];
        if (one->first + one->count > next->first)
            return shl_fail(SHOAL_ERR_INVALID,
                            "%s: element %" PRIu64 " is in two spans, of ranks %u and %u; name "
                            "one holder of each",
                            what, next->first, one->rank, next->rank);
    }
    return SHOAL_OK;
}

static enum shoal_status add_spans(struct shl_spread *spread, const struct shoal_layout *layout,
                                   const char *what)
{
    if (layout->span_count > 0 && !layout->spans)
        return shl_fail(SHOAL_ERR_INVALID, "%s: spans is NULL with span_count %zu", what,
                        layout->span_count);
    SHL_TRY(make_room(spread, layout->span_count));
    uint64_t *offsets = shl_mem->alloc((size_t)spread->size * sizeof(*offsets));
    if (!offsets)
        return shl_fail(SHOAL_ERR_NOMEM, "no memory for the offsets of %u ranks", spread->size);
    enum shoal_status status = SHOAL_OK;
    for (size_t i = 0; i < layout->span_count && status == SHOAL_OK; i++) {
        const struct shoal_span *span = &layout->spans[i];
        if (span->first > spread->total || span->count > spread->total - span->first ||
            span->rank >= spread->size)
            status = shl_fail(SHOAL_ERR_INVALID,
                              "%s: span %zu is %" PRIu64 "..+%" PRIu64 " of rank %" PRIu64
                              ", but there are %" PRIu64 " elements and %u ranks",
                              what, i, span->first, span->count, span->rank, spread->total,
                              spread->size);
        if (status != SHOAL_OK || span->count == 0)
            continue;
        spread->parts[spread->part_count++] =
            (struct shl_spread_part){.first = span->first,
                                     .count = span->count,
                                     .offset = offsets[span->rank],
                                     .rank = (uint32_t)span->rank};
        offsets[span->rank] += span->count;
    }
    shl_mem->free(offsets);
    SHL_TRY(status);
    sort_parts(spread->parts, spread->part_count);
    return check_overlap(spread, what);
}

/* ---- making one ----------------------------------------------------------------------------- */

enum shoal_status shl_spread_init(struct shl_spread *spread, const struct shoal_layout *layout,
                                  uint64_t total, uint32_t size, const char *what)
{
    uint32_t ranks = 0;
    *spread = (struct shl_spread){.total = total, .size = size};
    switch (layout->kind) {
    case SHOAL_LAYOUT_BLOCK:
    case SHOAL_LAYOUT_BLOCKS:
        SHL_TRY(check_ranks(layout, size, what, &ranks));
        return add_blocks(spread, layout, ranks, what);
    case SHOAL_LAYOUT_CYCLIC:
        SHL_TRY(check_ranks(layout, size, what, &ranks));
        if (layout->block == 0)
            return shl_fail(SHOAL_ERR_INVALID, "%s: block is 0; give the elements of a run", what);
        spread->block = layout->block;
        spread->first_rank = layout->first_rank;
        if (__builtin_mul_overflow(layout->block, (uint64_t)ranks, &spread->cycle))
            spread->cycle = UINT64_MAX / layout->block * layout->block;
        return SHOAL_OK;
    case SHOAL_LAYOUT_SPANS:
        return add_spans(spread, layout, what);
    }
    return shl_fail(SHOAL_ERR_INVALID, "%s: kind %d is unknown; use one of enum shoal_layout_kind",
                    what, (int)layout->kind);
}

void shl_spread_fini(struct shl_spread *spread)
{
    shl_mem->free(spread->parts);
    spread->parts = NULL;
}

/* ---- questions ------------------------------------------------------------------------------ */

static struct shl_spread_part cyclic_run(const struct shl_spread *spread, uint64_t at)
{
    uint64_t round = at / spread->cycle, within = at % spread->cycle;
    uint64_t into = within % spread->block, left = spread->block - into;
    if (left > spread->total - at)
        left = spread->total - at;
    return (struct shl_spread_part){.first = at,
                                    .count = left,
                                    .offset = round * spread->block + into,
                                    .rank =
                                        spread->first_rank + (uint32_t)(within / spread->block)};
}

struct shl_spread_part shl_spread_run(const struct shl_spread *spread, struct shl_spread_walk *walk,
                                      uint64_t at)
{
    if (spread->cycle > 0)
        return cyclic_run(spread, at);
    while (walk->part < spread->part_count &&
           spread->parts[walk->part].first + spread->parts[walk->part].count <= at)
        walk->part++;
    uint64_t end = spread->total;
    if (walk->part < spread->part_count) {
        struct shl_spread_part run = spread->parts[walk->part];
        if (run.first <= at) {
            run.offset += at - run.first;
            run.count -= at - run.first;
            run.first = at;
            return run;
        }
        end = run.first;
    }
    return (struct shl_spread_part){.first = at, .count = end - at, .rank = SHL_NOBODY};
}

uint64_t shl_spread_count(const struct shl_spread *spread, uint32_t rank)
{
    uint64_t sum = 0;
    if (spread->cycle > 0) {
        uint64_t start = (uint64_t)(rank - spread->first_rank) * spread->block;
        uint64_t rest = spread->total % spread->cycle;
        if (rank < spread->first_rank || start >= spread->cycle)
            return 0;
        sum = spread->total / spread->cycle * spread->block;
        rest = rest > start ? rest - start : 0;
        return sum + (rest < spread->block ? rest : spread->block);
    }
    for (size_t i = 0; i < spread->part_count; i++)
        if (spread->parts[i].rank == rank)
            sum += spread->parts[i].count;
    return sum;
}

static uint64_t mix(uint64_t hash, uint64_t value)
{
    hash = (hash ^ value) * UINT64_C(0x9e3779b97f4a7c15);
    return hash ^ (hash >> 29);
}

uint64_t shl_spread_hash(const struct shl_spread *spread)
{
    uint64_t hash = mix(mix(mix(spread->total, spread->cycle), spread->block), spread->first_rank);
    for (size_t i = 0; i < spread->part_count; i++) {
        const struct shl_spread_part *part = &spread->parts[i];
        hash = mix(mix(mix(mix(hash, part->first), part->count), part->offset), part->rank);
    }
    return mix(hash, spread->part_count);
}
