/*
 * Reports and decisions of operations.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "elastic/views/oplog.h"

#include "core/status.h"
#include "core/sys.h"

#include <string.h>

/* NULL: there is none. */
static struct shl_op *find(struct shl_oplog *log, uint64_t seq)
{
    uint16_t place = log->slots[seq % SHL_OPLOG_SLOTS];
    struct shl_op *op = place ? &log->ops[place - 1] : NULL;
    return op && op->seq == seq ? op : NULL;
}

static void release(struct shl_oplog *log, struct shl_op *op)
{
    log->slots[op->seq % SHL_OPLOG_SLOTS] = 0;
    log->idle[log->idle_count++] = (uint16_t)(op - log->ops);
    if (op->input)
        shl_mem->free(op->input);
    memset(op, 0, op->plain ? offsetof(struct shl_op, task) : sizeof(*op));
}

static struct shl_op *claim(struct shl_oplog *log, uint64_t seq)
{
    uint16_t *place = &log->slots[seq % SHL_OPLOG_SLOTS];
    if (*place && log->ops[*place - 1].seq == seq)
        return &log->ops[*place - 1];
    if (*place)
        release(log, &log->ops[*place - 1]);
    uint32_t at = log->idle_count ? log->idle[--log->idle_count] : log->fresh++;
    *place = (uint16_t)(at + 1);
    log->ops[at].seq = seq;
    return &log->ops[at];
}

static void set_due(struct shl_oplog *log, struct shl_op *op, enum shl_op_due due)
{
    log->due += (due != SHL_OP_NOTHING) - (op->due != SHL_OP_NOTHING);
    op->due = due;
}

/* Inputs of an open retained step outlive its results. */
static void release_old(struct shl_oplog *log)
{
    uint64_t until = log->settled;
    if (log->step_first && log->step_first <= until)
        until = log->step_first - 1;
    if (until > log->started) /* what becomes of these is told to those that call them */
        until = log->started;
    if (log->pinned && until >= log->pinned)
        until = log->pinned - 1;
    while (log->released < until) {
        struct shl_op *op = find(log, ++log->released);
        if (op && op->settled && op->due == SHL_OP_NOTHING)
            release(log, op);
    }
}

static void advance(struct shl_oplog *log)
{
    for (;;) {
        const struct shl_op *op = find(log, log->settled + 1);
        if (!op || !op->settled)
            break;
        log->settled++;
    }
    release_old(log);
}

void shl_oplog_enter(struct shl_oplog *log, enum shl_step_mode mode,
                     const struct shl_decision *decision)
{
    log->mode = mode;
    log->settled = log->released = shl_decision_held(decision);
    log->started = log->decided = decision->started;
    log->step = decision->step;
    log->position = decision->position;
    /* Whose result is on its way to others is not settled while some may still lose it. */
    for (uint64_t seq = log->settled + 1; seq <= log->started; seq++) {
        uint32_t at = (uint32_t)(seq - decision->settled - 1);
        struct shl_op *op = claim(log, seq);
        op->failed = true;
        op->status = SHOAL_ERR_EPOCH;
        op->settled = decision->outcomes[at] != SHL_OUTCOME_FORWARD;
    }
}

void shl_oplog_free(struct shl_oplog *log)
{
    for (uint32_t i = 0; i < log->fresh; i++)
        shl_mem->free(log->ops[i].input);
    shl_mem->free(log);
}

/* Operations of a step that was given up have numbers that nobody uses. */
static void skip_void(struct shl_oplog *log)
{
    for (;;) {
        const struct shl_op *op = find(log, log->started + 1);
        if (!op || op->begun || !op->failed || op->status != SHOAL_ERR_STEP_RETRY)
            return;
        log->started++;
    }
}

/* Is the step full? One that is not safe yet, and open here with the next, is not of it. */
static bool is_full(const struct shl_oplog *log, uint64_t seq)
{
    uint64_t first = log->step_first > log->voted ? log->step_first : log->voted + 1;
    return log->step_first && seq - first >= SHL_OPLOG_STEP_MAX;
}

enum shoal_status shl_oplog_begin(struct shl_oplog *log, bool votes, struct shl_op **out)
{
    skip_void(log);
    uint64_t seq = log->started + 1;
    if (!votes && is_full(log, seq))
        return shl_fail(SHOAL_ERR_UNSUPPORTED,
                        "more than %u operations in one step; commit more often",
                        SHL_OPLOG_STEP_MAX);
    if (seq - log->settled > SHL_OPS_MAX) /* no report could tell of more */
        return shl_fail(SHOAL_ERR_UNSUPPORTED,
                        "the last %u operations have failed; destroy the world and join again",
                        SHL_OPS_MAX);
    struct shl_op *op = claim(log, seq);
    log->started = seq;
    op->begun = true;
    op->votes = votes;
    op->in_step = log->in_step;
    if (log->in_step && !log->step_first)
        log->step_first = seq;
    log->pinned = seq;
    if (op->due != SHL_OP_NOTHING) /* decided before it was called */
        log->due++;
    else if (!op->failed)
        set_due(log, op, SHL_OP_RUN);
    *out = op;
    return SHOAL_OK;
}

bool shl_oplog_is_calm(const struct shl_oplog *log)
{
    uint64_t seq = log->started + 1;
    return !log->due && !log->retry && log->started >= log->decided &&
           seq - log->settled <= SHL_OPS_MAX && !is_full(log, seq);
}

struct shl_op *shl_oplog_begin_plain(struct shl_oplog *log)
{
    release_old(log);
    struct shl_op *op = claim(log, ++log->started);
    op->begun = op->plain = true;
    op->in_step = log->in_step;
    if (log->in_step && !log->step_first)
        log->step_first = op->seq;
    log->pinned = op->seq;
    op->due = SHL_OP_RUN;
    log->due++;
    return op;
}

struct shl_op *shl_oplog_next(struct shl_oplog *log)
{
    uint64_t seq = log->settled + 1;
    if (!log->due)
        return NULL;
    for (; seq <= log->started; seq++) {
        struct shl_op *op = find(log, seq);
        if (op && op->begun && op->due != SHL_OP_NOTHING)
            return op;
    }
    return NULL;
}

void shl_oplog_unpin(struct shl_oplog *log)
{
    log->pinned = 0;
    advance(log);
}

static void commit(struct shl_oplog *log, const struct shl_op *op)
{
    log->step_last = op->seq;
    log->step_first = 0;
    log->in_step = op->leaves_open;
    log->gives_up = false;
    log->step++;
    log->position += op->late ? op->earned : op->gained;
    log->committed = log->parties = log->voting;
}

/* It is known on all members. */
static void count_votes(struct shl_oplog *log, const struct shl_op *op)
{
    if (op->votes)
        log->voted = op->seq;
    if (op->is_commit)
        commit(log, op);
    else if (op->votes)
        log->committed = log->parties = log->voting;
}

/* Every member has begun it, and so holds all before it. */
static void hold(struct shl_oplog *log, struct shl_op *op)
{
    set_due(log, op, SHL_OP_NOTHING);
    op->held = true;
    for (uint64_t seq = log->settled + 1; seq < op->seq; seq++) {
        struct shl_op *before = find(log, seq);
        if (before)
            before->settled = true;
    }
    if (log->settled < op->seq - 1)
        log->settled = op->seq - 1;
}

void shl_oplog_end_plain(struct shl_oplog *log, struct shl_op *op)
{
    hold(log, op);
    log->pinned = 0;
}

void shl_oplog_held(struct shl_oplog *log, struct shl_op *op, bool everywhere)
{
    hold(log, op);
    if (everywhere) {
        op->settled = true;
        count_votes(log, op);
    }
    advance(log);
}

const struct shl_op *shl_oplog_to_forward(struct shl_oplog *log, uint32_t rank)
{
    const struct shl_op *op = log->forwarded ? find(log, log->forwarded) : NULL;
    return op && op->kept && op->source == rank ? op : NULL;
}

bool shl_oplog_arrived(struct shl_oplog *log, uint32_t rank, const struct shl_op *from,
                       const void *result, size_t bytes)
{
    struct shl_op *op = find(log, from->seq);
    if (!op || op->seq != log->forwarded || op->due != SHL_OP_FORWARD || op->source != rank)
        return true;
    if (bytes > sizeof(log->kept) || (op->begun && bytes != op->result_bytes))
        return false;
    memcpy(log->kept, result, bytes);
    log->arrived = op->seq;
    log->arrived_bytes = bytes;
    op->epoch = from->epoch;
    op->contributors = from->contributors;
    return true;
}

void shl_oplog_failed(struct shl_oplog *log, struct shl_op *op, enum shoal_status status)
{
    set_due(log, op, SHL_OP_NOTHING);
    op->failed = true;
    op->status = status;
}

void shl_oplog_void_step(struct shl_oplog *log)
{
    log->retry |= log->in_step;
    log->in_step = false;
}

/* ---- the report ----------------------------------------------------------------------------- */

static bool is_root_lost(const struct shl_op *op, const struct shl_members *next)
{
    return op->root_id && shl_members_find(next, op->root_id) == SHL_MEMBER_NONE;
}

/* Neither the root nor the sizes of its buffers are what they were. */
static bool is_out_of_place(const struct shl_op *op, const struct shl_members *next)
{
    return is_root_lost(op, next) || (op->shape && op->shape != shl_members_hash(next));
}

static uint8_t told(const struct shl_op *op)
{
    if (op->status == SHOAL_ERR_TIMEOUT)
        return SHL_OP_EXPIRED;
    return op->status == SHOAL_ERR_MISMATCH ? SHL_OP_DISPUTED : 0;
}

static uint8_t flags_of(const struct shl_oplog *log, const struct shl_op *op,
                        const struct shl_members *next)
{
    if (!op || (!op->begun && !op->failed))
        return SHL_OP_RETAINED; /* its input comes with the call */
    if (op->failed)
        return SHL_OP_HELD | told(op);
    if (op->settled)
        return SHL_OP_HELD;
    if (op->in_step)
        return log->mode == SHL_STEP_RETAIN ? SHL_OP_RETAINED : 0;
    if (op->kept)
        return SHL_OP_HELD | SHL_OP_COPY;
    if (is_out_of_place(op, next))
        return op->held ? SHL_OP_HELD : 0;
    return SHL_OP_RETAINED;
}

/* Who has the result of a root that is lost keeps it, who has not never gets it: so neither counts,
 * and the step begins again. So it does when buffers have the shape of a view that is gone. */
static bool gives_up(struct shl_oplog *log, const struct shl_members *next)
{
    if (!log->in_step || log->gives_up)
        return log->in_step;
    for (uint64_t seq = log->step_first; seq && seq <= log->started; seq++) {
        const struct shl_op *op = find(log, seq);
        if (op && op->begun && is_out_of_place(op, next))
            return true;
    }
    return false;
}

void shl_oplog_report(struct shl_oplog *log, const struct shl_members *next,
                      struct shl_report *report)
{
    memset(report, 0, sizeof(*report));
    report->settled = log->settled;
    report->started = log->started > log->decided ? log->started : log->decided;
    report->step = log->step;
    report->step_last = log->step_last;
    report->step_first = log->step_first;
    report->position = log->position;
    report->gives_up = gives_up(log, next);
    for (uint64_t seq = log->settled + 1; seq <= report->started; seq++)
        report->ops[seq - log->settled - 1] = flags_of(log, find(log, seq), next);
}

/* ---- the decision --------------------------------------------------------------------------- */

static void settle(struct shl_oplog *log, uint64_t seq)
{
    struct shl_op *op = claim(log, seq);
    if (op->begun)
        set_due(log, op, SHL_OP_NOTHING);
    if (!op->settled && !op->failed)
        count_votes(log, op);
    op->settled = true;
}

static void redo(struct shl_oplog *log, uint64_t seq)
{
    struct shl_op *op = find(log, seq);
    if (!op || !op->begun || op->failed)
        return;
    op->held = op->settled = op->kept = false;
    op->redone = true;
    set_due(log, op, SHL_OP_RUN);
}

static void forward(struct shl_oplog *log, uint64_t seq, uint32_t source)
{
    struct shl_op *op = claim(log, seq);
    op->source = source;
    log->forwarded = seq;
    if (op->held || op->failed) /* here it is as before: safe once all have begun a later one */
        return;
    if (op->begun)
        set_due(log, op, SHL_OP_FORWARD);
    else
        op->due = SHL_OP_FORWARD; /* counted when it is called */
}

static void fail_op(struct shl_oplog *log, uint64_t seq, enum shoal_status status)
{
    struct shl_op *op = claim(log, seq);
    if (op->begun)
        set_due(log, op, SHL_OP_NOTHING);
    if (!op->failed) {
        op->failed = true;
        op->status = status;
    }
    op->settled = true;
    op->held = false;
}

static void give_up_step(struct shl_oplog *log)
{
    log->retry |= log->in_step || log->step_first;
    log->in_step = log->gives_up = false;
    log->step_first = 0;
    skip_void(log);
}

static void follow_op(struct shl_oplog *log, const struct shl_decision *decision, uint64_t seq)
{
    uint32_t at = (uint32_t)(seq - decision->settled - 1);
    switch ((enum shl_outcome)decision->outcomes[at]) {
    case SHL_OUTCOME_DONE:
        settle(log, seq);
        break;
    case SHL_OUTCOME_FORWARD:
        forward(log, seq, decision->sources[at]);
        break;
    case SHL_OUTCOME_REDO:
        redo(log, seq);
        break;
    case SHL_OUTCOME_RETRY:
        fail_op(log, seq, SHOAL_ERR_STEP_RETRY);
        break;
    case SHL_OUTCOME_EXPIRED:
        fail_op(log, seq, SHOAL_ERR_TIMEOUT);
        break;
    case SHL_OUTCOME_DISPUTED:
        fail_op(log, seq, SHOAL_ERR_MISMATCH);
        break;
    default:
        fail_op(log, seq, SHOAL_ERR_EPOCH);
        break;
    }
}

/* What the last decision had forwarded is decided anew, also where it was not called yet. */
static void forget_forwarded(struct shl_oplog *log)
{
    struct shl_op *op = log->forwarded ? find(log, log->forwarded) : NULL;
    if (op && !op->begun)
        op->due = SHL_OP_NOTHING;
    log->forwarded = log->arrived = 0;
}

enum shoal_status shl_oplog_follow(struct shl_oplog *log, const struct shl_decision *decision)
{
    uint64_t begun = log->started > log->decided ? log->started : log->decided;
    if (decision->settled > begun || decision->started < begun)
        return shl_fail(SHOAL_ERR_EPOCH,
                        "the record says that operations up to %llu are done everywhere, and up to "
                        "%llu begun; this member has begun %llu. Join again",
                        (unsigned long long)decision->settled,
                        (unsigned long long)decision->started, (unsigned long long)begun);
    forget_forwarded(log);
    for (uint64_t seq = log->settled + 1; seq <= decision->settled; seq++) {
        const struct shl_op *op = find(log, seq);
        /* Within steps one may return from an operation while another has not the result of the one
         * before: that is no result then, since the step is given up. */
        if (decision->retry && op && op->begun && op->in_step && !op->held && !op->settled)
            fail_op(log, seq, SHOAL_ERR_STEP_RETRY);
        else
            settle(log, seq);
    }
    if (decision->settled > log->settled)
        log->settled = decision->settled;
    for (uint64_t seq = decision->redo_from; seq && seq <= decision->settled; seq++)
        redo(log, seq);
    if (decision->redo_from && decision->redo_from - 1 < log->settled)
        log->settled = decision->redo_from - 1;
    for (uint64_t seq = decision->settled + 1; seq <= decision->started; seq++)
        follow_op(log, decision, seq);
    log->decided = decision->started;
    if (decision->retry)
        give_up_step(log);
    advance(log);
    if (decision->step > log->step) /* its call failed here, and what goes with it was not done */
        return shl_fail(SHOAL_ERR_EPOCH,
                        "step %llu was committed, which failed on this member; join again",
                        (unsigned long long)log->step);
    return SHOAL_OK;
}
