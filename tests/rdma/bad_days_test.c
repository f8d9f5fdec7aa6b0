/*
 * Bad days of ranks that are connected by RDMA devices: killed, cut off, short of locked memory,
 * aborted while their peers write. Goes on by tcp where only a link is lost; else a clear error in
 * bounded time; and no byte where it does not belong. In the guest, on Soft-RoCE.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "multiproc/ranks.h"
#include "support/test.h"

#include <linux/capability.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#define COUNT 1500000u      /* elements of 4 bytes: above what is worth registering */
#define OP_TIMEOUT_MS 50000 /* never reached: what ends because of it counts as failed */
#define VERBS "SHOAL_TRANSPORT=verbs"

static void sh(const char *command)
{
    if (system(command) != 0)
        fail_msg("%s failed", command);
}

/* Ranks of even number have the first device, the others the second: what they send each other
 * leaves by a cable. */
static void take_device(uint32_t rank)
{
    const char *kind = getenv("SHOAL_TEST_DEVICE");
    char name[32];
    snprintf(name, sizeof(name), "=%s%u", kind ? kind : "rxe", rank % 2);
    setenv("SHOAL_IB_HCA", name, 1);
}

static const char *log_file = "/tmp/bad-days-log";

static void take_device_and_log(uint32_t rank)
{
    take_device(rank);
    setenv("SHOAL_LOG_FILE", log_file, 1);
}

static void expect_logged(const char *text)
{
    char command[200];
    snprintf(command, sizeof(command), "grep -qF '%s' %s || { cat %s; false; }", text, log_file,
             log_file);
    sh(command);
}

/* ---- a rank dies, or a link ---------------------------------------------------------------- */

struct blow {
    const char *command; /* NULL: the last rank is killed */
    int rounds;          /* 0: until an error */
};

static int reduce_once(struct rank *self, int32_t *send, int32_t *recv, int round)
{
    for (uint32_t i = 0; i < COUNT; i++)
        send[i] = (int32_t)(self->rank + i) + round;
    int status = shoal_allreduce(self->comm, send, recv, COUNT, SHOAL_I32, SHOAL_SUM);
    int32_t ranks = (int32_t)(self->size * (self->size - 1) / 2);
    for (uint32_t i = 0; i < COUNT && status == SHOAL_OK; i++)
        if (recv[i] != ranks + (int32_t)self->size * ((int32_t)i + round))
            status = SHOAL_ERR_INTERNAL;
    return status;
}

#define STAGE 2 /* rounds before the blow; the first waits for ranks that start later */

/* Tells how long the longest operation took of those that the blow can have hit. */
static void reduce_often(struct rank *self)
{
    const struct blow *blow = self->arg;
    int32_t *send = malloc(COUNT * sizeof(*send)), *recv = malloc(COUNT * sizeof(*recv));
    double longest_s = 0;
    int status = SHOAL_OK;
    for (int round = 0; status == SHOAL_OK && (!blow->rounds || round < blow->rounds); round++) {
        double start_s = ranks_now_s();
        status = reduce_once(self, send, recv, round);
        double took_s = ranks_now_s() - start_s;
        if (round >= STAGE && took_s > longest_s)
            longest_s = took_s;
        self->report->stage = round + 1;
    }
    self->report->seconds = longest_s; /* until here it was the time to connect */
    ranks_tell(self, status);
    free(send);
    free(recv);
}

static void strike(const struct ranks_job *job, const pid_t *pids, struct rank_report *reports)
{
    const struct blow *blow = job->arg;
    ranks_await_stage(reports, job->size, STAGE);
    if (blow->command)
        sh(blow->command);
    else
        kill(pids[job->size - 1], SIGKILL);
}

static const struct rank_report *take_blow(struct blow *blow, uint32_t size)
{
    static const char *const settings[] = {VERBS, NULL};
    struct ranks_job job = {.size = size,
                            .settings = settings,
                            .before = take_device_and_log,
                            .body = reduce_often,
                            .meanwhile = strike,
                            .arg = blow,
                            .op_timeout_ms = OP_TIMEOUT_MS};
    unlink(log_file);
    return ranks_run(&job);
}

static void test_a_killed_rank_is_told(void **state)
{
    struct blow kill_one = {0};
    (void)state;
    for (uint32_t size = 2; size <= 4; size += 2) {
        const struct rank_report *reports = take_blow(&kill_one, size);
        for (uint32_t i = 0; i + 1 < size; i++)
            if (reports[i].status != SHOAL_ERR_PEER)
                fail_msg("rank %u ended with status %d: %s", i, reports[i].status, reports[i].text);
    }
}

/* The only rail is lost: operations go on, and the results are right. */
static void go_on(const char *what, const char *command, int rounds)
{
    struct blow blow = {command, rounds};
    const struct rank_report *reports = take_blow(&blow, 2);
    for (uint32_t i = 0; i < 2; i++)
        if (reports[i].status != SHOAL_OK)
            fail_msg("rank %u ended with status %d: %s", i, reports[i].status, reports[i].text);
    expect_logged("goes on over the control channel");
    printf("Soft-RoCE in a guest, one rail, %s: the longest allreduce of 6 MB took %.0f ms\n", what,
           reports[0].seconds * 1e3);
}

static void test_a_cut_cable_is_survived(void **state)
{
    (void)state;
    go_on("its cable is cut", "ip link set p1 down", 40);
    sh("ip link set p1 up");
}

static void test_a_port_that_goes_down_is_survived(void **state)
{
    (void)state;
    go_on("its port is down for half a second", "ip link set v0 down; sleep 0.5; ip link set v0 up",
          150);
    expect_logged("goes on over rxe"); /* the longest operation includes the return */
}

/* No port goes down, and no device tells of anything but requests that time out. */
static void test_a_link_that_loses_everything_is_survived(void **state)
{
    (void)state;
    go_on("its packets are lost in silence", "tc qdisc add dev v0 root netem loss 100%", 40);
    sh("tc qdisc del dev v0 root");
}

/* ---- locked memory ------------------------------------------------------------------------- */

/* Root may lock what it likes, so it gives that up. */
static void limit_locked_memory(uint32_t rank, rlim_t bytes)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2];
    const struct rlimit limit = {bytes, bytes};
    take_device_and_log(rank);
    if (setrlimit(RLIMIT_MEMLOCK, &limit) != 0 || syscall(SYS_capget, &header, data) != 0)
        _exit(1);
    data[0].effective &= ~(1u << CAP_IPC_LOCK);
    data[0].permitted &= ~(1u << CAP_IPC_LOCK);
    if (syscall(SYS_capset, &header, data) != 0)
        _exit(1);
}

static void allow_4_mib(uint32_t rank)
{
    limit_locked_memory(rank, (rlim_t)4 << 20);
}

static void allow_32_mib(uint32_t rank)
{
    limit_locked_memory(rank, (rlim_t)32 << 20);
}

static void reduce_a_little(struct rank *self)
{
    int32_t *values = malloc(COUNT * sizeof(*values));
    int status = SHOAL_OK;
    for (uint32_t i = 0; i < COUNT; i++)
        values[i] = (int32_t)(self->rank + i);
    status = shoal_allreduce(self->comm, values, values, COUNT, SHOAL_I32, SHOAL_SUM);
    for (uint32_t i = 0; i < COUNT && status == SHOAL_OK; i++)
        if (values[i] != (int32_t)(2 * i + 1))
            status = SHOAL_ERR_INTERNAL;
    ranks_tell(self, status);
    free(values);
}

static const struct rank_report *run_limited(const char *transport, void (*before)(uint32_t rank),
                                             bool expect_init_error)
{
    const char *const settings[] = {transport, NULL};
    struct ranks_job job = {.size = 2,
                            .settings = settings,
                            .before = before,
                            .body = reduce_a_little,
                            .op_timeout_ms = OP_TIMEOUT_MS,
                            .expect_init_error = expect_init_error};
    unlink(log_file);
    return ranks_run(&job);
}

static void test_a_limit_of_locked_memory_is_reported(void **state)
{
    (void)state;
    /* Too little for anything. */
    const struct rank_report *reports =
        run_limited("SHOAL_TRANSPORT=verbs,tcp", allow_4_mib, false);
    assert_int_equal(reports[0].status, SHOAL_OK);
    assert_int_equal(reports[1].status, SHOAL_OK);
    expect_logged("raise the limit of locked memory (ulimit -l");
    reports = run_limited(VERBS, allow_4_mib, true);
    assert_true(reports[0].init_status < 0 && reports[1].init_status < 0);
    expect_logged("raise the limit of locked memory (ulimit -l");
    /* Enough to start, too little for large messages in place: these are copied. */
    reports = run_limited(VERBS, allow_32_mib, false);
    assert_int_equal(reports[0].status, SHOAL_OK);
    assert_int_equal(reports[1].status, SHOAL_OK);
    expect_logged("64 MiB cannot be registered");
    expect_logged("raise the limit of locked memory (ulimit -l");
}

/* ---- given up while the peer writes -------------------------------------------------------- */

#define ABORT_ROUNDS 12
#define SETTLE_ROUNDS 40

static bool all_are(const uint8_t *memory, uint64_t bytes, uint8_t value)
{
    for (uint64_t i = 0; i < bytes; i++)
        if (memory[i] != value)
            return false;
    return true;
}

/* Rank 0 broadcasts; rank 1 gives up somewhere in between, and uses its memory for something else,
 * of which no byte may change from then on, however late the packets are. */
static void abort_in_between(struct rank *self)
{
    const uint64_t bytes = (uint64_t)COUNT * 4;
    uint8_t *memory = malloc(bytes);
    int status = SHOAL_OK;
    for (uint32_t round = 0; round < ABORT_ROUNDS && status == SHOAL_OK; round++) {
        struct shoal_request *request = NULL;
        struct shoal_call call = {.struct_size = sizeof(call),
                                  .collective = SHOAL_BROADCAST,
                                  .dtype = SHOAL_U8,
                                  .count = bytes,
                                  .send = memory,
                                  .recv = memory};
        memset(memory, self->rank == 0 ? 0x55 : 0, bytes);
        status = shoal_start(self->comm, &call, &request);
        if (self->rank == 1 && status == SHOAL_OK) {
            (void)shoal_request_wait(request, 1 + 3 * round);
            (void)shoal_request_abort(request);
            memset(memory, 0x77, bytes);
        }
        if (status == SHOAL_OK)
            (void)shoal_request_wait(request, OP_TIMEOUT_MS);
        shoal_request_destroy(request);
        for (int i = 0; i < SETTLE_ROUNDS && status == SHOAL_OK; i++)
            status = ranks_sum(self);
        if (self->rank == 1 && status == SHOAL_OK && !all_are(memory, bytes, 0x77))
            status = SHOAL_ERR_INTERNAL;
    }
    ranks_tell(self, status);
    free(memory);
}

static void test_an_aborted_receiver_is_not_written_to(void **state)
{
    static const char *const settings[] = {VERBS, "SHOAL_LOG_LEVEL=off", NULL};
    struct ranks_job job = {.size = 2,
                            .settings = settings,
                            .before = take_device,
                            .body = abort_in_between,
                            .op_timeout_ms = OP_TIMEOUT_MS};
    (void)state;
    sh("tc qdisc add dev v0 root netem delay 3ms");
    const struct rank_report *reports = ranks_run(&job);
    sh("tc qdisc del dev v0 root");
    for (uint32_t i = 0; i < 2; i++)
        if (reports[i].status != SHOAL_OK)
            fail_msg("rank %u ended with status %d: %s", i, reports[i].status, reports[i].text);
}

/* An argument chooses tests by name. */
int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_killed_rank_is_told),
        cmocka_unit_test(test_a_cut_cable_is_survived),
        cmocka_unit_test(test_a_port_that_goes_down_is_survived),
        cmocka_unit_test(test_a_link_that_loses_everything_is_survived),
        cmocka_unit_test(test_a_limit_of_locked_memory_is_reported),
        cmocka_unit_test(test_an_aborted_receiver_is_not_written_to),
    };
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests_name("rdma_bad_days", tests, NULL, NULL);
}
