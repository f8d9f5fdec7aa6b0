/*
 * Drawing layouts, and the slow way to say what they mean.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "support/layouts.h"

#include "support/random.h"

#include <string.h>

static void draw_counts(uint64_t *random, uint64_t total, struct test_layout *drawn)
{
    uint32_t ranks = drawn->layout.ranks;
    for (uint32_t i = 0; i + 1 < ranks; i++) {
        drawn->counts[i] =
            shl_test_random(random) % 3 == 0 ? 0 : shl_test_random(random) % (total + 1);
        total -= drawn->counts[i];
    }
    drawn->counts[ranks - 1] = total;
    drawn->layout.counts = drawn->counts;
}

/* Cut into spans, each to any rank; then shuffled. */
static void draw_spans(uint64_t *random, uint64_t total, uint32_t size, bool whole,
                       struct test_layout *drawn)
{
    size_t count = 0, most = 1 + shl_test_random(random) % (LAYOUT_SPANS_MAX - 1);
    uint64_t first = 0;
    while (count < most && first < total) {
        uint64_t left = total - first;
        uint64_t length = shl_test_random(random) % (left + 1);
        if (count + 1 == most && whole)
            length = left;
        else if (shl_test_random(random) % 2 == 0)
            length = length % 9;
        if (whole || shl_test_random(random) % 4 > 0)
            drawn->spans[count++] =
                (struct shoal_span){first, length, shl_test_random(random) % size};
        first += length;
    }
    for (size_t i = count; i > 1; i--) {
        size_t other = shl_test_random(random) % i;
        struct shoal_span swap = drawn->spans[i - 1];
        drawn->spans[i - 1] = drawn->spans[other];
        drawn->spans[other] = swap;
    }
    drawn->layout.spans = drawn->spans;
    drawn->layout.span_count = count;
}

void test_layout_draw(uint64_t *random, uint64_t total, uint32_t size, bool whole,
                      struct test_layout *drawn)
{
    memset(drawn, 0, sizeof(*drawn));
    struct shoal_layout *layout = &drawn->layout;
    layout->struct_size = sizeof(*layout);
    layout->kind = (enum shoal_layout_kind)(shl_test_random(random) % 4);
    layout->first_rank = (uint32_t)(shl_test_random(random) % size);
    if (shl_test_random(random) % 2 == 0)
        layout->first_rank = 0;
    layout->ranks = 1 + (uint32_t)(shl_test_random(random) % (size - layout->first_rank));
    if (layout->kind == SHOAL_LAYOUT_BLOCKS)
        draw_counts(random, total, drawn);
    if (layout->kind == SHOAL_LAYOUT_CYCLIC)
        layout->block = 1 + shl_test_random(random) % (shl_test_random(random) % 2 ? 4 : 300);
    if (layout->kind == SHOAL_LAYOUT_SPANS)
        draw_spans(random, total, size, whole, drawn);
    else if (layout->kind != SHOAL_LAYOUT_BLOCKS && shl_test_random(random) % 3 == 0)
        layout->ranks = 0;
}

/* ---- the model ------------------------------------------------------------------------------ */

static uint32_t part_of(const struct shoal_layout *layout, uint64_t total, uint32_t parts,
                        uint64_t element)
{
    if (layout->kind == SHOAL_LAYOUT_CYCLIC)
        return (uint32_t)(element / layout->block % parts);
    if (layout->kind == SHOAL_LAYOUT_BLOCK)
        return (uint32_t)(element / ((total + parts - 1) / parts));
    uint32_t part = 0;
    for (uint64_t end = layout->counts[0]; end <= element; end += layout->counts[part])
        part++;
    return part;
}

void test_layout_model(const struct shoal_layout *layout, uint64_t total, uint32_t size,
                       uint32_t *holder, uint64_t *place, uint64_t *held)
{
    uint32_t parts = layout->ranks ? layout->ranks : size - layout->first_rank;
    memset(held, 0, size * sizeof(*held));
    if (layout->kind != SHOAL_LAYOUT_SPANS) {
        for (uint64_t i = 0; i < total; i++) {
            holder[i] = layout->first_rank + part_of(layout, total, parts, i);
            place[i] = held[holder[i]]++;
        }
        return;
    }
    memset(holder, 0xff, total * sizeof(*holder));
    for (size_t s = 0; s < layout->span_count; s++) {
        const struct shoal_span *span = &layout->spans[s];
        for (uint64_t i = span->first; i < span->first + span->count; i++) {
            holder[i] = (uint32_t)span->rank;
            place[i] = held[span->rank]++;
        }
    }
}
