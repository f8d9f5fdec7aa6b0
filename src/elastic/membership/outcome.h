/*
 * What becomes of the operations that a view change interrupts: the only place that decides it.
 *
 * Operations are numbered 1, 2, 3, ... over the whole life of a job, across views, in the order in
 * which every member calls them. After fencing a view each survivor reports how far it came; the
 * decision is a pure function of those reports, and all members follow it.
 *
 *   settled   somewhere known to be held by every member: done on all of them. Failed and void
 *             operations count as settled once the decision is published
 *   held      the full result is there. Held by all survivors: done. Held by some: one that kept a
 *             copy forwards it. Held nowhere: nobody was told OK, so it is redone by the survivors
 *             from the inputs that they kept, or fails on all alike where one kept none
 *   told      some program was told that the operation failed at its deadline, or that members
 *             disagree: so are all. The engine promises that nobody holds it then
 *   step      a step is committed by a last operation of its own. While that is held nowhere the
 *             step is open: it is redone from its first operation when a contributor is gone
 *             (SHL_STEP_RETAIN), or given up by all (SHL_STEP_ABORT, or a member asks for it)
 *
 * Invariant: an operation whose result some survivor may have returned is never redone, except
 * inside an open retained step, where results are provisional.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef SHL_ELASTIC_MEMBERSHIP_OUTCOME_H
#define SHL_ELASTIC_MEMBERSHIP_OUTCOME_H

#include "elastic/membership/members.h"

/* Operations that may be begun and not settled at a time, which in a retained step includes all of
 * the step's, since they can be redone. The engine begins no more. */
#ifndef SHL_OPS_MAX
#define SHL_OPS_MAX 1024u
#endif

enum shl_step_mode {
    SHL_STEP_RETAIN = 1, /* inputs are kept until commit; survivors redo the step's operations */
    SHL_STEP_ABORT = 2   /* nothing is kept; the step fails on all members alike */
};

/* What one member says about one operation. */
#define SHL_OP_HELD 1u      /* has the full result */
#define SHL_OP_COPY 2u      /* and can still send it to others */
#define SHL_OP_RETAINED 4u  /* can take part: kept its input, or has not begun it yet */
#define SHL_OP_EXPIRED 8u   /* its program was told that the deadline had passed, */
#define SHL_OP_DISPUTED 16u /* or that members disagreed on it; both are held, too */
#define SHL_OP_TOLD (SHL_OP_EXPIRED | SHL_OP_DISPUTED)
#define SHL_OP_FLAGS 31u

/* Operations up to the last decision's `started` count as begun, and those that it failed or made
 * void as held, also where the program has not called them yet. */
struct shl_report {
    uint64_t settled;    /* every member is known to hold the results up to here */
    uint64_t started;    /* the last operation begun; at most SHL_OPS_MAX after settled */
    uint64_t step;       /* steps committed: their last operation is held here */
    uint64_t step_last;  /* the operation that committed the last of them; 0: none */
    uint64_t step_first; /* the first operation of the open step; 0: none is open or none begun */
    uint64_t position;   /* in the samples, after the committed steps */
    bool gives_up;       /* cannot finish the step after `step`: nobody is to commit it */
    uint8_t ops[SHL_OPS_MAX]; /* SHL_OP_* of settled + 1 .. started */
};

enum shl_outcome {
    SHL_OUTCOME_DONE = 1,    /* every survivor holds it */
    SHL_OUTCOME_FORWARD = 2, /* `source` holds it and sends it to those that do not */
    SHL_OUTCOME_REDO = 3,    /* by the members that were in the former view too */
    SHL_OUTCOME_RETRY = 4,   /* void with its step, which begins again */
    SHL_OUTCOME_FAILED = 5,  /* held nowhere and some input is gone: the same error on all */
    SHL_OUTCOME_EXPIRED = 6, /* some program was told so: on all */
    SHL_OUTCOME_DISPUTED = 7 /* likewise */
};

struct shl_decision {
    uint64_t settled;   /* all survivors hold the results up to here */
    uint64_t started;   /* the last operation that any survivor began; joiners begin after it */
    uint64_t redo_from; /* operations from here to `settled` are redone although held; 0: none */
    uint64_t retry;     /* step that all members begin again, at operation started + 1; 0: none */
    uint64_t step;      /* steps committed: held by a survivor, so forwarded to the others */
    uint64_t position;  /* in the samples, after these */
    uint8_t outcomes[SHL_OPS_MAX]; /* enum shl_outcome of settled + 1 .. started */
    uint16_t sources[SHL_OPS_MAX]; /* FORWARD: position of the holder in the new view */
};

static inline uint32_t shl_report_ops(const struct shl_report *report)
{
    return (uint32_t)(report->started - report->settled);
}

static inline uint32_t shl_decision_ops(const struct shl_decision *decision)
{
    return (uint32_t)(decision->started - decision->settled);
}

/* Some operation is done again by the members of the new view that were in the former one. */
bool shl_decision_redoes(const struct shl_decision *decision);
/* The last operation up to which all have the results, or never get any: none is on its way. It is
 * as far as a joiner, which has none of them itself, may say that all is settled. Of what comes
 * after it a joiner says that it holds it: it lacks nothing, and can do nothing again. */
uint64_t shl_decision_held(const struct shl_decision *decision);

/* What a peer sent is within bounds and agrees with itself. */
bool shl_report_valid(const struct shl_report *report);
bool shl_decision_valid(const struct shl_decision *decision, uint32_t members);

struct shl_outcome_input {
    enum shl_step_mode mode;
    uint32_t count;                   /* reports; report i is of position i in the new view */
    const struct shl_report *reports; /* survivors come first in the new view */
    uint32_t decider;                 /* whose report is its own; others may lie */
    bool shrinks;                     /* a member of the former view is not in the new one */
    bool admits;                      /* a joiner is, although a step may be open */
};

/* shl_outcome_decide - reports span at most SHL_OPS_MAX operations beyond the highest `settled`,
 * which shl_report_valid and the numbering guarantee. count 0 decides nothing. */
void shl_outcome_decide(const struct shl_outcome_input *input, struct shl_decision *decision);

#endif
