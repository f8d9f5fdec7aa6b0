/*
 * How members are found to be gone: stopped, killed with children that hold their sockets, or
 * left; and whose process is ended for it. And what becomes of operations with one that is not
 * gone, and calls nothing any more.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "multiproc/cgroups.h"
#include "multiproc/members.h"

#include "core/sys.h"
#include "elastic/views/views.h"
#include "support/test.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
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

/* ---- killed for want of memory ----------------------------------------------------------------
 */

static struct cgroup small_group;

static void enter_small_group(uint32_t slot)
{
    (void)slot;
    if (!cgroup_write(&small_group, "cgroup.procs", "0"))
        abort();
}

/* After the first sums one of them takes more than there is. */
static void sum_and_take(struct member *self)
{
    int64_t send[SMALL], recv[SMALL];
    bool stop = false;
    int status = SHOAL_OK;
    for (int i = 0; i < 20 && status == SHOAL_OK; i++)
        status = members_sum(self, send, recv, &stop);
    if (self->slot == 1)
        cgroup_take_too_much();
    members_end_with(self, status);
    if (status == SHOAL_OK)
        members_loop(self);
}

static void read_log(const char *path, char *text, size_t capacity)
{
    FILE *file = fopen(path, "r");
    text[file ? fread(text, 1, capacity - 1, file) : 0] = '\0';
    if (file)
        fclose(file);
    unlink(path);
}

static int remove_small_group(void **state)
{
    (void)state;
    cgroup_remove(&small_group);
    return 0;
}

/* The log says why the process of a member may have ended. */
static void a_death_for_want_of_memory_is_named(void **state)
{
    (void)state;
    static char text[65536];
    char path[64], setting[96];
    if (!cgroup_make_small(&small_group))
        TEST_SKIP("no memory cgroup can be made here");
    snprintf(path, sizeof(path), "/tmp/shoal-detection-%d.log", (int)getpid());
    snprintf(setting, sizeof(setting), "SHOAL_LOG_FILE=%s", path);
    const char *const settings[] = {"SHOAL_TRANSPORT=tcp", "SHOAL_LOG_LEVEL=info", setting, NULL};
    struct members_job job = {.start = 3,
                              .min = 1,
                              .settings = settings,
                              .elements = SMALL,
                              .before = enter_small_group,
                              .body = sum_and_take};
    const uint32_t left[] = {0, 2};
    struct members members;
    members_open(&members, &job);
    members_await(&members, 1, 20);
    double end_s = members_now_s() + MEMBERS_SECONDS;
    while (members.shared->reports[0].saw[members.shared->reports[0].count - 1].mask != 5 &&
           members_now_s() < end_s)
        usleep(500);
    members_finish(&members, left, 2, 20);
    read_log(path, text, sizeof(text));
    if (!strstr(text, "was killed for want of memory (memory.events: oom_kill)"))
        fail_msg("the cause is not named: %s", text);
}

/* ---- who lives and calls nothing ------------------------------------------------------------ */

#define OP_TIMEOUT_MS 50000 /* which passes by what the late one sees of its clock */

/* What two processes tell each other. */
static struct {
    _Atomic bool waits;   /* the late one is in the operation, for the other to come */
    _Atomic bool through; /* the other has returned */
} * told;

/* Of the process that is late in an operation: it looks at its clock when the other has returned,
 * and then its time is over. */
static struct {
    struct member *self; /* NULL: nobody is late */
    uint64_t seq;        /* the engine's number of the operation */
    uint32_t looks;
} lateness;
static _Thread_local bool is_program; /* this is the thread that can be late */

static void await(const _Atomic bool *what)
{
    double end_s = members_now_s() + MEMBERS_SECONDS;
    while (!*what && members_now_s() < end_s)
        usleep(100);
}

static uint64_t late_now_ns(void)
{
    uint64_t now_ns = shl_time_kernel.now_ns();
    const struct member *self = is_program ? lateness.self : NULL;
    if (!self)
        return now_ns;
    const struct shoal_comm *comm = self->world->comm;
    if (!comm || comm->next_seq <= lateness.seq || shl_list_empty(&comm->ops))
        return now_ns;
    if (lateness.looks++ == 0) /* fixes the deadline */
        return now_ns;
    told->waits = true;
    await(&told->through);
    lateness.self = NULL;
    return now_ns + 2 * OP_TIMEOUT_MS * UINT64_C(1000000);
}

static int late_sum(struct member *self, int64_t *send, int64_t *recv)
{
    bool stop;
    is_program = true;
    lateness.looks = 0;
    lateness.seq = self->world->comm->next_seq;
    lateness.self = self;
    return members_sum(self, send, recv, &stop);
}

/* Gets the result that the other has returned, and then waits for it in vain, until its deadline.
 */
static int be_late(struct member *self, int64_t *send, int64_t *recv)
{
    int status = late_sum(self, send, recv);
    uint64_t epoch = shoal_world_epoch(self->world);
    if (status != SHOAL_OK || lateness.self || epoch == self->report->saw[0].epoch)
        return status != SHOAL_OK ? status : SHOAL_ERR_INTERNAL; /* it was not late */
    if (late_sum(self, send, recv) != SHOAL_ERR_TIMEOUT || shoal_world_epoch(self->world) != epoch)
        return SHOAL_ERR_INTERNAL;
    self->report->retries++;
    return SHOAL_OK;
}

/* Slot 0 goes on as a process and a member, and its program calls nothing after the tenth sum. */
static void call_no_more(struct member *self)
{
    int64_t send[SMALL], recv[SMALL];
    bool stop = false;
    int status = SHOAL_OK;
    for (int i = 0; i < 9 && status == SHOAL_OK; i++)
        status = members_sum(self, send, recv, &stop);
    if (self->slot == 1 && status == SHOAL_OK) {
        status = be_late(self, send, recv);
    } else if (status == SHOAL_OK) {
        await(&told->waits);
        status = members_sum(self, send, recv, &stop);
        told->through = true;
    }
    members_end_with(self, status);
    if (self->slot == 1)
        self->shared->stop = 1;
    double end_s = members_now_s() + MEMBERS_SECONDS;
    while (!self->shared->stop && members_now_s() < end_s)
        usleep(500);
}

/* It beats, so it is not gone. What it has returned the other gets; the next operation ends at its
 * deadline, and nobody makes view after view. */
static void who_calls_no_more_keeps_nobody(void **state)
{
    (void)state;
    told = mmap(NULL, sizeof(*told), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(told != MAP_FAILED);
    static struct shl_sys_time time;
    time = shl_time_kernel;
    time.now_ns = late_now_ns;
    shl_time = &time; /* of all processes */
    for (int i = 0; i < 2; i++) {
        struct members_job job = {.start = 2,
                                  .min = 2,
                                  .settings = i ? tcp : shm,
                                  .elements = SMALL,
                                  .op_timeout_ms = OP_TIMEOUT_MS,
                                  .body = call_no_more};
        const uint32_t both[] = {0, 1};
        struct members members;
        told->waits = told->through = false;
        members_open(&members, &job);
        members_close(&members);
        members_check_ended(&members, both, 2);
        assert_int_equal(members_check_history(&members, both, 2), 10);
        assert_int_equal(members.shared->reports[1].retries, 1);
    }
    shl_time = &shl_time_kernel;
    munmap(told, sizeof(*told));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_stopped_member_learns_that_it_is_out),
        cmocka_unit_test(a_stopped_member_of_this_host_is_ended),
        cmocka_unit_test(a_death_shows_though_children_live),
        cmocka_unit_test(who_destroys_its_world_is_not_ended),
        cmocka_unit_test_teardown(a_death_for_want_of_memory_is_named, remove_small_group),
        cmocka_unit_test(who_calls_no_more_keeps_nobody),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
