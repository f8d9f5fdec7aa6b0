/*
 * State that follows the members of a world: registered arrays, and the operations that bring them
 * to whoever joins.
 *
 *   state.c    life, and what the views call (struct shl_follower)
 *   meeting.c  the members compare what they registered
 *   chunks.c   how replicated arrays are cut, and who gives which part: pure
 *   catch_up.h joiners get the replicated arrays before they are let in
 *   pull.c     and what they lack then
 *   verify.c   do all have the same?
 *   shards.h   how sharded arrays are cut, and the table of who holds what
 *   slots.h    memory for copies of shards
 *   spread.c   sharded arrays follow a change of the view
 *   refresh.c  what a step's end does to them
 *   behind.c   the same while the next step is computed
 *   told.c     what programs ask
 *
 * Invariant: an operation of the state changes nothing that counts until all members are known to
 * have done it: so it can be done again in another view.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef SHL_ELASTIC_STATE_STATE_H
#define SHL_ELASTIC_STATE_STATE_H

#include "control/hash.h"
#include "elastic/state/catch_up.h"
#include "elastic/state/chunks.h"
#include "elastic/state/slots.h"
#include "elastic/views/views.h"
#include "engine/moves.h"

#include <shoal/state.h>

struct shl_state_stats {
    uint64_t settled, sent, received, moved, settle_ns, handed;
    uint64_t bad_chunks, bad_giver;
    uint64_t refresh_sent, refresh_ns, keep_ns, step_ns;
    uint64_t caught_up, catch_up_ns;
    uint64_t begun_ns; /* when the step began; 0: none has */
};

struct shoal_state {
    struct shoal_world *world;
    struct shl_follower follower;
    struct shl_state_array *arrays; /* in the order of registration */
    uint32_t array_count;
    size_t array_capacity;
    bool known; /* this member has what the others have */
    struct shl_state_stats stats;
    struct shl_table table; /* in force */
    struct shl_table next;  /* of the view that is being settled */
    uint64_t id, next_id;   /* this member, once there is a table */
    bool background;        /* steps last one commit later */
    bool ahead;             /* the arrays at the beginning of the step under way are in shots
                               [shot ^ 1], since the step before is not safe yet */
    uint8_t shot;           /* which of all arrays' shots is to go back to */
    struct shoal_request *refreshing; /* world->lock: under way; NULL: nothing is */
    struct shl_giver giver;
    struct shl_taker *taker; /* of a learner; world->lock for who sees it and who does not. NULL: it
                                brought nothing over before it was let in */
    bool lacked_memory;      /* here, while the hand-over under way was tried before */
    enum shoal_status refused; /* why the last hand-over was not done: alike on all */
};

struct shl_move_list {
    struct shl_move *at;
    size_t count, capacity;
};

/* ---- state.c ------------------------------------------------------------------------------ */

enum shoal_status shl_state_create(struct shoal_world *world, uint32_t shards, uint32_t replicas,
                                   bool background, uint64_t catch_up_bytes,
                                   struct shoal_state **state);
void shl_state_destroy(struct shoal_state *state);
/* A checked array; its name is copied. */
enum shoal_status shl_state_add(struct shoal_state *state, const struct shoal_state_array *given);

/* ---- meeting.c ---------------------------------------------------------------------------- */

/* Who takes part in an operation of the state, by rank. */
struct shl_meeting {
    struct shoal_comm *comm;
    uint32_t known_count;             /* members that have the state; 0: it is new to all */
    bool caught_up;                   /* all others brought some over before they were let in */
    const struct shl_voters *leaving; /* they are to own nothing any more; NULL: nobody leaves */
    uint32_t veteran; /* the first that founded the job or committed a step; comm->size: none */
    bool known[SHL_MEMBERS_MAX];
};

/* Names, kinds and sizes of all arrays, in order. */
enum shoal_status shl_state_schema(const struct shoal_state *state, uint8_t hash[SHL_HASH_BYTES]);
/* Meet the others. SHOAL_ERR_MISMATCH on all: they registered different arrays. */
enum shoal_status shl_state_meet(const struct shoal_state *state, struct shoal_comm *comm,
                                 struct shl_meeting *meeting);
/* `bytes` of mine from everyone. */
enum shoal_status shl_state_allgather(struct shoal_comm *comm, const void *mine, void *all,
                                      size_t bytes);
/* All fail when one does: with its status, and its text where it was this member.
 * SHOAL_IN_PROGRESS: none has failed, and one says so. */
enum shoal_status shl_state_agree(struct shoal_comm *comm, enum shoal_status status);
/* Time for what each does by itself between two agreements: the others wait for it in the second,
 * so it is a part of the communicator's time for an operation. */
uint64_t shl_state_spell_ns(const struct shoal_comm *comm);
/* The same for all to go on with: *first is the error of the lowest rank that has one. */
enum shoal_status shl_state_poll(struct shoal_comm *comm, enum shoal_status mine,
                                 enum shoal_status *first);

/* ---- spread.c, refresh.c -------------------------------------------------------------------- */

/* Bring the sharded arrays to these members; shl_state_install once all have. */
enum shoal_status shl_state_spread(struct shoal_state *state, const struct shl_meeting *meeting,
                                   const struct shl_members *members);
/* The same from those who leave to those who stay, who have the table all; shl_state_install once
 * all have. *refused: alike on all, why it was not done; nothing is moved then. */
enum shoal_status shl_state_hand_over(struct shoal_state *state, const struct shl_meeting *meeting,
                                      const struct shl_members *members,
                                      enum shoal_status *refused);
bool shl_state_install(struct shoal_state *state); /* true: something is lost */
void shl_state_drop_pending(struct shoal_state *state);

enum shoal_status shl_state_refresh(void *state, struct shoal_comm *comm,
                                    const struct shl_members *members);
enum shoal_status shl_state_list_refresh(const struct shoal_state *state,
                                         const struct shl_members *members,
                                         struct shl_move_list *list);
/* What owners have made goes to their second slots, beside what is safe. */
void shl_state_keep(struct shoal_state *state);
void shl_state_commit(struct shoal_state *state);
void shl_state_roll_back(struct shoal_state *state);
enum shoal_status shl_state_gather(struct shoal_state *state, const struct shl_state_array *array);

/* ---- behind.c ------------------------------------------------------------------------------ */

enum shoal_status shl_state_start(void *state, struct shoal_comm *comm,
                                  const struct shl_members *members);
/* Wait for what was started. false: nothing was. */
bool shl_state_finish(struct shoal_state *state, enum shoal_status *status);
void shl_state_abandon(void *state);
/* The arrays as a step has them when it begins; `pending`: the one before can be given up. */
void shl_state_shoot(struct shoal_state *state, bool pending);
void shl_state_put_back(const struct shoal_state *state);

uint64_t shl_state_shard_bytes(const struct shoal_state *state, const struct shl_state_array *array,
                               uint32_t shard);
uint8_t *shl_state_shard_data(const struct shoal_state *state, const struct shl_state_array *array,
                              uint32_t shard);
enum shoal_status shl_state_add_move(struct shl_move_list *list, struct shl_move move);
void shl_state_count_moves(struct shl_state_stats *stats, const struct shl_move_list *list,
                           uint32_t rank);

/* ---- told.c ------------------------------------------------------------------------------- */

/* A sharded array of that name. */
enum shoal_status shl_state_find(const struct shoal_state *state, const char *name,
                                 const struct shl_state_array **array);
size_t shl_state_owned(const struct shoal_state *state, const struct shl_state_array *array,
                       struct shoal_state_range *ranges, size_t capacity);
size_t shl_state_lost(const struct shoal_state *state, struct shoal_state_loss *losses,
                      size_t capacity);
enum shoal_status shl_state_say_lost(const struct shoal_state *state);

/* ---- differ.c, pull.c, verify.c ---------------------------------------------------------------
 */

/* Leave of the chunks those that somebody who joined lacks. `status`: how this member comes to it;
 * all fail when one does. */
enum shoal_status shl_state_differ(struct shoal_state *state, const struct shl_meeting *meeting,
                                   enum shoal_status status, struct shl_chunks *chunks);
enum shoal_status shl_state_pull(struct shoal_state *state, const struct shl_meeting *meeting);

enum shoal_status shl_state_verify(struct shoal_state *state, struct shoal_state_divergence *found,
                                   size_t capacity, size_t *count);
/* Ranks that are not of the largest group of equal hashes; pure. Returns how many. */
uint32_t shl_state_deviants(const uint8_t *hashes, size_t stride, uint32_t ranks, bool *deviates);

#endif
