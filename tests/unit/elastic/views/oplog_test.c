/*
 * The log of operations: what it reports behind a fence, and what it does with decisions.
 *
 * Reports of several logs go through the decision that production makes of them, so that both sides
 * are known to fit together.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "elastic/views/oplog.h"

#include "core/sys.h"
#include "support/test.h"

static struct shl_oplog *member(enum shl_step_mode mode, uint64_t from)
{
    struct shl_decision decision = {.started = from, .settled = from};
    struct shl_oplog *log = shl_mem->alloc(sizeof(*log));
    assert_non_null(log);
    shl_oplog_enter(log, mode, &decision);
    return log;
}

static struct shl_op *begin(struct shl_oplog *log, bool is_commit)
{
    struct shl_op *op;
    ASSERT_OK(shl_oplog_begin(log, is_commit, &op));
    op->is_commit = is_commit;
    return op;
}

/* A small sum outside of steps, returned with a copy kept. */
static struct shl_op *keep(struct shl_oplog *log)
{
    struct shl_op *op = begin(log, false);
    op->kept = true;
    shl_oplog_held(log, op, false);
    shl_oplog_unpin(log);
    return op;
}

/* The same by the short way. */
static struct shl_op *keep_plain(struct shl_oplog *log)
{
    assert_true(shl_oplog_is_calm(log));
    struct shl_op *op = shl_oplog_begin_plain(log);
    assert_int_equal(log->due, 1);
    assert_ptr_equal(shl_oplog_next(log), op);
    op->kept = true;
    shl_oplog_end_plain(log, op);
    assert_int_equal(log->due, 0);
    return op;
}

static struct shl_members everybody; /* of the next view, that are roots */

static void decide(struct shl_oplog **logs, uint32_t count, bool shrinks,
                   struct shl_decision *decision)
{
    static struct shl_report reports[4];
    for (uint32_t i = 0; i < count; i++) {
        shl_oplog_report(logs[i], &everybody, &reports[i]);
        assert_true(shl_report_valid(&reports[i]));
    }
    struct shl_outcome_input input = {
        .mode = logs[0]->mode, .count = count, .reports = reports, .shrinks = shrinks};
    shl_outcome_decide(&input, decision);
    for (uint32_t i = 0; i < count; i++)
        ASSERT_OK(shl_oplog_follow(logs[i], decision));
}

static void close_all(struct shl_oplog **logs, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        shl_oplog_free(logs[i]);
}

static void numbers_go_on_from_the_others(void **state)
{
    (void)state;
    struct shl_oplog *log = member(SHL_STEP_RETAIN, 41);
    assert_int_equal(keep(log)->seq, 42);
    assert_int_equal(log->settled, 41);
    keep(log);
    assert_int_equal(log->settled, 42); /* all began 43, so all hold 42 */
    shl_oplog_free(log);
}

static void a_round_settles_at_once(void **state)
{
    (void)state;
    struct shl_oplog *log = member(SHL_STEP_RETAIN, 0);
    shl_oplog_held(log, begin(log, false), true);
    shl_oplog_unpin(log);
    assert_int_equal(log->settled, 1);
    assert_null(shl_oplog_next(log));
    shl_oplog_free(log);
}

static void what_one_holds_is_forwarded(void **state)
{
    (void)state;
    struct shl_oplog *logs[] = {member(SHL_STEP_RETAIN, 0), member(SHL_STEP_RETAIN, 0)};
    static struct shl_decision decision;
    keep(logs[1]);
    struct shl_op *waiting = begin(logs[0], false);
    decide(logs, 2, true, &decision);
    assert_ptr_equal(shl_oplog_next(logs[0]), waiting);
    assert_int_equal(waiting->due, SHL_OP_FORWARD);
    assert_int_equal(waiting->source, 1);
    struct shl_op *source = shl_oplog_next(logs[1]);
    assert_non_null(source);
    assert_true(source->held);
    shl_oplog_held(logs[0], waiting, true);
    shl_oplog_held(logs[1], source, true);
    assert_null(shl_oplog_next(logs[0]));
    assert_int_equal(logs[0]->settled, 1);
    assert_int_equal(logs[1]->settled, 1);
    close_all(logs, 2);
}

static void what_nobody_holds_is_redone(void **state)
{
    (void)state;
    struct shl_oplog *logs[] = {member(SHL_STEP_RETAIN, 0), member(SHL_STEP_RETAIN, 0)};
    static struct shl_decision decision;
    struct shl_op *op = begin(logs[0], false); /* the other has not called it */
    decide(logs, 2, true, &decision);
    assert_int_equal(decision.outcomes[0], SHL_OUTCOME_REDO);
    assert_ptr_equal(shl_oplog_next(logs[0]), op);
    assert_int_equal(op->due, SHL_OP_RUN);
    assert_null(shl_oplog_next(logs[1]));
    assert_int_equal(begin(logs[1], false)->due, SHL_OP_RUN);
    close_all(logs, 2);
}

static void a_shape_of_the_view_is_not_redone(void **state)
{
    (void)state;
    struct shl_oplog *logs[] = {member(SHL_STEP_RETAIN, 0), member(SHL_STEP_RETAIN, 0)};
    static struct shl_decision decision;
    struct shl_op *op = begin(logs[0], false);
    op->shape = shl_members_hash(&everybody) + 1;
    decide(logs, 2, true, &decision);
    assert_int_equal(decision.outcomes[0], SHL_OUTCOME_FAILED);
    assert_true(op->failed);
    assert_int_equal(op->status, SHOAL_ERR_EPOCH);
    assert_null(shl_oplog_next(logs[0]));
    /* The other calls it later and is told the same. */
    struct shl_op *late = begin(logs[1], false);
    assert_true(late->failed);
    assert_int_equal(late->status, SHOAL_ERR_EPOCH);
    assert_null(shl_oplog_next(logs[1]));
    close_all(logs, 2);
}

/* Connections broke, and nobody is lost: the buffers fit the next view, too. */
static void the_same_members_redo_what_has_their_shape(void **state)
{
    (void)state;
    struct shl_oplog *logs[] = {member(SHL_STEP_RETAIN, 0), member(SHL_STEP_RETAIN, 0)};
    static struct shl_decision decision;
    struct shl_op *op = begin(logs[0], false);
    op->shape = shl_members_hash(&everybody);
    op->held = true; /* and was in its completion round */
    decide(logs, 2, false, &decision);
    assert_int_equal(decision.outcomes[0], SHL_OUTCOME_REDO);
    assert_ptr_equal(shl_oplog_next(logs[0]), op);
    close_all(logs, 2);
}

static void a_failure_is_told_after_two_changes(void **state)
{
    (void)state;
    struct shl_oplog *logs[] = {member(SHL_STEP_RETAIN, 0), member(SHL_STEP_RETAIN, 0)};
    static struct shl_decision decision;
    begin(logs[0], false)->shape = shl_members_hash(&everybody) + 1;
    decide(logs, 2, true, &decision);
    shl_oplog_unpin(logs[0]);
    decide(logs, 2, true, &decision);
    assert_true(begin(logs[1], false)->failed);
    close_all(logs, 2);
}

/* Settled operations of an open step are redone too when a contributor is gone. */
static void a_retained_step_is_redone_from_its_first_operation(void **state)
{
    (void)state;
    struct shl_oplog *logs[] = {member(SHL_STEP_RETAIN, 0), member(SHL_STEP_RETAIN, 0)};
    static struct shl_decision decision;
    for (uint32_t i = 0; i < 2; i++) {
        keep(logs[i]); /* before the step */
        logs[i]->in_step = true;
        for (int j = 0; j < 2; j++) {
            shl_oplog_held(logs[i], begin(logs[i], false), false);
            shl_oplog_unpin(logs[i]);
        }
    }
    struct shl_op *commit = begin(logs[0], true);
    decide(logs, 2, true, &decision);
    assert_int_equal(decision.redo_from, 2);
    for (uint64_t seq = 2; seq <= 4; seq++) {
        struct shl_op *op = shl_oplog_next(logs[0]);
        assert_non_null(op);
        assert_int_equal(op->seq, seq);
        shl_oplog_held(logs[0], op, op == commit);
    }
    assert_int_equal(logs[0]->step, 1);
    assert_int_equal(logs[0]->step_last, 4);
    assert_int_equal(shl_oplog_next(logs[1])->seq, 2);
    close_all(logs, 2);
}

static void a_retained_step_stays_when_nobody_is_lost(void **state)
{
    (void)state;
    struct shl_oplog *logs[] = {member(SHL_STEP_RETAIN, 0), member(SHL_STEP_RETAIN, 0)};
    static struct shl_decision decision;
    for (uint32_t i = 0; i < 2; i++) {
        logs[i]->in_step = true;
        for (int j = 0; j < 2; j++) {
            shl_oplog_held(logs[i], begin(logs[i], false), false);
            shl_oplog_unpin(logs[i]);
        }
    }
    decide(logs, 2, false, &decision);
    assert_int_equal(decision.redo_from, 0);
    assert_int_equal(shl_oplog_next(logs[0])->seq, 2); /* it may not be everywhere */
    close_all(logs, 2);
}

static void an_aborted_step_begins_again_on_all(void **state)
{
    (void)state;
    struct shl_oplog *logs[] = {member(SHL_STEP_ABORT, 0), member(SHL_STEP_ABORT, 0)};
    static struct shl_decision decision;
    logs[0]->in_step = logs[1]->in_step = true;
    struct shl_op *op = begin(logs[0], false); /* the other has only begun the step */
    decide(logs, 2, true, &decision);
    assert_true(op->failed);
    assert_int_equal(op->status, SHOAL_ERR_STEP_RETRY);
    for (uint32_t i = 0; i < 2; i++) {
        assert_true(logs[i]->retry);
        assert_false(logs[i]->in_step);
        assert_int_equal(logs[i]->started, 1);
        shl_oplog_unpin(logs[i]);
        assert_int_equal(begin(logs[i], false)->seq, 2);
    }
    close_all(logs, 2);
}

static void a_decision_about_what_was_not_begun_is_refused(void **state)
{
    (void)state;
    struct shl_oplog *log = member(SHL_STEP_RETAIN, 0);
    struct shl_decision decision = {.settled = UINT64_MAX - 1, .started = UINT64_MAX - 1};
    struct shl_op *op = begin(log, false);
    ASSERT_STATUS(SHOAL_ERR_EPOCH, shl_oplog_follow(log, &decision));
    decision.settled = decision.started = 0;
    ASSERT_STATUS(SHOAL_ERR_EPOCH, shl_oplog_follow(log, &decision));
    assert_int_equal(log->settled, 0);
    assert_false(op->failed);
    shl_oplog_free(log);
}

/* Whoever is behind, in the step or before it, goes on with the numbers of the others. */
static void a_step_is_given_up_by_who_cannot_finish_it(void **state)
{
    (void)state;
    struct shl_oplog *logs[] = {member(SHL_STEP_RETAIN, 0), member(SHL_STEP_RETAIN, 0),
                                member(SHL_STEP_RETAIN, 0)};
    static struct shl_decision decision;
    logs[0]->in_step = logs[1]->in_step = true; /* the last one has not begun it */
    begin(logs[0], false);
    shl_oplog_unpin(logs[0]);
    logs[1]->gives_up = true;
    decide(logs, 3, false, &decision);
    assert_int_equal(decision.retry, 1);
    for (uint32_t i = 0; i < 3; i++) {
        assert_false(logs[i]->in_step || logs[i]->gives_up);
        assert_int_equal(logs[i]->retry, i < 2);
        assert_null(shl_oplog_next(logs[i]));
        struct shl_op *op = begin(logs[i], false);
        assert_int_equal(op->seq, 2);
        assert_false(op->failed);
    }
    close_all(logs, 3);
}

static struct shl_op *begin_with_root(struct shl_oplog *log, uint64_t root)
{
    struct shl_op *op = begin(log, false);
    op->root_id = root;
    return op;
}

static void a_step_whose_root_is_lost_is_given_up(void **state)
{
    (void)state;
    struct shl_oplog *logs[] = {member(SHL_STEP_RETAIN, 0), member(SHL_STEP_RETAIN, 0)};
    static struct shl_decision decision;
    for (uint32_t i = 0; i < 2; i++)
        logs[i]->in_step = true;
    shl_oplog_held(logs[0], begin_with_root(logs[0], 77), false);
    shl_oplog_unpin(logs[0]);
    struct shl_op *waits = begin_with_root(logs[1], 77);
    decide(logs, 2, true, &decision);
    assert_int_equal(decision.retry, 1);
    assert_int_equal(waits->status, SHOAL_ERR_STEP_RETRY);
    assert_true(logs[0]->retry && logs[1]->retry);
    close_all(logs, 2);
}

static void a_step_with_the_shape_of_a_former_view_is_given_up(void **state)
{
    (void)state;
    static struct shl_decision decision;
    for (int lost = 0; lost < 2; lost++) {
        struct shl_oplog *logs[] = {member(SHL_STEP_RETAIN, 0), member(SHL_STEP_RETAIN, 0)};
        for (uint32_t i = 0; i < 2; i++)
            logs[i]->in_step = true;
        struct shl_op *op = begin(logs[0], false); /* the other has not called it */
        op->shape = shl_members_hash(&everybody) + (uint64_t)lost;
        shl_oplog_held(logs[0], op, false);
        shl_oplog_unpin(logs[0]);
        decide(logs, 2, lost, &decision);
        assert_int_equal(decision.retry, lost);
        assert_int_equal(logs[1]->retry, lost);
        assert_true(lost || shl_oplog_next(logs[0]) == op);
        close_all(logs, 2);
    }
}

static void an_operation_whose_root_is_lost_fails_on_all(void **state)
{
    (void)state;
    struct shl_oplog *logs[] = {member(SHL_STEP_RETAIN, 0), member(SHL_STEP_RETAIN, 0)};
    static struct shl_decision decision;
    struct shl_op *op = begin_with_root(logs[0], 77);
    decide(logs, 2, true, &decision);
    assert_int_equal(op->status, SHOAL_ERR_EPOCH);
    /* The other calls it with a root of the next view. */
    struct shl_op *late = begin_with_root(logs[1], 78);
    assert_true(late->failed);
    assert_int_equal(late->status, SHOAL_ERR_EPOCH);
    close_all(logs, 2);
}

/* The completion round of the commit failed on one, which then gave the step up: too late. */
static void a_step_that_was_committed_is_not_given_up(void **state)
{
    (void)state;
    struct shl_oplog *logs[] = {member(SHL_STEP_RETAIN, 0), member(SHL_STEP_RETAIN, 0)};
    static struct shl_report reports[2];
    static struct shl_decision decision;
    for (uint32_t i = 0; i < 2; i++) {
        logs[i]->in_step = true;
        struct shl_op *op = begin(logs[i], true);
        op->gained = 7;
        op->held = true;
        if (i == 0)
            shl_oplog_held(logs[0], op, true);
        else
            shl_oplog_failed(logs[1], op, SHOAL_ERR_TIMEOUT);
        shl_oplog_unpin(logs[i]);
    }
    logs[1]->gives_up = true;
    for (uint32_t i = 0; i < 2; i++)
        shl_oplog_report(logs[i], &everybody, &reports[i]);
    struct shl_outcome_input input = {.mode = SHL_STEP_RETAIN, .count = 2, .reports = reports};
    shl_outcome_decide(&input, &decision);
    assert_int_equal(decision.retry, 0);
    ASSERT_OK(shl_oplog_follow(logs[0], &decision));
    assert_int_equal(logs[0]->step, 1);
    ASSERT_STATUS(SHOAL_ERR_EPOCH, shl_oplog_follow(logs[1], &decision));
    close_all(logs, 2);
}

/* One has returned from the commit; the others were in its completion round. */
static void a_commit_that_one_returned_from_is_committed_everywhere(void **state)
{
    (void)state;
    struct shl_oplog *logs[] = {member(SHL_STEP_RETAIN, 0), member(SHL_STEP_RETAIN, 0)};
    static struct shl_decision decision;
    for (uint32_t i = 0; i < 2; i++) {
        logs[i]->in_step = true;
        struct shl_op *op = begin(logs[i], true);
        op->gained = 7;
        op->held = true;
        if (i == 0)
            shl_oplog_held(logs[0], op, true);
    }
    decide(logs, 2, true, &decision);
    for (uint32_t i = 0; i < 2; i++) {
        assert_null(shl_oplog_next(logs[i]));
        assert_int_equal(logs[i]->step, 1);
        assert_int_equal(logs[i]->position, 7);
        assert_false(logs[i]->in_step);
    }
    close_all(logs, 2);
}

/* Whoever returned from the second knows that all began the first, not that all have its result. */
static void a_result_that_is_missing_is_none(void **state)
{
    (void)state;
    struct shl_oplog *logs[] = {member(SHL_STEP_ABORT, 0), member(SHL_STEP_ABORT, 0)};
    struct shl_decision decision;
    logs[0]->in_step = logs[1]->in_step = true;
    shl_oplog_held(logs[0], begin(logs[0], false), false);
    shl_oplog_unpin(logs[0]);
    shl_oplog_held(logs[0], begin(logs[0], false), false);
    shl_oplog_unpin(logs[0]);
    struct shl_op *missing = begin(logs[1], false);
    decide(logs, 2, true, &decision);
    assert_int_equal(decision.settled, 1);
    assert_int_equal(decision.retry, 1);
    assert_true(missing->failed);
    assert_int_equal(missing->status, SHOAL_ERR_STEP_RETRY);
    assert_null(shl_oplog_next(logs[1]));
    for (unsigned i = 0; i < 2; i++) {
        shl_oplog_unpin(logs[i]);
        assert_true(logs[i]->retry);
        assert_int_equal(begin(logs[i], false)->seq, 3); /* all go on with the same number */
    }
    close_all(logs, 2);
}

/* It commits the step before the one that it ends, and that one is lost. */
static void a_late_commit_leaves_a_step_open(void **state)
{
    (void)state;
    struct shl_oplog *logs[] = {member(SHL_STEP_ABORT, 0), member(SHL_STEP_ABORT, 0)};
    struct shl_decision decision;
    for (unsigned i = 0; i < 2; i++) {
        logs[i]->in_step = true;
        struct shl_op *op = begin(logs[i], true);
        op->late = op->leaves_open = true;
        op->earned = 5;
        op->gained = 9;
        if (i == 0)
            shl_oplog_held(logs[i], op, true);
        else
            op->held = true; /* in its completion round */
    }
    shl_oplog_unpin(logs[0]);
    assert_true(logs[0]->in_step);
    begin(logs[0], false);
    decide(logs, 2, true, &decision);
    for (unsigned i = 0; i < 2; i++) {
        shl_oplog_unpin(logs[i]);
        assert_int_equal(logs[i]->step, 1);
        assert_int_equal(logs[i]->position, 5);
        assert_true(logs[i]->retry);
        assert_false(logs[i]->in_step);
    }
    close_all(logs, 2);
}

/* It heard the verdict; to the others the connection broke first. Some call it later. */
static void what_one_was_told_all_are_told(void **state)
{
    (void)state;
    const enum shoal_status told[] = {SHOAL_ERR_TIMEOUT, SHOAL_ERR_MISMATCH};
    for (uint32_t i = 0; i < 4; i++) {
        struct shl_oplog *logs[] = {member(SHL_STEP_RETAIN, 0), member(SHL_STEP_RETAIN, 0),
                                    member(SHL_STEP_RETAIN, 0)};
        static struct shl_decision decision;
        logs[0]->in_step = logs[1]->in_step = logs[2]->in_step = i >= 2;
        shl_oplog_failed(logs[0], begin(logs[0], false), told[i % 2]);
        struct shl_op *op = begin(logs[1], false);
        decide(logs, 3, true, &decision);
        struct shl_op *late = begin(logs[2], false);
        assert_true(op->failed && late->failed);
        assert_int_equal(op->status, told[i % 2]);
        assert_int_equal(late->status, told[i % 2]);
        for (uint32_t m = 0; m < 3; m++)
            assert_null(shl_oplog_next(logs[m]));
        close_all(logs, 3);
    }
}

static void a_retained_step_has_an_end(void **state)
{
    (void)state;
    struct shl_oplog *log = member(SHL_STEP_RETAIN, 0);
    struct shl_report report;
    struct shl_op *op;
    log->in_step = true;
    for (uint32_t i = 0; i < SHL_OPLOG_STEP_MAX; i++) {
        shl_oplog_held(log, begin(log, false), false);
        shl_oplog_unpin(log);
    }
    ASSERT_STATUS(SHOAL_ERR_UNSUPPORTED, shl_oplog_begin(log, false, &op));
    begin(log, true); /* the commit still is possible */
    shl_oplog_report(log, &everybody, &report);
    assert_true(shl_report_valid(&report));
    shl_oplog_free(log);
}

/* Two are open to the log: the one that is made safe, and the one that the program computes. */
static void a_step_behind_another_has_an_end_of_its_own(void **state)
{
    (void)state;
    struct shl_oplog *log = member(SHL_STEP_ABORT, 0);
    struct shl_op *op;
    log->in_step = true;
    for (uint32_t step = 0; step < 2; step++) {
        for (uint32_t i = 0; i < SHL_OPLOG_STEP_MAX; i++) {
            shl_oplog_held(log, begin(log, false), true);
            shl_oplog_unpin(log);
        }
        ASSERT_STATUS(SHOAL_ERR_UNSUPPORTED, shl_oplog_begin(log, false, &op));
        op = begin(log, true); /* the votes still are possible */
        op->is_commit = step > 0;
        op->leaves_open = true;
        shl_oplog_held(log, op, true);
        shl_oplog_unpin(log);
    }
    assert_int_equal(log->step, 1);
    shl_oplog_free(log);
}

/* Failures settle nothing, and a report has room for so many. */
static void a_row_of_failures_has_an_end(void **state)
{
    (void)state;
    struct shl_oplog *log = member(SHL_STEP_RETAIN, 0);
    struct shl_report report;
    struct shl_op *op;
    for (uint32_t i = 0; i < SHL_OPS_MAX; i++) {
        shl_oplog_failed(log, begin(log, false), SHOAL_ERR_TIMEOUT);
        shl_oplog_unpin(log);
    }
    ASSERT_STATUS(SHOAL_ERR_UNSUPPORTED, shl_oplog_begin(log, false, &op));
    ASSERT_STATUS(SHOAL_ERR_UNSUPPORTED, shl_oplog_begin(log, true, &op));
    shl_oplog_report(log, &everybody, &report);
    assert_true(shl_report_valid(&report));
    shl_oplog_free(log);
}

static void inputs_are_given_back(void **state)
{
    (void)state;
    struct shl_oplog *log = member(SHL_STEP_RETAIN, 0);
    log->in_step = true;
    struct shl_op *op = begin(log, false);
    op->input = shl_mem->alloc(100);
    shl_oplog_held(log, op, false);
    shl_oplog_unpin(log);
    struct shl_op *commit = begin(log, true);
    assert_non_null(op->input); /* it may be redone until here */
    shl_oplog_held(log, commit, true);
    assert_null(op->input);
    shl_oplog_free(log);
}

/* Both ways leave what a report tells the same, and few operations in memory. */
static void plain_operations_are_reported_as_all_others(void **state)
{
    (void)state;
    static struct shl_report reports[2];
    struct shl_oplog *logs[2] = {member(SHL_STEP_RETAIN, 7), member(SHL_STEP_RETAIN, 7)};
    for (uint32_t i = 0; i < 3 * SHL_OPLOG_SLOTS; i++) {
        assert_int_equal(keep_plain(logs[0])->seq, i + 8);
        keep(logs[1]);
        for (uint32_t k = 0; k < 2; k++)
            shl_oplog_report(logs[k], &everybody, &reports[k]);
        assert_memory_equal(&reports[0], &reports[1], sizeof(reports[0]));
    }
    assert_true(logs[0]->fresh <= 3);
    struct shl_op *vote = begin(logs[0], true); /* in the place of a plain one */
    assert_false(vote->plain);
    assert_true(!vote->task && !vote->wanted && !vote->held);
    close_all(logs, 2);
}

static void a_plain_operation_that_one_returned_from_is_forwarded(void **state)
{
    (void)state;
    struct shl_decision decision;
    struct shl_oplog *logs[2] = {member(SHL_STEP_RETAIN, 0), member(SHL_STEP_RETAIN, 0)};
    keep_plain(logs[0]);
    keep_plain(logs[1]);
    keep_plain(logs[0]);
    struct shl_op *late = shl_oplog_begin_plain(logs[1]);
    decide(logs, 2, true, &decision);
    assert_int_equal(late->due, SHL_OP_FORWARD);
    assert_int_equal(late->source, 0);
    assert_false(shl_oplog_is_calm(logs[1]));
    shl_oplog_held(logs[1], late, true);
    shl_oplog_unpin(logs[1]);
    assert_true(shl_oplog_is_calm(logs[1]));
    close_all(logs, 2);
}

static void plain_operations_of_a_retained_step_are_redone(void **state)
{
    (void)state;
    struct shl_decision decision;
    struct shl_oplog *logs[1] = {member(SHL_STEP_RETAIN, 0)};
    struct shl_op *ops[3];
    logs[0]->in_step = true;
    for (uint32_t i = 0; i < 3; i++) {
        ops[i] = shl_oplog_begin_plain(logs[0]);
        shl_oplog_end_plain(logs[0], ops[i]);
    }
    assert_int_equal(logs[0]->step_first, 1);
    decide(logs, 1, true, &decision);
    for (uint32_t i = 0; i < 3; i++)
        assert_true(ops[i]->seq == i + 1 && ops[i]->redone && ops[i]->due == SHL_OP_RUN);
    shl_oplog_free(logs[0]);
}

static void nothing_is_plain_that_would_be_refused(void **state)
{
    (void)state;
    struct shl_oplog *log = member(SHL_STEP_RETAIN, 0);
    log->in_step = true;
    for (uint32_t i = 0; i < SHL_OPLOG_STEP_MAX; i++)
        keep_plain(log);
    struct shl_op *op;
    assert_false(shl_oplog_is_calm(log)); /* the step is full */
    ASSERT_STATUS(SHOAL_ERR_UNSUPPORTED, shl_oplog_begin(log, false, &op));
    shl_oplog_void_step(log);
    assert_false(shl_oplog_is_calm(log)); /* its program is to be told */
    shl_oplog_free(log);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_go_on_from_the_others),
        cmocka_unit_test(a_round_settles_at_once),
        cmocka_unit_test(what_one_holds_is_forwarded),
        cmocka_unit_test(what_nobody_holds_is_redone),
        cmocka_unit_test(a_shape_of_the_view_is_not_redone),
        cmocka_unit_test(the_same_members_redo_what_has_their_shape),
        cmocka_unit_test(a_failure_is_told_after_two_changes),
        cmocka_unit_test(a_retained_step_is_redone_from_its_first_operation),
        cmocka_unit_test(a_retained_step_stays_when_nobody_is_lost),
        cmocka_unit_test(an_aborted_step_begins_again_on_all),
        cmocka_unit_test(a_commit_that_one_returned_from_is_committed_everywhere),
        cmocka_unit_test(a_step_is_given_up_by_who_cannot_finish_it),
        cmocka_unit_test(a_step_whose_root_is_lost_is_given_up),
        cmocka_unit_test(a_step_with_the_shape_of_a_former_view_is_given_up),
        cmocka_unit_test(an_operation_whose_root_is_lost_fails_on_all),
        cmocka_unit_test(a_step_that_was_committed_is_not_given_up),
        cmocka_unit_test(a_decision_about_what_was_not_begun_is_refused),
        cmocka_unit_test(a_result_that_is_missing_is_none),
        cmocka_unit_test(a_late_commit_leaves_a_step_open),
        cmocka_unit_test(what_one_was_told_all_are_told),
        cmocka_unit_test(a_retained_step_has_an_end),
        cmocka_unit_test(a_step_behind_another_has_an_end_of_its_own),
        cmocka_unit_test(a_row_of_failures_has_an_end),
        cmocka_unit_test(inputs_are_given_back),
        cmocka_unit_test(plain_operations_are_reported_as_all_others),
        cmocka_unit_test(a_plain_operation_that_one_returned_from_is_forwarded),
        cmocka_unit_test(plain_operations_of_a_retained_step_are_redone),
        cmocka_unit_test(nothing_is_plain_that_would_be_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
