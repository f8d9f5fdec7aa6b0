/*
 * Bad days of real ranks: killed, stopped, absent, forked, interrupted, starved of descriptors and
 * of cores. Always a clear error in bounded time, never a hang, a crash or a wrong result.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "multiproc/cgroups.h"
#include "multiproc/ranks.h"
#include "support/test.h"

#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

/* Under ThreadSanitizer, which makes each access ten times as dear, the sizes are others. */
#if defined(__SANITIZE_THREAD__)
#define BIG_COUNT 30000
#define LARGE_BYTES ((size_t)6 << 20) /* not beyond 2^31, which other lanes reach */
#define ROUNDS_ON_ONE_CORE 20
#define RANKS_MANY 12
#else
#define BIG_COUNT 300000
#define LARGE_BYTES (((size_t)2 << 30) + (3 << 20))
#define ROUNDS_ON_ONE_CORE 200
#define RANKS_MANY 64
#endif
#define QUIET "SHOAL_LOG_LEVEL=off"

/* ---- a rank is killed or stopped in the middle of operations ------------------------------- */

struct harm {
    int signal;
    enum shoal_collective collective;
    uint32_t victim;
};

static void work_until_error(struct rank *self)
{
    const struct harm *harm = self->arg;
    float *send = calloc((size_t)BIG_COUNT * self->size, sizeof(float));
    float *recv = calloc((size_t)BIG_COUNT * self->size, sizeof(float));
    int status = SHOAL_OK;
    struct shoal_call call = {.struct_size = sizeof(call),
                              .collective = harm->collective,
                              .dtype = SHOAL_F32,
                              .count = BIG_COUNT,
                              .send = send,
                              .recv = recv};
    for (uint64_t i = 0; status == SHOAL_OK; i++) {
        struct shoal_request *request = NULL;
        status = shoal_start_wait(self->comm, &call, UINT32_MAX, &request);
        self->report->stage = 1;
        self->report->number = i;
    }
    ranks_tell(self, status);
    self->report->later_status = ranks_sum(self);
    /* Who leaves early is gone, too, for one that has still to look. */
    self->report->stage = 2;
    for (uint32_t r = 0; r < self->size; r++)
        if (r != harm->victim)
            ranks_await_stage(&self->reports[r], 1, 2);
    free(send);
    free(recv);
}

static void do_harm(const struct ranks_job *job, const pid_t *pids, struct rank_report *reports)
{
    const struct harm *harm = job->arg;
    ranks_await_stage(reports, job->size, 1);
    kill(pids[harm->victim], harm->signal);
    if (harm->signal != SIGSTOP)
        return;
    /* The survivors end by themselves; the stopped one is let go afterwards, to end too. */
    for (uint32_t r = 0; r < job->size; r++)
        for (int i = 0; r != harm->victim && reports[r].status == SHOAL_OK && i < 20000; i++)
            usleep(1000);
    kill(pids[harm->victim], SIGKILL);
}

static void harm_once(const char *transport, uint32_t size, const struct harm *harm)
{
    char setting[64];
    snprintf(setting, sizeof(setting), "SHOAL_TRANSPORT=%s", transport);
    const char *const settings[] = {setting, QUIET, NULL};
    struct ranks_job job = {.size = size,
                            .settings = settings,
                            .body = work_until_error,
                            .meanwhile = do_harm,
                            .arg = harm};
    struct rank_report *reports = ranks_run(&job);
    char name[32];
    snprintf(name, sizeof(name), "rank %u lost", harm->victim);
    for (uint32_t r = 0; r < size; r++) {
        if (r == harm->victim)
            continue;
        if (reports[r].status != SHOAL_ERR_PEER || !strstr(reports[r].text, name))
            fail_msg("%s, %s, rank %u: %d \"%s\"", transport,
                     shoal_collective_string(harm->collective), r, reports[r].status,
                     reports[r].text);
        assert_int_equal(reports[r].later_status, SHOAL_ERR_PEER);
    }
}

static void test_killed_rank(void **state)
{
    (void)state;
    for (int which = 0; which < SHOAL_COLLECTIVE_COUNT; which++) {
        struct harm harm = {SIGKILL, (enum shoal_collective)which, (uint32_t)which % 4};
        harm_once("shm", 4, &harm);
        harm_once("tcp", 4, &harm);
    }
}

static void test_stopped_rank(void **state)
{
    (void)state;
    struct harm harm = {SIGSTOP, SHOAL_ALLREDUCE, 1};
    harm_once("shm", 3, &harm);
    harm_once("tcp", 3, &harm);
}

/* ---- a rank is killed for want of memory ---------------------------------------------------- */

static struct cgroup small_group;

static void enter_small_group(uint32_t rank)
{
    (void)rank;
    if (!cgroup_write(&small_group, "cgroup.procs", "0"))
        abort();
}

static void take_all_memory(struct rank *self)
{
    int status = ranks_sum(self);
    if (self->rank == 1)
        cgroup_take_too_much();
    while (status == SHOAL_OK)
        status = ranks_sum(self);
    ranks_tell(self, status);
}

static int group_remove(void **state)
{
    (void)state;
    cgroup_remove(&small_group);
    return 0;
}

static void test_out_of_memory(void **state)
{
    (void)state;
    if (!cgroup_make_small(&small_group))
        TEST_SKIP("no memory cgroup can be made here");
    const char *const settings[] = {QUIET, NULL};
    struct ranks_job job = {
        .size = 3, .settings = settings, .before = enter_small_group, .body = take_all_memory};
    struct rank_report *reports = ranks_run(&job);
    for (uint32_t r = 0; r < 3; r += 2) {
        assert_int_equal(reports[r].status, SHOAL_ERR_PEER);
        if (!strstr(reports[r].text, "rank 1 lost") || !strstr(reports[r].text, "oom_kill"))
            fail_msg("the cause is not named: %s", reports[r].text);
    }
}

/* ---- forming a communicator ----------------------------------------------------------------- */

static void nothing(struct rank *self)
{
    ranks_tell(self, ranks_sum(self));
}

static void test_absent_ranks_are_listed(void **state)
{
    (void)state;
    const char *const settings[] = {QUIET, NULL};
    struct ranks_job job = {.size = 5,
                            .settings = settings,
                            .body = nothing,
                            .absent = 2,
                            .init_timeout_ms = 700,
                            .expect_init_error = true};
    struct rank_report *reports = ranks_run(&job);
    for (uint32_t r = 0; r < 2; r++) {
        assert_int_equal(reports[r].init_status, SHOAL_ERR_ABSENT);
        if (!strstr(reports[r].text, "-4 of 5 did not arrive"))
            fail_msg("the absent ranks are not listed: %s", reports[r].text);
    }
}

static void test_many_ranks(void **state)
{
    (void)state;
    const char *const settings[] = {QUIET, NULL};
    struct ranks_job job = {.size = RANKS_MANY, .settings = settings, .body = nothing};
    struct rank_report *reports = ranks_run(&job);
    for (uint32_t r = 0; r < RANKS_MANY; r++)
        if (reports[r].status != SHOAL_OK)
            fail_msg("rank %u: %d %s", r, reports[r].status, reports[r].text);
}

/* ---- the process's surroundings ------------------------------------------------------------- */

static void fork_and_use(struct rank *self)
{
    int status = ranks_sum(self);
    pid_t child = fork();
    if (child == 0) {
        int32_t value = 1;
        bool refused =
            shoal_allreduce(self->comm, &value, &value, 1, SHOAL_I32, 0) == SHOAL_ERR_FORKED &&
            shoal_comm_destroy(self->comm) == SHOAL_ERR_FORKED &&
            shoal_context_destroy(self->context) == SHOAL_ERR_FORKED;
        _exit(refused ? 0 : 1);
    }
    int exit_status = 0;
    waitpid(child, &exit_status, 0);
    self->report->number = exit_status == 0;
    ranks_tell(self, status == SHOAL_OK ? ranks_sum(self) : status);
}

static void test_fork(void **state)
{
    (void)state;
    const char *const settings[] = {QUIET, NULL};
    struct ranks_job job = {.size = 2, .settings = settings, .body = fork_and_use};
    struct rank_report *reports = ranks_run(&job);
    for (uint32_t r = 0; r < 2; r++) {
        assert_int_equal(reports[r].number, 1);
        assert_int_equal(reports[r].status, SHOAL_OK);
    }
}

static void on_alarm(int signal)
{
    (void)signal;
}

static void work_under_signals(struct rank *self)
{
    struct sigaction action = {.sa_handler = on_alarm}; /* no SA_RESTART: every call is broken */
    struct itimerval every = {{0, 500}, {0, 500}}, never = {{0, 0}, {0, 0}};
    int32_t *data = malloc(BIG_COUNT * sizeof(int32_t));
    int status = SHOAL_OK;
    sigaction(SIGALRM, &action, NULL);
    setitimer(ITIMER_REAL, &every, NULL);
    for (int i = 0; i < 60 && status == SHOAL_OK; i++) {
        for (size_t k = 0; k < BIG_COUNT; k++)
            data[k] = (int32_t)(self->rank + k);
        status = shoal_allreduce(self->comm, data, data, BIG_COUNT, SHOAL_I32, SHOAL_SUM);
        for (size_t k = 0; k < BIG_COUNT && status == SHOAL_OK; k++)
            if (data[k] != (int32_t)(2 * k + 1))
                status = SHOAL_ERR_INTERNAL;
    }
    setitimer(ITIMER_REAL, &never, NULL);
    ranks_tell(self, status);
    free(data);
}

static void test_signals(void **state)
{
    (void)state;
    const char *const transports[] = {"SHOAL_TRANSPORT=shm", "SHOAL_TRANSPORT=tcp"};
    for (size_t t = 0; t < 2; t++) {
        const char *const settings[] = {transports[t], QUIET, NULL};
        struct ranks_job job = {.size = 2, .settings = settings, .body = work_under_signals};
        struct rank_report *reports = ranks_run(&job);
        for (uint32_t r = 0; r < 2; r++)
            if (reports[r].status != SHOAL_OK)
                fail_msg("%s rank %u: %d %s", transports[t], r, reports[r].status, reports[r].text);
    }
}

static void create_without_descriptors(struct rank *self)
{
    struct shoal_context *context = NULL;
    struct shoal_comm *comm = NULL;
    struct rlimit limit = {3, 3};
    int status = ranks_sum(self);
    setrlimit(RLIMIT_NOFILE, &limit);
    struct shoal_comm_options options = {
        .struct_size = sizeof(options), .rank = 0, .size = 2, .rendezvous = "127.0.0.1:1"};
    int refused = shoal_context_create(NULL, &context);
    if (refused == SHOAL_OK)
        refused = shoal_comm_create(context, &options, &comm);
    ranks_tell(self, refused);
    self->report->later_status = status == SHOAL_OK ? ranks_sum(self) : status;
    self->report->number = context == NULL || shoal_context_destroy(context) == SHOAL_OK;
}

static void test_no_descriptors(void **state)
{
    (void)state;
    const char *const settings[] = {QUIET, NULL};
    struct ranks_job job = {.size = 2, .settings = settings, .body = create_without_descriptors};
    struct rank_report *reports = ranks_run(&job);
    for (uint32_t r = 0; r < 2; r++) {
        if (reports[r].status != SHOAL_ERR_SYSTEM || !strstr(reports[r].text, "file"))
            fail_msg("rank %u: %d \"%s\"", r, reports[r].status, reports[r].text);
        assert_int_equal(reports[r].later_status, SHOAL_OK);
        assert_int_equal(reports[r].number, 1);
    }
}

/* Eight ranks that may use one core only: they must take turns, not spin through each other's. */
static void work_on_one_core(struct rank *self)
{
    int status = SHOAL_OK;
    for (int i = 0; i < ROUNDS_ON_ONE_CORE && status == SHOAL_OK; i++)
        status = ranks_sum(self);
    ranks_tell(self, status);
}

static void test_one_core(void **state)
{
    (void)state;
    cpu_set_t before, one;
    assert_int_equal(sched_getaffinity(0, sizeof(before), &before), 0);
    CPU_ZERO(&one);
    CPU_SET(sched_getcpu(), &one);
    assert_int_equal(sched_setaffinity(0, sizeof(one), &one), 0);
    const char *const transports[] = {"SHOAL_TRANSPORT=shm", "SHOAL_TRANSPORT=tcp"};
    for (size_t t = 0; t < 2; t++) {
        const char *const settings[] = {transports[t], QUIET, NULL};
        struct ranks_job job = {.size = 8, .settings = settings, .body = work_on_one_core};
        struct rank_report *reports = ranks_run(&job);
        for (uint32_t r = 0; r < 8; r++)
            assert_int_equal(reports[r].status, SHOAL_OK);
    }
    sched_setaffinity(0, sizeof(before), &before);
}

/* ---- sizes ----------------------------------------------------------------------------------- */

/* `bytes` of address space over and over the same megabyte, so that it costs no memory. */
static uint8_t *endless(size_t bytes)
{
    const size_t piece = 1 << 20;
    int fd = memfd_create("endless", MFD_CLOEXEC);
    uint8_t *base = mmap(NULL, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (fd < 0 || base == MAP_FAILED || ftruncate(fd, (off_t)piece) != 0)
        return NULL;
    for (size_t at = 0; at < bytes; at += piece)
        if (mmap(base + at, piece, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0) ==
            MAP_FAILED)
            return NULL;
    close(fd);
    return base;
}

static void reduce_more_than_two_to_the_31(struct rank *self)
{
    const size_t count = LARGE_BYTES;
    uint8_t *send = endless(count), *recv = endless(count);
    if (!send || !recv) {
        ranks_tell(self, SHOAL_ERR_NOMEM);
        return;
    }
    memset(send, (int)self->rank + 1, 1 << 20);
    int status = shoal_allreduce(self->comm, send, recv, count, SHOAL_U8, SHOAL_SUM);
    for (size_t i = 0; i < 1 << 20 && status == SHOAL_OK; i++)
        if (recv[i] != 3)
            status = SHOAL_ERR_INTERNAL;
    ranks_tell(self, status);
}

static void test_large_count(void **state)
{
    (void)state;
    const char *const transports[] = {"SHOAL_TRANSPORT=shm", "SHOAL_TRANSPORT=tcp"};
    for (size_t t = 0; t < 2; t++) {
        const char *const settings[] = {transports[t], QUIET, NULL};
        struct ranks_job job = {
            .size = 2, .settings = settings, .body = reduce_more_than_two_to_the_31};
        struct rank_report *reports = ranks_run(&job);
        for (uint32_t r = 0; r < 2; r++)
            if (reports[r].status != SHOAL_OK)
                fail_msg("%s rank %u: %d %s", transports[t], r, reports[r].status, reports[r].text);
    }
}

static void misaligned_and_empty(struct rank *self)
{
    uint8_t memory[2][8192];
    int status = SHOAL_OK;
    for (size_t off = 0; off < 8 && status == SHOAL_OK; off++)
        for (size_t count = 0; count < 1500 && status == SHOAL_OK; count += 1 + count) {
            float value = (float)(self->rank + 1), sum;
            for (size_t i = 0; i < count; i++)
                memcpy(memory[0] + off + 4 * i, &value, 4);
            status = shoal_allreduce(self->comm, memory[0] + off, memory[1] + 7 - off, count,
                                     SHOAL_F32, SHOAL_SUM);
            for (size_t i = 0; i < count && status == SHOAL_OK; i++) {
                memcpy(&sum, memory[1] + 7 - off + 4 * i, 4);
                if (sum != (float)(self->size * (self->size + 1) / 2))
                    status = SHOAL_ERR_INTERNAL;
            }
        }
    ranks_tell(self, status);
}

static void test_misaligned_and_empty(void **state)
{
    (void)state;
    const char *const transports[] = {"SHOAL_TRANSPORT=shm", "SHOAL_TRANSPORT=tcp"};
    for (size_t t = 0; t < 2; t++) {
        const char *const settings[] = {transports[t], QUIET, NULL};
        struct ranks_job job = {.size = 3, .settings = settings, .body = misaligned_and_empty};
        struct rank_report *reports = ranks_run(&job);
        for (uint32_t r = 0; r < 3; r++)
            assert_int_equal(reports[r].status, SHOAL_OK);
    }
}

int main(void)
{
    printf("counts: %d elements in the middle of which a rank is lost, %zu in one operation, %d "
           "operations on one core, %d ranks\n",
           BIG_COUNT, LARGE_BYTES, ROUNDS_ON_ONE_CORE, RANKS_MANY);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_killed_rank),
        cmocka_unit_test(test_stopped_rank),
        cmocka_unit_test_teardown(test_out_of_memory, group_remove),
        cmocka_unit_test(test_absent_ranks_are_listed),
        cmocka_unit_test(test_many_ranks),
        cmocka_unit_test(test_fork),
        cmocka_unit_test(test_signals),
        cmocka_unit_test(test_no_descriptors),
        cmocka_unit_test(test_one_core),
        cmocka_unit_test(test_large_count),
        cmocka_unit_test(test_misaligned_and_empty),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
