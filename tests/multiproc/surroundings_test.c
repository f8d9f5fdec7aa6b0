/*
 * Ranks in surroundings that others made: a full /dev/shm, a wall clock that jumps, a CPU quota
 * that is used up. What they compute is right, and no one takes another for dead.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "multiproc/cgroups.h"
#include "multiproc/ranks.h"
#include "support/test.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define QUIET "SHOAL_LOG_LEVEL=off"

static const char *const transports[] = {"SHOAL_TRANSPORT=shm", "SHOAL_TRANSPORT=tcp"};

static void assert_all_ok(const char *what, const struct rank_report *reports, uint32_t size)
{
    for (uint32_t r = 0; r < size; r++)
        if (reports[r].status != SHOAL_OK)
            fail_msg("%s, rank %u: %d %s", what, r, reports[r].status, reports[r].text);
}

/* ---- /dev/shm is full ------------------------------------------------------------------------ */

#define LARGE_COUNT (2u << 20)

/* A /dev/shm of 64 KiB that only this process sees, without room for a byte more. */
static bool fill_shm(void)
{
    static const char page[4096];
    if (unshare(CLONE_NEWNS) != 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
        mount("none", "/dev/shm", "tmpfs", 0, "size=64k") != 0)
        return false;
    int fd = open("/dev/shm/full", O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    ssize_t put = 0;
    while (fd >= 0 && put >= 0)
        put = write(fd, page, sizeof(page));
    bool full = fd >= 0 && errno == ENOSPC;
    if (fd >= 0)
        close(fd);
    return full;
}

static void enter_full(uint32_t rank)
{
    (void)rank;
    if (!fill_shm())
        abort();
}

static int sum_large(struct rank *self, float *send, float *recv)
{
    for (size_t i = 0; i < LARGE_COUNT; i++)
        send[i] = (float)(i % 1000 + self->rank);
    int status = shoal_allreduce(self->comm, send, recv, LARGE_COUNT, SHOAL_F32, SHOAL_SUM);
    for (size_t i = 0; i < LARGE_COUNT && status == SHOAL_OK; i++)
        if (recv[i] != (float)(3 * (i % 1000) + 3))
            status = SHOAL_ERR_INTERNAL;
    return status;
}

static void use_shared_and_ordinary(struct rank *self)
{
    const size_t bytes = LARGE_COUNT * sizeof(float);
    void *shared[2] = {NULL, NULL};
    int status = ranks_sum(self);
    for (int i = 0; i < 2 && status == SHOAL_OK; i++)
        status = shoal_mem_alloc(self->context, bytes, &shared[i]);
    if (status == SHOAL_OK)
        status = sum_large(self, shared[0], shared[1]);
    float *send = malloc(bytes), *recv = malloc(bytes);
    if (status == SHOAL_OK)
        status = send && recv ? sum_large(self, send, recv) : SHOAL_ERR_NOMEM;
    ranks_tell(self, status);
    free(send);
    free(recv);
    for (int i = 0; i < 2; i++)
        if (shared[i])
            shoal_mem_free(self->context, shared[i]);
}

static void test_full_dev_shm(void **state)
{
    (void)state;
    pid_t child = fork();
    if (child == 0)
        _exit(fill_shm() ? 0 : 1);
    int permitted = 1;
    waitpid(child, &permitted, 0);
    if (permitted != 0)
        TEST_SKIP("no mount namespace with a /dev/shm of its own can be made here");
    const char *const settings[] = {"SHOAL_TRANSPORT=shm", QUIET, NULL};
    struct ranks_job job = {
        .size = 3, .settings = settings, .before = enter_full, .body = use_shared_and_ordinary};
    assert_all_ok("full /dev/shm", ranks_run(&job), 3);
}

/* ---- the wall clock jumps -------------------------------------------------------------------- */

static _Atomic bool jumps;
static _Atomic int64_t wall_calls;

/* Years forth and back, a different way each time that somebody looks. */
static time_t jump(void)
{
    int64_t call = atomic_fetch_add(&wall_calls, 1);
    return (time_t)((call % 2 ? 1 : -1) * (call % 7 + 1) * 50000000);
}

/* In front of libc's, for the library as well. Only the wall clock is off. */
int clock_gettime(clockid_t id, struct timespec *out)
{
    int status = (int)syscall(SYS_clock_gettime, id, out);
    if (status == 0 && atomic_load(&jumps) && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE))
        out->tv_sec += jump();
    return status;
}

int gettimeofday(struct timeval *restrict out, void *restrict zone)
{
    int status = (int)syscall(SYS_gettimeofday, out, zone);
    if (status == 0 && atomic_load(&jumps))
        out->tv_sec += jump();
    return status;
}

time_t time(time_t *out)
{
    struct timeval now = {0, 0};
    gettimeofday(&now, NULL);
    if (out)
        *out = now.tv_sec;
    return now.tv_sec;
}

static void let_clock_jump(uint32_t rank)
{
    (void)rank;
    atomic_store(&jumps, true);
}

#define DEADLINE_MS 5000

/* Enough for sessions to beat several times. Over TCP rank 0 calls one operation alone. */
static void work_as_clock_jumps(struct rank *self)
{
    int status = SHOAL_OK;
    int64_t before = time(NULL);
    self->report->number = before != time(NULL) && before != time(NULL); /* it does jump */
    for (int i = 0; i < 60 && status == SHOAL_OK; i++) {
        usleep(10000);
        status = ranks_sum(self);
    }
    ranks_tell(self, status);
    double begun = ranks_now_s();
    if (self->rank == 0 && self->arg == transports[1])
        self->report->later_status = ranks_sum(self);
    self->report->seconds = ranks_now_s() - begun;
    self->report->stage = 1;
    ranks_await_stage(self->reports, 1, 1);
}

static void test_clock_jump(void **state)
{
    (void)state;
    for (size_t t = 0; t < 2; t++) {
        const char *const settings[] = {transports[t], QUIET, "SHOAL_HEARTBEAT_MS=50",
                                        "SHOAL_DEAD_AFTER_MS=30000", NULL};
        struct ranks_job job = {.size = 3,
                                .settings = settings,
                                .before = let_clock_jump,
                                .body = work_as_clock_jumps,
                                .arg = transports[t],
                                .op_timeout_ms = DEADLINE_MS};
        const struct rank_report *reports = ranks_run(&job);
        assert_all_ok(transports[t], reports, 3);
        for (uint32_t r = 0; r < 3; r++)
            assert_int_equal(reports[r].number, 1);
        if (t == 0)
            continue;
        /* Neither at once nor never. */
        assert_int_equal(reports[0].later_status, SHOAL_ERR_TIMEOUT);
        assert_true(reports[0].seconds >= 0.95 * DEADLINE_MS / 1000);
    }
}

/* ---- the CPU quota is used up -----------------------------------------------------------------
 */

#define QUOTA_RANKS 3
#define WAIT_US 600000
#define PERIOD_US 20000 /* a tenth of which the ranks may run, all together */

static struct cgroup slow_group;

static uint64_t throttled(void)
{
    return cgroup_number(&slow_group, "cpu.stat", "nr_throttled ");
}

/* Operations without a pause, until the quota was used up five times. Rank 0 decides for all. */
static int use_quota_up(struct rank *self)
{
    uint64_t until = throttled() + 5;
    double end = ranks_now_s() + RANKS_SECONDS / 2.0;
    int status = SHOAL_OK;
    for (int32_t on = 1; on && status == SHOAL_OK;) {
        int32_t mine = self->rank == 0 && throttled() < until && ranks_now_s() < end;
        status = shoal_allreduce(self->comm, &mine, &on, 1, SHOAL_I32, SHOAL_MAX);
        if (status == SHOAL_OK)
            status = ranks_sum(self);
    }
    bool enough = self->rank != 0 || throttled() >= until;
    return status == SHOAL_OK && !enough ? SHOAL_ERR_INTERNAL : status;
}

/* Who waits for a late rank must not use the quota up meanwhile: spinning would in each period. */
static void work_within_quota(struct rank *self)
{
    int status = ranks_sum(self);
    if (!cgroup_write(&slow_group, "cgroup.procs", "0"))
        abort();
    if (status == SHOAL_OK)
        status = use_quota_up(self);
    if (status == SHOAL_OK)
        status = ranks_sum(self);
    usleep(2 * PERIOD_US); /* for what is still being throttled */
    if (self->rank == 0) { /* the others wait for it, and what it does afterwards is not counted */
        uint64_t before = throttled();
        usleep(WAIT_US);
        self->report->number = throttled() - before;
    }
    if (status == SHOAL_OK)
        status = ranks_sum(self);
    ranks_tell(self, status);
}

static int remove_slow_group(void **state)
{
    (void)state;
    cgroup_remove(&slow_group);
    return 0;
}

/* What it may use it gets, however busy the machine is. */
static bool make_slow_group(void)
{
    static const char *const files[] = {"cpu.cfs_period_us", "cpu.max"};
    static const char *const values[] = {"20000", "2000 20000"};
    if (!cgroup_make(&slow_group, "cpu", files, values))
        return false;
    if (slow_group.version == 1)
        return cgroup_write(&slow_group, "cpu.cfs_quota_us", "2000") &&
               cgroup_write(&slow_group, "cpu.shares", "262144");
    return cgroup_write(&slow_group, "cpu.weight", "10000");
}

static void test_quota(void **state)
{
    (void)state;
    if (!make_slow_group())
        TEST_SKIP("no cgroup with a CPU quota can be made here");
    for (size_t t = 0; t < 2; t++) {
        const char *const settings[] = {transports[t], QUIET, NULL};
        struct ranks_job job = {
            .size = QUOTA_RANKS, .settings = settings, .body = work_within_quota};
        const struct rank_report *reports = ranks_run(&job);
        assert_all_ok(transports[t], reports, QUOTA_RANKS);
        if (reports[0].number > WAIT_US / PERIOD_US / 3)
            fail_msg("%s: throttled in %u of %u periods in which all but rank 0 waited",
                     transports[t], (unsigned)reports[0].number, WAIT_US / PERIOD_US);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_full_dev_shm),
        cmocka_unit_test(test_clock_jump),
        cmocka_unit_test_teardown(test_quota, remove_slow_group),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
