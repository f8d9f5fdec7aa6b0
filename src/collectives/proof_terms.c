/*
 * Hash-consed expressions.
 *
 * Invariant: two items never have the same kind, unit and operands.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "collectives/proof_terms.h"

#include "core/sys.h"

enum shoal_status shl_terms_init(struct shl_terms *terms)
{
    *terms = (struct shl_terms){.count = 1, .capacity = 1024, .slot_mask = 4095};
    terms->items = shl_mem->alloc(terms->capacity * sizeof(*terms->items));
    terms->slots = shl_mem->alloc(((size_t)terms->slot_mask + 1) * sizeof(uint32_t));
    if (!terms->items || !terms->slots) {
        shl_terms_fini(terms);
        return shl_fail(SHOAL_ERR_NOMEM, "no memory for symbolic values");
    }
    return SHOAL_OK;
}

void shl_terms_fini(struct shl_terms *terms)
{
    shl_mem->free(terms->items);
    shl_mem->free(terms->slots);
    *terms = (struct shl_terms){0};
}

static uint32_t hash(const struct shl_term *term)
{
    uint64_t h = ((uint64_t)term->a << 32 | term->b) * UINT64_C(0x9e3779b97f4a7c15);
    h ^= h >> 29;
    h = (h + ((uint64_t)term->unit << 2 | term->kind)) * UINT64_C(0xbf58476d1ce4e5b9);
    return (uint32_t)(h >> 32);
}

static bool same(const struct shl_term *x, const struct shl_term *y)
{
    return x->kind == y->kind && x->unit == y->unit && x->a == y->a && x->b == y->b;
}

/* Twice the items and slots; every item is entered anew. */
static bool grow(struct shl_terms *terms)
{
    uint32_t capacity = 2 * terms->capacity, mask = 2 * terms->slot_mask + 1;
    struct shl_term *items = shl_mem->resize(terms->items, capacity * sizeof(*items));
    if (items)
        terms->items = items;
    uint32_t *slots = shl_mem->alloc(((size_t)mask + 1) * sizeof(uint32_t));
    if (!items || !slots) {
        shl_mem->free(slots);
        return false;
    }
    for (uint32_t i = 1; i < terms->count; i++) {
        uint32_t slot = hash(&items[i]) & mask;
        while (slots[slot])
            slot = (slot + 1) & mask;
        slots[slot] = i;
    }
    shl_mem->free(terms->slots);
    terms->slots = slots;
    terms->slot_mask = mask;
    terms->capacity = capacity;
    return true;
}

static uint32_t intern(struct shl_terms *terms, const struct shl_term *term)
{
    if (terms->failed || (terms->count == terms->capacity && !grow(terms))) {
        terms->failed = true;
        return 0;
    }
    uint32_t slot = hash(term) & terms->slot_mask;
    for (; terms->slots[slot]; slot = (slot + 1) & terms->slot_mask) {
        if (same(&terms->items[terms->slots[slot]], term))
            return terms->slots[slot];
    }
    terms->items[terms->count] = *term;
    terms->slots[slot] = terms->count;
    return terms->count++;
}

uint32_t shl_term_input(struct shl_terms *terms, uint32_t rank, uint32_t unit)
{
    struct shl_term term = {.kind = SHL_TERM_INPUT,
                            .ordered = true,
                            .unit = unit,
                            .a = rank,
                            .low = rank,
                            .high = rank,
                            .count = 1};
    return intern(terms, &term);
}

uint32_t shl_term_combined(struct shl_terms *terms, uint32_t a, uint32_t b)
{
    const struct shl_term *x = &terms->items[a], *y = &terms->items[b];
    struct shl_term term = {.kind = SHL_TERM_COMBINED, .unit = x->unit, .a = a, .b = b};
    term.ordered = x->ordered && y->ordered && x->high + 1 == y->low;
    term.low = x->low < y->low ? x->low : y->low;
    term.high = x->high > y->high ? x->high : y->high;
    term.count = x->count + y->count;
    return intern(terms, &term);
}

uint32_t shl_term_final(struct shl_terms *terms, uint32_t a)
{
    struct shl_term term = terms->items[a];
    term.kind = SHL_TERM_FINAL;
    term.a = a;
    term.b = 0;
    return intern(terms, &term);
}

/* Counts the inputs in a term with `count` <= rank_count inputs, so the walk is short. */
static void tally(const struct shl_terms *terms, uint32_t term, uint32_t *times, uint32_t *stack)
{
    uint32_t depth = 0;
    stack[depth++] = term;
    while (depth > 0) {
        const struct shl_term *item = &terms->items[stack[--depth]];
        if (item->kind == SHL_TERM_INPUT) {
            times[item->a]++;
            continue;
        }
        stack[depth++] = item->a;
        if (item->kind == SHL_TERM_COMBINED)
            stack[depth++] = item->b;
    }
}

bool shl_term_complete(struct shl_terms *terms, uint32_t term, uint32_t rank_count, uint32_t *rank,
                       uint32_t *times)
{
    const struct shl_term *item = &terms->items[term];
    *rank = UINT32_MAX;
    *times = 0;
    if (item->ordered)
        return item->low == 0 && item->high + 1 == rank_count; /* each of low..high once */
    if (item->count > rank_count)
        return false;
    uint32_t *tallies = shl_mem->alloc((2 * (size_t)rank_count + 2) * sizeof(uint32_t));
    if (!tallies) {
        terms->failed = true;
        return false;
    }
    tally(terms, term, tallies, tallies + rank_count);
    bool complete = true;
    for (uint32_t r = 0; r < rank_count && complete; r++) {
        if (tallies[r] != 1) {
            *rank = r;
            *times = tallies[r];
            complete = false;
        }
    }
    shl_mem->free(tallies);
    return complete;
}
