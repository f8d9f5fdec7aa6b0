/*
 * Placing virtual shards on members: what include/shoal/placement.h promises, for arguments that
 * have been checked.
 *
 * What is wanted, in this order: every shard has its copies, on as many hosts as possible; every
 * member has as many as its host can take evenly (quota.c); few copies are made; every member owns
 * about as many. Only the last is about owners: who of the holders owns a shard costs no bytes.
 *
 * Invariant: the result is a function of the arguments alone, in integers, so it is the same on all
 * machines.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef SHL_ELASTIC_SHARDS_PLACEMENT_H
#define SHL_ELASTIC_SHARDS_PLACEMENT_H

#include "core/status.h"

#include <shoal/placement.h>
#include <stdbool.h>

#define SHL_NO_MEMBER UINT32_MAX
#define SHL_PLACE_MEMBERS_MAX 16384u
#define SHL_PLACE_PAIRS_MAX 64u /* members; among more there is always somebody to choose */

struct shl_placed_member {
    uint64_t id;
    uint32_t host;       /* dense, from 0 */
    uint32_t low, high;  /* copies that it is to hold: one of these two numbers, or between */
    uint32_t load, owns; /* copies it holds, shards it owns */
};

struct shl_placement {
    uint32_t shards, width; /* width: entries of a shard, replicas + 1 */
    uint32_t copies;        /* of a shard that are to be: width, or as many members as there are */
    uint32_t hosts, spread; /* spread: hosts that the copies of a shard are to be on */
    uint32_t member_count;
    struct shl_placed_member *members; /* ascending by id */
    uint32_t *table;                   /* indices of members, holders first, then SHL_NO_MEMBER */
    uint32_t *before;                  /* the table as it was, without those who are gone */
    uint32_t *pairs; /* by two members: shards that both hold; NULL: too many members */
};

/* ---- quota.c, even.c ------------------------------------------------------------------------ */

/* Fills low and high in. */
enum shoal_status shl_placement_quota(struct shl_placement *placement);
/* Every row has its copies. Bring all loads to low or high, where rows allow it. */
void shl_placement_even_out(struct shl_placement *placement);

/* ---- rows.c: the holders of one shard, and what is counted of them ----------------------------
 */

static inline uint32_t *shl_row(const struct shl_placement *placement, uint32_t shard)
{
    return &placement->table[(size_t)shard * placement->width];
}

uint32_t shl_row_held(const struct shl_placement *placement, const uint32_t *row);
bool shl_row_has(const struct shl_placement *placement, const uint32_t *row, uint32_t member);
bool shl_row_had(const struct shl_placement *placement, uint32_t shard, uint32_t member);
uint32_t shl_row_on_host(const struct shl_placement *placement, const uint32_t *row, uint32_t host);
uint32_t shl_row_hosts(const struct shl_placement *placement, const uint32_t *row);
void shl_row_add(struct shl_placement *placement, uint32_t *row, uint32_t member);
void shl_row_drop(struct shl_placement *placement, uint32_t *row, uint32_t at);
void shl_row_replace(struct shl_placement *placement, uint32_t *row, uint32_t at, uint32_t member);
/* May the holder at `at` hand the shard to a member? */
bool shl_row_may_replace(const struct shl_placement *placement, uint32_t *row, uint32_t at,
                         uint32_t member);
/* How often a member is together with the row's holders, but for one at `except`: pairs that are
 * even now can be mended evenly when one of them is lost. 0: not counted. */
uint64_t shl_row_meets(const struct shl_placement *placement, const uint32_t *row, uint32_t except,
                       uint32_t member);
/* Among those that are equally good each shard prefers others, so that what a member held comes
 * back from many. */
uint64_t shl_row_taste(const struct shl_placement *placement, uint32_t shard, uint32_t member);

enum shoal_status shl_place(const struct shoal_place_options *options, uint64_t *holders,
                            struct shoal_place_result *result);

#endif
