/*
 * Every order of events and every place for the faults, for three members.
 *
 * Two faults everywhere take millions of states, so they are the default for two of the stories,
 * and one fault for the others; at night two for all with an operation. SHOAL_EXPLORE_FAULTS sets
 * it for all.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "sim/explore.h"

#include "support/test.h"

#include <stdlib.h>
#include <string.h>

/* Two faults by day, or at night only. */
static uint32_t two(bool by_day)
{
    const char *night = getenv("TEST_NIGHTLY");
    return by_day || (night && strcmp(night, "1") == 0) ? 2 : 1;
}

static void explore(enum explore_story story, const char *name, uint32_t faults)
{
    const char *given = getenv("SHOAL_EXPLORE_FAULTS");
    uint32_t most = given ? (uint32_t)strtoul(given, NULL, 0) : EXPLORE_FAULTS;
    struct explore_options options = {.story = story,
                                      .faults = given || faults > most ? most : faults};
    struct explore_result result;
    explore_run(&options, &result);
    print_message("%s, up to %u faults: %llu states, %llu transitions, %llu ends; %llu "
                  "publications, %llu redone, %llu forwarded, %llu failed\n",
                  name, options.faults, (unsigned long long)result.states,
                  (unsigned long long)result.transitions, (unsigned long long)result.ends,
                  (unsigned long long)result.published, (unsigned long long)result.redone,
                  (unsigned long long)result.forwarded, (unsigned long long)result.failed);
    assert_true(result.ends > 0 && result.published > 0);
}

static void a_result_returned_after_its_round(void **state)
{
    (void)state;
    explore(EXPLORE_FINAL, "final", two(true));
}

static void a_result_returned_with_a_copy_kept(void **state)
{
    (void)state;
    explore(EXPLORE_OPTIMISTIC, "optimistic", two(false));
}

static void a_step_that_is_redone(void **state)
{
    (void)state;
    explore(EXPLORE_RETAIN, "retained step", two(true));
}

static void a_step_that_is_given_up(void **state)
{
    (void)state;
    explore(EXPLORE_ABORT, "aborted step", two(false));
}

static void a_planned_leave(void **state)
{
    (void)state;
    explore(EXPLORE_LEAVE, "leave", 0);
}

static void broken_rules_are_noticed(void **state)
{
    (void)state;
    if (EXPLORE_FAULTS < 2) {
        print_message("it takes two faults to notice, which this build is too slow for\n");
        return;
    }
    const struct explore_options broken[] = {
        {.story = EXPLORE_FINAL, .faults = 2, .broken = EXPLORE_NO_FENCE},
        {.story = EXPLORE_OPTIMISTIC, .faults = 2, .broken = EXPLORE_NO_COPY},
    };
    for (size_t i = 0; i < sizeof(broken) / sizeof(broken[0]); i++) {
        struct explore_result result;
        explore_run(&broken[i], &result);
        assert_int_equal(result.violations, 1);
    }
}

int main(int argc, char **argv)
{
    cmocka_set_test_filter(argc > 1 ? argv[1] : NULL);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_result_returned_after_its_round),
        cmocka_unit_test(a_result_returned_with_a_copy_kept),
        cmocka_unit_test(a_step_that_is_redone),
        cmocka_unit_test(a_step_that_is_given_up),
        cmocka_unit_test(a_planned_leave),
        cmocka_unit_test(broken_rules_are_noticed),
    };
    return cmocka_run_group_tests_name("membership_explore", tests, NULL, NULL);
}
