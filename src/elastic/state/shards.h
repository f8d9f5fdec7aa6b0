/*
 * Sharded arrays: cut into the same number of virtual shards each, of which every one has an owner
 * and replicas (shoal/placement.h). What the owner works on is the program's own array; beside it
 * stand copies of the last committed version.
 *
 * Two versions. All that hold a shard have two slots for it: the committed version, and the next.
 * When a step ends, the owner keeps what it has made in its second slot, and from there it goes to
 * the replicas' second slots. Committing turns the slots of all round. From its first slot an owner
 * goes back when a step is given up. So until the commit of a step is decided, everybody still has
 * the version before.
 *
 * A fresh shard has no committed version: at the beginning, and when all copies were lost. Its
 * owner's array counts.
 *
 * Invariant: the table, what is fresh, and the cut are the same on all members that know the state.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef SHL_ELASTIC_STATE_SHARDS_H
#define SHL_ELASTIC_STATE_SHARDS_H

#include "core/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SHL_SHARDS_DEFAULT 512u
#define SHL_SHARD_ELEMENTS_MIN 256u /* of an array; so small arrays have fewer shards */

struct shl_slab; /* slots.h */

struct shl_slot {
    uint8_t *at; /* NULL: not needed here */
    size_t bytes;
    struct shl_slab *slab; /* what it was cut from */
};

struct shl_copy {
    struct shl_slot slot[2];
    uint8_t now; /* which holds the committed version */
};

/* Who holds what. */
struct shl_table {
    uint32_t shards, width; /* width: replicas + 1 */
    uint64_t *holders;      /* ids of members; those of a shard together, its owner first */
    uint64_t *spreads;      /* one: how often rows changed since nobody held anything */
    uint8_t *fresh;         /* by shard */
};

struct shl_shard_span {
    uint64_t first, count; /* elements */
};

/* The elements of an array of `count` that are in a shard; the last shards may have none. */
struct shl_shard_span shl_shard_span(uint64_t count, uint32_t shards, uint32_t shard);

enum shoal_status shl_table_make(uint32_t shards, uint32_t width, struct shl_table *table);
void shl_table_clear(struct shl_table *table); /* nobody holds anything, and all is fresh */
void shl_table_free(struct shl_table *table);
void shl_table_copy(struct shl_table *to, const struct shl_table *from); /* of the same size */
size_t shl_table_bytes(const struct shl_table *table);

static inline uint64_t *shl_table_row(const struct shl_table *table, uint32_t shard)
{
    return &table->holders[(size_t)shard * table->width];
}

/* Do the same members hold the same shards? Of tables of the same size. */
bool shl_table_equal(const struct shl_table *a, const struct shl_table *b);

/* Position of a member in a shard's row; UINT32_MAX: it does not hold it. */
uint32_t shl_table_find(const struct shl_table *table, uint32_t shard, uint64_t id);

#endif
