/*
 * Symbolic values: what a unit of memory holds, as an expression over the inputs. Equal expressions
 * have equal numbers, so "the same bits on every rank" is one comparison.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef SHL_COLLECTIVES_PROOF_TERMS_H
#define SHL_COLLECTIVES_PROOF_TERMS_H

#include "core/status.h"

#include <stdbool.h>
#include <stdint.h>

enum shl_term_kind { SHL_TERM_INPUT, SHL_TERM_COMBINED, SHL_TERM_FINAL };

struct shl_term {
    uint8_t kind;
    bool ordered;       /* combines neighbouring ranks in rank order */
    uint32_t unit;      /* whose data, in the larger buffer */
    uint32_t a, b;      /* COMBINED: terms; FINAL: a; INPUT: a is the rank */
    uint32_t low, high; /* lowest and highest rank in it */
    uint64_t count;     /* contributions, with repeats */
};

struct shl_terms {
    struct shl_term *items; /* item 0: undefined memory */
    uint32_t count, capacity;
    uint32_t *slots; /* open addressing; 0: empty */
    uint32_t slot_mask;
    bool failed; /* out of memory; terms made since are 0 */
};

enum shoal_status shl_terms_init(struct shl_terms *terms);
void shl_terms_fini(struct shl_terms *terms);

/* Each gives the number of the term, 0 when out of memory. Operands are defined terms. */
uint32_t shl_term_input(struct shl_terms *terms, uint32_t rank, uint32_t unit);
uint32_t shl_term_combined(struct shl_terms *terms, uint32_t a, uint32_t b);
uint32_t shl_term_final(struct shl_terms *terms, uint32_t a);

/* Does the term hold every rank's contribution exactly once? If not, `*rank` is one that is
 * missing or there twice, `*times` how often. Out of memory counts as no. */
bool shl_term_complete(struct shl_terms *terms, uint32_t term, uint32_t rank_count, uint32_t *rank,
                       uint32_t *times);

#endif
