/*
 * A rank of a real job dies at each step in turn: at its k-th send, receive or poll, while the
 * communicator forms or in the middle of an operation. The others always get an error that names it
 * or the right result, in time.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "multiproc/ranks.h"
#include "support/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define RANKS 3
#define VICTIM 1
#define COUNT 200000
#define OPS 4
/* stages */
#define FAILED 1
#define SURVIVED 2 /* it came through everything */

/* ---- what a rank does ----------------------------------------------------------------------- */

static bool is_right(const struct rank *self, enum shoal_collective collective, const float *recv)
{
    float expected = 0;
    for (uint32_t rank = 0; rank < self->size; rank++)
        expected += (float)(rank + 1);
    if (collective == SHOAL_BROADCAST)
        expected = VICTIM + 1;
    if (collective == SHOAL_REDUCE && self->rank != VICTIM)
        return true;
    for (size_t i = 0; i < COUNT; i++) {
        float want = collective == SHOAL_ALLGATHER ? (float)(i / (COUNT / RANKS) + 1) : expected;
        if (recv[i] != want && (collective != SHOAL_ALLGATHER || i < COUNT / RANKS * RANKS))
            return false;
    }
    return true;
}

static void fill(float *data, size_t count, float value)
{
    for (size_t i = 0; i < count; i++)
        data[i] = value;
}

/* Whoever leaves while others still work would be one more who cannot answer them. */
static void await_others(const struct rank *self)
{
    double end_s = ranks_now_s() + 20;
    for (uint32_t rank = 0; rank < self->size; rank++) {
        while (rank != VICTIM && self->reports[rank].stage == 0 && ranks_now_s() < end_s)
            usleep(500);
    }
}

static void work(struct rank *self)
{
    static const enum shoal_collective script[OPS] = {SHOAL_ALLREDUCE, SHOAL_BROADCAST,
                                                      SHOAL_REDUCE, SHOAL_ALLGATHER};
    float *send = malloc(COUNT * sizeof(float)), *recv = malloc(COUNT * sizeof(float));
    int status = SHOAL_OK;
    for (int i = 0; i < OPS && status == SHOAL_OK; i++) {
        fill(send, COUNT, (float)(self->rank + 1));
        fill(recv, COUNT, -1);
        struct shoal_call call = {.struct_size = sizeof(call),
                                  .collective = script[i],
                                  .dtype = SHOAL_F32,
                                  .op = SHOAL_SUM,
                                  .root = VICTIM,
                                  .count = script[i] == SHOAL_ALLGATHER ? COUNT / RANKS : COUNT,
                                  .send = send,
                                  .recv = recv};
        struct shoal_request *request = NULL;
        status = shoal_start_wait(self->comm, &call, UINT32_MAX, &request);
        if (status == SHOAL_OK && !is_right(self, script[i], recv))
            status = SHOAL_ERR_INTERNAL;
    }
    ranks_tell(self, status);
    free(send);
    free(recv);
    self->report->stage = status == SHOAL_OK ? SURVIVED : FAILED;
    await_others(self);
}

/* ---- one job -------------------------------------------------------------------------------- */

/* Runs the job with this fault. */
static struct rank_report *run_faulty(const char *transport, const char *fault)
{
    char transport_setting[64], fault_setting[128];
    snprintf(transport_setting, sizeof(transport_setting), "SHOAL_TRANSPORT=%s", transport);
    snprintf(fault_setting, sizeof(fault_setting), "SHOAL_TEST_FAULT=%s", fault);
    const char *const settings[] = {transport_setting, fault_setting, "SHOAL_LOG_LEVEL=off", NULL};
    struct ranks_job job = {.size = RANKS,
                            .settings = settings,
                            .body = work,
                            .init_timeout_ms = 30000,
                            .op_timeout_ms = 30000,
                            .expect_init_error = true};
    return ranks_run(&job);
}

/* "rank 1 lost: ..." or "ranks 0, 1 lost ...": another survivor may have left before it answered.
 */
static bool names_victim(const char *text)
{
    const char *lost = strstr(text, " lost");
    const char *found = strchr(text, '0' + VICTIM);
    return found != NULL && (lost == NULL || found < lost);
}

/* A survivor's error names the victim; no result is wrong. */
static void verify_survivor(const char *transport, const char *fault, uint32_t rank,
                            const struct rank_report *report)
{
    bool well = report->status == SHOAL_OK && report->stage == SURVIVED;
    bool lost = report->status == SHOAL_ERR_PEER || report->status == SHOAL_ERR_ABSENT;
    if (!well && (!lost || !names_victim(report->text)))
        fail_msg("%s, %s: rank %u: %d \"%s\"", transport, fault, rank, report->status,
                 report->text);
}

/* false: the victim came through, so there is no such step. */
static bool kill_at(const char *transport, const char *call, unsigned k)
{
    char fault[96];
    snprintf(fault, sizeof(fault), "rank=%u,on=%s,k=%u,do=kill", VICTIM, call, k);
    struct rank_report *reports = run_faulty(transport, fault);
    if (reports[VICTIM].stage == SURVIVED)
        return false;
    if (reports[VICTIM].stage != 0) /* it had no time to tell anything */
        fail_msg("%s, %s: the victim: %d \"%s\"", transport, fault, reports[VICTIM].status,
                 reports[VICTIM].text);
    for (uint32_t rank = 0; rank < RANKS; rank++) {
        if (rank != VICTIM)
            verify_survivor(transport, fault, rank, &reports[rank]);
    }
    return true;
}

/* ---- tests ---------------------------------------------------------------------------------- */

/* Every early step, and ever fewer of the later ones, until the victim comes through. */
static void sends_and_receives(const char *transport)
{
    static const char *const calls[] = {"send", "recv"};
    for (unsigned i = 0; i < 2; i++) {
        unsigned killed = 0;
        for (unsigned k = 1 + i; kill_at(transport, calls[i], k); k += 1 + k / 3)
            killed++;
        assert_true(killed > 0);
    }
}

static void killed_at_each_message_tcp(void **state)
{
    (void)state;
    sends_and_receives("tcp");
}

static void killed_at_each_message_shm(void **state)
{
    (void)state;
    sends_and_receives("shm");
}

/* Polls are countless; each further one is a moment later. */
static void killed_at_some_polls(void **state)
{
    (void)state;
    for (unsigned k = 1; k <= 4096; k *= 4) {
        kill_at("tcp", "poll", k);
        kill_at("shm", "poll", k);
    }
}

static void broken_link_is_an_error(void **state)
{
    (void)state;
    static const char *const faults[] = {"rank=1,transport=tcp,on=send,k=6,do=drop",
                                         "rank=1,transport=tcp,on=recv,k=9,do=drop"};
    for (size_t i = 0; i < 2; i++) {
        struct rank_report *reports = run_faulty("tcp", faults[i]);
        for (uint32_t rank = 0; rank < RANKS; rank++) {
            bool well = reports[rank].status == SHOAL_OK && reports[rank].stage == SURVIVED;
            if (!well && reports[rank].status != SHOAL_ERR_PEER)
                fail_msg("%s: rank %u: %d \"%s\"", faults[i], rank, reports[rank].status,
                         reports[rank].text);
        }
        assert_int_not_equal(reports[VICTIM].stage, SURVIVED);
    }
}

static bool formed(const struct rank_report *reports)
{
    bool all = true;
    for (uint32_t rank = 0; rank < RANKS; rank++)
        all &= reports[rank].init_status == SHOAL_OK;
    return all;
}

/* Of rank 2, since costs are measured with rank 1 and may fail without harm. When the communicator
 * could not form, a rank may leave before another has heard why. */
static void failed_post_is_everybodys_error(void **state)
{
    (void)state;
    for (unsigned k = 1; k <= 13; k += 4) {
        char fault[64];
        snprintf(fault, sizeof(fault), "rank=2,on=send,k=%u,do=fail,status=-80", k);
        struct rank_report *reports = run_faulty("tcp", fault);
        for (uint32_t rank = 0; rank < RANKS; rank++) {
            const struct rank_report *report = &reports[rank];
            bool same = report->status == reports[0].status && strstr(report->text, "test fault");
            if (report->status >= 0 || (formed(reports) && !same))
                fail_msg("%s: rank %u: %d \"%s\"", fault, rank, report->status, report->text);
        }
    }
}

static void delay_costs_only_time(void **state)
{
    (void)state;
    static const char *const faults[] = {"on=send,k=7,do=delay,ms=120",
                                         "on=poll,k=200,do=delay,ms=80",
                                         "rank=1,on=recv,k=5,do=delay,ms=120"};
    for (size_t i = 0; i < 3; i++) {
        struct rank_report *reports = run_faulty(i == 1 ? "shm" : "tcp", faults[i]);
        for (uint32_t rank = 0; rank < RANKS; rank++) {
            if (reports[rank].stage != SURVIVED)
                fail_msg("%s: rank %u: %d \"%s\"", faults[i], rank, reports[rank].status,
                         reports[rank].text);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(killed_at_each_message_tcp),
        cmocka_unit_test(killed_at_each_message_shm),
        cmocka_unit_test(killed_at_some_polls),
        cmocka_unit_test(broken_link_is_an_error),
        cmocka_unit_test(failed_post_is_everybodys_error),
        cmocka_unit_test(delay_costs_only_time),
    };
    return cmocka_run_group_tests_name("fault_step", tests, NULL, NULL);
}
