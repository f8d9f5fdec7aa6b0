/*
 * An operation's own deadline, and starting and waiting in one call, between two processes.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "support/test.h"

#include <shoal/shoal.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#define COUNT 3

/* Rank 0 is the test; rank 1 is a child that does one step for each byte that it reads. */
struct pair {
    struct shoal_context *context;
    struct shoal_comm *comm;
    pid_t child;
    int orders, answers; /* of rank 0: to write, to read */
};

static enum shoal_status join(uint32_t rank, const char *address, struct pair *pair)
{
    struct shoal_comm_options options = {
        .struct_size = sizeof(options), .rank = rank, .size = 2, .rendezvous = address};
    SHL_TRY(shoal_context_create(NULL, &pair->context));
    return shoal_comm_create(pair->context, &options, &pair->comm);
}

static struct shoal_call sum_of(int32_t *values, uint32_t timeout_ms)
{
    return (struct shoal_call){.struct_size = sizeof(struct shoal_call),
                               .collective = SHOAL_ALLREDUCE,
                               .dtype = SHOAL_I32,
                               .op = SHOAL_SUM,
                               .count = COUNT,
                               .send = values,
                               .recv = values,
                               .timeout_ms = timeout_ms};
}

static int8_t sum_once(struct shoal_comm *comm)
{
    int32_t values[COUNT] = {1, 2, 3};
    struct shoal_request *request = NULL;
    struct shoal_call call = sum_of(values, 0);
    enum shoal_status status = shoal_start_wait(comm, &call, UINT32_MAX, &request);
    if (status == SHOAL_OK && (request || values[2] != 6))
        return SHOAL_ERR_INTERNAL;
    return (int8_t)status;
}

static void serve(const char *address, int orders, int answers)
{
    struct pair pair = {0};
    int8_t answer = (int8_t)join(1, address, &pair);
    char order;
    while (read(orders, &order, 1) == 1) {
        answer = sum_once(pair.comm);
        if (write(answers, &answer, 1) != 1)
            break;
    }
    shoal_comm_destroy(pair.comm);
    _exit(0);
}

static int set_up(void **state)
{
    static struct pair pair;
    int orders[2], answers[2];
    char address[64];
    snprintf(address, sizeof(address), "@shoal-deadline-test-%d", (int)getpid());
    if (pipe(orders) != 0 || pipe(answers) != 0)
        return -1;
    pair.child = fork();
    if (pair.child == 0) {
        close(orders[1]);
        serve(address, orders[0], answers[1]);
    }
    close(orders[0]);
    close(answers[1]);
    pair.orders = orders[1];
    pair.answers = answers[0];
    *state = &pair;
    return pair.child > 0 ? (int)join(0, address, &pair) : -1;
}

static int tear_down(void **state)
{
    struct pair *pair = *state;
    int status;
    close(pair->orders);
    close(pair->answers);
    bool left = shoal_comm_destroy(pair->comm) == SHOAL_OK &&
                shoal_context_destroy(pair->context) == SHOAL_OK;
    bool ended = waitpid(pair->child, &status, 0) == pair->child && status == 0;
    return left && ended ? 0 : -1;
}

static void order(struct pair *pair)
{
    assert_int_equal(write(pair->orders, "s", 1), 1);
}

static void assert_answer(struct pair *pair, enum shoal_status expected)
{
    int8_t answer;
    assert_int_equal(read(pair->answers, &answer, 1), 1);
    assert_int_equal(answer, expected);
}

static void both_can_sum(struct pair *pair)
{
    order(pair);
    assert_int_equal(sum_once(pair->comm), SHOAL_OK);
    assert_answer(pair, SHOAL_OK);
}

static void one_call_starts_and_finishes(void **state)
{
    for (int i = 0; i < 100; i++)
        both_can_sum(*state);
}

static void a_wait_that_ends_leaves_the_operation_going(void **state)
{
    struct pair *pair = *state;
    int32_t values[COUNT] = {1, 2, 3};
    struct shoal_call call = sum_of(values, UINT32_MAX);
    struct shoal_request *request = NULL;
    ASSERT_STATUS(SHOAL_IN_PROGRESS, shoal_start_wait(pair->comm, &call, 0, &request));
    ASSERT_STATUS(SHOAL_IN_PROGRESS, shoal_request_wait(request, 5));
    order(pair);
    ASSERT_OK(shoal_request_wait(request, UINT32_MAX));
    assert_int_equal(values[1], 4);
    ASSERT_OK(shoal_request_destroy(request));
    assert_answer(pair, SHOAL_OK);
}

/* Rank 1 calls after the deadline and gets the same verdict; the next operation works. */
static void assert_gives_up(struct pair *pair, struct shoal_request *request)
{
    ASSERT_STATUS(SHOAL_ERR_TIMEOUT, shoal_request_wait(request, UINT32_MAX));
    ASSERT_DETAIL("30 ms");
    ASSERT_OK(shoal_request_destroy(request));
    order(pair);
    assert_answer(pair, SHOAL_ERR_TIMEOUT);
    both_can_sum(pair);
}

static void the_deadline_of_a_started_operation_ends_it_everywhere(void **state)
{
    struct pair *pair = *state;
    int32_t values[COUNT] = {0};
    struct shoal_call call = sum_of(values, 30);
    struct shoal_request *request = NULL;
    ASSERT_OK(shoal_start(pair->comm, &call, &request));
    assert_gives_up(pair, request);
    ASSERT_STATUS(SHOAL_IN_PROGRESS, shoal_start_wait(pair->comm, &call, 10, &request));
    ASSERT_STATUS(SHOAL_IN_PROGRESS, shoal_request_test(request));
    assert_gives_up(pair, request);
}

static void the_deadline_ends_an_operation_that_is_only_tested(void **state)
{
    struct pair *pair = *state;
    int32_t values[COUNT] = {0};
    struct shoal_call call = sum_of(values, 30);
    struct shoal_request *request = NULL;
    int status = SHOAL_IN_PROGRESS;
    ASSERT_OK(shoal_start(pair->comm, &call, &request));
    for (int i = 0; i < 10000 && status == SHOAL_IN_PROGRESS; i++) {
        usleep(1000);
        status = shoal_request_test(request);
    }
    assert_int_equal(status, SHOAL_ERR_TIMEOUT);
    ASSERT_OK(shoal_request_destroy(request));
    order(pair);
    assert_answer(pair, SHOAL_ERR_TIMEOUT);
    both_can_sum(pair);
}

static void the_deadline_may_pass_in_the_first_wait(void **state)
{
    struct pair *pair = *state;
    int32_t values[COUNT] = {0};
    struct shoal_call call = sum_of(values, 30);
    struct shoal_request *request = NULL;
    ASSERT_STATUS(SHOAL_ERR_TIMEOUT, shoal_start_wait(pair->comm, &call, 60000, &request));
    assert_null(request);
    order(pair);
    assert_answer(pair, SHOAL_ERR_TIMEOUT);
    both_can_sum(pair);
}

static void bad_arguments_start_nothing(void **state)
{
    struct pair *pair = *state;
    int32_t values[COUNT] = {0};
    struct shoal_call call = sum_of(values, 0);
    struct shoal_request *request = (struct shoal_request *)&call;
    ASSERT_STATUS(SHOAL_ERR_INVALID, shoal_start_wait(pair->comm, &call, 0, NULL));
    ASSERT_STATUS(SHOAL_ERR_INVALID, shoal_start_wait(pair->comm, NULL, 0, &request));
    ASSERT_STATUS(SHOAL_ERR_INVALID, shoal_start_wait(NULL, &call, 0, &request));
    call.struct_size = 1;
    ASSERT_STATUS(SHOAL_ERR_INVALID, shoal_start_wait(pair->comm, &call, 0, &request));
    assert_ptr_equal(request, &call);
    both_can_sum(pair);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_call_starts_and_finishes),
        cmocka_unit_test(a_wait_that_ends_leaves_the_operation_going),
        cmocka_unit_test(the_deadline_of_a_started_operation_ends_it_everywhere),
        cmocka_unit_test(the_deadline_ends_an_operation_that_is_only_tested),
        cmocka_unit_test(the_deadline_may_pass_in_the_first_wait),
        cmocka_unit_test(bad_arguments_start_nothing),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
