/*
 * Steps in the log of operations: redone, given up, committed, and full.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "core/sys.h"
#include "support/test.h"
#include "unit/elastic/views/logs.h"

/* Settled operations of an open step are redone too when a contributor is gone. */
static void a_retained_step_is_redone_from_its_first_operation(void **state)
{
    (void)state;
    struct shl_oplog *logs[] = {logs_member(SHL_STEP_RETAIN, 0), logs_member(SHL_STEP_RETAIN, 0)};
    static struct shl_decision decision;
    for (uint32_t i = 0; i < 2; i++) {
        logs_keep(logs[i]); /* before the step */
        logs[i]->in_step = true;
        for (int j = 0; j < 2; j++) {
            shl_oplog_held(logs[i], logs_begin(logs[i], false), false);
            shl_oplog_unpin(logs[i]);
        }
    }
    struct shl_op *commit = logs_begin(logs[0], true);
    logs_decide(logs, 2, true, &decision);
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
    logs_close(logs, 2);
}

static void a_retained_step_stays_when_nobody_is_lost(void **state)
{
    (void)state;
    struct shl_oplog *logs[] = {logs_member(SHL_STEP_RETAIN, 0), logs_member(SHL_STEP_RETAIN, 0)};
    static struct shl_decision decision;
    for (uint32_t i = 0; i < 2; i++) {
        logs[i]->in_step = true;
        for (int j = 0; j < 2; j++) {
            shl_oplog_held(logs[i], logs_begin(logs[i], false), false);
            shl_oplog_unpin(logs[i]);
        }
    }
    logs_decide(logs, 2, false, &decision);
    assert_int_equal(decision.redo_from, 0);
    assert_int_equal(shl_oplog_next(logs[0])->seq, 2); /* it may not be everywhere */
    logs_close(logs, 2);
}

static void an_aborted_step_begins_again_on_all(void **state)
{
    (void)state;
    struct shl_oplog *logs[] = {logs_member(SHL_STEP_ABORT, 0), logs_member(SHL_STEP_ABORT, 0)};
    static struct shl_decision decision;
    logs[0]->in_step = logs[1]->in_step = true;
    struct shl_op *op = logs_begin(logs[0], false); /* the other has only begun the step */
    logs_decide(logs, 2, true, &decision);
    assert_true(op->failed);
    assert_int_equal(op->status, SHOAL_ERR_STEP_RETRY);
    for (uint32_t i = 0; i < 2; i++) {
        assert_true(logs[i]->retry);
        assert_false(logs[i]->in_step);
        assert_int_equal(logs[i]->started, 1);
        shl_oplog_unpin(logs[i]);
        assert_int_equal(logs_begin(logs[i], false)->seq, 2);
    }
    logs_close(logs, 2);
}

/* Whoever is behind, in the step or before it, goes on with the numbers of the others. */
static void a_step_is_given_up_by_who_cannot_finish_it(void **state)
{
    (void)state;
    struct shl_oplog *logs[] = {logs_member(SHL_STEP_RETAIN, 0), logs_member(SHL_STEP_RETAIN, 0),
                                logs_member(SHL_STEP_RETAIN, 0)};
    static struct shl_decision decision;
    logs[0]->in_step = logs[1]->in_step = true; /* the last one has not begun it */
    logs_begin(logs[0], false);
    shl_oplog_unpin(logs[0]);
    logs[1]->gives_up = true;
    logs_decide(logs, 3, false, &decision);
    assert_int_equal(decision.retry, 1);
    for (uint32_t i = 0; i < 3; i++) {
        assert_false(logs[i]->in_step || logs[i]->gives_up);
        assert_int_equal(logs[i]->retry, i < 2);
        assert_null(shl_oplog_next(logs[i]));
        struct shl_op *op = logs_begin(logs[i], false);
        assert_int_equal(op->seq, 2);
        assert_false(op->failed);
    }
    logs_close(logs, 3);
}

static void a_step_whose_root_is_lost_is_given_up(void **state)
{
    (void)state;
    struct shl_oplog *logs[] = {logs_member(SHL_STEP_RETAIN, 0), logs_member(SHL_STEP_RETAIN, 0)};
    static struct shl_decision decision;
    for (uint32_t i = 0; i < 2; i++)
        logs[i]->in_step = true;
    shl_oplog_held(logs[0], logs_begin_with_root(logs[0], 77), false);
    shl_oplog_unpin(logs[0]);
    struct shl_op *waits = logs_begin_with_root(logs[1], 77);
    logs_decide(logs, 2, true, &decision);
    assert_int_equal(decision.retry, 1);
    assert_int_equal(waits->status, SHOAL_ERR_STEP_RETRY);
    assert_true(logs[0]->retry && logs[1]->retry);
    logs_close(logs, 2);
}

static void a_step_with_the_shape_of_a_former_view_is_given_up(void **state)
{
    (void)state;
    static struct shl_decision decision;
    for (int lost = 0; lost < 2; lost++) {
        struct shl_oplog *logs[] = {logs_member(SHL_STEP_RETAIN, 0),
                                    logs_member(SHL_STEP_RETAIN, 0)};
        for (uint32_t i = 0; i < 2; i++)
            logs[i]->in_step = true;
        struct shl_op *op = logs_begin(logs[0], false); /* the other has not called it */
        op->shape = shl_members_hash(&logs_everybody) + (uint64_t)lost;
        shl_oplog_held(logs[0], op, false);
        shl_oplog_unpin(logs[0]);
        logs_decide(logs, 2, lost, &decision);
        assert_int_equal(decision.retry, lost);
        assert_int_equal(logs[1]->retry, lost);
        assert_true(lost || shl_oplog_next(logs[0]) == op);
        logs_close(logs, 2);
    }
}

/* The completion round of the commit failed on one, which then gave the step up: too late. */
static void a_step_that_was_committed_is_not_given_up(void **state)
{
    (void)state;
    struct shl_oplog *logs[] = {logs_member(SHL_STEP_RETAIN, 0), logs_member(SHL_STEP_RETAIN, 0)};
    static struct shl_report reports[2];
    static struct shl_decision decision;
    for (uint32_t i = 0; i < 2; i++) {
        logs[i]->in_step = true;
        struct shl_op *op = logs_begin(logs[i], true);
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
        shl_oplog_report(logs[i], &logs_everybody, &reports[i]);
    struct shl_outcome_input input = {.mode = SHL_STEP_RETAIN, .count = 2, .reports = reports};
    shl_outcome_decide(&input, &decision);
    assert_int_equal(decision.retry, 0);
    ASSERT_OK(shl_oplog_follow(logs[0], &decision));
    assert_int_equal(logs[0]->step, 1);
    ASSERT_STATUS(SHOAL_ERR_EPOCH, shl_oplog_follow(logs[1], &decision));
    logs_close(logs, 2);
}

/* One has returned from the commit; the others were in its completion round. */
static void a_commit_that_one_returned_from_is_committed_everywhere(void **state)
{
    (void)state;
    struct shl_oplog *logs[] = {logs_member(SHL_STEP_RETAIN, 0), logs_member(SHL_STEP_RETAIN, 0)};
    static struct shl_decision decision;
    for (uint32_t i = 0; i < 2; i++) {
        logs[i]->in_step = true;
        struct shl_op *op = logs_begin(logs[i], true);
        op->gained = 7;
        op->held = true;
        if (i == 0)
            shl_oplog_held(logs[0], op, true);
    }
    logs_decide(logs, 2, true, &decision);
    for (uint32_t i = 0; i < 2; i++) {
        assert_null(shl_oplog_next(logs[i]));
        assert_int_equal(logs[i]->step, 1);
        assert_int_equal(logs[i]->position, 7);
        assert_false(logs[i]->in_step);
    }
    logs_close(logs, 2);
}

/* It commits the step before the one that it ends, and that one is lost. */
static void a_late_commit_leaves_a_step_open(void **state)
{
    (void)state;
    struct shl_oplog *logs[] = {logs_member(SHL_STEP_ABORT, 0), logs_member(SHL_STEP_ABORT, 0)};
    struct shl_decision decision;
    for (unsigned i = 0; i < 2; i++) {
        logs[i]->in_step = true;
        struct shl_op *op = logs_begin(logs[i], true);
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
    logs_begin(logs[0], false);
    logs_decide(logs, 2, true, &decision);
    for (unsigned i = 0; i < 2; i++) {
        shl_oplog_unpin(logs[i]);
        assert_int_equal(logs[i]->step, 1);
        assert_int_equal(logs[i]->position, 5);
        assert_true(logs[i]->retry);
        assert_false(logs[i]->in_step);
    }
    logs_close(logs, 2);
}

static void a_retained_step_has_an_end(void **state)
{
    (void)state;
    struct shl_oplog *log = logs_member(SHL_STEP_RETAIN, 0);
    struct shl_report report;
    struct shl_op *op;
    log->in_step = true;
    for (uint32_t i = 0; i < SHL_OPLOG_STEP_MAX; i++) {
        shl_oplog_held(log, logs_begin(log, false), false);
        shl_oplog_unpin(log);
    }
    ASSERT_STATUS(SHOAL_ERR_UNSUPPORTED, shl_oplog_begin(log, false, &op));
    logs_begin(log, true); /* the commit still is possible */
    shl_oplog_report(log, &logs_everybody, &report);
    assert_true(shl_report_valid(&report));
    shl_oplog_free(log);
}

/* Two are open to the log: the one that is made safe, and the one that the program computes. */
static void a_step_behind_another_has_an_end_of_its_own(void **state)
{
    (void)state;
    struct shl_oplog *log = logs_member(SHL_STEP_ABORT, 0);
    struct shl_op *op;
    log->in_step = true;
    for (uint32_t step = 0; step < 2; step++) {
        for (uint32_t i = 0; i < SHL_OPLOG_STEP_MAX; i++) {
            shl_oplog_held(log, logs_begin(log, false), true);
            shl_oplog_unpin(log);
        }
        ASSERT_STATUS(SHOAL_ERR_UNSUPPORTED, shl_oplog_begin(log, false, &op));
        op = logs_begin(log, true); /* the votes still are possible */
        op->is_commit = step > 0;
        op->leaves_open = true;
        shl_oplog_held(log, op, true);
        shl_oplog_unpin(log);
    }
    assert_int_equal(log->step, 1);
    shl_oplog_free(log);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_retained_step_is_redone_from_its_first_operation),
        cmocka_unit_test(a_retained_step_stays_when_nobody_is_lost),
        cmocka_unit_test(an_aborted_step_begins_again_on_all),
        cmocka_unit_test(a_commit_that_one_returned_from_is_committed_everywhere),
        cmocka_unit_test(a_step_is_given_up_by_who_cannot_finish_it),
        cmocka_unit_test(a_step_whose_root_is_lost_is_given_up),
        cmocka_unit_test(a_step_with_the_shape_of_a_former_view_is_given_up),
        cmocka_unit_test(a_step_that_was_committed_is_not_given_up),
        cmocka_unit_test(a_late_commit_leaves_a_step_open),
        cmocka_unit_test(a_retained_step_has_an_end),
        cmocka_unit_test(a_step_behind_another_has_an_end_of_its_own),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
