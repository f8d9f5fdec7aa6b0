/*
 * Placement: which members hold which virtual shards of state, with copies on other hosts.
 *
 * State is cut into a fixed number of virtual shards. Each has an owner and `replicas` further
 * holders, all different, on as many hosts as there are. When members come and go, holders stay
 * where they are, except for what a balanced placement must move.
 *
 * shoal_place is a pure function of the table of holders and the members. It is given the table
 * since no function of the members alone is both balanced and moves little. Members that go through
 * the same views have the same table; one that joins gets it with the state.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef SHOAL_PLACEMENT_H
#define SHOAL_PLACEMENT_H

#include <shoal/status.h>

#ifdef __cplusplus
extern "C" {
#endif

#define SHOAL_PLACE_SHARDS_MAX (1u << 20)
#define SHOAL_PLACE_REPLICAS_MAX 7

struct shoal_member {
    uint64_t id;   /* not 0; no two members have the same */
    uint64_t host; /* equal: they fail together */
};

struct shoal_place_options {
    size_t struct_size;
    uint32_t shards;
    uint32_t replicas; /* copies beside the owner's; fewer where there are fewer members */
    const struct shoal_member *members;
    uint32_t member_count;
};

struct shoal_place_result {
    size_t struct_size;
    uint64_t copies; /* to be made: new holders of shards that somebody still holds */
    uint64_t lost;   /* shards that had holders, none of which is left */
    uint64_t owners; /* shards whose owner changes, also without a copy */
};

/*
 * shoal_place - who is to hold what from now on.
 *
 * Whoever holds a shard on entry and is still a member holds it on return, unless it must hand it
 * to another for balance or for another host. Where all hosts have equally many members, members
 * hold equally many copies, give or take one, and those made are within 5 % of the least for that.
 * Owners are chosen among holders: an owner that fails is followed by one that has the shard
 * already.
 *
 * holders  shards * (replicas + 1) ids, those of a shard together, its owner first, 0 for nobody.
 *          On entry who holds it now, members or not; all 0 at the beginning. On return who is to
 * result   may be NULL
 * Errors   SHOAL_ERR_INVALID: numbers out of range, or members alike; *holders is untouched
 * Threads  any
 * Cost     time in shards * members where much changes; memory of three numbers a copy
 */
SHOAL_API enum shoal_status shoal_place(const struct shoal_place_options *options,
                                        uint64_t *holders, struct shoal_place_result *result);

#ifdef __cplusplus
}
#endif
#endif
