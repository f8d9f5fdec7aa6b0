/*
 * What ranks conclude from statements: who is named, and why.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "engine/verdict.h"

#include "support/test.h"

#define RANKS 4

static char text[512];

static void assert_concludes(const struct shl_statement *statements, const char *reason,
                             enum shoal_status status, const char *expected)
{
    assert_int_equal(shl_verdict(7, statements, RANKS, reason, text, sizeof(text)), status);
    if (!strstr(text, expected))
        fail_msg("not \"%s\": %s", expected, text);
}

static void the_lost_are_named_and_not_who_left_because_of_them(void **state)
{
    struct shl_statement statements[RANKS] = {{.present = true, .called = true}};
    (void)state;
    for (uint32_t i = 1; i < RANKS; i++)
        statements[i] = (struct shl_statement){.lost = true, .left = i != 1};
    assert_concludes(statements, "its process is gone", SHOAL_ERR_PEER,
                     "rank 1 lost (its process is gone)");
}

static void who_left_is_named_where_nobody_is_lost(void **state)
{
    struct shl_statement statements[RANKS] = {{.present = true, .called = true},
                                              {.present = true},
                                              {.lost = true, .left = true},
                                              {.lost = true, .left = true}};
    (void)state;
    assert_concludes(statements, "it destroyed the communicator", SHOAL_ERR_PEER,
                     "ranks 2-3 lost (it destroyed the communicator)");
}

static void whoever_gives_up_is_named_with_who_had_not_called(void **state)
{
    struct shl_statement statements[RANKS] = {
        {.present = true, .called = true},
        {.present = true, .called = true, .raised = SHOAL_ERR_TIMEOUT},
        {.present = true},
        {.present = true, .called = true}};
    (void)state;
    assert_concludes(statements, "it took too long", SHOAL_ERR_TIMEOUT,
                     "rank 1 gave up operation #7: it took too long");
    assert_non_null(strstr(text, "rank 2 had not called"));
}

static void a_disagreement_comes_before_who_gave_up(void **state)
{
    struct shl_statement statements[RANKS];
    (void)state;
    for (uint32_t i = 0; i < RANKS; i++)
        statements[i] = (struct shl_statement){
            .present = true, .called = true, .signature = {.count = i == 2 ? 5 : 4}};
    statements[3].raised = SHOAL_ERR_ABORTED;
    assert_concludes(statements, "aborted", SHOAL_ERR_MISMATCH, "ranks 0-1, 3 called");
    assert_non_null(strstr(text, "rank 2 called"));
}

/* The deadline of one passed as the other finished. */
static void who_had_finished_is_named(void **state)
{
    struct shl_statement statements[RANKS];
    (void)state;
    for (uint32_t i = 0; i < RANKS; i++)
        statements[i] = (struct shl_statement){.present = true, .called = true};
    statements[0].raised = SHOAL_ERR_TIMEOUT;
    assert_false(shl_verdict_is_uneven(statements, RANKS));
    assert_concludes(statements, "it took too long", SHOAL_ERR_TIMEOUT, "it took too long");
    assert_null(strstr(text, "finished"));
    statements[1].done = statements[3].done = true;
    assert_true(shl_verdict_is_uneven(statements, RANKS));
    assert_concludes(statements, "it took too long", SHOAL_ERR_TIMEOUT,
                     "it took too long; ranks 1, 3 had finished it");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_lost_are_named_and_not_who_left_because_of_them),
        cmocka_unit_test(who_left_is_named_where_nobody_is_lost),
        cmocka_unit_test(whoever_gives_up_is_named_with_who_had_not_called),
        cmocka_unit_test(a_disagreement_comes_before_who_gave_up),
        cmocka_unit_test(who_had_finished_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
