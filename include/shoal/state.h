/*
 * State that follows the members of an elastic world: named arrays, registered once. Whoever joins
 * has them when it first takes part in a step.
 *
 *     struct shoal_state_array array = {.struct_size = sizeof(array),
 *                                       .name = "weights",
 *                                       .data = weights,
 *                                       .count = n,
 *                                       .dtype = SHOAL_F32};
 *     shoal_state_create(world, NULL, &state);
 *     shoal_state_add(state, &array);
 *     while (shoal_step_begin(world, &step) == SHOAL_OK) ...
 *
 * Replicated arrays are alike on all members. When members join, shoal_step_begin brings them over,
 * from all the others at once, each giving an equal part; every chunk comes with its hash. When a
 * job begins, everybody gets those of rank 0. Between shoal_step_begin, which may write into them,
 * and the next, they are the program's.
 *
 * A worker that joins with shoal_world_options.catch_up gets them while the members go on with
 * their steps, and is let in then; in the shoal_step_begin in which they meet it only what has
 * changed since is moved. Otherwise the members wait while all of it is.
 *
 * Sharded arrays are cut into shards. Every member has the address space for all of an array, and
 * works on what it owns (shoal_state_owned); of each shard `replicas` other members keep copies, on
 * another host where there is one. Owners change their parts within steps, which are of
 * SHOAL_STEP_ABORT. shoal_step_commit brings the changes to the copies before it commits, so that
 * they are all there or the step is begun again, from what the last one had committed. When members
 * are lost, others own their parts; when members join or leave, only what changes hands is moved:
 * in shoal_step_begin, or, of those that leave, at the end of their last shoal_step_commit, before
 * they go. Where that cannot be done they stay until a later commit, but for no longer than the
 * deadline that they gave to shoal_leave.
 *
 * In the background (options.background) shoal_step_commit only begins to bring changes to the
 * copies, and the next one waits for that before it commits its own: what was committed last is
 * safe one commit later. If a member is lost before, or a step given up, all go back by one
 * committed step more, and shoal_step_begin gives its number again: after an SHOAL_ERR_STEP_RETRY,
 * also of an operation between steps, or without any. Streams of samples go back, too, and so do
 * replicated arrays, to what they were when that step began; what else the program has changed
 * since is for it to put back. The world gives up steps that are interrupted (SHOAL_STEP_ABORT): a
 * step that it repeats by itself would need buffers that the program has back. What leaves the
 * program (a checkpoint) comes after shoal_state_flush.
 *
 * All members create the state between the same operations, and add the same arrays in the same
 * order, before the first step that they take part in.
 *
 * Threads  one call at a time on a state, and none while its world is in a call
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef SHOAL_STATE_H
#define SHOAL_STATE_H

#include <shoal/elastic.h>

#ifdef __cplusplus
extern "C" {
#endif

struct shoal_state; /* of one world */

enum shoal_state_kind {
    SHOAL_STATE_REPLICATED = 1, /* every member has all of it, and alike */
    SHOAL_STATE_SHARDED = 2     /* every member owns a part, of which others keep copies */
};

#define SHOAL_STATE_NAME_MAX 128
#define SHOAL_STATE_NO_REPLICAS UINT32_MAX

/* The same on all members. */
struct shoal_state_options {
    size_t struct_size;
    uint32_t shards;     /* that sharded arrays are cut into; 0: 512 */
    uint32_t replicas;   /* copies beside the owner's; 0: 1 */
    uint32_t background; /* 1: copies are refreshed while the next step is computed; see above */
    uint64_t catch_up_bytes; /* the most that this member copies for joiners as one step begins, and
                                holds for them; 0: 32 MiB. It may differ between members */
};

struct shoal_state_array {
    size_t struct_size;
    const char *name; /* copied; 1 to SHOAL_STATE_NAME_MAX bytes, of no other array of the state */
    void *data;       /* borrowed until shoal_state_destroy */
    uint64_t count;   /* elements; of sharded arrays too, those of all members */
    enum shoal_dtype dtype;
    enum shoal_state_kind kind; /* 0: SHOAL_STATE_REPLICATED */
};

/*
 * shoal_state_create - the state of a world; one at a time.
 *
 * options  may be NULL
 * Errors   SHOAL_ERR_BUSY: the world has a state; SHOAL_ERR_INVALID: a step is open, or not safe
 *          yet; SHOAL_ERR_UNSUPPORTED: in the background, in a world of SHOAL_STEP_RETAIN;
 *          found the job with SHOAL_STEP_ABORT
 */
SHOAL_API enum shoal_status shoal_state_create(struct shoal_world *world,
                                               const struct shoal_state_options *options,
                                               struct shoal_state **state);

/* shoal_state_destroy - forget the arrays, before or after the world is destroyed; NULL is legal.
 * Nothing is sent; flush before, where the world goes on and copies are refreshed in the
 * background. */
SHOAL_API void shoal_state_destroy(struct shoal_state *state);

/*
 * shoal_state_add - register an array, before the first step.
 *
 * Sharded arrays of equal counts are cut alike. What their owners have when the first step begins
 * is where they start from.
 * Errors   SHOAL_ERR_INVALID: the name is taken, or this member has taken part already.
 *          SHOAL_ERR_UNSUPPORTED: a sharded array in a world of SHOAL_STEP_RETAIN; found the job
 *          with SHOAL_STEP_ABORT. Members that register different arrays get
 *          SHOAL_ERR_MISMATCH from shoal_step_begin
 */
SHOAL_API enum shoal_status shoal_state_add(struct shoal_state *state,
                                            const struct shoal_state_array *array);

/* A replicated array of one member that is not like that of most. */
struct shoal_state_divergence {
    const char *name; /* the state's */
    uint32_t rank;
};

/*
 * shoal_state_verify - compare the replicated arrays of all members by hash; between steps, and
 * called by all. Nothing is changed. Where no majority is alike, the largest group counts as right,
 * of equal ones that with the lowest rank.
 *
 * found    by name in the order of registration, then by rank; at most `capacity` are stored
 * count    how many there are; 0: all are alike. The same on all members
 * Errors   SHOAL_ERR_INVALID: a step is open; else as of an operation of the world
 */
SHOAL_API enum shoal_status shoal_state_verify(struct shoal_state *state,
                                               struct shoal_state_divergence *found,
                                               size_t capacity, size_t *count);

/* Elements of a sharded array. */
struct shoal_state_range {
    uint64_t first;
    uint64_t count;
};

/* shoal_state_owned - what this member owns of a sharded array: the same from shoal_step_begin
 * until shoal_step_commit; ascending, not adjacent. *count is how many ranges there are; at most
 * `capacity` are stored. SHOAL_ERR_INVALID: no sharded array has this name. */
SHOAL_API enum shoal_status shoal_state_owned(const struct shoal_state *state, const char *name,
                                              struct shoal_state_range *ranges, size_t capacity,
                                              size_t *count);

/*
 * shoal_state_flush - what was committed is safe when this returns: it waits for copies that are
 * refreshed in the background. Between steps, and called by all.
 *
 * Errors   SHOAL_ERR_STEP_RETRY: members changed meanwhile, and the last step is to be begun again
 */
SHOAL_API enum shoal_status shoal_state_flush(struct shoal_state *state);

/* shoal_state_gather - bring all parts of a sharded array to all members, into their arrays, from
 * the owners' as they are now; called by all, within steps or between. What a member does not own
 * is its program's to overwrite. Errors as of an operation of the world. */
SHOAL_API enum shoal_status shoal_state_gather(struct shoal_state *state, const char *name);

/* Elements of which no copy is left. */
struct shoal_state_loss {
    const char *name; /* the state's */
    uint64_t first;
    uint64_t count;
};

/*
 * shoal_state_lost - what the last shoal_step_begin that returned SHOAL_ERR_STATE_LOST is about; by
 * name in the order of registration, ascending. The same on all members; all else is intact, and
 * the world goes on. Who owns the elements now (shoal_state_owned) may write them; what is there
 * when shoal_step_begin is called again counts. *count is how many losses there are; at most
 * `capacity` are stored.
 */
SHOAL_API enum shoal_status shoal_state_lost(const struct shoal_state *state,
                                             struct shoal_state_loss *losses, size_t capacity,
                                             size_t *count);

struct shoal_state_info {
    size_t struct_size;
    uint64_t settled;        /* how often state was brought to the members of a new view */
    uint64_t bytes_sent;     /* of state, by this member, the last time */
    uint64_t bytes_received; /* likewise */
    uint64_t bytes_moved;    /* of sharded arrays, by all members together, the last time */
    uint64_t settle_ns;      /* what that took, with waiting for the others */
    uint64_t refresh_bytes;  /* sent by this member to copies at the last commit */
    uint64_t refresh_ns;     /* what that added to the commit: in the background, the waiting */
    uint64_t bytes_handed;   /* of sharded arrays, by all members together, before members left */
    uint64_t bad_chunks; /* that came here, were not what their giver hashed, and were taken from
                            another giver */
    uint64_t bad_giver;  /* rank of the last one that gave one */
    uint64_t keep_ns;    /* to copy, at the last commit, what this member owns */
    uint64_t step_ns;    /* the last step, from its begin to the end of its commit */
    uint64_t caught_up_bytes; /* that came here before this member was let in */
    uint64_t catch_up_ns;     /* what that took */
    uint64_t given_bytes;     /* by this member to joiners before they were let in */
    uint64_t given_steps;     /* of this member, that began while there was something to give */
};

/* shoal_state_info - what was done so far. */
SHOAL_API enum shoal_status shoal_state_info(const struct shoal_state *state,
                                             struct shoal_state_info *info);

#ifdef __cplusplus
}
#endif
#endif
