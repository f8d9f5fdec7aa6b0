/*
 * Ranks that leave, give up or are shaped differently while others work: a rank that destroys a
 * communicator, aborts what it never called, or sees fewer processors than its neighbours.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "multiproc/ranks.h"
#include "support/test.h"
#include "topology/topology.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define QUIET "SHOAL_LOG_LEVEL=error"
#define PROMPT_S 5.0 /* far below the deadline of operations here */
#define OP_TIMEOUT_MS 40000
#define BIG_COUNT 600000 /* through windows, or a schedule */

static struct rank_report *run_on(const char *transport, uint32_t size, void (*body)(struct rank *),
                                  const void *arg)
{
    char setting[64];
    snprintf(setting, sizeof(setting), "SHOAL_TRANSPORT=%s", transport);
    const char *const settings[] = {setting, QUIET, NULL};
    struct ranks_job job = {.size = size,
                            .settings = settings,
                            .body = body,
                            .arg = arg,
                            .op_timeout_ms = OP_TIMEOUT_MS};
    return ranks_run(&job);
}

static void expect(const struct rank_report *reports, uint32_t rank, int status, const char *part)
{
    const struct rank_report *report = &reports[rank];
    if (report->status != status || !strstr(report->text, part))
        fail_msg("rank %u: %d \"%s\", expected %d with \"%s\"", rank, report->status, report->text,
                 status, part);
    if (report->seconds > PROMPT_S)
        fail_msg("rank %u took %.1f s", rank, report->seconds);
}

/* ---- a rank destroys its communicator -------------------------------------------------------- */

static void call_until_error(struct rank *self, struct shoal_comm *comm)
{
    float *data = calloc(BIG_COUNT, sizeof(float));
    int status = SHOAL_OK;
    double start = ranks_now_s();
    for (int i = 0; status == SHOAL_OK; i++)
        status = shoal_allreduce(comm, data, data, i % 2 ? BIG_COUNT : 1, SHOAL_F32, SHOAL_SUM);
    ranks_tell(self, status);
    self->report->seconds = ranks_now_s() - start;
    self->report->later_status = shoal_barrier(comm);
    free(data);
}

static void leave_world(struct rank *self)
{
    ranks_tell(self, ranks_sum(self));
    if (self->rank == 1)
        return;
    call_until_error(self, self->comm);
    self->report->stage = 1;
    for (uint32_t r = 0; r < self->size; r++) /* others are not gone before */
        if (r != 1)
            ranks_await_stage(self->reports + r, 1, 1);
}

static void test_a_rank_leaves_the_world(void **state)
{
    (void)state;
    for (uint32_t size = 2; size <= 5; size += 3)
        for (int tcp = 0; tcp < 2; tcp++) {
            const struct rank_report *reports =
                run_on(tcp ? "tcp" : "shm", size, leave_world, NULL);
            for (uint32_t r = 0; r < size; r++)
                if (r != 1) {
                    expect(reports, r, SHOAL_ERR_PEER, "rank 1");
                    assert_int_equal(reports[r].later_status, SHOAL_ERR_PEER);
                }
        }
}

static void leave_child(struct rank *self)
{
    struct shoal_comm *child = NULL;
    int status = shoal_comm_split(self->comm, 0, -(int32_t)self->rank, &child);
    ranks_tell(self, status);
    if (status != SHOAL_OK)
        return;
    if (self->rank != 1) {
        call_until_error(self, child);
        self->report->stage = 1;
        for (uint32_t r = 0; r < self->size; r++) /* and are not gone themselves before */
            if (r != 1)
                ranks_await_stage(self->reports + r, 1, 1);
    }
    shoal_comm_destroy(child);
    self->report->later_status = ranks_sum(self);
}

/* Ranks of the child count backwards: world rank 1 is its rank size - 2. */
static void test_a_rank_leaves_a_child(void **state)
{
    (void)state;
    for (int tcp = 0; tcp < 2; tcp++) {
        const struct rank_report *reports = run_on(tcp ? "tcp" : "shm", 4, leave_child, NULL);
        for (uint32_t r = 0; r < 4; r++) {
            if (r != 1)
                expect(reports, r, SHOAL_ERR_PEER, "rank 2");
            assert_int_equal(reports[r].later_status, SHOAL_OK);
        }
    }
}

/* What was called by all before a rank left still comes to its end everywhere. */
static void finish_and_leave(struct rank *self)
{
    float *data = calloc(BIG_COUNT, sizeof(float));
    int status = SHOAL_OK;
    for (uint32_t i = 0; i < 30 && status == SHOAL_OK; i++) {
        struct shoal_comm *child = NULL;
        status = shoal_comm_split(self->comm, 0, 0, &child);
        size_t count = i % 3 == 0 ? 1 : i % 3 == 1 ? 3000 : BIG_COUNT;
        if (status == SHOAL_OK && i % 2)
            status = shoal_broadcast(child, data, data, count, SHOAL_F32, i % self->size);
        else if (status == SHOAL_OK)
            status = shoal_reduce(child, data, data, count, SHOAL_F32, SHOAL_SUM, i % self->size);
        ranks_tell(self, status);
        shoal_comm_destroy(child);
        self->report->number = i;
    }
    free(data);
}

static void test_what_all_called_ends_well(void **state)
{
    (void)state;
    for (int tcp = 0; tcp < 2; tcp++) {
        const struct rank_report *reports = run_on(tcp ? "tcp" : "shm", 4, finish_and_leave, NULL);
        for (uint32_t r = 0; r < 4; r++)
            if (reports[r].status != SHOAL_OK)
                fail_msg("rank %u, round %llu: %s", r, (unsigned long long)reports[r].number,
                         reports[r].text);
    }
}

static void destroy_while_others_wait(struct rank *self)
{
    static float data[BIG_COUNT];
    struct shoal_comm *child = NULL;
    struct shoal_request *request;
    struct shoal_call call = {.struct_size = sizeof(call),
                              .collective = SHOAL_ALLREDUCE,
                              .dtype = SHOAL_F32,
                              .count = BIG_COUNT,
                              .send = data,
                              .recv = data};
    int status = shoal_comm_split(self->comm, 0, 0, &child);
    if (status == SHOAL_OK && self->rank < 2)
        status = shoal_start(child, &call, &request);
    double start = ranks_now_s();
    self->report->stage = 1;
    ranks_await_stage(self->reports, 3, 1);
    if (status == SHOAL_OK && self->rank == 0)
        status = shoal_request_wait(request, UINT32_MAX);
    ranks_tell(self, status);
    self->report->seconds = ranks_now_s() - start;
    if (self->rank == 2)
        ranks_await_stage(self->reports, 2, 2);
    shoal_comm_destroy(child); /* on rank 1: with its request outstanding */
    self->report->stage = 2;
    self->report->later_status = ranks_sum(self);
}

static void test_destroy_aborts_what_is_outstanding(void **state)
{
    (void)state;
    for (int tcp = 0; tcp < 2; tcp++) {
        const struct rank_report *reports =
            run_on(tcp ? "tcp" : "shm", 3, destroy_while_others_wait, NULL);
        expect(reports, 0, SHOAL_ERR_ABORTED, "rank 1 gave up");
        for (uint32_t r = 0; r < 3; r++)
            assert_int_equal(reports[r].later_status, SHOAL_OK);
    }
}

/* ---- abort ---------------------------------------------------------------------------------- */

static void abort_without_calling(struct rank *self)
{
    double start = ranks_now_s();
    if (self->rank == 1) {
        ranks_await_stage(self->reports, 1, 1);
        ranks_await_stage(self->reports + 2, 1, 1);
        /* They are inside by and by. */
        while (self->reports[0].stage < 2 || self->reports[2].stage < 2) {
            self->report->status = shoal_comm_abort(self->comm, "out of data");
            usleep(2000);
        }
        self->report->number = ranks_sum(self) == SHOAL_ERR_ABORTED;
        self->report->stage = 3;
    } else {
        self->report->stage = 1;
        ranks_tell(self, ranks_sum(self));
        self->report->seconds = ranks_now_s() - start;
        self->report->stage = 2;
        ranks_await_stage(self->reports + 1, 1, 3);
    }
    self->report->later_status = ranks_sum(self);
}

static void test_abort_frees_ranks_that_wait_for_this_one(void **state)
{
    (void)state;
    for (int tcp = 0; tcp < 2; tcp++) {
        const struct rank_report *reports =
            run_on(tcp ? "tcp" : "shm", 3, abort_without_calling, NULL);
        expect(reports, 0, SHOAL_ERR_ABORTED, "out of data");
        expect(reports, 2, SHOAL_ERR_ABORTED, "out of data");
        assert_int_equal(reports[1].number, 1);
        for (uint32_t r = 0; r < 3; r++)
            assert_int_equal(reports[r].later_status, SHOAL_OK);
    }
}

/* Several operations at a time, one of which some rank aborts: what is OK is also right, although
 * operations share windows. */
#define STORM_ROUNDS 60
#define STORM_REQUESTS 6
#define STORM_COUNT 300000

static bool is_sum(const int32_t *data, uint32_t size, uint64_t salt)
{
    int32_t right = (int32_t)(size * salt + size * (size - 1) / 2);
    for (size_t i = 0; i < STORM_COUNT; i++)
        if (data[i] != right)
            return false;
    return true;
}

static int storm_round(struct rank *self, int32_t **data, uint64_t round, unsigned *seed)
{
    struct shoal_request *requests[STORM_REQUESTS];
    int status = SHOAL_OK;
    bool aborts = round % self->size == self->rank;
    unsigned victim = (unsigned)rand_r(seed) % STORM_REQUESTS;
    for (unsigned i = 0; i < STORM_REQUESTS; i++) {
        for (size_t k = 0; k < STORM_COUNT; k++)
            data[i][k] = (int32_t)(round * STORM_REQUESTS + i + self->rank);
        struct shoal_call call = {.struct_size = sizeof(call),
                                  .collective = SHOAL_ALLREDUCE,
                                  .dtype = SHOAL_I32,
                                  .count = STORM_COUNT,
                                  .send = data[i],
                                  .recv = data[i]};
        if (shoal_start(self->comm, &call, &requests[i]) != SHOAL_OK)
            return SHOAL_ERR_INTERNAL;
    }
    if (aborts && victim > 0)
        (void)shoal_request_wait(requests[victim - 1], (uint32_t)rand_r(seed) % 3);
    if (aborts)
        (void)shoal_request_abort(requests[victim]);
    for (unsigned i = 0; i < STORM_REQUESTS; i++) {
        int outcome = shoal_request_wait(requests[i], UINT32_MAX);
        if (outcome == SHOAL_OK && !is_sum(data[i], self->size, round * STORM_REQUESTS + i))
            status = SHOAL_ERR_INTERNAL;
        else if (outcome != SHOAL_OK && outcome != SHOAL_ERR_ABORTED)
            status = outcome;
        self->report->number += outcome == SHOAL_ERR_ABORTED;
        shoal_request_destroy(requests[i]);
    }
    return status;
}

static void storm(struct rank *self)
{
    int32_t *data[STORM_REQUESTS];
    unsigned seed = self->rank + 1;
    int status = SHOAL_OK;
    for (unsigned i = 0; i < STORM_REQUESTS; i++)
        data[i] = malloc(STORM_COUNT * sizeof(int32_t));
    for (uint64_t round = 0; round < STORM_ROUNDS && status == SHOAL_OK; round++)
        status = storm_round(self, data, round, &seed);
    ranks_tell(self, status);
    self->report->later_status = ranks_sum(self);
    for (unsigned i = 0; i < STORM_REQUESTS; i++)
        free(data[i]);
}

static void test_aborts_among_several_operations(void **state)
{
    (void)state;
    const char *const ways[][3] = {{"SHOAL_SHM_COPY=staged", QUIET, NULL},
                                   {"SHOAL_SHM_COPY=cma", QUIET, NULL},
                                   {"SHOAL_TRANSPORT=tcp", QUIET, NULL}};
    for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
        struct ranks_job job = {
            .size = 3, .settings = ways[i], .body = storm, .op_timeout_ms = OP_TIMEOUT_MS};
        const struct rank_report *reports = ranks_run(&job);
        for (uint32_t r = 0; r < 3; r++) {
            if (reports[r].status != SHOAL_OK || reports[r].later_status != SHOAL_OK)
                fail_msg("%s, rank %u: %d, later %d: %s", ways[i][0], r, reports[r].status,
                         reports[r].later_status, reports[r].text);
        }
    }
}

/* ---- splits that are given up ---------------------------------------------------------------- */

#define SPLIT_ROUNDS 40

struct splitter {
    struct shoal_comm *parent, *child;
    int status;
    char text[256];
};

static void *split(void *arg)
{
    struct splitter *splitter = arg;
    splitter->status = shoal_comm_split(splitter->parent, 0, 0, &splitter->child);
    snprintf(splitter->text, sizeof(splitter->text), "%s",
             splitter->status < 0 ? shoal_last_error() : "");
    return NULL;
}

static void await_call(struct shoal_comm *comm)
{
    char why[256] = "";
    const double end = ranks_now_s() + PROMPT_S;
    while (strncmp(why, "allgather", 9) != 0 && ranks_now_s() < end)
        if (shoal_comm_why(comm, why, sizeof(why)) != SHOAL_OK)
            return;
}

/* Rank 0 waits in a split and gives it up while the others begin to call it. */
static void abort_a_split(struct rank *self, struct splitter *splitter, int round)
{
    pthread_t thread;
    if (self->rank != 0) {
        ranks_await_stage(self->reports, 1, round + 1);
        split(splitter);
        return;
    }
    bool started = pthread_create(&thread, NULL, split, splitter) == 0;
    if (!started)
        splitter->status = SHOAL_ERR_SYSTEM;
    else
        await_call(splitter->parent);
    self->report->stage = round + 1;
    /* Each round a little later, so that the abort meets every moment of the others' calls. */
    for (const double until = ranks_now_s() + round * 5e-6; ranks_now_s() < until;)
        continue;
    (void)shoal_comm_abort(splitter->parent, "it takes too long");
    if (started)
        pthread_join(thread, NULL);
}

static void give_splits_up(struct rank *self)
{
    struct rank_report *report = self->report;
    int status = SHOAL_OK;
    for (int round = 0; round < SPLIT_ROUNDS && status == SHOAL_OK; round++) {
        struct splitter splitter = {0};
        status = shoal_comm_split(self->comm, 0, 0, &splitter.parent);
        if (status == SHOAL_OK) /* An abort must not meet ranks that still form the parent. */
            status = shoal_barrier(self->comm);
        if (status != SHOAL_OK)
            break;
        double start = ranks_now_s();
        abort_a_split(self, &splitter, round);
        double took_s = ranks_now_s() - start;
        report->seconds = took_s > report->seconds ? took_s : report->seconds;
        bool given_up = splitter.status == SHOAL_ERR_ABORTED;
        report->number |= (uint64_t)given_up << round;
        if (splitter.status != SHOAL_OK && !given_up && report->status == SHOAL_OK) {
            report->status = splitter.status;
            snprintf(report->text, sizeof(report->text), "round %d: %s", round, splitter.text);
        }
        status = shoal_barrier(self->comm);
        shoal_comm_destroy(splitter.child);
        shoal_comm_destroy(splitter.parent);
    }
    report->later_status = status == SHOAL_OK ? ranks_sum(self) : status;
    if (report->later_status != SHOAL_OK && report->status == SHOAL_OK)
        ranks_tell(self, report->later_status);
}

static void test_a_split_is_given_up(void **state)
{
    (void)state;
    for (uint32_t size = 2; size <= 3; size++)
        for (int tcp = 0; tcp < 2; tcp++) {
            const struct rank_report *reports =
                run_on(tcp ? "tcp" : "shm", size, give_splits_up, NULL);
            for (uint32_t r = 0; r < size; r++) {
                expect(reports, r, SHOAL_OK, "");
                assert_int_equal(reports[r].later_status, SHOAL_OK);
                /* A child exists on all of its members or on none. */
                if (reports[r].number != reports[0].number)
                    fail_msg("rank %u: given up in rounds %llx, on rank 0 in %llx", r,
                             (unsigned long long)reports[r].number,
                             (unsigned long long)reports[0].number);
            }
        }
}

/* ---- ranks that see different machines --------------------------------------------------------
 */

static void sum_much(struct rank *self)
{
    int32_t *data = malloc(BIG_COUNT * sizeof(int32_t));
    for (int i = 0; i < BIG_COUNT; i++)
        data[i] = (int32_t)self->rank + i;
    int status = shoal_allreduce(self->comm, data, data, BIG_COUNT, SHOAL_I32, SHOAL_SUM);
    int32_t size = (int32_t)self->size;
    for (int i = 0; i < BIG_COUNT && status == SHOAL_OK; i++)
        if (data[i] != size * i + size * (size - 1) / 2)
            status = SHOAL_ERR_INTERNAL;
    ranks_tell(self, status);
    free(data);
}

/* As in containers with different quotas on one host. */
static void limit_processors(uint32_t rank)
{
    struct shl_topology *topology = (struct shl_topology *)(uintptr_t)shl_topology();
    topology->usable_cpus = rank == 1 ? 1 : 64;
}

static void test_ranks_with_fewer_processors(void **state)
{
    (void)state;
    const char *const ways[][3] = {{"SHOAL_SHM_COPY=staged", QUIET, NULL},
                                   {"SHOAL_TRANSPORT=tcp", QUIET, NULL}};
    for (uint32_t size = 2; size <= 4; size++)
        for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
            struct ranks_job job = {.size = size,
                                    .settings = ways[i],
                                    .before = limit_processors,
                                    .body = sum_much,
                                    .op_timeout_ms = 5000};
            const struct rank_report *reports = ranks_run(&job);
            for (uint32_t r = 0; r < size; r++)
                if (reports[r].status != SHOAL_OK)
                    fail_msg("%s, %u ranks, rank %u: %d %s", ways[i][0], size, r, reports[r].status,
                             reports[r].text);
        }
}

int main(int argc, char **argv)
{
    cmocka_set_test_filter(argc > 1 ? argv[1] : NULL);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_rank_leaves_the_world),
        cmocka_unit_test(test_a_rank_leaves_a_child),
        cmocka_unit_test(test_what_all_called_ends_well),
        cmocka_unit_test(test_destroy_aborts_what_is_outstanding),
        cmocka_unit_test(test_abort_frees_ranks_that_wait_for_this_one),
        cmocka_unit_test(test_aborts_among_several_operations),
        cmocka_unit_test(test_a_split_is_given_up),
        cmocka_unit_test(test_ranks_with_fewer_processors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
