/*
 * What becomes of interrupted operations, case by case.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "elastic/membership/outcome.h"
#include "support/random.h"
#include "support/test.h"

static struct shl_report reports[4];
static struct shl_outcome_input input;
static struct shl_decision decision;

static int reset(void **state)
{
    (void)state;
    memset(reports, 0, sizeof(reports));
    input = (struct shl_outcome_input){
        .mode = SHL_STEP_RETAIN, .count = 3, .reports = reports, .shrinks = true};
    return 0;
}

static void report(uint32_t at, uint64_t settled, uint64_t started)
{
    reports[at].settled = settled;
    reports[at].started = started;
}

static void ops(uint32_t at, uint8_t first, uint8_t second)
{
    reports[at].ops[0] = first;
    reports[at].ops[1] = second;
}

static void decide(void)
{
    for (uint32_t i = 0; i < input.count; i++)
        assert_true(shl_report_valid(&reports[i]));
    shl_outcome_decide(&input, &decision);
    assert_true(shl_decision_valid(&decision, input.count));
}

#define FULL (SHL_OP_HELD | SHL_OP_COPY | SHL_OP_RETAINED)

static void nothing_open(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < 3; i++)
        report(i, 8, 8);
    decide();
    assert_int_equal(decision.settled, 8);
    assert_int_equal(decision.started, 8);
    assert_false(shl_decision_redoes(&decision));
}

static void settled_anywhere_is_done(void **state)
{
    (void)state;
    report(0, 8, 8);
    report(1, 7, 8);
    report(2, 7, 8);
    reports[1].ops[0] = reports[2].ops[0] = FULL;
    decide();
    assert_int_equal(decision.settled, 8);
    assert_false(shl_decision_redoes(&decision));
}

static void held_by_all_is_done(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < 3; i++) {
        report(i, 7, 8);
        reports[i].ops[0] = SHL_OP_HELD;
    }
    decide();
    assert_int_equal(decision.outcomes[0], SHL_OUTCOME_DONE);
}

static void held_somewhere_is_forwarded(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < 3; i++)
        report(i, 7, 8);
    ops(0, SHL_OP_RETAINED, 0);
    ops(1, SHL_OP_HELD, 0); /* gave its copy away: no source */
    ops(2, FULL, 0);
    decide();
    assert_int_equal(decision.outcomes[0], SHL_OUTCOME_FORWARD);
    assert_int_equal(decision.sources[0], 2);
}

static void held_nowhere_is_redone(void **state)
{
    (void)state;
    report(0, 7, 9);
    report(1, 7, 8);
    report(2, 7, 7);
    ops(0, SHL_OP_RETAINED, SHL_OP_RETAINED);
    ops(1, SHL_OP_RETAINED, 0);
    decide();
    assert_int_equal(decision.started, 9);
    assert_int_equal(decision.outcomes[0], SHL_OUTCOME_REDO);
    assert_int_equal(decision.outcomes[1], SHL_OUTCOME_REDO);
    assert_int_equal(decision.redo_from, 0);
}

static void a_lost_input_fails_it(void **state)
{
    (void)state;
    report(0, 7, 8);
    report(1, 7, 8);
    report(2, 7, 7);
    ops(0, SHL_OP_RETAINED, 0);
    decide();
    assert_int_equal(decision.outcomes[0], SHL_OUTCOME_FAILED);
}

/* The first heard why it failed before a member was lost, the others that the member was lost. */
static void what_one_program_was_told_all_are_told(void **state)
{
    (void)state;
    const uint8_t told[][2] = {{SHL_OP_EXPIRED, SHL_OUTCOME_EXPIRED},
                               {SHL_OP_DISPUTED, SHL_OUTCOME_DISPUTED}};
    for (uint32_t in_step = 0; in_step < 2; in_step++) {
        for (uint32_t i = 0; i < 2; i++) {
            report(0, 7, 9);
            report(1, 7, 8);
            report(2, 7, 7); /* calls it later */
            ops(0, SHL_OP_HELD | told[i][0], SHL_OP_RETAINED);
            ops(1, SHL_OP_RETAINED, 0);
            reports[0].step_first = reports[1].step_first = in_step ? 8 : 0;
            decide();
            assert_int_equal(decision.outcomes[0], told[i][1]);
            assert_int_equal(decision.outcomes[1], SHL_OUTCOME_REDO);
        }
    }
    input.mode = SHL_STEP_ABORT;
    decide();
    assert_int_equal(decision.outcomes[0], SHL_OUTCOME_RETRY);
}

static void what_was_returned_is_forwarded_whatever_others_say(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < 3; i++)
        report(i, 7, 8);
    ops(0, SHL_OP_HELD | SHL_OP_EXPIRED, 0);
    ops(1, SHL_OP_HELD | SHL_OP_COPY, 0);
    ops(2, SHL_OP_RETAINED, 0);
    decide();
    assert_int_equal(decision.outcomes[0], SHL_OUTCOME_FORWARD);
    assert_int_equal(decision.sources[0], 1);
}

static void no_copy_left_fails_it(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < 3; i++) {
        report(i, 7, 8);
        reports[i].ops[0] = SHL_OP_RETAINED;
    }
    reports[1].ops[0] |= SHL_OP_HELD;
    decide();
    assert_int_equal(decision.outcomes[0], SHL_OUTCOME_FAILED);
}

/* Step 3 begins at operation 6; 6 and 7 are settled, 8 is under way. */
static void open_third_step(void)
{
    for (uint32_t i = 0; i < 3; i++) {
        report(i, 7, 8);
        reports[i].step = 2;
        reports[i].step_last = 5;
        reports[i].step_first = 6;
        reports[i].position = 200;
        reports[i].ops[0] = SHL_OP_RETAINED;
    }
}

static void a_retained_step_is_redone(void **state)
{
    (void)state;
    open_third_step();
    ops(1, FULL, 0);
    decide();
    assert_int_equal(decision.redo_from, 6);
    assert_int_equal(decision.outcomes[0], SHL_OUTCOME_REDO);
    assert_int_equal(decision.retry, 0);
    assert_int_equal(decision.step, 2);
    assert_int_equal(decision.position, 200);
}

static void a_step_that_lost_nobody_goes_on(void **state)
{
    (void)state;
    open_third_step();
    ops(1, FULL, 0);
    input.shrinks = false;
    decide();
    assert_int_equal(decision.redo_from, 0);
    assert_int_equal(decision.outcomes[0], SHL_OUTCOME_FORWARD);
}

static void an_aborted_step_is_retried(void **state)
{
    (void)state;
    open_third_step();
    input.mode = SHL_STEP_ABORT;
    decide();
    assert_int_equal(decision.retry, 3);
    assert_int_equal(decision.redo_from, 0);
    assert_int_equal(decision.outcomes[0], SHL_OUTCOME_RETRY);
    assert_false(shl_decision_redoes(&decision));
}

static void a_joiner_in_between_retries_the_step(void **state)
{
    (void)state;
    open_third_step();
    input.admits = true;
    decide();
    assert_int_equal(decision.retry, 3);
    assert_int_equal(decision.outcomes[0], SHL_OUTCOME_RETRY);
}

/* One survivor holds the operation that commits step 3; it began step 4 meanwhile. */
static void a_commit_held_somewhere_closes_the_step(void **state)
{
    (void)state;
    open_third_step();
    report(0, 7, 9);
    ops(0, FULL, SHL_OP_RETAINED);
    reports[0].step = 3;
    reports[0].step_last = 8;
    reports[0].step_first = 9;
    reports[0].position = 300;
    decide();
    assert_int_equal(decision.step, 3);
    assert_int_equal(decision.position, 300);
    assert_int_equal(decision.outcomes[0], SHL_OUTCOME_FORWARD);
    assert_int_equal(decision.sources[0], 0);
    assert_int_equal(decision.outcomes[1], SHL_OUTCOME_REDO);
    assert_int_equal(decision.redo_from, 0);
    input.mode = SHL_STEP_ABORT;
    decide();
    assert_int_equal(decision.retry, 4);
    assert_int_equal(decision.outcomes[0], SHL_OUTCOME_FORWARD);
    assert_int_equal(decision.outcomes[1], SHL_OUTCOME_RETRY);
}

/* Nobody that may have returned an operation loses it, whatever the reports. */
static void never_redoes_what_was_returned(void **state)
{
    (void)state;
    uint64_t random = shl_test_seed();
    for (unsigned run = 0; run < 20000; run++) {
        memset(reports, 0, sizeof(reports));
        input.mode = run & 1 ? SHL_STEP_RETAIN : SHL_STEP_ABORT;
        input.admits = run & 2;
        for (uint32_t i = 0; i < 3; i++) {
            report(i, 4 + shl_test_random(&random) % 2, 6);
            for (uint32_t k = 0; k < shl_report_ops(&reports[i]); k++)
                reports[i].ops[k] = (uint8_t)(shl_test_random(&random) % (SHL_OP_FLAGS + 1));
        }
        decide();
        for (uint64_t op = decision.settled + 1; op <= decision.started; op++) {
            uint8_t outcome = decision.outcomes[op - decision.settled - 1];
            uint32_t copies = 0, held = 0, told = 0;
            for (uint32_t i = 0; i < 3; i++) {
                uint8_t flags = reports[i].ops[op - reports[i].settled - 1];
                held += (flags & SHL_OP_HELD) != 0;
                told |= flags & SHL_OP_TOLD;
                copies += (flags & (SHL_OP_HELD | SHL_OP_COPY)) == (SHL_OP_HELD | SHL_OP_COPY);
            }
            assert_int_equal(outcome == SHL_OUTCOME_DONE, held == 3 && !told);
            assert_int_equal(outcome == SHL_OUTCOME_FORWARD, (held < 3 || told) && copies > 0);
            if (outcome == SHL_OUTCOME_REDO)
                assert_int_equal(held, 0);
        }
    }
}

static void a_step_is_given_up_although_nobody_is_lost(void **state)
{
    (void)state;
    input.shrinks = false;
    for (uint32_t i = 0; i < 3; i++) {
        report(i, 7, 9);
        ops(i, SHL_OP_RETAINED, SHL_OP_RETAINED);
        reports[i].step = 2;
        reports[i].step_first = 8;
    }
    reports[1].gives_up = true;
    decide();
    assert_int_equal(decision.retry, 3);
    assert_int_equal(decision.redo_from, 0);
    assert_int_equal(decision.outcomes[0], SHL_OUTCOME_RETRY);
    assert_int_equal(decision.outcomes[1], SHL_OUTCOME_RETRY);
}

/* Operations before the step are decided about as ever. */
static void a_step_without_operations_is_given_up(void **state)
{
    (void)state;
    input.shrinks = false;
    for (uint32_t i = 0; i < 3; i++)
        report(i, 7, 8);
    for (uint32_t i = 0; i < 3; i++)
        reports[i].ops[0] = FULL;
    reports[2].gives_up = true;
    decide();
    assert_int_equal(decision.retry, 1);
    assert_int_equal(decision.outcomes[0], SHL_OUTCOME_DONE);
}

/* Its commit failed for one, and the others have returned from it. */
static void a_committed_step_is_not_given_up(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < 3; i++) {
        report(i, 7, 8);
        reports[i].step_first = 8;
    }
    reports[0].gives_up = true;
    report(1, 8, 8);
    reports[1].step = 1;
    reports[1].step_last = 8;
    reports[1].step_first = 0;
    decide();
    assert_int_equal(decision.retry, 0);
    assert_int_equal(decision.step, 1);
    assert_int_equal(decision.settled, 8);
}

/* It would make the others forget what they keep, and count to a number without end. */
static void what_somebody_did_not_begin_is_not_settled(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < 3; i++) {
        report(i, 7, 8);
        ops(i, SHL_OP_RETAINED, 0);
    }
    reports[0].step = reports[2].step = 1;
    report(1, UINT64_MAX - 1, UINT64_MAX - 1);
    reports[1].step = reports[1].position = 99;
    reports[1].step_last = UINT64_MAX - 1;
    decide();
    assert_int_equal(decision.settled, 7);
    assert_int_equal(decision.started, 8);
    assert_int_equal(decision.step, 1);
    assert_int_equal(decision.position, 0);
    assert_int_equal(decision.outcomes[0], SHL_OUTCOME_REDO);
}

/* A member that tells of a step far ahead does not hide the one that is open. */
static void a_step_that_cannot_be_does_not_count(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < 3; i++) {
        report(i, 5, 7);
        ops(i, SHL_OP_RETAINED, SHL_OP_RETAINED);
        reports[i].step_first = 6;
    }
    decide();
    struct shl_decision honest = decision;
    report(1, 1000000000, 1000000001);
    ops(1, SHL_OP_RETAINED, 0);
    reports[1].step_first = 1000000001;
    reports[1].gives_up = true;
    decide();
    assert_int_equal(decision.retry, honest.retry);
    assert_int_equal(decision.redo_from, honest.redo_from);
    assert_int_equal(decision.outcomes[0], SHL_OUTCOME_REDO);
    assert_int_equal(decision.outcomes[1], SHL_OUTCOME_REDO);
}

static void bad_reports_are_refused(void **state)
{
    (void)state;
    struct shl_report good = {.settled = 3, .started = 5, .step_last = 2, .step_first = 4};
    assert_true(shl_report_valid(&good));
    struct shl_report bad = good;
    bad.started = 2;
    assert_false(shl_report_valid(&bad));
    bad = good;
    bad.started = 4 + SHL_OPS_MAX;
    assert_false(shl_report_valid(&bad));
    bad = good;
    bad.step_last = 6;
    assert_false(shl_report_valid(&bad));
    bad = good;
    bad.step_first = 2;
    assert_false(shl_report_valid(&bad));
    bad = good;
    bad.ops[1] = SHL_OP_FLAGS + 1;
    assert_false(shl_report_valid(&bad));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(nothing_open, reset),
        cmocka_unit_test_setup(what_somebody_did_not_begin_is_not_settled, reset),
        cmocka_unit_test_setup(a_step_is_given_up_although_nobody_is_lost, reset),
        cmocka_unit_test_setup(a_step_without_operations_is_given_up, reset),
        cmocka_unit_test_setup(a_committed_step_is_not_given_up, reset),
        cmocka_unit_test_setup(a_step_that_cannot_be_does_not_count, reset),
        cmocka_unit_test_setup(settled_anywhere_is_done, reset),
        cmocka_unit_test_setup(held_by_all_is_done, reset),
        cmocka_unit_test_setup(held_somewhere_is_forwarded, reset),
        cmocka_unit_test_setup(held_nowhere_is_redone, reset),
        cmocka_unit_test_setup(a_lost_input_fails_it, reset),
        cmocka_unit_test_setup(no_copy_left_fails_it, reset),
        cmocka_unit_test_setup(what_one_program_was_told_all_are_told, reset),
        cmocka_unit_test_setup(what_was_returned_is_forwarded_whatever_others_say, reset),
        cmocka_unit_test_setup(a_retained_step_is_redone, reset),
        cmocka_unit_test_setup(a_step_that_lost_nobody_goes_on, reset),
        cmocka_unit_test_setup(an_aborted_step_is_retried, reset),
        cmocka_unit_test_setup(a_joiner_in_between_retries_the_step, reset),
        cmocka_unit_test_setup(a_commit_held_somewhere_closes_the_step, reset),
        cmocka_unit_test_setup(never_redoes_what_was_returned, reset),
        cmocka_unit_test(bad_reports_are_refused),
    };
    return cmocka_run_group_tests_name("outcome", tests, NULL, NULL);
}
