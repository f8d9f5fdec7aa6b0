/*
 * Replicated arrays as one row of chunks, cut into equal stripes, one for each member that gives.
 *
 * All is a function of the arrays' sizes and the number of givers, so that members that registered
 * the same arrays cut alike. A stripe is given in rounds of up to SHL_ROUND_BYTES: rounds are moved
 * one after another, so that chunks of one are verified while the next travels.
 *
 * Invariant: every chunk is of one array, and in one round of one stripe.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef SHL_ELASTIC_STATE_CHUNKS_H
#define SHL_ELASTIC_STATE_CHUNKS_H

#include "elastic/state/shards.h"

#include <shoal/state.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SHL_CHUNK_BYTES (1u << 20)
#define SHL_ROUND_BYTES (8u << 20) /* of a stripe */
#define SHL_ROUND_CHUNKS 256u      /* likewise, where arrays are small */

struct shl_state_array {
    char *name;
    uint8_t *data;
    uint64_t count, bytes;
    enum shoal_dtype dtype;
    enum shoal_state_kind kind;
    struct shl_copy *copies;  /* sharded: by shard; NULL: replicated */
    struct shl_copy *pending; /* likewise: slots that a view which is not settled needs */
    uint8_t *shots[2]; /* replicated, in worlds whose steps last one commit later; NULL: not kept */
};

struct shl_chunk {
    uint32_t array;
    uint64_t offset, bytes;
};

struct shl_chunks {
    struct shl_chunk *at;
    uint64_t count, bytes;
};

enum shoal_status shl_chunks_make(const struct shl_state_array *arrays, uint32_t array_count,
                                  struct shl_chunks *chunks);
void shl_chunks_free(struct shl_chunks *chunks);

/* The first chunk of stripe `stripe` of `stripes`; for stripe == stripes their end. */
uint64_t shl_chunks_stripe(const struct shl_chunks *chunks, uint32_t stripe, uint32_t stripes);

/* The end of the round that begins with chunk `first`, in a stripe that ends at `end`. */
uint64_t shl_chunks_round(const struct shl_chunks *chunks, uint64_t first, uint64_t end);

/* How many chunks from `first` on, before `end`, are one piece of memory. */
uint64_t shl_chunks_piece(const struct shl_chunks *chunks, uint64_t first, uint64_t end,
                          uint64_t *bytes);

#endif
