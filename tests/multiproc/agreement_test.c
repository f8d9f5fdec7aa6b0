/*
 * Ranks that call different things, over the real transports: the same error with the same text on
 * every rank, and the communicator works afterwards.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "multiproc/ranks.h"
#include "support/test.h"

#include <stdio.h>
#include <stdlib.h>

#define COUNT 20000 /* beyond what travels in a slot */

static const struct shoal_call normal = {
    .collective = SHOAL_ALLREDUCE, .dtype = SHOAL_I32, .count = COUNT};

/* Rows 1 to 5: another count, dtype, op, order, root. */
static const struct shoal_call odd_calls[] = {
    {.collective = SHOAL_ALLREDUCE, .dtype = SHOAL_I32, .count = COUNT / 2},
    {.collective = SHOAL_ALLREDUCE, .dtype = SHOAL_I32, .count = 1},
    {.collective = SHOAL_ALLREDUCE, .dtype = SHOAL_F32, .count = COUNT},
    {.collective = SHOAL_ALLREDUCE, .dtype = SHOAL_I32, .op = SHOAL_MAX, .count = COUNT},
    {.collective = SHOAL_BROADCAST, .dtype = SHOAL_I32, .count = COUNT},
    {.collective = SHOAL_REDUCE, .dtype = SHOAL_I32, .count = COUNT, .root = 1},
    {.collective = SHOAL_BARRIER},
};
#define ODD_CALLS (sizeof(odd_calls) / sizeof(odd_calls[0]))

struct odd {
    uint32_t position;
};

static void call_something_else(struct rank *self)
{
    const struct odd *odd = self->arg;
    int32_t *data = calloc(COUNT, sizeof(int32_t));
    for (size_t i = 0; i < ODD_CALLS; i++) {
        struct shoal_call call = self->rank == odd->position ? odd_calls[i] : normal;
        struct shoal_request *request = NULL;
        call.struct_size = sizeof(call);
        call.send = call.recv = data;
        int status = shoal_start_wait(self->comm, &call, UINT32_MAX, &request);
        ranks_tell(self, status);
        if (status != SHOAL_ERR_MISMATCH)
            break;
        self->report->later_status = ranks_sum(self);
        if (self->report->later_status != SHOAL_OK)
            break;
        self->report->number++;
    }
    free(data);
}

static void check(uint32_t size, const char *transport)
{
    char setting[64];
    snprintf(setting, sizeof(setting), "SHOAL_TRANSPORT=%s", transport);
    const char *const settings[] = {setting, "SHOAL_LOG_LEVEL=error", NULL};
    for (uint32_t position = 0; position < size; position++) {
        struct odd odd = {position};
        struct ranks_job job = {
            .size = size, .settings = settings, .body = call_something_else, .arg = &odd};
        struct rank_report *reports = ranks_run(&job);
        for (uint32_t r = 0; r < size; r++) {
            if (reports[r].number != ODD_CALLS)
                fail_msg("%s, %u ranks, rank %u odd: rank %u stopped at call %llu: %d %s; later %d",
                         transport, size, position, r, (unsigned long long)reports[r].number,
                         reports[r].status, reports[r].text, reports[r].later_status);
            assert_string_equal(reports[r].text, reports[0].text);
        }
    }
}

static void test_shm(void **state)
{
    (void)state;
    check(2, "shm");
    check(3, "shm");
    check(5, "shm");
}

static void test_tcp(void **state)
{
    (void)state;
    check(2, "tcp");
    check(3, "tcp");
    check(5, "tcp");
}

/* Row 6: a rank that never calls is named at once on request, and by the error at the deadline. */
static void stay_away(struct rank *self)
{
    if (self->rank == 2) {
        ranks_await_stage(self->reports, 2, 2);
        ranks_tell(self, ranks_sum(self)); /* comes too late */
        self->report->later_status = ranks_sum(self);
        return;
    }
    char why[256] = "";
    int32_t value = 1, sum;
    struct shoal_request *request;
    struct shoal_call call = {.struct_size = sizeof(call),
                              .collective = SHOAL_ALLREDUCE,
                              .dtype = SHOAL_I32,
                              .count = 1,
                              .send = &value,
                              .recv = &sum,
                              .timeout_ms = 6000};
    double start = ranks_now_s();
    int status = shoal_start(self->comm, &call, &request);
    self->report->stage = 1;
    while (status == SHOAL_OK && !strstr(why, "rank 2") && ranks_now_s() - start < 5.5) {
        (void)shoal_request_wait(request, 50);
        shoal_comm_why(self->comm, why, sizeof(why));
    }
    self->report->seconds = ranks_now_s() - start;
    self->report->number = strstr(why, "rank 2, which has not called it") != NULL;
    status = shoal_request_wait(request, UINT32_MAX);
    ranks_tell(self, status);
    shoal_request_destroy(request);
    self->report->stage = 2;
    self->report->later_status = ranks_sum(self);
}

static void check_absent_call(const char *transport)
{
    char setting[64];
    snprintf(setting, sizeof(setting), "SHOAL_TRANSPORT=%s", transport);
    const char *const settings[] = {setting, "SHOAL_LOG_LEVEL=error", NULL};
    struct ranks_job job = {.size = 3, .settings = settings, .body = stay_away};
    struct rank_report *reports = ranks_run(&job);
    for (uint32_t r = 0; r < 3; r++) {
        if (reports[r].status != SHOAL_ERR_TIMEOUT)
            fail_msg("rank %u: %d %s", r, reports[r].status, reports[r].text);
        assert_string_equal(reports[r].text, reports[0].text);
        assert_int_equal(reports[r].later_status, SHOAL_OK);
    }
    assert_non_null(strstr(reports[0].text, "rank 2 had not called allreduce"));
    assert_int_equal(reports[0].number, 1);
    assert_int_equal(reports[1].number, 1);
}

static void test_rank_that_does_not_call(void **state)
{
    (void)state;
    check_absent_call("shm");
    check_absent_call("tcp");
}

static void abort_it(struct rank *self)
{
    int32_t value = 1, sum;
    struct shoal_request *request;
    struct shoal_call call = {.struct_size = sizeof(call),
                              .collective = SHOAL_ALLREDUCE,
                              .dtype = SHOAL_I32,
                              .count = 1,
                              .send = &value,
                              .recv = &sum};
    if (self->rank == 1) {
        ranks_await_stage(self->reports, 1, 1);
        shoal_start(self->comm, &call, &request);
        (void)shoal_request_abort(request);
        ranks_tell(self, shoal_request_test(request));
        shoal_request_destroy(request);
    } else {
        self->report->stage = self->rank == 0;
        if (self->rank == 2) /* keeps the operation from completing before the abort */
            ranks_await_stage(self->reports, 1, 1);
        ranks_tell(self, self->rank == 2 ? SHOAL_ERR_ABORTED : ranks_sum(self));
        if (self->rank == 2)
            (void)ranks_sum(self);
    }
    self->report->later_status = ranks_sum(self);
}

static void test_abort(void **state)
{
    (void)state;
    const char *const settings[] = {"SHOAL_LOG_LEVEL=error", NULL};
    struct ranks_job job = {.size = 3, .settings = settings, .body = abort_it};
    struct rank_report *reports = ranks_run(&job);
    for (uint32_t r = 0; r < 3; r++)
        assert_int_equal(reports[r].later_status, SHOAL_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shm),
        cmocka_unit_test(test_tcp),
        cmocka_unit_test(test_rank_that_does_not_call),
        cmocka_unit_test(test_abort),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
