/*
 * Layouts drawn at random, and a model of who holds what, element by element.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef SUPPORT_LAYOUTS_H
#define SUPPORT_LAYOUTS_H

#include <shoal/reshard.h>
#include <stdbool.h>

#define LAYOUT_RANKS_MAX 64
#define LAYOUT_SPANS_MAX 40
#define LAYOUT_NOBODY UINT32_MAX

struct test_layout {
    struct shoal_layout layout;
    uint64_t counts[LAYOUT_RANKS_MAX];
    struct shoal_span spans[LAYOUT_SPANS_MAX];
};

/* test_layout_draw - a layout of `total` elements over at most `size` ranks, often not all of them.
 * whole: every element has a holder. `random` is the state of shl_test_random. */
void test_layout_draw(uint64_t *random, uint64_t total, uint32_t size, bool whole,
                      struct test_layout *drawn);

/* The holder of each element and its place in the holder's buffer; held[rank]: elements a rank
 * has. */
void test_layout_model(const struct shoal_layout *layout, uint64_t total, uint32_t size,
                       uint32_t *holder, uint64_t *place, uint64_t *held);

#endif
