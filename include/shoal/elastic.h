/*
 * Elastic worlds: jobs whose workers may fail, leave and join while they run.
 *
 * A world is joined through a store, which keeps one small record of who is in it. Its members form
 * a view, which has an epoch and gives each a rank. When members are lost, the others agree on the
 * next view and on what became of the operations that were interrupted; those calls return with one
 * outcome on all survivors, mostly SHOAL_OK, a moment later. Workers join and leave where a step is
 * committed.
 *
 *     struct shoal_world_options options = {.struct_size = sizeof(options),
 *                                           .store = "10.0.0.1:7777",
 *                                           .world_start = 4,
 *                                           .world_min = 2};
 *     shoal_world_join(context, &options, &world);
 *     for (;;) {
 *         struct shoal_step step = {.struct_size = sizeof(step)};
 *         if (shoal_step_begin(world, &step) != SHOAL_OK || step.step == steps)
 *             break;
 *         if (step.joined)
 *             shoal_world_broadcast(world, weights, weights, n, SHOAL_F32, 0);
 *         double samples = compute(weights, grad, step.rank, step.size, step.position);
 *         shoal_world_mean(world, grad, sum, n, SHOAL_F32, samples);
 *         enum shoal_status status = shoal_step_commit(world, (uint64_t)samples);
 *         if (status == SHOAL_OK)
 *             update(weights, sum, n);
 *         else if (status != SHOAL_ERR_STEP_RETRY)
 *             break;
 *     }
 *     shoal_world_destroy(world);
 *
 * What holds for all calls below:
 *
 * Order    every member calls the same operations and steps in the same order
 * Errors   SHOAL_ERR_EPOCH and SHOAL_ERR_STORE from an operation or a step mean, unless the world
 *          is said to go on, that this membership is over: destroy the world, and join again as a
 *          new member. SHOAL_ERR_INVALID is of the call: nothing was begun
 * Threads  a world serves one call at a time, from any thread; others wait, except those that say
 *          "at once". Only the looks (shoal_world_view) of the thread that made the last call tell
 *          what ranks and sizes of the next one mean
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef SHOAL_ELASTIC_H
#define SHOAL_ELASTIC_H

#include <shoal/collectives.h>
#include <shoal/comm.h>
#include <shoal/samples.h>
#include <shoal/store.h>

#ifdef __cplusplus
extern "C" {
#endif

struct shoal_world; /* one membership of this process in a job */

/* What a failure inside of a step does to it. The founders of a job choose. */
enum shoal_step_mode {
    SHOAL_STEP_RETAIN = 1, /* survivors redo the step's operations from their inputs */
    SHOAL_STEP_ABORT = 2   /* the step fails on all with SHOAL_ERR_STEP_RETRY and begins again */
};

/* Which part of a world that was cut in two goes on. */
enum shoal_partition {
    SHOAL_PARTITION_MAJORITY = 1, /* more than half of the view, or half of it with the store */
    SHOAL_PARTITION_ANY = 2       /* whoever reaches the store */
};

struct shoal_world_options {
    size_t struct_size;
    const char *store;              /* "host:port" of a coordinator; NULL: SHOAL_JOIN */
    const char *job;                /* NULL: SHOAL_JOB */
    uint32_t world_start;           /* workers that found the job; 0: SHOAL_WORLD_START */
    uint32_t world_min;             /* 0: SHOAL_WORLD_MIN */
    uint32_t world_max;             /* at most 1024; 0: SHOAL_WORLD_MAX */
    enum shoal_step_mode step_mode; /* 0: SHOAL_STEP_RETAIN */
    enum shoal_partition partition; /* 0: SHOAL_PARTITION_MAJORITY */
    uint32_t join_timeout_ms;       /* 0: SHOAL_INIT_TIMEOUT_MS */
    uint32_t recovery_timeout_ms;   /* how long a change of view may take; 0: 30000 */
    uint32_t op_timeout_ms;         /* 0: SHOAL_TIMEOUT_MS */
    uint64_t epoch_floor;           /* the highest epoch that this worker has ever seen, if any */
    const struct shoal_store *custom_store; /* the caller's own, instead of `store`; copied */
    uint32_t catch_up; /* 1: whoever comes later gets the state before it is let in; see below */
};

/*
 * shoal_world_join - become a member of a job, as one of its founders or later.
 *
 * Blocks until this worker is in a view, at most for the join timeout. With `catch_up` a worker
 * that comes later gets its world before it is let in: the view has epoch 0 and no members until
 * then. Its first shoal_step_begin brings over the replicated arrays of a shoal_state
 * (shoal/state.h) while the members train, then it is let in. Any other call that waits for members
 * has it let in at once. To founders the option makes no difference.
 *
 * Owns     the caller gets the world, and ends it before the context; options are copied
 *
 * Errors   SHOAL_ERR_ABSENT too few founders came, or not let in in time; SHOAL_ERR_STORE; those of
 *          shoal_comm_create; *world is untouched
 */
SHOAL_API enum shoal_status shoal_world_join(struct shoal_context *context,
                                             const struct shoal_world_options *options,
                                             struct shoal_world **world);

/* shoal_world_destroy - end this membership; NULL is legal. Others take it for a loss, and at once,
 * unless it left before; members that do so at the same time wait for each other, for half a second
 * at most. No other call may be under way. */
SHOAL_API enum shoal_status shoal_world_destroy(struct shoal_world *world);

/*
 * shoal_leave - ask to leave. The program goes on with its steps; at the end of one of them, where
 * somebody else stays, its next call returns SHOAL_ERR_EPOCH with `left` set in the view, and only
 * destroy is left to do. The others do not take it for a failure. At once, any thread.
 *
 * deadline_ms  after which a call that waits gives up with SHOAL_ERR_TIMEOUT, and the others take
 *              this member for lost; 0: none
 */
SHOAL_API enum shoal_status shoal_leave(struct shoal_world *world, uint32_t deadline_ms);

/* ---- views ------------------------------------------------------------------------------ */

struct shoal_view {
    size_t struct_size;
    uint64_t epoch; /* rises with each view and is never used again: a fencing token for files */
    uint32_t rank;
    uint32_t size;
    uint32_t joined;   /* of its members, the last ones, who were not in the view before */
    uint32_t lost;     /* members of the view before that are not in this one */
    uint32_t left;     /* not 0: this membership ended because it was asked to */
    uint32_t ended;    /* not 0: this membership is over */
    uint64_t step;     /* steps committed since the job began */
    uint64_t position; /* samples consumed by these */
};

/* shoal_world_view - the view in force, which may change again any time. At once, any thread; that
 * of the program's calls gets to know the view by it, outside of steps. */
SHOAL_API enum shoal_status shoal_world_view(struct shoal_world *world, struct shoal_view *view);

/* shoal_world_epoch - of the view in force, without a lock; for polling. 0 when the membership is
 * over. At once, any thread. */
SHOAL_API uint64_t shoal_world_epoch(const struct shoal_world *world);

/* shoal_world_members - ids by rank of the view in force: 64 random bits a membership. *count is
 * how many there are; at most `capacity` are stored. At once, any thread. */
SHOAL_API enum shoal_status shoal_world_members(struct shoal_world *world, uint64_t *ids,
                                                uint32_t capacity, uint32_t *count);

/* ---- operations on the view ---------------------------------------------------------------- */

/*
 * All those of shoal/collectives.h, with the members of the view as ranks. A failure meanwhile is
 * not an error: the call returns the result that others have got already, or that of the survivors,
 * of which AVG divides by their number.
 *
 * In place costs a copy of the input. Inside of a step of SHOAL_STEP_RETAIN buffers belong to the
 * world until shoal_step_commit has returned, inputs unchanged; results are provisional until then.
 * Errors   SHOAL_ERR_EPOCH with the world going on: the root of a broadcast or reduce was lost; or
 *          the view changed since the program looked (shoal_step_begin, shoal_world_view), or
 *          during the call, of a reduce_scatter or allgather, whose shapes follow the view.
 *          SHOAL_ERR_STEP_RETRY within a step, in both modes, for the same reasons
 */
SHOAL_API enum shoal_status shoal_world_allreduce(struct shoal_world *world, const void *send,
                                                  void *recv, size_t count, enum shoal_dtype dtype,
                                                  uint32_t op);
SHOAL_API enum shoal_status shoal_world_broadcast(struct shoal_world *world, const void *send,
                                                  void *recv, size_t count, enum shoal_dtype dtype,
                                                  uint32_t root);
SHOAL_API enum shoal_status shoal_world_reduce(struct shoal_world *world, const void *send,
                                               void *recv, size_t count, enum shoal_dtype dtype,
                                               uint32_t op, uint32_t root);
SHOAL_API enum shoal_status shoal_world_reduce_scatter(struct shoal_world *world, const void *send,
                                                       void *recv, size_t recv_count,
                                                       enum shoal_dtype dtype, uint32_t op);
SHOAL_API enum shoal_status shoal_world_allgather(struct shoal_world *world, const void *send,
                                                  void *recv, size_t send_count,
                                                  enum shoal_dtype dtype);
SHOAL_API enum shoal_status shoal_world_barrier(struct shoal_world *world);

/*
 * shoal_world_mean - the weighted mean of `count` elements a member: sum of weight * x over the sum
 * of weights, for members with unequal numbers of samples. The sums are of the element type.
 *
 * dtype    SHOAL_F32 or SHOAL_F64
 * weight   0 or more; where all are 0 the result is 0
 */
SHOAL_API enum shoal_status shoal_world_mean(struct shoal_world *world, const void *send,
                                             void *recv, size_t count, enum shoal_dtype dtype,
                                             double weight);

/*
 * shoal_world_start - begin an operation and return at once; shoal_world_start_mean a weighted
 * mean.
 *
 * Operations that were started are carried out in the order of their calls, and before the next
 * operation or step call that blocks, by whoever waits for one of them, or by a thread of the
 * world's while the program computes. A failure is to them what it is to those that block.
 *
 * call     timeout_ms is not used: the world's counts
 * Owns     borrows the buffers until the request is over; in retained steps until the commit
 * Errors   SHOAL_ERR_UNSUPPORTED outside of steps, but for allreduce, barrier and mean: the members
 *          that its root or blocks mean may be others when its turn comes
 */
struct shoal_world_request;
SHOAL_API enum shoal_status shoal_world_start(struct shoal_world *world,
                                              const struct shoal_call *call,
                                              struct shoal_world_request **request);
SHOAL_API enum shoal_status shoal_world_start_mean(struct shoal_world *world, const void *send,
                                                   void *recv, size_t count, enum shoal_dtype dtype,
                                                   double weight,
                                                   struct shoal_world_request **request);

/* shoal_world_request_test - SHOAL_IN_PROGRESS, or its outcome. At once, any thread. */
SHOAL_API enum shoal_status shoal_world_request_test(struct shoal_world_request *request);

/* shoal_world_request_wait - until it is over, which its deadline ends, or for timeout_ms
 * (UINT32_MAX: no limit of the caller's); SHOAL_IN_PROGRESS: that time passed, and it goes on. */
SHOAL_API enum shoal_status shoal_world_request_wait(struct shoal_world_request *request,
                                                     uint32_t timeout_ms);

/* shoal_world_request_destroy - wait until it is over, and release it; NULL is legal. A commit
 * fails with the first error of what was started in its step. shoal_world_destroy ends those that
 * are not over with SHOAL_ERR_ABORTED; they are to be destroyed all the same. */
SHOAL_API enum shoal_status shoal_world_request_destroy(struct shoal_world_request *request);

/* shoal_world_op_create - a reduction of the program's (shoal/collectives.h), for all views; every
 * member creates its own in the same order, a new one before its first operation. At most 64;
 * released with the world. */
SHOAL_API enum shoal_status shoal_world_op_create(struct shoal_world *world,
                                                  const struct shoal_op_options *options,
                                                  uint32_t *op);

/* Where a result came from. */
struct shoal_op_info {
    size_t struct_size;
    uint64_t seq;          /* its number in the job's life; the same on every member */
    uint64_t epoch;        /* of the view in which its result was made */
    uint32_t contributors; /* the divisor of AVG; 0: the result was made in an older view than this
                              member knows it from */
};

/* shoal_world_last - of the last operation that returned SHOAL_OK, or request that was waited for.
 * At once, any thread. */
SHOAL_API enum shoal_status shoal_world_last(struct shoal_world *world, struct shoal_op_info *info);

/* ---- steps -------------------------------------------------------------------------------- */

struct shoal_step {
    size_t struct_size;
    uint64_t step;     /* steps committed before this one: the first is 0 */
    uint64_t position; /* samples consumed by these */
    uint64_t epoch;
    uint32_t rank;
    uint32_t size;
    uint32_t joined; /* members that have joined since the last step that was committed, itself
                        included; they are the last ranks. Whether there are any is alike on all, so
                        it may decide on calls */
};

/*
 * shoal_step_begin - begin a step: between here and shoal_step_commit all operations have the same
 * contributors. Waits while the view changes.
 *
 * Errors   SHOAL_ERR_INVALID a step is open. With the world going on, and of state that follows the
 *          members (shoal/state.h): SHOAL_ERR_MISMATCH, SHOAL_ERR_STATE_LOST
 */
SHOAL_API enum shoal_status shoal_step_begin(struct shoal_world *world, struct shoal_step *step);

/*
 * shoal_step_commit - all members have done the step's operations, and from now on these are final;
 * everything that others see of the step, such as a checkpoint, comes after. Workers join and leave
 * here. With `background` of shoal/state.h the step is final when the next commit returns, or after
 * shoal_state_flush.
 *
 * samples  that this member consumed; the sum of all is added to the position
 * Errors   SHOAL_ERR_STEP_RETRY on all alike: nothing of this step counts, nor, with `background`,
 *          of the one before it; begin again. SHOAL_ERR_INVALID no step is open
 */
SHOAL_API enum shoal_status shoal_step_commit(struct shoal_world *world, uint64_t samples);

/*
 * shoal_step_samples - what this member is to train on in the open step, from a stream that all
 * members made alike (shoal/samples.h).
 *
 * The stream follows the world: when the step is committed its position moves past what the
 * contributors had, and what the others had comes first in the next step. A step that is given up
 * leaves it where it is. Restore it before its first step, on all founders alike, or not at all;
 * save it between steps; never commit it yourself. Several streams may take part in a step.
 *
 * A call of all members, in the order of the others. It sends nothing, unless somebody has joined
 * since the stream was last in a step: then those get its position, by one allreduce of 32 KiB.
 * Until the step is committed or given up the stream belongs to the world. A call that asks again
 * within a step is answered alike.
 *
 * indices  receives share->count sample numbers, at most the batch; NULL with capacity 0: only the
 *          share is told
 * Errors   SHOAL_ERR_INVALID: no step is open, or capacity below the count. SHOAL_ERR_STEP_RETRY.
 *          SHOAL_ERR_MISMATCH: members hold different positions, or another batch.
 *          SHOAL_ERR_EPOCH: all who had the position are lost
 */
SHOAL_API enum shoal_status shoal_step_samples(struct shoal_world *world,
                                               struct shoal_samples *samples, uint64_t *indices,
                                               size_t capacity, struct shoal_samples_share *share);

/* shoal_step_contributors - ids of the members that the last step committed was made by, in the
 * order of their ranks, for records of who consumed what. *count is how many there are; at most
 * `capacity` are stored. At once, any thread. */
SHOAL_API enum shoal_status shoal_step_contributors(struct shoal_world *world, uint64_t *ids,
                                                    uint32_t capacity, uint32_t *count);

/*
 * shoal_step_abort - give the open step up, on all members: their next or waiting call in it
 * returns SHOAL_ERR_STEP_RETRY, and all begin it again. For a member that cannot finish it: its
 * input is broken, it has no memory, or a call in the step returned an error. Needs the store, like
 * a failure does, and takes as long; whoever cannot take part at all destroys its world instead.
 *
 * When the call returns, buffers are the program's again and shoal_step_begin is next.
 * Errors   SHOAL_ERR_INVALID no step is open. SHOAL_ERR_EPOCH also when the others have committed
 *          the step, which the failed shoal_step_commit of this member did not live to see
 */
SHOAL_API enum shoal_status shoal_step_abort(struct shoal_world *world);

#ifdef __cplusplus
}
#endif
#endif
