/*
 * State that follows the members of a world: registered arrays, and the operations that bring them
 * to whoever joins.
 *
 *   state.c    life, and what the views call (struct shl_follower)
 *   meeting.c  the members compare what they registered
 *   chunks.c   how replicated arrays are cut, and who gives which part: pure
 *   pull.c     joiners get the replicated arrays
 *   verify.c   do all have the same?
 *
 * Invariant: an operation of the state changes nothing but the arrays of members that had nothing,
 * until all members are known to have done it: so it can be done again in another view.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef SHL_ELASTIC_STATE_STATE_H
#define SHL_ELASTIC_STATE_STATE_H

#include "control/hash.h"
#include "elastic/state/chunks.h"
#include "elastic/views/views.h"

#include <shoal/state.h>

struct shl_state_stats {
    uint64_t settled, sent, received, settle_ns;
};

struct shoal_state {
    struct shoal_world *world;
    struct shl_follower follower;
    struct shl_state_array *arrays; /* in the order of registration */
    uint32_t array_count, array_capacity;
    bool known; /* this member has what the others have */
    struct shl_state_stats stats;
};

/* ---- state.c ------------------------------------------------------------------------------ */

enum shoal_status shl_state_create(struct shoal_world *world, struct shoal_state **state);
void shl_state_destroy(struct shoal_state *state);
/* A checked array; its name is copied. */
enum shoal_status shl_state_add(struct shoal_state *state, const struct shoal_state_array *given);

/* ---- meeting.c ---------------------------------------------------------------------------- */

/* Who takes part in an operation of the state, by rank. */
struct shl_meeting {
    struct shoal_comm *comm;
    uint32_t known_count; /* members that have the state; 0: the job begins */
    bool known[SHL_MEMBERS_MAX];
};

/* Meet the others. SHOAL_ERR_MISMATCH on all: they registered different arrays. */
enum shoal_status shl_state_meet(const struct shoal_state *state, struct shoal_comm *comm,
                                 struct shl_meeting *meeting);
/* `bytes` of mine from everyone. */
enum shoal_status shl_state_allgather(struct shoal_comm *comm, const void *mine, void *all,
                                      size_t bytes);
/* All fail when one does: with its status, and its text where it was this member. */
enum shoal_status shl_state_agree(struct shoal_comm *comm, enum shoal_status status);

/* ---- pull.c, verify.c ----------------------------------------------------------------------- */

enum shoal_status shl_state_pull(struct shoal_state *state, const struct shl_meeting *meeting);

enum shoal_status shl_state_verify(struct shoal_state *state, struct shoal_state_divergence *found,
                                   size_t capacity, size_t *count);
/* Ranks that are not of the largest group of equal hashes; pure. Returns how many. */
uint32_t shl_state_deviants(const uint8_t *hashes, size_t stride, uint32_t ranks, bool *deviates);

#endif
