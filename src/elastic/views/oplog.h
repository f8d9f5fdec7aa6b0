/*
 * The operations of one member that may still matter: those begun and not settled, and those of an
 * open step that is retained. From it comes the report behind a fence; into it goes the decision.
 *
 * What is kept so that a failure does no harm (elastic/membership/outcome.h):
 *   outside of steps  inputs until the result is there (in place: a copy); results of small sums
 * until the next operation, as a copy; all others return after a completion round retained step
 * inputs until the commit; no results: while a step is open, all is redone aborted step nothing
 * That an operation returned here means that every member began it, and so holds those before it.
 *
 * Threads  the owner's lock
 * Invariant: `settled` is the highest number up to which all members hold all results; numbers
 * above `started` have not been called here.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef SHL_ELASTIC_VIEWS_OPLOG_H
#define SHL_ELASTIC_VIEWS_OPLOG_H

#include "elastic/membership/outcome.h"

#include <shoal/collectives.h>
#include <stddef.h>

#define SHL_OPLOG_SLOTS (2 * SHL_OPS_MAX)
#define SHL_OPLOG_STEP_MAX (SHL_OPS_MAX - 8) /* operations of a retained step */
#define SHL_OPLOG_KEPT_BYTES 65536 /* at most so much of a result is kept instead of a round */
#define SHL_VOTES 3
#define SHL_VOTE_LEAVES 1 /* the third; one more: and may be let go at any boundary */

struct shoal_comm;
struct shl_members;

/* What an operation does that is more than one collective. It may be done again in another view
 * until it is settled, so whatever it changes is to take effect after that. */
struct shl_task {
    enum shoal_status (*run)(void *arg, struct shoal_comm *comm, const struct shl_members *members);
    void *arg;
    uint64_t epoch; /* of the view in which it was done last */
};

enum shl_op_due {
    SHL_OP_NOTHING,
    SHL_OP_RUN,    /* with the members of the view in force */
    SHL_OP_FORWARD /* to be had from `source`, whose copy comes while the view is made */
};

struct shl_op {
    uint64_t seq; /* 0: this slot is free */
    bool begun;   /* called here */
    bool held;    /* the result is here */
    bool settled; /* and everywhere; or it failed everywhere */
    bool failed;  /* with `status` */
    bool kept;    /* held, and the log's copy is of it */
    bool in_step, is_commit;
    bool votes;       /* brings votes: a commit, or the end of a step that is committed later */
    bool late;        /* commit: of the step before, whose samples are `earned` */
    bool leaves_open; /* likewise; the step that the votes are about is open still */
    bool rounds;      /* returns after a completion round */
    bool small;       /* returns without one where keeping the result costs less */
    bool redone;      /* a decision had it done again: in a step it may have been returned before */
    bool restores;    /* recv was the input, and may be overwritten: send is `input` from now on */
    bool plain;       /* `task` and what follows is not used */
    enum shl_op_due due;
    uint32_t source; /* FORWARD: rank in the view in force */
    enum shoal_status status;
    uint32_t contributors;
    uint32_t attempts;      /* that ended with what is an error here alone */
    struct shoal_call call; /* as it is carried out: send may be `input` */
    uint64_t epoch;         /* of the view that made the result */
    size_t result_bytes;
    uint8_t *input; /* of the library; NULL: the caller's is used */
    size_t input_bytes;
    struct shl_task *task; /* instead of the call; NULL: none. Plain operations end before this */
    uint64_t root_id;      /* member; 0: it has no root */
    uint64_t shape;        /* shl_members_hash, of those that its buffers are made for, so that it
                              cannot be redone by others; 0: any */
    void *mean;            /* weighted mean: where the quotients go; call.recv is the library's */
    uint64_t vote[SHL_VOTES]; /* commit: what this member brings: wanted, samples, does it leave */
    uint64_t wanted, gained;  /* commit: what all brought: highest and sum */
    uint64_t earned;          /* late: the sum of the votes that were brought then */
};

struct shl_voters {
    uint32_t count;
    uint64_t ids[SHL_MEMBERS_MAX]; /* by rank */
};

struct shl_oplog {
    enum shl_step_mode mode;
    uint64_t settled, started;
    uint64_t decided; /* the last decision's `started` */
    uint64_t released;
    uint64_t pinned; /* the operation of the call under way, which looks at it later; 0: none */
    uint64_t step, position;
    uint64_t voted; /* last operation that brought votes to all */
    uint64_t step_first, step_last;
    struct shl_voters voting;    /* whose votes the last commit held here has, settled or not */
    struct shl_voters committed; /* and those of the last step that was committed */
    struct shl_voters parties;   /* of the next step: views/streams.h */
    bool in_step;                /* the program is between begin and commit */
    bool retry;                  /* its step was given up, and it has not been told */
    bool gives_up;               /* it cannot finish its step, which nobody is to commit */
    uint32_t due;
    uint64_t forwarded; /* the operation that the last decision has forwarded; 0: none. There
                           is one at most: who holds a later one knows that all hold it */
    uint64_t arrived;   /* the operation of `kept`, if that came from its source; 0: none */
    size_t arrived_bytes;
    uint8_t kept[SHL_OPLOG_KEPT_BYTES]; /* the result of the last small operation */
    /* Slots by number: their operation, plus one; 0: none. Operations that were released last are
     * used first, so that few of them are touched while few matter. */
    uint16_t slots[SHL_OPLOG_SLOTS];
    uint16_t idle[SHL_OPLOG_SLOTS];
    uint32_t idle_count, fresh; /* fresh: from here on they were never used */
    struct shl_op ops[SHL_OPLOG_SLOTS];
};

_Static_assert(SHL_OPLOG_SLOTS < UINT16_MAX, "an operation's place fits into a slot");

/* The member's first view: numbers go on from where the others are. */
void shl_oplog_enter(struct shl_oplog *log, enum shl_step_mode mode,
                     const struct shl_decision *decision);
void shl_oplog_free(struct shl_oplog *log);

/* The next operation is called. SHOAL_ERR_UNSUPPORTED: too many in one step, or too many that
 * failed since the last that was settled; nothing happened. The caller fills in what it is;
 * `failed` when that was decided before. */
enum shoal_status shl_oplog_begin(struct shl_oplog *log, bool is_commit, struct shl_op **op);
/* Is nothing left to do, and would shl_oplog_begin succeed? Then the second begins a plain
 * operation, and the third says that its result is here and ends the call; what nobody needs any
 * more is released with the next one. */
bool shl_oplog_is_calm(const struct shl_oplog *log);
struct shl_op *shl_oplog_begin_plain(struct shl_oplog *log);
void shl_oplog_end_plain(struct shl_oplog *log, struct shl_op *op);
/* The lowest operation that is left to do; NULL: none. */
struct shl_op *shl_oplog_next(struct shl_oplog *log);
/* Its result is here; `everywhere`: after a completion round. */
void shl_oplog_held(struct shl_oplog *log, struct shl_op *op, bool everywhere);
/* The call is over: what nobody needs any more is released. */
void shl_oplog_unpin(struct shl_oplog *log);
/* The operation that the last decision has forwarded, if `rank` of the view is to send its copy;
 * NULL: it has nothing to send. */
const struct shl_op *shl_oplog_to_forward(struct shl_oplog *log, uint32_t rank);
/* `rank` of the view sent this result; `from` has its epoch and contributors. Nothing happens
 * unless it is waited for. false: it cannot be that. */
bool shl_oplog_arrived(struct shl_oplog *log, uint32_t rank, const struct shl_op *from,
                       const void *result, size_t bytes);
/* It failed on all members alike, or cannot be carried out on any. */
void shl_oplog_failed(struct shl_oplog *log, struct shl_op *op, enum shoal_status status);

/* A step that is open here, and in which nothing was called, begins again: nobody else knows. */
void shl_oplog_void_step(struct shl_oplog *log);

/* `next`: of the view that is proposed; operations whose root is not in it, or whose shape it does
 * not have, cannot be redone. */
void shl_oplog_report(struct shl_oplog *log, const struct shl_members *next,
                      struct shl_report *report);
/* SHOAL_ERR_EPOCH: it contradicts what this member reported, and nothing was done. */
enum shoal_status shl_oplog_follow(struct shl_oplog *log, const struct shl_decision *decision);

#endif
