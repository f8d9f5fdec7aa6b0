/*
 * Small operations that took the short way into the log: to a decision they are as any others.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "support/test.h"
#include "unit/elastic/views/logs.h"

/* As logs_keep, by the short way. */
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

/* Both ways leave what a report tells the same, and few operations in memory. */
static void plain_operations_are_reported_as_all_others(void **state)
{
    (void)state;
    static struct shl_report reports[2];
    struct shl_oplog *logs[2] = {logs_member(SHL_STEP_RETAIN, 7), logs_member(SHL_STEP_RETAIN, 7)};
    for (uint32_t i = 0; i < 3 * SHL_OPLOG_SLOTS; i++) {
        assert_int_equal(keep_plain(logs[0])->seq, i + 8);
        logs_keep(logs[1]);
        for (uint32_t k = 0; k < 2; k++)
            shl_oplog_report(logs[k], &logs_everybody, &reports[k]);
        assert_memory_equal(&reports[0], &reports[1], sizeof(reports[0]));
    }
    assert_true(logs[0]->fresh <= 3);
    struct shl_op *vote = logs_begin(logs[0], true); /* in the place of a plain one */
    assert_false(vote->plain);
    assert_true(!vote->task && !vote->wanted && !vote->held);
    logs_close(logs, 2);
}

static void a_plain_operation_that_one_returned_from_is_forwarded(void **state)
{
    (void)state;
    struct shl_decision decision;
    struct shl_oplog *logs[2] = {logs_member(SHL_STEP_RETAIN, 0), logs_member(SHL_STEP_RETAIN, 0)};
    keep_plain(logs[0]);
    keep_plain(logs[1]);
    keep_plain(logs[0]);
    struct shl_op *late = shl_oplog_begin_plain(logs[1]);
    logs_decide(logs, 2, true, &decision);
    assert_int_equal(late->due, SHL_OP_FORWARD);
    assert_int_equal(late->source, 0);
    assert_false(shl_oplog_is_calm(logs[1]));
    shl_oplog_held(logs[1], late, true);
    shl_oplog_unpin(logs[1]);
    assert_true(shl_oplog_is_calm(logs[1]));
    logs_close(logs, 2);
}

static void plain_operations_of_a_retained_step_are_redone(void **state)
{
    (void)state;
    struct shl_decision decision;
    struct shl_oplog *logs[1] = {logs_member(SHL_STEP_RETAIN, 0)};
    struct shl_op *ops[3];
    logs[0]->in_step = true;
    for (uint32_t i = 0; i < 3; i++) {
        ops[i] = shl_oplog_begin_plain(logs[0]);
        shl_oplog_end_plain(logs[0], ops[i]);
    }
    assert_int_equal(logs[0]->step_first, 1);
    logs_decide(logs, 1, true, &decision);
    for (uint32_t i = 0; i < 3; i++)
        assert_true(ops[i]->seq == i + 1 && ops[i]->redone && ops[i]->due == SHL_OP_RUN);
    shl_oplog_free(logs[0]);
}

static void nothing_is_plain_that_would_be_refused(void **state)
{
    (void)state;
    struct shl_oplog *log = logs_member(SHL_STEP_RETAIN, 0);
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
        cmocka_unit_test(plain_operations_are_reported_as_all_others),
        cmocka_unit_test(a_plain_operation_that_one_returned_from_is_forwarded),
        cmocka_unit_test(plain_operations_of_a_retained_step_are_redone),
        cmocka_unit_test(nothing_is_plain_that_would_be_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
