/*
 * How members are found to be gone: stopped, killed with children that hold their sockets, or
 * left; and whose process is ended for it.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "multiproc/members.h"

#include "support/test.h"

#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define SMALL 16 /* elements */

static const char *const shm[] = {"SHOAL_TRANSPORT=shm", NULL};
static const char *const tcp[] = {"SHOAL_TRANSPORT=tcp", NULL};

/* Stopped for longer than the limit and continued, it learns that the others went on. */
static void a_stopped_member_learns_that_it_is_out(void **state)
{
    (void)state;
    struct members_job job = {
        .start = 4, .min = 1, .settings = tcp, .elements = SMALL, .body = members_loop};
    const uint32_t left[] = {0, 2, 3};
    struct members members;
    members_open(&members, &job);
    for (uint32_t i = 0; i < 4; i++)
        members_await(&members, i, 20);
    members_kill(&members, 1, SIGSTOP);
    for (uint32_t i = 0; i < 3; i++)
        members_await(&members, left[i], 50);
    members_kill(&members, 1, SIGCONT);
    double end_s = members_now_s() + MEMBERS_SECONDS;
    while (!members.shared->reports[1].done && members_now_s() < end_s)
        usleep(1000);
    members.shared->stop = 1;
    members_close(&members);
    assert_int_equal(members.shared->reports[1].status, SHOAL_ERR_EPOCH);
    members_check_ended(&members, left, 3);
    assert_true(members_check_history(&members, left, 3) > 20);
}

/* With shared memory no epoch keeps it from writing: its process is ended. */
static void a_stopped_member_of_this_host_is_ended(void **state)
{
    (void)state;
    struct members_job job = {
        .start = 3, .min = 1, .settings = shm, .elements = SMALL, .body = members_loop};
    const uint32_t left[] = {0, 1};
    struct members members;
    members_open(&members, &job);
    for (uint32_t i = 0; i < 3; i++)
        members_await(&members, i, 20);
    members_kill(&members, 2, SIGSTOP);
    members_finish(&members, left, 2, 50);
    assert_true(WIFSIGNALED(members.exits[2]) && WTERMSIG(members.exits[2]) == SIGKILL);
}

/* Sums, and a child of its own that holds all its descriptors for longer than it lives itself. */
static void have_a_child(struct member *self)
{
    double end_s = members_now_s() + MEMBERS_SECONDS;
    if (self->slot == 1 && fork() == 0) {
        while (!self->shared->stop && members_now_s() < end_s)
            usleep(1000);
        _exit(0);
    }
    members_loop(self);
}

/* Its sockets stay open and silent, and silence would take longer than the test does. */
static void a_death_shows_though_children_live(void **state)
{
    (void)state;
    static const char *const patient[] = {"SHOAL_TRANSPORT=tcp", "SHOAL_DEAD_AFTER_MS=200000",
                                          NULL};
    struct members_job job = {
        .start = 3, .min = 1, .settings = patient, .elements = SMALL, .body = have_a_child};
    const uint32_t left[] = {0, 2};
    struct members members;
    members_open(&members, &job);
    for (uint32_t i = 0; i < 3; i++)
        members_await(&members, i, 20);
    members_kill(&members, 1, SIGKILL);
    members_finish(&members, left, 2, 50);
}

/* Ends its membership without asking, and goes on as a process until the others have as members. */
static void end_early(struct member *self)
{
    const struct member_report *other = &self->shared->reports[0];
    double end_s = members_now_s() + MEMBERS_SECONDS;
    if (self->slot != 2) {
        members_loop(self);
        return;
    }
    size_t bytes = self->job->elements * sizeof(int64_t);
    int64_t *send = malloc(bytes), *recv = malloc(bytes);
    bool stop = false;
    for (int i = 0; i < 20 && self->report->status == SHOAL_OK; i++)
        self->report->status = members_sum(self, send, recv, &stop);
    pid_t child = fork(); /* as workers that load data: it has all descriptors of this process */
    if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        for (;;)
            pause();
    }
    shoal_world_destroy(self->world);
    self->world = NULL;
    uint64_t epoch = self->report->saw[0].epoch;
    while (members_now_s() < end_s &&
           (!other->count || other->saw[other->count - 1].epoch == epoch))
        usleep(500);
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    free(recv);
    free(send);
}

/* A world that was taken down maps nothing any more, so there is nothing to end a process for. */
static void who_destroys_its_world_is_not_ended(void **state)
{
    (void)state;
    struct members_job job = {
        .start = 3, .min = 1, .settings = shm, .elements = SMALL, .body = end_early};
    const uint32_t all[] = {0, 1, 2};
    struct members members;
    members_open(&members, &job);
    members_await(&members, 0, 60);
    members_await(&members, 1, 20);
    members.shared->stop = 1;
    members_close(&members);
    assert_true(WIFEXITED(members.exits[2]));
    members_check_ended(&members, all, 3);
    assert_int_equal(members.shared->reports[0].saw[members.shared->reports[0].count - 1].mask, 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_stopped_member_learns_that_it_is_out),
        cmocka_unit_test(a_stopped_member_of_this_host_is_ended),
        cmocka_unit_test(a_death_shows_though_children_live),
        cmocka_unit_test(who_destroys_its_world_is_not_ended),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
