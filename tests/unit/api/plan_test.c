/*
 * Asking how a call would be carried out, with and without buffers.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "support/test.h"

#include <shoal/shoal.h>

struct alone {
    struct shoal_context *context;
    struct shoal_comm *comm;
};

static int set_up(void **state)
{
    static struct alone alone;
    struct shoal_comm_options options = {.struct_size = sizeof(options), .rank = 0, .size = 1};
    *state = &alone;
    if (shoal_context_create(NULL, &alone.context) != SHOAL_OK)
        return -1;
    return (int)shoal_comm_create(alone.context, &options, &alone.comm);
}

static int tear_down(void **state)
{
    struct alone *alone = *state;
    if (shoal_comm_destroy(alone->comm) != SHOAL_OK)
        return -1;
    return (int)shoal_context_destroy(alone->context);
}

static struct shoal_call a_sum(const void *send, void *recv)
{
    return (struct shoal_call){.struct_size = sizeof(struct shoal_call),
                               .collective = SHOAL_ALLREDUCE,
                               .dtype = SHOAL_F32,
                               .op = SHOAL_SUM,
                               .count = 4,
                               .send = send,
                               .recv = recv};
}

static void a_plan_needs_no_buffers(void **state)
{
    struct alone *alone = *state;
    struct shoal_plan_info info = {.struct_size = sizeof(info)};
    struct shoal_call call = a_sum(NULL, NULL);
    ASSERT_OK(shoal_plan(alone->comm, &call, &info));
    assert_string_equal(info.algorithm, "copy");
    assert_string_equal(info.transport, "self");
}

static void but_what_is_given_is_checked(void **state)
{
    struct alone *alone = *state;
    struct shoal_plan_info info = {.struct_size = sizeof(info)};
    float values[8] = {0};
    struct shoal_call half = a_sum(values, NULL);
    ASSERT_STATUS(SHOAL_ERR_INVALID, shoal_plan(alone->comm, &half, &info));
    ASSERT_DETAIL("recv is NULL");
    struct shoal_call overlapping = a_sum(values, values + 1);
    ASSERT_STATUS(SHOAL_ERR_INVALID, shoal_plan(alone->comm, &overlapping, &info));
    struct shoal_call huge = a_sum(NULL, NULL);
    huge.count = SIZE_MAX / 2;
    ASSERT_STATUS(SHOAL_ERR_INVALID, shoal_plan(alone->comm, &huge, &info));
    struct shoal_call unknown = a_sum(NULL, NULL);
    unknown.dtype = SHOAL_DTYPE_COUNT;
    ASSERT_STATUS(SHOAL_ERR_INVALID, shoal_plan(alone->comm, &unknown, &info));
}

static void a_start_needs_buffers(void **state)
{
    struct alone *alone = *state;
    struct shoal_request *request = NULL;
    struct shoal_call call = a_sum(NULL, NULL);
    ASSERT_STATUS(SHOAL_ERR_INVALID, shoal_start(alone->comm, &call, &request));
    ASSERT_STATUS(SHOAL_ERR_INVALID, shoal_start_wait(alone->comm, &call, 0, &request));
    assert_null(request);
}

static void an_older_caller_gets_what_it_knows(void **state)
{
    struct alone *alone = *state;
    struct shoal_plan_info info = {.struct_size = offsetof(struct shoal_plan_info, transport)};
    struct shoal_call call = a_sum(NULL, NULL);
    ASSERT_OK(shoal_plan(alone->comm, &call, &info));
    assert_string_equal(info.algorithm, "copy");
    assert_null(info.transport);
    info.struct_size = 0;
    ASSERT_STATUS(SHOAL_ERR_INVALID, shoal_plan(alone->comm, &call, &info));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_plan_needs_no_buffers),
        cmocka_unit_test(but_what_is_given_is_checked),
        cmocka_unit_test(a_start_needs_buffers),
        cmocka_unit_test(an_older_caller_gets_what_it_knows),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
