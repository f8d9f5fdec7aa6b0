/*
 * What is wrong with a context or a communicator is said when it is made, not later.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "support/test.h"

#include <shoal/shoal.h>

static void a_bad_algorithm_is_named(void **state)
{
    static const struct {
        const char *setting, *detail;
    } cases[] = {
        {"SHOAL_ALGORITHM=allreduce=rign",
         "SHOAL_ALGORITHM: \"rign\" is no algorithm of allreduce; "
         "did you mean \"ring\"?"},
        {"SHOAL_ALGORITHM=allredcue=ring", "did you mean \"allreduce\"?"},
        {"SHOAL_ALGORITHM=ring", "collective=algorithm"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct shoal_context *context = NULL;
        struct shoal_context_options options = {
            .struct_size = sizeof(options), .settings = &cases[i].setting, .setting_count = 1};
        ASSERT_STATUS(SHOAL_ERR_CONFIG, shoal_context_create(&options, &context));
        ASSERT_DETAIL(cases[i].detail);
        assert_null(context);
    }
}

static void assert_not_created(const struct shoal_comm_options *options, enum shoal_status status,
                               const char *detail)
{
    struct shoal_context *context;
    struct shoal_comm *comm = NULL;
    ASSERT_OK(shoal_context_create(NULL, &context));
    ASSERT_STATUS(status, shoal_comm_create(context, options, &comm));
    ASSERT_DETAIL(detail);
    assert_null(comm);
    ASSERT_OK(shoal_context_destroy(context));
}

static void bad_places_are_named(void **state)
{
    struct shoal_comm_options options = {
        .struct_size = sizeof(options), .rank = 2, .size = 2, .rendezvous = "127.0.0.1:0"};
    (void)state;
    assert_not_created(&options, SHOAL_ERR_INVALID, "rank 2 is not below size 2");
    options.rank = 0;
    options.rendezvous = "host";
    assert_not_created(&options, SHOAL_ERR_INVALID, "write host:port");
}

/* Rank 0 would wait for itself until the init timeout, which is not shortened here. */
static void an_open_address_without_a_secret_is_refused_at_once(void **state)
{
    struct shoal_comm_options options = {
        .struct_size = sizeof(options), .rank = 0, .size = 2, .rendezvous = "0.0.0.0:0"};
    (void)state;
    assert_not_created(&options, SHOAL_ERR_CONFIG, "SHOAL_SECRET_FILE");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_bad_algorithm_is_named),
        cmocka_unit_test(bad_places_are_named),
        cmocka_unit_test(an_open_address_without_a_secret_is_refused_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
