/*
 * An elastic world: a node, the communicator of the view in force, and the operations of the
 * program.
 *
 *   views.c   life, and what the node tells
 *   build.c   a thread that takes the former view down and makes the next one
 *   oplog.h   which operations still matter, and what a decision means for them
 *   carry.c   carrying operations out, however many views that takes
 *   forward.c results that some have, brought to the others while the next view is made
 *   call.c    the program's operations        step.c  steps, leaving, questions
 *   quick.c   small sums while nothing happens, with little beside what the engine does
 *   started.c operations that were started, which a thread carries out while the program computes
 *   follow.c  where state that follows the members is called
 *   learn.c   a worker that has not been let in yet
 *   behind.c  steps that last one commit later, so that state is made safe meanwhile
 *   streams.c samples, whose position moves when a step is committed
 *
 * Locking. `lock` guards everything; `changed` tells of any change. The program's calls have
 * `calling` for their whole time, also without the lock, so there is one at a time. While an
 * operation runs in the engine `users` counts it, without the lock; the view is taken down when it
 * is 0. Nobody calls the node with the lock held, since the node calls back with it.
 *
 * Invariant: from the moment that a fence is reported until the next publication the log of
 * operations does not change.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef SHL_ELASTIC_VIEWS_VIEWS_H
#define SHL_ELASTIC_VIEWS_VIEWS_H

#include "core/heap.h"
#include "elastic/node/node.h"
#include "elastic/views/oplog.h"
#include "elastic/views/started.h"
#include "elastic/views/streams.h"
#include "elastic/world.h"
#include "engine/comm.h"

#include <pthread.h>
#include <shoal/elastic.h>
#include <stdatomic.h>

#define SHL_WORLD_TEXT 512

struct shl_views_options {
    const struct shl_config *config; /* borrowed, as are heap and memory */
    struct shl_heap *heap;
    struct shl_memory *memory;
    const char *store, *job;
    struct shoal_world_options world; /* defaults filled in; strings not used */
};

/*
 * State that follows the members (elastic/state/), as the views see it. All is called by the
 * program's thread, without the lock.
 */
struct shl_follower {
    void *arg;
    bool on_loss; /* settled after losses too, which needs SHL_STEP_ABORT; else after joins only */
    bool gone;    /* told by the world: it is destroyed */
    bool open;    /* likewise: a step was begun and not committed */
    struct shl_task settle;    /* bring the state to the members of a new view */
    struct shl_task refresh;   /* before a step is committed: make it last; run is NULL: nothing */
    void (*begin)(void *arg);  /* a step begins after one that was given up: undo what that did */
    struct shl_task hand_over; /* after a commit: world->leavers are to have nothing any more */
    enum shoal_status (*handed)(void *arg);  /* on all members. An error, alike on all: not now */
    enum shoal_status (*settled)(void *arg); /* on all members. An error, alike on all, is that of
                                                shoal_step_begin; the next one settles again */
    void (*committed)(void *arg);
    bool behind; /* steps last when the next one is committed: behind.c. Then `refresh` is about
                    what was kept, and `committed` about the step whose refresh is done */
    void (*begun)(void *arg, bool pending); /* a step has begun; another is not safe yet */
    void (*keep)(void *arg);                /* the program has ended a step: keep what it made */
    /* Begin to refresh, without waiting. What was begun ends in `refresh` or in `abandon`, which
     * comes, on any thread, before the view is gone, when all of its operations end by themselves.
     */
    enum shoal_status (*start)(void *arg, struct shoal_comm *comm,
                               const struct shl_members *members);
    void (*abandon)(void *arg);
    /* A learner's first step begins: get what can be had before it is let in. */
    void (*catch_up)(void *arg);
    void (*forget)(void *arg); /* no step began: the program has its arrays back */
    /* lock, and from the node's thread: the follower of another member, or of a learner, wrote.
     * false: nothing here wants it. */
    bool (*mail)(void *arg, struct shl_node_letter *letter);
    void (*end)(void *arg);    /* the node is about to be destroyed: do not use it any more */
    void (*orphan)(void *arg); /* the world is over: give back what is of its context */
};

/* A step that the program has ended, and that can still be lost. */
struct shl_behind {
    bool pending;     /* there is one, unless the log has none open: then it was given up */
    bool between;     /* and the program has begun no other */
    uint64_t samples; /* of all members in it */
    uint32_t joined;  /* members that were told when it began */
};

/* What a member brings to the end of a step, and what all brought. */
struct shl_ballot {
    uint64_t samples;
    bool commits;           /* the step, or with `late` the one before it */
    bool late, leaves_open; /* as of an operation */
    uint64_t wanted, gained, epoch;
};

struct shoal_world {
    struct shl_views_options options;
    char *job;
    struct shoal_context *context; /* api/context.h */
    struct shl_node *node;
    pthread_mutex_t lock;
    bool calling;
    uint32_t callers; /* that wait to be the one */
    pthread_cond_t changed;
    pthread_t builder;
    bool builder_runs, stop;

    /* What the node told. */
    bool ended;
    bool resigned; /* and the node was told, after the view was taken down */
    enum shoal_status end_status;
    char end_text[SHL_WORLD_TEXT];
    bool fence_asked, publish_asked;
    struct shl_record *prepared, *published; /* of the last fence and publication */
    uint64_t news; /* counts what members told: blobs, and that they are done */

    /* The view in force. */
    struct shl_world *forming; /* may be cut */
    struct shoal_comm *comm;
    size_t kept_bytes; /* larger results are not kept: a completion round costs less */
    bool usable;       /* operations may run in it */
    bool parting;      /* the view is being taken down */
    bool stopped;      /* at a boundary, until the next publication */
    uint32_t users;    /* callers in the engine */
    uint64_t epoch;
    uint32_t rank, joined, lost;
    struct shl_members members;
    _Atomic uint64_t epoch_now; /* of the view in force; 0: ended */
    struct shl_costs costs;     /* of the last view, for the next */

    /* The program. */
    struct shl_members seen; /* the view that it knows: what its ranks and sizes mean */
    uint64_t seen_epoch;
    uint32_t seen_rank;
    uint64_t caller;          /* thread that made the last call, whose looks count */
    uint32_t joined_since;    /* members, since its last step was committed */
    uint32_t joined_told;     /* of these, when its step under way began */
    bool leaving, leave_told; /* leave_told: the node knows */
    bool learning;            /* nobody was told yet that it can be let in */
    uint64_t leave_ns;        /* when a call that waits gives up; 0: never */
    struct shl_oplog *log;
    struct shoal_op_info last;
    struct shoal_op_info *noted;   /* where that of the call under way goes */
    struct shl_input pool;         /* for the next input that has to be copied */
    uint64_t *votes;               /* of a commit: SHL_VOTES by rank */
    struct shl_voters leavers;     /* members that said with the last one that they leave, but for
                                      one to stay for now */
    struct shl_follower *follower; /* NULL: none */
    struct shl_behind behind;
    bool joined_due, lost_due; /* the view changed so since the follower was settled, or ever */
    uint64_t joined_epoch;     /* the last view with new members */
    uint64_t changed_epoch;    /* the last view with other members than the one before */
    struct shl_streams streams;
    struct shl_started started;
    struct shl_user_op user_ops[SHL_COMM_USER_OPS]; /* of every communicator of a view */
    uint32_t user_op_count;
    uint8_t told[SHL_NODE_BLOB_MAX]; /* what this member brings to the view that is made */
};

/* ---- views.c ------------------------------------------------------------------------------ */

enum shoal_status shl_views_join(const struct shl_views_options *options,
                                 struct shoal_world **world);
void shl_views_destroy(struct shoal_world *world);
/* lock: over: the program's calls fail with this from now on. The first reason counts. */
void shl_views_end(struct shoal_world *world, enum shoal_status status, const char *text);
/* lock: the program gets to know the view in force. */
void shl_views_show(struct shoal_world *world);
/* lock: this thread makes the program's calls. */
void shl_views_call_from(struct shoal_world *world);
bool shl_views_is_caller(const struct shoal_world *world);
/* lock: the error of a call when the membership is over. */
enum shoal_status shl_views_ended(const struct shoal_world *world);
/* lock: wait for a change, or until then. false: it is past. */
bool shl_views_wait(struct shoal_world *world, uint64_t until_ns);

/* ---- build.c ------------------------------------------------------------------------------ */

void *shl_views_build(void *world);
/* lock: a communicator that is in use, or will be, gets the program's reductions. */
void shl_views_give_ops(struct shoal_world *world, struct shoal_comm *comm);

/* ---- carry.c ------------------------------------------------------------------------------ */

/* lock: wait until operations may run. */
enum shoal_status shl_views_ready(struct shoal_world *world);
/* lock: do all that is left to do, `op` (NULL: none) included, and return its outcome. */
enum shoal_status shl_views_carry_out(struct shoal_world *world, struct shl_op *op);

/* lock, which is given away meanwhile: `op` ended with this error here. One that all members have
 * alike ends it; any other is the sign of a change, or is made one. */
void shl_views_stumble(struct shoal_world *world, struct shl_op *op, enum shoal_status status);
/* What the caller sees, from what the engine gave. */
void shl_views_finish(struct shoal_world *world, struct shl_op *op);
/* lock: the result is here, before anybody knows that it is everywhere. */
void shl_views_keep(struct shoal_world *world, struct shl_op *op);
/* lock: what the program may ask about the call under way. */
void shl_views_note_last(struct shoal_world *world, const struct shl_op *op);

/* lock, which is given away meanwhile: have all members decide about what is open, in a next view.
 * Returns when this one is given up. */
void shl_views_decide(struct shoal_world *world);

/* ---- forward.c ---------------------------------------------------------------------------- */

/* lock: writes to world->told what this member brings to the view that is being made: the result
 * that it is to forward, if any, and `blob`, what the transports say. Returns how many bytes. */
size_t shl_views_put_told(struct shoal_world *world, const void *blob, size_t blob_bytes);
/* lock: takes from what all members brought the result that is waited for, and leaves `result` with
 * what their transports say. */
enum shoal_status shl_views_take_told(struct shoal_world *world,
                                      struct shl_rendezvous_result *result);
/* lock: an operation whose result was forwarded ends here as it did there. */
enum shoal_status shl_views_take_forwarded(struct shoal_world *world, struct shl_op *op);

/* ---- quick.c ----------------------------------------------------------------------------- */

/* calling, lock: is it small, and nothing out of the ordinary? */
bool shl_views_is_quick(const struct shoal_world *world, const struct shoal_call *call);
/* Then, lock, which is given away if it takes more than a moment: one operation of the program. */
enum shoal_status shl_views_call_quick(struct shoal_world *world, const struct shoal_call *call);

/* ---- call.c ------------------------------------------------------------------------------ */

/* calling, lock, which is given away meanwhile: one operation of the program, arguments checked.
 * `input`: what was found for it, which it takes or leaves there; NULL: it looks itself. */
enum shoal_status shl_views_call_locked(struct shoal_world *world, const struct shoal_call *call,
                                        struct shl_input *input);
enum shoal_status shl_views_mean_locked(struct shoal_world *world, const struct shoal_call *call,
                                        double weight, struct shl_input *input);
/* lock: memory for an input of so many bytes, unless there is enough; and what an operation has
 * taken and need not keep, back. */
enum shoal_status shl_views_find_memory(struct shoal_world *world, size_t bytes,
                                        struct shl_input *input);
void shl_views_give_memory_back(struct shoal_world *world, struct shl_op *op);
/* lock: memory for the input of a call that will be made, and back with what was not taken. */
enum shoal_status shl_views_find_input(struct shoal_world *world, const struct shoal_call *call,
                                       bool is_mean, struct shl_input *input);
void shl_views_give_input(struct shoal_world *world, struct shl_input *input);
/* A reduction of the program's, for all views to come. */
enum shoal_status shl_views_add_op(struct shoal_world *world, const struct shl_user_op *op,
                                   uint32_t *id);

/* Take the lock and `calling`, and give them back. */
void shl_views_seize(struct shoal_world *world);
void shl_views_exit(struct shoal_world *world);
/* The first for a call of the program's. Whatever was started before is carried out. */
void shl_views_enter(struct shoal_world *world);
/* lock: wait for `calling`. */
void shl_views_call_alone(struct shoal_world *world);
/* lock: give it back. */
void shl_views_called(struct shoal_world *world);

/* ---- follow.c ----------------------------------------------------------------------------- */

/* Between steps. SHOAL_ERR_BUSY: there is one already. */
enum shoal_status shl_views_attach(struct shoal_world *world, struct shl_follower *follower);
void shl_views_detach(struct shoal_world *world);
/* An operation of its own. `in_steps`: of a step of SHL_STEP_ABORT, too. */
enum shoal_status shl_views_task(struct shoal_world *world, struct shl_task *task, bool in_steps);
/* calling: before a step is begun. */
void shl_views_follow_begin(struct shoal_world *world);
/* calling, lock, which is given away meanwhile: and after it has begun. */
void shl_views_follow_begun(struct shoal_world *world, bool pending);
/* lock, which is given away meanwhile: settle until nothing is due. */
enum shoal_status shl_views_follow(struct shoal_world *world);
/* calling: after it was committed. */
void shl_views_follow_committed(struct shoal_world *world);
/* calling, lock, which is given away meanwhile: those who leave hand over. Any error: they have
 * not, and are to stay. */
enum shoal_status shl_views_follow_leavers(struct shoal_world *world);
/* lock: give up a step that nobody has called anything in, since members were lost after it began.
 */
bool shl_views_drop_stale(struct shoal_world *world);
/* lock, which is given away meanwhile: before the operation that commits. */
enum shoal_status shl_views_follow_refresh(struct shoal_world *world);

/* ---- learn.c ------------------------------------------------------------------------------ */

/* lock: of a worker whose world returns before it is let in. true: it is one. */
bool shl_views_learn(struct shoal_world *world);
/* calling, lock, which is given away meanwhile: a step is about to begin. */
void shl_views_catch_up(struct shoal_world *world);
/* lock, which is given away meanwhile: it can be let in. */
void shl_views_caught_up(struct shoal_world *world);

/* ---- behind.c ----------------------------------------------------------------------------- */

/* lock: the program is between begin and commit. */
bool shl_views_in_step(const struct shoal_world *world);
/* lock: a step that the program has ended is open in the log. */
bool shl_behind_is_pending(const struct shoal_world *world);
/* lock: before a step begins. true: the one before is not safe yet, and nothing is in its way; else
 * what it moved is moved back. */
bool shl_behind_begin(struct shoal_world *world);
/* calling, lock, which is given away meanwhile: the program ends a step. */
enum shoal_status shl_behind_commit(struct shoal_world *world, uint64_t samples);
/* Whatever the program has committed is to last now. */
enum shoal_status shl_views_flush(struct shoal_world *world);

/* ---- step.c ------------------------------------------------------------------------------- */

enum shoal_status shl_views_begin(struct shoal_world *world, struct shoal_step *step);
enum shoal_status shl_views_commit(struct shoal_world *world, uint64_t samples);
enum shoal_status shl_views_abort(struct shoal_world *world);
/* lock: as that, within a call. */
enum shoal_status shl_views_give_up(struct shoal_world *world);
enum shoal_status shl_views_leave(struct shoal_world *world, uint32_t deadline_ms);
void shl_views_look(struct shoal_world *world, struct shoal_view *view);
/* calling, lock, which is given away meanwhile: one operation. */
enum shoal_status shl_views_vote(struct shoal_world *world, struct shl_ballot *ballot);
/* calling, lock, which is given away meanwhile: after a commit, whoever leaves or waits. */
void shl_views_let_leavers_go(struct shoal_world *world);
void shl_views_stop_at_boundary(struct shoal_world *world, uint64_t wanted);

#endif
