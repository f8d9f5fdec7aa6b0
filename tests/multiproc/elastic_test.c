/*
 * Elastic worlds of real processes that fail while they work: one outcome on all survivors, right
 * values, right divisors.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "multiproc/members.h"

#include "support/test.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define SMALL 16
#define LARGE 40000 /* elements: beyond what is kept instead of a completion round */

static const char *const shm[] = {"SHOAL_TRANSPORT=shm", NULL};
static const char *const tcp[] = {"SHOAL_TRANSPORT=tcp", NULL};

/* Four run, or how->start; some are killed in the middle of operations; the others go on without
 * them. */
static void kill_some(const struct members_job *how, const uint32_t *victims, uint32_t victim_count)
{
    struct members_job job = *how;
    job.start = how->start ? how->start : 4;
    job.min = 1;
    job.body = members_loop;
    struct members members;
    uint32_t left[MEMBERS_MAX], count = 0;
    members_open(&members, &job);
    for (uint32_t i = 0; i < job.start; i++)
        members_await(&members, i, 20);
    for (uint32_t i = 0; i < victim_count; i++)
        members_kill(&members, victims[i], SIGKILL);
    for (uint32_t i = 0; i < job.start; i++)
        if (victims[0] != i && (victim_count < 2 || victims[1] != i))
            left[count++] = i;
    members_finish(&members, left, count, 50);
    const struct member_report *report = &members.shared->reports[left[0]];
    const struct member_saw *last = &report->saw[report->count - 1];
    assert_int_equal(last->contributors, count);
    assert_true(last->epoch > report->saw[0].epoch);
}

static void survivors_go_on_small_shm(void **state)
{
    (void)state;
    kill_some(&(struct members_job){.settings = shm, .elements = SMALL}, (const uint32_t[]){2}, 1);
}

static void survivors_go_on_small_tcp(void **state)
{
    (void)state;
    kill_some(&(struct members_job){.settings = tcp, .elements = SMALL}, (const uint32_t[]){2}, 1);
}

static void survivors_go_on_large_shm(void **state)
{
    (void)state;
    kill_some(&(struct members_job){.settings = shm, .elements = LARGE}, (const uint32_t[]){1}, 1);
}

static void survivors_go_on_large_tcp(void **state)
{
    (void)state;
    kill_some(&(struct members_job){.settings = tcp, .elements = LARGE}, (const uint32_t[]){3}, 1);
}

/* What was overwritten when the other died is still to be had. */
static void survivors_go_on_in_place(void **state)
{
    (void)state;
    static const size_t sizes[] = {SMALL, LARGE};
    for (int i = 0; i < 4; i++) {
        const struct members_job how = {
            .settings = i % 2 ? tcp : shm, .elements = sizes[i / 2], .in_place = true};
        kill_some(&how, (const uint32_t[]){2}, 1);
    }
}

/* The lowest member drives a change; here it dies, and with it another one. */
static void two_deaths_at_once(void **state)
{
    (void)state;
    const struct members_job how = {.start = 5, .settings = shm, .elements = SMALL};
    kill_some(&how, (const uint32_t[]){0, 3}, 2);
}

/* The lowest member drives a change; this one dies while it does. */
static void the_driver_dies(void **state)
{
    (void)state;
    struct members_job job = {
        .start = 4, .min = 1, .settings = shm, .elements = SMALL, .body = members_loop};
    for (uint32_t delay_ms = 8; delay_ms <= 20; delay_ms += 6) {
        struct members members;
        uint32_t left[4], count = 0, driver = 0, other = 0;
        members_open(&members, &job);
        for (uint32_t i = 0; i < 4; i++)
            members_await(&members, i, 20);
        for (uint32_t i = 0; i < 4; i++) {
            if (members.shared->reports[i].rank == 0)
                driver = i;
            else if (members.shared->reports[i].rank == 3)
                other = i;
            else
                left[count++] = i;
        }
        members_kill(&members, other, SIGKILL);
        usleep(delay_ms * 1000);
        members_kill(&members, driver, SIGKILL);
        members_finish(&members, left, count, 50);
    }
}

/* Each death leaves a smaller view, to the last member. */
static void one_after_the_other(void **state)
{
    (void)state;
    struct members_job job = {
        .start = 4, .min = 1, .settings = tcp, .elements = SMALL, .body = members_loop};
    const uint32_t last = 2, order[] = {3, 0, 1};
    struct members members;
    members_open(&members, &job);
    members_await(&members, last, 20);
    for (uint32_t i = 0; i < 3; i++) {
        members_kill(&members, order[i], SIGKILL);
        members_await(&members, last, 50);
    }
    members.shared->stop = 1;
    members_close(&members);
    members_check_ended(&members, &last, 1);
    const struct member_report *report = &members.shared->reports[last];
    assert_int_equal(report->saw[report->count - 1].mask, 1u << last);
}

/* ---- steps ------------------------------------------------------------------------------------
 */

static void join_leave_and_fail(enum shoal_step_mode mode, const char *const *settings)
{
    struct members_job job = {.start = 3,
                              .min = 1,
                              .mode = mode,
                              .settings = settings,
                              .elements = SMALL,
                              .body = members_steps};
    const uint32_t left[] = {1, 3};
    struct members members;
    members_open(&members, &job);
    for (uint32_t i = 0; i < 3; i++)
        members_await(&members, i, 10);
    members_start(&members, 3); /* joins at a boundary */
    for (uint32_t i = 0; i < 4; i++)
        members_await(&members, i, 10);
    members.shared->leave = 1; /* slot 0 leaves at one */
    double end_s = members_now_s() + MEMBERS_SECONDS;
    while (!members.shared->reports[0].done && members_now_s() < end_s)
        usleep(1000);
    assert_true(members.shared->reports[0].left);
    for (uint32_t i = 1; i < 4; i++)
        members_await(&members, i, 10);
    members_kill(&members, 2, SIGKILL); /* in the middle of a step, mostly */
    members_finish(&members, left, 2, 20);
    const struct member_report *one = &members.shared->reports[1];
    assert_int_equal(one->state, members.shared->reports[3].state);
    assert_int_equal(one->saw[one->count - 1].contributors, 2);
}

static void steps_are_redone(void **state)
{
    (void)state;
    join_leave_and_fail(SHOAL_STEP_RETAIN, shm);
}

static void steps_are_redone_over_tcp(void **state)
{
    (void)state;
    join_leave_and_fail(SHOAL_STEP_RETAIN, tcp);
}

static void steps_begin_again(void **state)
{
    (void)state;
    join_leave_and_fail(SHOAL_STEP_ABORT, shm);
}

/* When all have begun the step slot 2 dies in it; mostly others have begun its operation by then.
 */
static void begin_with_newcomer(struct member *self)
{
    const struct member_report *reports = self->shared->reports;
    self->report->left = 1;
    while (self->slot == 2) {
        if (reports[0].left && reports[1].left && reports[3].left)
            raise(SIGKILL);
        usleep(500);
    }
}

/* A step in which somebody is new is given up, since another member dies in it. */
static void newcomers(struct member *self)
{
    uint32_t told = 0;
    bool again = false;
    int64_t stop = 0;
    int status = SHOAL_OK;
    while (status == SHOAL_OK && !stop) {
        struct shoal_step step = {.struct_size = sizeof(step)};
        status = shoal_step_begin(self->world, &step);
        if (status == SHOAL_OK && step.step && step.joined)
            begin_with_newcomer(self);
        if (status == SHOAL_OK && again && step.joined != told)
            status = SHOAL_ERR_INTERNAL; /* nobody would give the newcomer its state */
        told = step.joined;
        int64_t wish = self->shared->stop;
        if (status == SHOAL_OK)
            status = shoal_world_allreduce(self->world, &wish, &stop, 1, SHOAL_I64, SHOAL_SUM);
        if (status == SHOAL_OK)
            status = shoal_step_commit(self->world, 1);
        again = status == SHOAL_ERR_STEP_RETRY;
        if (again) {
            self->report->retries++;
            status = SHOAL_OK;
            stop = 0;
        } else if (status == SHOAL_OK) {
            self->report->count++;
        }
    }
    self->report->status = status;
    snprintf(self->report->text, sizeof(self->report->text), "%s", shoal_last_error());
}

static void newcomers_are_told_again_when_a_step_is_given_up(void **state)
{
    (void)state;
    struct members_job job = {
        .start = 3, .min = 1, .mode = SHOAL_STEP_ABORT, .settings = tcp, .body = newcomers};
    const uint32_t left[] = {0, 1, 3};
    struct members members;
    members_open(&members, &job);
    for (uint32_t i = 0; i < 3; i++)
        members_await(&members, i, 1);
    members_start(&members, 3);
    members_await(&members, 3, 5);
    members.shared->stop = 1;
    members_close(&members);
    members_check_ended(&members, left, 3);
    for (uint32_t i = 0; i < 3; i++)
        assert_true(members.shared->reports[left[i]].retries <= 1);
}

/* What follows the shape of the view fails when that changes, alike on all, and works in the next.
 */
static void gather(struct member *self)
{
    int64_t mine = (int64_t)(1ull << self->slot), all[MEMBERS_MAX] = {0};
    struct shoal_view view = {.struct_size = sizeof(view)};
    uint32_t interrupted = 0;
    int status = SHOAL_OK;
    while (status == SHOAL_OK) {
        shoal_world_view(self->world, &view);
        status = shoal_world_allgather(self->world, &mine, all, 1, SHOAL_I64);
        if (status == SHOAL_ERR_EPOCH && interrupted++ < 5 && !view.ended)
            status = SHOAL_OK;
        else if (status == SHOAL_OK && all[view.rank] != mine)
            status = SHOAL_ERR_INTERNAL;
        else if (status == SHOAL_OK)
            self->report->count++;
        if (status == SHOAL_OK && view.size == 3 && self->report->count > 200)
            break;
    }
    self->report->status = status;
    snprintf(self->report->text, sizeof(self->report->text), "%s", shoal_last_error());
}

static void shapes_follow_the_view(void **state)
{
    (void)state;
    struct members_job job = {.start = 4, .min = 1, .settings = tcp, .body = gather};
    const uint32_t left[] = {0, 1, 3};
    struct members members;
    members_open(&members, &job);
    for (uint32_t i = 0; i < 4; i++)
        members_await(&members, i, 20);
    members_kill(&members, 2, SIGKILL);
    members_close(&members);
    members_check_ended(&members, left, 3);
}

/* Too few are left: all wait for the time that a change may take, and end alike. */
static void a_world_that_is_too_small_ends(void **state)
{
    (void)state;
    struct members_job job = {.start = 3,
                              .min = 3,
                              .settings = shm,
                              .elements = SMALL,
                              .recovery_timeout_ms = 1000,
                              .body = members_loop};
    struct members members;
    members_open(&members, &job);
    for (uint32_t i = 0; i < 3; i++)
        members_await(&members, i, 10);
    members_kill(&members, 1, SIGKILL);
    members_close(&members);
    assert_int_equal(members.shared->reports[0].status, SHOAL_ERR_EPOCH);
    assert_int_equal(members.shared->reports[2].status, SHOAL_ERR_EPOCH);
}

/* Operations need no store; a failure does, and then all end alike. */
static void without_its_store_a_world_works_until_a_failure(void **state)
{
    (void)state;
    struct members_job job = {.start = 3,
                              .min = 1,
                              .settings = shm,
                              .elements = SMALL,
                              .recovery_timeout_ms = 1500,
                              .body = members_loop};
    struct members members;
    members_open(&members, &job);
    for (uint32_t i = 0; i < 3; i++)
        members_await(&members, i, 10);
    kill(members.coordinator, SIGKILL);
    for (uint32_t i = 0; i < 3; i++)
        members_await(&members, i, 50);
    members_kill(&members, 1, SIGKILL);
    members_close(&members);
    assert_int_equal(members.shared->reports[0].status, SHOAL_ERR_STORE);
    assert_int_equal(members.shared->reports[2].status, SHOAL_ERR_STORE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(survivors_go_on_small_shm),
        cmocka_unit_test(survivors_go_on_small_tcp),
        cmocka_unit_test(survivors_go_on_large_shm),
        cmocka_unit_test(survivors_go_on_large_tcp),
        cmocka_unit_test(survivors_go_on_in_place),
        cmocka_unit_test(two_deaths_at_once),
        cmocka_unit_test(the_driver_dies),
        cmocka_unit_test(one_after_the_other),
        cmocka_unit_test(steps_are_redone),
        cmocka_unit_test(steps_are_redone_over_tcp),
        cmocka_unit_test(steps_begin_again),
        cmocka_unit_test(newcomers_are_told_again_when_a_step_is_given_up),
        cmocka_unit_test(shapes_follow_the_view),
        cmocka_unit_test(a_world_that_is_too_small_ends),
        cmocka_unit_test(without_its_store_a_world_works_until_a_failure),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
