/*
 * Elastic worlds whose members are connected by RDMA devices: killed, stopped and continued,
 * joined. In the guest, on Soft-RoCE.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "multiproc/members.h"
#include "support/test.h"

#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#define SMALL 16
#define LARGE 200000u /* elements of 8 bytes: above what is worth registering */

/* The guest has one CPU, so silence must be long before it means anything. */
static const char *const verbs[] = {"SHOAL_TRANSPORT=verbs", "SHOAL_DEAD_AFTER_MS=8000", NULL};
static const char *const brief[] = {"SHOAL_TRANSPORT=verbs", "SHOAL_DEAD_AFTER_MS=3000", NULL};

/* Packets that the devices have sent. */
static unsigned long long sent(void)
{
    unsigned long long all = 0, one;
    for (int i = 0; i < 2; i++) {
        char path[96];
        snprintf(path, sizeof(path), "/sys/class/infiniband/rxe%d/ports/1/hw_counters/sent_pkts",
                 i);
        FILE *file = fopen(path, "r");
        assert_non_null(file);
        assert_int_equal(fscanf(file, "%llu", &one), 1);
        fclose(file);
        all += one;
    }
    return all;
}

/* What the job saw went by way of the devices, at least a packet an operation. */
static void end_job(struct members *members, const uint32_t *left, uint32_t count,
                    unsigned long long before)
{
    uint32_t seen = 0;
    members->shared->stop = 1;
    members_close(members);
    members_check_ended(members, left, count);
    assert_true(members_check_history(members, left, count) >= 10);
    for (uint32_t i = 0; i < count; i++)
        if (members->shared->reports[left[i]].count > seen)
            seen = members->shared->reports[left[i]].count;
    assert_true(sent() - before >= seen);
}

static void survive(const struct members_job *how)
{
    struct members_job job = *how;
    const uint32_t left[] = {0, 2, 3};
    unsigned long long before = sent();
    struct members members;
    job.start = 3;
    job.min = 1;
    job.settings = verbs;
    members_open(&members, &job);
    for (uint32_t i = 0; i < 3; i++)
        members_await(&members, i, 5);
    members_kill(&members, 1, SIGKILL);
    members_await(&members, 0, 5);
    members_await(&members, 2, 5);
    if (job.body == members_steps) { /* at a boundary: somebody joins */
        members_start(&members, 3);
        members_await(&members, 3, 5);
    }
    end_job(&members, left, job.body == members_steps ? 3 : 2, before);
}

static void survivors_go_on(void **state)
{
    (void)state;
    survive(&(struct members_job){.elements = SMALL, .body = members_loop});
    survive(&(struct members_job){.elements = LARGE, .body = members_loop});
    survive(&(struct members_job){.elements = LARGE, .body = members_loop, .in_place = true});
}

static void retained_steps_go_on_and_grow(void **state)
{
    (void)state;
    survive(&(struct members_job){.elements = SMALL, .body = members_steps});
    survive(&(struct members_job){.elements = LARGE, .body = members_steps});
}

static void aborting_steps_go_on_and_grow(void **state)
{
    (void)state;
    survive(
        &(struct members_job){.elements = LARGE, .body = members_steps, .mode = SHOAL_STEP_ABORT});
}

/* Stopped in the middle of its writes and continued when the others have gone on without it: not
 * one of them reaches memory in use, and it learns that it is out. */
static void a_stopped_member_writes_nothing(void **state)
{
    (void)state;
    struct members_job job = {
        .start = 3, .min = 1, .settings = brief, .elements = LARGE, .body = members_loop};
    const uint32_t left[] = {0, 2};
    unsigned long long before = sent();
    struct members members;
    members_open(&members, &job);
    for (uint32_t i = 0; i < 3; i++)
        members_await(&members, i, 5);
    members_kill(&members, 1, SIGSTOP);
    members_await(&members, 0, 5);
    members_await(&members, 2, 5);
    members_kill(&members, 1, SIGCONT);
    double end_s = members_now_s() + MEMBERS_SECONDS;
    while (!members.shared->reports[1].done && members_now_s() < end_s)
        usleep(1000);
    members_await(&members, 0, 5);
    assert_int_equal(members.shared->reports[1].status, SHOAL_ERR_EPOCH);
    end_job(&members, left, 2, before);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(survivors_go_on),
        cmocka_unit_test(retained_steps_go_on_and_grow),
        cmocka_unit_test(aborting_steps_go_on_and_grow),
        cmocka_unit_test(a_stopped_member_writes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
