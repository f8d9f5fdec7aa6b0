/*
 * Reshards between real processes, over each transport: any layout to any, with ranks that have
 * only input or only output; the bytes sent are the least possible; who disagrees is told, and the
 * communicator goes on.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "multiproc/ranks.h"
#include "support/layouts.h"
#include "support/random.h"
#include "support/test.h"

#include <stdio.h>
#include <stdlib.h>

#define TOTAL_MAX 60000
#define ROUNDS 25

static uint64_t seed;

static int draw_seed(void **state)
{
    (void)state;
    seed = shl_test_seed();
    return 0;
}

/* What one rank works with. */
struct job {
    uint64_t total;
    struct test_layout from, to;
    uint32_t *from_holder, *to_holder;
    uint64_t *from_place, *to_place;
    uint64_t from_held[LAYOUT_RANKS_MAX], to_held[LAYOUT_RANKS_MAX];
    uint32_t *send, *recv;
};

static void *allocate(size_t bytes)
{
    void *memory = calloc(1, bytes + 64);
    if (!memory)
        abort();
    return memory;
}

static void open_job(struct job *job, uint64_t *random, uint32_t size, uint32_t rank)
{
    job->total = shl_test_random(random) % (shl_test_random(random) % 3 ? 500 : TOTAL_MAX);
    test_layout_draw(random, job->total, size, true, &job->from);
    test_layout_draw(random, job->total, size, false, &job->to);
    job->from_holder = allocate(job->total * sizeof(uint32_t));
    job->to_holder = allocate(job->total * sizeof(uint32_t));
    job->from_place = allocate(job->total * sizeof(uint64_t));
    job->to_place = allocate(job->total * sizeof(uint64_t));
    test_layout_model(&job->from.layout, job->total, size, job->from_holder, job->from_place,
                      job->from_held);
    test_layout_model(&job->to.layout, job->total, size, job->to_holder, job->to_place,
                      job->to_held);
    job->send = allocate(job->from_held[rank] * sizeof(uint32_t));
    job->recv = allocate(job->to_held[rank] * sizeof(uint32_t));
    for (uint64_t i = 0; i < job->total; i++)
        if (job->from_holder[i] == rank)
            job->send[job->from_place[i]] = (uint32_t)(i * 2654435761u + 1);
}

static void close_job(struct job *job)
{
    free(job->from_holder);
    free(job->to_holder);
    free(job->from_place);
    free(job->to_place);
    free(job->send);
    free(job->recv);
}

static int verify(const struct job *job, uint32_t rank)
{
    for (uint64_t i = 0; i < job->total; i++)
        if (job->to_holder[i] == rank &&
            job->recv[job->to_place[i]] != (uint32_t)(i * 2654435761u + 1))
            return shl_fail(SHOAL_ERR_INTERNAL, "element %llu of %llu is wrong",
                            (unsigned long long)i, (unsigned long long)job->total);
    return SHOAL_OK;
}

static struct shoal_reshard_call call_of(const struct job *job, uint32_t rank)
{
    return (struct shoal_reshard_call){.struct_size = sizeof(struct shoal_reshard_call),
                                       .count = job->total,
                                       .dtype = SHOAL_U32,
                                       .from = &job->from.layout,
                                       .to = &job->to.layout,
                                       .send = job->from_held[rank] ? job->send : NULL,
                                       .recv = job->to_held[rank] ? job->recv : NULL};
}

/* The plan says how much this rank sends: what it has and others are to get. */
static int check_plan(struct rank *self, const struct job *job,
                      const struct shoal_reshard_call *call)
{
    struct shoal_plan_info info = {.struct_size = sizeof(info)};
    uint64_t least = 0, held;
    for (uint64_t i = 0; i < job->total; i++)
        least += job->from_holder[i] == self->rank && job->to_holder[i] != self->rank &&
                 job->to_holder[i] != LAYOUT_NOBODY;
    SHL_TRY(shoal_reshard_plan(self->comm, call, &info));
    if (info.bytes_sent != least * sizeof(uint32_t))
        return shl_fail(SHOAL_ERR_INTERNAL, "%llu bytes are planned, %llu elements are to move",
                        (unsigned long long)info.bytes_sent, (unsigned long long)least);
    SHL_TRY(shoal_layout_count(call->from, call->count, self->rank, self->size, &held));
    return held == job->from_held[self->rank] ? SHOAL_OK : SHOAL_ERR_INTERNAL;
}

static int move_once(struct rank *self, uint64_t *random, bool waits)
{
    struct job job = {0};
    open_job(&job, random, self->size, self->rank);
    struct shoal_reshard_call call = call_of(&job, self->rank);
    int status = check_plan(self, &job, &call);
    struct shoal_request *request = NULL;
    if (status == SHOAL_OK && waits)
        status = shoal_reshard(self->comm, &call);
    else if (status == SHOAL_OK)
        status = shoal_reshard_start(self->comm, &call, &request);
    if (status == SHOAL_OK && request) {
        status = shoal_request_wait(request, UINT32_MAX);
        (void)shoal_request_destroy(request);
    }
    if (status == SHOAL_OK)
        status = verify(&job, self->rank);
    close_job(&job);
    return status;
}

static void move_many(struct rank *self)
{
    uint64_t random = *(const uint64_t *)self->arg;
    for (int i = 0; i < ROUNDS; i++) {
        int status = move_once(self, &random, i % 2 == 0);
        ranks_tell(self, status);
        if (status != SHOAL_OK)
            return;
        self->report->number++;
    }
    self->report->later_status = ranks_sum(self);
}

static void check(uint32_t size, const char *transport)
{
    char setting[64];
    uint64_t random = seed + size;
    snprintf(setting, sizeof(setting), "SHOAL_TRANSPORT=%s", transport);
    const char *const settings[] = {setting, NULL};
    struct ranks_job job = {.size = size, .settings = settings, .body = move_many, .arg = &random};
    struct rank_report *reports = ranks_run(&job);
    for (uint32_t r = 0; r < size; r++)
        if (reports[r].number != ROUNDS || reports[r].later_status != SHOAL_OK)
            fail_msg("%s, %u ranks, seed %llu: rank %u stopped in round %llu: %d %s", transport,
                     size, (unsigned long long)random, r, (unsigned long long)reports[r].number,
                     reports[r].status, reports[r].text);
}

static void over_shm(void **state)
{
    (void)state;
    for (uint32_t size = 1; size <= 5; size++)
        check(size, "shm");
}

static void over_tcp(void **state)
{
    (void)state;
    check(2, "tcp");
    check(4, "tcp");
}

/* ---- a checkpoint at another number of ranks ------------------------------------------------ */

#define LARGE 3000000

/* Four ranks read a quarter of the file each, three others get what they are to train. */
static void load(struct rank *self)
{
    struct shoal_layout old = {.struct_size = sizeof(old), .ranks = 4};
    struct shoal_layout fresh = {.struct_size = sizeof(fresh), .first_rank = 4, .ranks = 3};
    uint64_t have, get;
    ranks_tell(self, shoal_layout_count(&old, LARGE, self->rank, self->size, &have));
    ranks_tell(self, shoal_layout_count(&fresh, LARGE, self->rank, self->size, &get));
    float *send = allocate(have * sizeof(float)), *recv = allocate(get * sizeof(float));
    for (uint64_t i = 0; i < have; i++)
        send[i] = (float)(self->rank * (LARGE / 4) + i);
    struct shoal_reshard_call call = {.struct_size = sizeof(call),
                                      .count = LARGE,
                                      .dtype = SHOAL_F32,
                                      .from = &old,
                                      .to = &fresh,
                                      .send = have ? send : NULL,
                                      .recv = get ? recv : NULL};
    ranks_tell(self, shoal_reshard(self->comm, &call));
    for (uint64_t i = 0; i < get; i++)
        self->report->number += recv[i] != (float)((self->rank - 4) * (LARGE / 3) + i);
    free(send);
    free(recv);
}

static void checkpoint_at_another_size(void **state)
{
    (void)state;
    const char *const transports[] = {"SHOAL_TRANSPORT=shm", "SHOAL_TRANSPORT=tcp"};
    for (int t = 0; t < 2; t++) {
        const char *const settings[] = {transports[t], NULL};
        struct ranks_job job = {.size = 7, .settings = settings, .body = load};
        struct rank_report *reports = ranks_run(&job);
        for (uint32_t r = 0; r < 7; r++) {
            if (reports[r].status != SHOAL_OK)
                fail_msg("rank %u: %d %s", r, reports[r].status, reports[r].text);
            assert_int_equal(reports[r].number, 0);
        }
    }
}

/* ---- disagreement, and bad calls ------------------------------------------------------------ */

#define SMALL 3000

/* From blocks to blocks dealt out in turn, of a few elements. */
struct small_move {
    struct shoal_layout from, to;
    struct shoal_reshard_call call;
};

static void make_move(struct small_move *move, uint64_t block)
{
    move->from = (struct shoal_layout){.struct_size = sizeof(move->from)};
    move->to = (struct shoal_layout){
        .struct_size = sizeof(move->to), .kind = SHOAL_LAYOUT_CYCLIC, .block = block};
    move->call = (struct shoal_reshard_call){.struct_size = sizeof(move->call),
                                             .count = SMALL,
                                             .dtype = SHOAL_U32,
                                             .from = &move->from,
                                             .to = &move->to,
                                             .send = allocate(SMALL * sizeof(uint32_t)),
                                             .recv = allocate(SMALL * sizeof(uint32_t))};
}

static void free_move(struct small_move *move)
{
    free((void *)move->call.send);
    free(move->call.recv);
}

/* Rank 1 gives another target, then calls something else altogether. */
static void disagree(struct rank *self)
{
    struct small_move move;
    make_move(&move, self->rank == 1 ? 3 : 2);
    ranks_tell(self, shoal_reshard(self->comm, &move.call));
    self->report->later_status = ranks_sum(self);
    if (self->rank == 1)
        self->report->number = (uint64_t)-shoal_barrier(self->comm);
    else
        self->report->number = (uint64_t)-shoal_reshard(self->comm, &move.call);
    if (self->report->later_status == SHOAL_OK)
        self->report->later_status = ranks_sum(self);
    free_move(&move);
}

static void disagreement(void **state)
{
    (void)state;
    const char *const transports[] = {"SHOAL_TRANSPORT=shm", "SHOAL_TRANSPORT=tcp"};
    for (int t = 0; t < 2; t++) {
        const char *const settings[] = {transports[t], "SHOAL_LOG_LEVEL=error", NULL};
        struct ranks_job job = {.size = 3, .settings = settings, .body = disagree};
        struct rank_report *reports = ranks_run(&job);
        for (uint32_t r = 0; r < 3; r++) {
            assert_int_equal(reports[r].status, SHOAL_ERR_MISMATCH);
            assert_non_null(strstr(reports[r].text, "reshard #"));
            assert_non_null(strstr(reports[r].text, "layouts"));
            assert_string_equal(reports[r].text, reports[0].text);
            assert_int_equal(reports[r].number, -SHOAL_ERR_MISMATCH);
            assert_int_equal(reports[r].later_status, SHOAL_OK);
        }
    }
}

/* Rank 0 gives the operation up; then all leave the communicator in the middle of another. */
static void give_up(struct rank *self)
{
    struct small_move move;
    struct shoal_request *request;
    make_move(&move, 2);
    if (self->rank == 0) {
        ranks_tell(self, shoal_reshard_start(self->comm, &move.call, &request));
        (void)shoal_request_abort(request);
        ranks_tell(self, shoal_request_wait(request, UINT32_MAX));
        (void)shoal_request_destroy(request);
    } else if (self->rank == 1) {
        ranks_await_stage(self->reports, 1, 1); /* comes when it has been given up */
        ranks_tell(self, shoal_reshard(self->comm, &move.call));
    } else {
        ranks_tell(self, shoal_reshard(self->comm, &move.call));
    }
    self->report->stage = 1;
    self->report->later_status = ranks_sum(self);
    if (self->rank != 1)
        self->report->number = (uint64_t)-shoal_reshard_start(self->comm, &move.call, &request);
    (void)shoal_comm_destroy(self->comm); /* before the buffers go */
    self->comm = NULL;
    free_move(&move);
}

static void giving_up(void **state)
{
    (void)state;
    const char *const transports[] = {"SHOAL_TRANSPORT=shm", "SHOAL_TRANSPORT=tcp"};
    for (int t = 0; t < 2; t++) {
        const char *const settings[] = {transports[t], "SHOAL_LOG_LEVEL=error", NULL};
        struct ranks_job job = {.size = 3, .settings = settings, .body = give_up};
        struct rank_report *reports = ranks_run(&job);
        for (uint32_t r = 0; r < 3; r++) {
            if (reports[r].status != SHOAL_ERR_ABORTED)
                fail_msg("rank %u: %d %s", r, reports[r].status, reports[r].text);
            assert_int_equal(reports[r].later_status, SHOAL_OK);
            /* Who comes after another has left is told so at once. */
            assert_true(reports[r].number == 0 || reports[r].number == -SHOAL_ERR_PEER);
        }
    }
}

static int expect(int status, const char *detail)
{
    if (status != SHOAL_ERR_INVALID || !strstr(shoal_last_error(), detail))
        return shl_fail(SHOAL_ERR_INTERNAL, "status %d, \"%s\" where \"%s\" is expected", status,
                        shl_error_text(), detail);
    return SHOAL_OK;
}

static int call_badly(struct rank *self, uint32_t *data)
{
    struct shoal_layout layout = {.struct_size = sizeof(layout)};
    struct shoal_request *request = NULL;
    const struct shoal_reshard_call good = {.struct_size = sizeof(good),
                                            .count = 100,
                                            .dtype = SHOAL_U32,
                                            .from = &layout,
                                            .to = &layout,
                                            .send = data,
                                            .recv = data + 100};
    struct shoal_reshard_call call = good;
    call.from = NULL;
    SHL_TRY(expect(shoal_reshard(self->comm, &call), "`from` is NULL"));
    call = good;
    call.send = NULL;
    SHL_TRY(expect(shoal_reshard(self->comm, &call), "send is NULL"));
    call = good;
    call.recv = NULL;
    SHL_TRY(expect(shoal_reshard_start(self->comm, &call, &request), "recv is NULL"));
    call = good;
    call.recv = data + 49;
    SHL_TRY(expect(shoal_reshard(self->comm, &call), "overlap"));
    call = good;
    call.dtype = (enum shoal_dtype)99;
    SHL_TRY(expect(shoal_reshard(self->comm, &call), "dtype 99"));
    call = good;
    call.count = UINT64_MAX / 2;
    SHL_TRY(expect(shoal_reshard(self->comm, &call), "more than can be addressed"));
    call = good;
    call.struct_size = 1;
    SHL_TRY(expect(shoal_reshard(self->comm, &call), "struct_size"));
    SHL_TRY(expect(shoal_reshard(self->comm, NULL), "call is NULL"));
    SHL_TRY(expect(shoal_reshard(NULL, &good), "comm is NULL"));
    SHL_TRY(expect(shoal_reshard_start(self->comm, &good, NULL), "place for the request"));
    SHL_TRY(expect(shoal_reshard_plan(self->comm, &good, NULL), "place for the result"));
    layout.ranks = 9;
    SHL_TRY(expect(shoal_reshard(self->comm, &good), "from: 9 parts"));
    SHL_TRY(expect(shoal_layout_count(&layout, 5, 2, 2, NULL), "NULL"));
    return SHOAL_OK;
}

static void bad_calls_of_a_rank(struct rank *self)
{
    uint32_t *data = allocate(200 * sizeof(*data));
    ranks_tell(self, call_badly(self, data));
    self->report->later_status = ranks_sum(self);
    free(data);
}

/* Nothing of them is started: the next operation works. */
static void bad_calls(void **state)
{
    (void)state;
    struct ranks_job job = {.size = 2, .body = bad_calls_of_a_rank};
    struct rank_report *reports = ranks_run(&job);
    for (uint32_t r = 0; r < 2; r++) {
        if (reports[r].status != SHOAL_OK)
            fail_msg("rank %u: %s", r, reports[r].text);
        assert_int_equal(reports[r].later_status, SHOAL_OK);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(over_shm),
        cmocka_unit_test(over_tcp),
        cmocka_unit_test(checkpoint_at_another_size),
        cmocka_unit_test(disagreement),
        cmocka_unit_test(giving_up),
        cmocka_unit_test(bad_calls),
    };
    return cmocka_run_group_tests(tests, draw_seed, NULL);
}
