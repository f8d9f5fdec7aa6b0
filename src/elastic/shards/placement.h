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
};

/* Fills low and high in. */
enum shoal_status shl_placement_quota(struct shl_placement *placement);

enum shoal_status shl_place(const struct shoal_place_options *options, uint64_t *holders,
                            struct shoal_place_result *result);

#endif
