/*
 * Runs every conformance test for one adapter, as cmocka tests named "transport: test".
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "conformance/suite.h"

#define TESTS_MAX 128
#define NAME_BYTES 96

struct instance {
    const struct conformance_adapter *adapter;
    const struct conformance_test *test;
    char name[NAME_BYTES];
};

static void run_instance(void **state)
{
    const struct instance *instance = *state;
    const char *only = getenv("CONFORMANCE_SEED"); /* repeats one seed of a failure */
    if (only != NULL) {
        instance->test->run(instance->adapter, strtoull(only, NULL, 10));
        return;
    }
    for (uint64_t seed = 1; seed <= instance->adapter->seeds; seed++)
        instance->test->run(instance->adapter, seed);
}

int conformance_run(const struct conformance_adapter *adapter)
{
    static const struct conformance_test *const groups[] = {
        conformance_transfer_tests, conformance_signature_tests, conformance_cancel_tests,
        conformance_memory_tests,   conformance_wait_tests,
    };
    static struct instance instances[TESTS_MAX];
    static struct CMUnitTest tests[TESTS_MAX];
    size_t count = 0;
    for (size_t g = 0; g < sizeof(groups) / sizeof(groups[0]); g++) {
        for (const struct conformance_test *test = groups[g]; test->name != NULL; test++) {
            assert_true(count < TESTS_MAX);
            struct instance *instance = &instances[count];
            instance->adapter = adapter;
            instance->test = test;
            snprintf(instance->name, NAME_BYTES, "%s: %s", adapter->name, test->name);
            tests[count++] =
                (struct CMUnitTest){instance->name, run_instance, NULL, NULL, instance};
        }
    }
    return _cmocka_run_group_tests(adapter->name, tests, count, NULL, NULL);
}
