/*
 * The log of operations: what it reports behind a fence, and what it does with decisions.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "core/sys.h"
#include "support/test.h"
#include "unit/elastic/views/logs.h"

static void numbers_go_on_from_the_others(void **state)
{
    (void)state;
    struct shl_oplog *log = logs_member(SHL_STEP_RETAIN, 41);
    assert_int_equal(logs_keep(log)->seq, 42);
    assert_int_equal(log->settled, 41);
    logs_keep(log);
    assert_int_equal(log->settled, 42); /* all began 43, so all hold 42 */
    shl_oplog_free(log);
}

static void a_round_settles_at_once(void **state)
{
    (void)state;
    struct shl_oplog *log = logs_member(SHL_STEP_RETAIN, 0);
    shl_oplog_held(log, logs_begin(log, false), true);
    shl_oplog_unpin(log);
    assert_int_equal(log->settled, 1);
    assert_null(shl_oplog_next(log));
    shl_oplog_free(log);
}

static void what_one_holds_is_forwarded(void **state)
{
    (void)state;
    struct shl_oplog *logs[] = {logs_member(SHL_STEP_RETAIN, 0), logs_member(SHL_STEP_RETAIN, 0)};
    static struct shl_decision decision;
    logs_keep(logs[1]);
    struct shl_op *waiting = logs_begin(logs[0], false);
    logs_decide(logs, 2, true, &decision);
    assert_ptr_equal(shl_oplog_next(logs[0]), waiting);
    assert_int_equal(waiting->due, SHL_OP_FORWARD);
    assert_int_equal(waiting->source, 1);
    assert_null(shl_oplog_next(logs[1])); /* its program has nothing to do with it */
    const struct shl_op *source = shl_oplog_to_forward(logs[1], 1);
    assert_true(source && source->held && source->seq == waiting->seq);
    assert_null(shl_oplog_to_forward(logs[0], 0));
    shl_oplog_held(logs[0], waiting, false);
    assert_null(shl_oplog_next(logs[0]));
    /* All hold it now, which each knows of the other when the next one is there. */
    logs_keep(logs[0]);
    logs_keep(logs[1]);
    assert_int_equal(logs[0]->settled, 1);
    assert_int_equal(logs[1]->settled, 1);
    logs_close(logs, 2);
}

/* Of the source it is taken, with its size, and of nobody else. */
static void what_arrives_is_what_is_waited_for(void **state)
{
    (void)state;
    struct shl_oplog *logs[] = {logs_member(SHL_STEP_RETAIN, 0), logs_member(SHL_STEP_RETAIN, 0)};
    static struct shl_decision decision;
    const uint8_t bytes[] = {1, 2, 3, 4, 5, 6, 7, 8, 9};
    struct shl_op from = {.seq = 1, .epoch = 7, .contributors = 3};
    logs_keep(logs[1]);
    struct shl_op *waiting = logs_begin(logs[0], false);
    waiting->result_bytes = 8;
    logs_decide(logs, 2, true, &decision);
    assert_true(shl_oplog_arrived(logs[0], 0, &from, bytes, 8)); /* of another: passed by */
    assert_true(shl_oplog_arrived(logs[1], 1, &from, bytes, 8)); /* by who has it, too */
    from.seq = 2;
    assert_true(shl_oplog_arrived(logs[0], 1, &from, bytes, 8));
    assert_int_equal(logs[0]->arrived, 0);
    from.seq = 1;
    assert_false(shl_oplog_arrived(logs[0], 1, &from, bytes, 9));
    assert_int_equal(logs[0]->arrived, 0);
    assert_true(shl_oplog_arrived(logs[0], 1, &from, bytes, 8));
    assert_int_equal(logs[0]->arrived, 1);
    assert_int_equal(waiting->epoch, 7);
    assert_int_equal(waiting->contributors, 3);
    assert_memory_equal(logs[0]->kept, bytes, 8);
    logs_decide(logs, 2, true, &decision); /* it was not taken in time: it comes once more */
    assert_int_equal(logs[0]->arrived, 0);
    assert_int_equal(waiting->due, SHL_OP_FORWARD);
    assert_non_null(shl_oplog_to_forward(logs[1], 1));
    logs_close(logs, 2);
}

/* A member that comes while the result of the only operation is forwarded from the second log to
 * the first, with the position 2 in the view that it comes to. */
static struct shl_oplog *joiner_of(struct shl_oplog **logs)
{
    static struct shl_decision decision;
    struct shl_oplog *joiner = logs_member(SHL_STEP_RETAIN, 0);
    logs_keep(logs[1]);
    logs_begin(logs[0], false);
    logs_decide(logs, 2, true, &decision);
    assert_int_equal(decision.outcomes[0], SHL_OUTCOME_FORWARD);
    shl_oplog_enter(joiner, SHL_STEP_RETAIN, &decision);
    return joiner;
}

/* It never gets the result, and so must not let others believe that they have it. */
static void a_joiner_settles_nothing_that_is_forwarded(void **state)
{
    (void)state;
    struct shl_oplog *logs[] = {logs_member(SHL_STEP_RETAIN, 0), logs_member(SHL_STEP_RETAIN, 0),
                                NULL};
    static struct shl_decision decision;
    logs[2] = joiner_of(logs);
    assert_int_equal(logs[2]->settled, 0);
    assert_null(shl_oplog_next(logs[2]));
    /* While the source lives it is forwarded again; the joiner does not wait for it. */
    logs_decide(logs, 3, false, &decision);
    assert_int_equal(decision.outcomes[0], SHL_OUTCOME_FORWARD);
    assert_null(shl_oplog_next(logs[2]));
    struct shl_op *lost = shl_oplog_next(logs[0]);
    /* With the source gone nobody has it. */
    struct shl_oplog *left[] = {logs[0], logs[2]};
    logs_decide(left, 2, true, &decision);
    assert_int_equal(decision.outcomes[0], SHL_OUTCOME_FAILED);
    assert_true(lost && lost->failed);
    assert_int_equal(lost->status, SHOAL_ERR_EPOCH);
    assert_null(shl_oplog_next(logs[0]));
    shl_oplog_unpin(logs[0]);
    assert_int_equal(logs_begin(logs[0], false)->seq, 2);
    assert_int_equal(logs_begin(logs[2], false)->seq, 2);
    logs_close(logs, 3);
}

static void a_joiner_settles_with_its_first_operation(void **state)
{
    (void)state;
    struct shl_oplog *logs[] = {logs_member(SHL_STEP_RETAIN, 0), logs_member(SHL_STEP_RETAIN, 0),
                                NULL};
    static struct shl_decision decision;
    logs[2] = joiner_of(logs);
    shl_oplog_held(logs[0], shl_oplog_next(logs[0]), false);
    shl_oplog_unpin(logs[0]);
    for (uint32_t i = 0; i < 3; i++) {
        assert_int_equal(logs_keep(logs[i])->seq, 2);
        assert_int_equal(logs[i]->settled, 1);
    }
    logs_decide(logs, 3, true, &decision);
    assert_int_equal(decision.settled, 1);
    assert_int_equal(decision.outcomes[0], SHL_OUTCOME_DONE);
    logs_close(logs, 3);
}

/* The source is lost before the program calls what it was to get: then it is no result to wait for.
 */
static void what_was_to_be_forwarded_is_decided_anew(void **state)
{
    (void)state;
    for (uint32_t comes = 0; comes < 2; comes++) {
        struct shl_oplog *logs[] = {logs_member(SHL_STEP_RETAIN, 0),
                                    logs_member(SHL_STEP_RETAIN, 0), NULL};
        static struct shl_decision decision;
        logs_keep(logs[1]);
        logs_decide(logs, 2, true, &decision);
        logs[2] = logs_member(SHL_STEP_RETAIN, 0);
        shl_oplog_enter(logs[2], SHL_STEP_RETAIN, &decision);
        struct shl_oplog *left[] = {logs[0], logs[2]};
        logs_decide(left, comes ? 2 : 1, true, &decision);
        struct shl_op *op = logs_begin(logs[0], false);
        assert_int_equal(decision.outcomes[0], comes ? SHL_OUTCOME_FAILED : SHL_OUTCOME_REDO);
        assert_int_equal(op->due, comes ? SHL_OP_NOTHING : SHL_OP_RUN);
        assert_int_equal(op->failed, comes);
        logs_close(logs, 3);
    }
}

/* Its buffer is the program's again. */
static void what_was_told_is_not_written(void **state)
{
    (void)state;
    struct shl_oplog *log = logs_member(SHL_STEP_RETAIN, 0);
    struct shl_decision decision = {.started = 1, .outcomes = {SHL_OUTCOME_FORWARD}};
    struct shl_op *op = logs_begin(log, false);
    shl_oplog_failed(log, op, SHOAL_ERR_TIMEOUT);
    ASSERT_OK(shl_oplog_follow(log, &decision));
    assert_int_equal(op->due, SHL_OP_NOTHING);
    assert_int_equal(op->status, SHOAL_ERR_TIMEOUT);
    shl_oplog_free(log);
}

static void what_nobody_holds_is_redone(void **state)
{
    (void)state;
    struct shl_oplog *logs[] = {logs_member(SHL_STEP_RETAIN, 0), logs_member(SHL_STEP_RETAIN, 0)};
    static struct shl_decision decision;
    struct shl_op *op = logs_begin(logs[0], false); /* the other has not called it */
    logs_decide(logs, 2, true, &decision);
    assert_int_equal(decision.outcomes[0], SHL_OUTCOME_REDO);
    assert_ptr_equal(shl_oplog_next(logs[0]), op);
    assert_int_equal(op->due, SHL_OP_RUN);
    assert_null(shl_oplog_next(logs[1]));
    assert_int_equal(logs_begin(logs[1], false)->due, SHL_OP_RUN);
    logs_close(logs, 2);
}

static void a_shape_of_the_view_is_not_redone(void **state)
{
    (void)state;
    struct shl_oplog *logs[] = {logs_member(SHL_STEP_RETAIN, 0), logs_member(SHL_STEP_RETAIN, 0)};
    static struct shl_decision decision;
    struct shl_op *op = logs_begin(logs[0], false);
    op->shape = shl_members_hash(&logs_everybody) + 1;
    logs_decide(logs, 2, true, &decision);
    assert_int_equal(decision.outcomes[0], SHL_OUTCOME_FAILED);
    assert_true(op->failed);
    assert_int_equal(op->status, SHOAL_ERR_EPOCH);
    assert_null(shl_oplog_next(logs[0]));
    /* The other calls it later and is told the same. */
    struct shl_op *late = logs_begin(logs[1], false);
    assert_true(late->failed);
    assert_int_equal(late->status, SHOAL_ERR_EPOCH);
    assert_null(shl_oplog_next(logs[1]));
    logs_close(logs, 2);
}

/* Connections broke, and nobody is lost: the buffers fit the next view, too. */
static void the_same_members_redo_what_has_their_shape(void **state)
{
    (void)state;
    struct shl_oplog *logs[] = {logs_member(SHL_STEP_RETAIN, 0), logs_member(SHL_STEP_RETAIN, 0)};
    static struct shl_decision decision;
    struct shl_op *op = logs_begin(logs[0], false);
    op->shape = shl_members_hash(&logs_everybody);
    op->held = true; /* and was in its completion round */
    logs_decide(logs, 2, false, &decision);
    assert_int_equal(decision.outcomes[0], SHL_OUTCOME_REDO);
    assert_ptr_equal(shl_oplog_next(logs[0]), op);
    logs_close(logs, 2);
}

static void a_failure_is_told_after_two_changes(void **state)
{
    (void)state;
    struct shl_oplog *logs[] = {logs_member(SHL_STEP_RETAIN, 0), logs_member(SHL_STEP_RETAIN, 0)};
    static struct shl_decision decision;
    logs_begin(logs[0], false)->shape = shl_members_hash(&logs_everybody) + 1;
    logs_decide(logs, 2, true, &decision);
    shl_oplog_unpin(logs[0]);
    logs_decide(logs, 2, true, &decision);
    assert_true(logs_begin(logs[1], false)->failed);
    logs_close(logs, 2);
}

static void a_decision_about_what_was_not_begun_is_refused(void **state)
{
    (void)state;
    struct shl_oplog *log = logs_member(SHL_STEP_RETAIN, 0);
    struct shl_decision decision = {.settled = UINT64_MAX - 1, .started = UINT64_MAX - 1};
    struct shl_op *op = logs_begin(log, false);
    ASSERT_STATUS(SHOAL_ERR_EPOCH, shl_oplog_follow(log, &decision));
    decision.settled = decision.started = 0;
    ASSERT_STATUS(SHOAL_ERR_EPOCH, shl_oplog_follow(log, &decision));
    assert_int_equal(log->settled, 0);
    assert_false(op->failed);
    shl_oplog_free(log);
}

static void an_operation_whose_root_is_lost_fails_on_all(void **state)
{
    (void)state;
    struct shl_oplog *logs[] = {logs_member(SHL_STEP_RETAIN, 0), logs_member(SHL_STEP_RETAIN, 0)};
    static struct shl_decision decision;
    struct shl_op *op = logs_begin_with_root(logs[0], 77);
    logs_decide(logs, 2, true, &decision);
    assert_int_equal(op->status, SHOAL_ERR_EPOCH);
    /* The other calls it with a root of the next view. */
    struct shl_op *late = logs_begin_with_root(logs[1], 78);
    assert_true(late->failed);
    assert_int_equal(late->status, SHOAL_ERR_EPOCH);
    logs_close(logs, 2);
}

/* Whoever returned from the second knows that all began the first, not that all have its result. */
static void a_result_that_is_missing_is_none(void **state)
{
    (void)state;
    struct shl_oplog *logs[] = {logs_member(SHL_STEP_ABORT, 0), logs_member(SHL_STEP_ABORT, 0)};
    struct shl_decision decision;
    logs[0]->in_step = logs[1]->in_step = true;
    shl_oplog_held(logs[0], logs_begin(logs[0], false), false);
    shl_oplog_unpin(logs[0]);
    shl_oplog_held(logs[0], logs_begin(logs[0], false), false);
    shl_oplog_unpin(logs[0]);
    struct shl_op *missing = logs_begin(logs[1], false);
    logs_decide(logs, 2, true, &decision);
    assert_int_equal(decision.settled, 1);
    assert_int_equal(decision.retry, 1);
    assert_true(missing->failed);
    assert_int_equal(missing->status, SHOAL_ERR_STEP_RETRY);
    assert_null(shl_oplog_next(logs[1]));
    for (unsigned i = 0; i < 2; i++) {
        shl_oplog_unpin(logs[i]);
        assert_true(logs[i]->retry);
        assert_int_equal(logs_begin(logs[i], false)->seq, 3); /* all go on with the same number */
    }
    logs_close(logs, 2);
}

/* It heard the verdict; to the others the connection broke first. Some call it later. */
static void what_one_was_told_all_are_told(void **state)
{
    (void)state;
    const enum shoal_status told[] = {SHOAL_ERR_TIMEOUT, SHOAL_ERR_MISMATCH};
    for (uint32_t i = 0; i < 4; i++) {
        struct shl_oplog *logs[] = {logs_member(SHL_STEP_RETAIN, 0),
                                    logs_member(SHL_STEP_RETAIN, 0),
                                    logs_member(SHL_STEP_RETAIN, 0)};
        static struct shl_decision decision;
        logs[0]->in_step = logs[1]->in_step = logs[2]->in_step = i >= 2;
        shl_oplog_failed(logs[0], logs_begin(logs[0], false), told[i % 2]);
        struct shl_op *op = logs_begin(logs[1], false);
        logs_decide(logs, 3, true, &decision);
        struct shl_op *late = logs_begin(logs[2], false);
        assert_true(op->failed && late->failed);
        assert_int_equal(op->status, told[i % 2]);
        assert_int_equal(late->status, told[i % 2]);
        for (uint32_t m = 0; m < 3; m++)
            assert_null(shl_oplog_next(logs[m]));
        logs_close(logs, 3);
    }
}

/* Failures settle nothing, and a report has room for so many. */
static void a_row_of_failures_has_an_end(void **state)
{
    (void)state;
    struct shl_oplog *log = logs_member(SHL_STEP_RETAIN, 0);
    struct shl_report report;
    struct shl_op *op;
    for (uint32_t i = 0; i < SHL_OPS_MAX; i++) {
        shl_oplog_failed(log, logs_begin(log, false), SHOAL_ERR_TIMEOUT);
        shl_oplog_unpin(log);
    }
    ASSERT_STATUS(SHOAL_ERR_UNSUPPORTED, shl_oplog_begin(log, false, &op));
    ASSERT_STATUS(SHOAL_ERR_UNSUPPORTED, shl_oplog_begin(log, true, &op));
    shl_oplog_report(log, &logs_everybody, &report);
    assert_true(shl_report_valid(&report));
    shl_oplog_free(log);
}

static void inputs_are_given_back(void **state)
{
    (void)state;
    struct shl_oplog *log = logs_member(SHL_STEP_RETAIN, 0);
    log->in_step = true;
    struct shl_op *op = logs_begin(log, false);
    op->input = shl_mem->alloc(100);
    shl_oplog_held(log, op, false);
    shl_oplog_unpin(log);
    struct shl_op *commit = logs_begin(log, true);
    assert_non_null(op->input); /* it may be redone until here */
    shl_oplog_held(log, commit, true);
    assert_null(op->input);
    shl_oplog_free(log);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_go_on_from_the_others),
        cmocka_unit_test(a_round_settles_at_once),
        cmocka_unit_test(what_one_holds_is_forwarded),
        cmocka_unit_test(what_arrives_is_what_is_waited_for),
        cmocka_unit_test(a_joiner_settles_nothing_that_is_forwarded),
        cmocka_unit_test(a_joiner_settles_with_its_first_operation),
        cmocka_unit_test(what_was_to_be_forwarded_is_decided_anew),
        cmocka_unit_test(what_was_told_is_not_written),
        cmocka_unit_test(what_nobody_holds_is_redone),
        cmocka_unit_test(a_shape_of_the_view_is_not_redone),
        cmocka_unit_test(the_same_members_redo_what_has_their_shape),
        cmocka_unit_test(a_failure_is_told_after_two_changes),
        cmocka_unit_test(an_operation_whose_root_is_lost_fails_on_all),
        cmocka_unit_test(a_decision_about_what_was_not_begun_is_refused),
        cmocka_unit_test(a_result_that_is_missing_is_none),
        cmocka_unit_test(what_one_was_told_all_are_told),
        cmocka_unit_test(a_row_of_failures_has_an_end),
        cmocka_unit_test(inputs_are_given_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
