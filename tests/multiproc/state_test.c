/*
 * Replicated state in worlds whose members join and are killed: who joins has all of it when it
 * first takes part, in equal parts from all others; divergence is found; disagreement is told.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "core/sys.h"
#include "multiproc/members.h"
#include "support/test.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define WEIGHTS 700001 /* of 8 bytes: more than five chunks */
#define SMALL 13
#define ELEMENTS 16
#define GUARD 8
#define BYTES (8ull * WEIGHTS + 4ull * SMALL + 8 + 8ull * GUARD)

enum story { GROW, DIVERGE, DISAGREE, SCRIBBLE };

/* What members tell the test, beside their reports. */
struct told {
    _Atomic int begins; /* it is in its first shoal_step_begin, or behind it */
    uint64_t received, sent, settled, bad_chunks, bad_giver;
    size_t divergences;
    uint32_t diverged_rank;
    char diverged_name[16];
    int64_t weight;
    bool even, alone_changed;
    int background; /* status of asking for it where steps are retained */
};

static struct {
    enum story story;
    struct told told[MEMBERS_MAX];
} * shared;

struct model {
    struct shoal_state *state;
    int64_t *weights;
    float small[SMALL];
    uint64_t steps;
    _Atomic uint64_t guard[GUARD]; /* all 0 */
    int64_t *send, *recv;
    bool stop;
};

static int create_in_background(struct shoal_world *world)
{
    struct shoal_state_options options = {.struct_size = sizeof(options), .background = 1};
    struct shoal_state *state;
    return shoal_state_create(world, &options, &state);
}

static int open_model(struct member *self, struct model *model)
{
    model->weights = malloc(WEIGHTS * sizeof(int64_t));
    model->send = malloc(ELEMENTS * sizeof(int64_t));
    model->recv = malloc(ELEMENTS * sizeof(int64_t));
    for (size_t i = 0; i < WEIGHTS; i++) /* what only rank 0 begins with is to count */
        model->weights[i] = (int64_t)i + 1000000000 * (int64_t)self->report->rank;
    for (size_t i = 0; i < SMALL; i++)
        model->small[i] = (float)(self->slot + i);
    model->steps = self->report->rank;
    if (shared->story == DIVERGE) /* in retained steps */
        shared->told[self->slot].background = create_in_background(self->world);
    int status = shoal_state_create(self->world, NULL, &model->state);
    bool other = shared->story == DISAGREE && self->slot == 1;
    if (status == SHOAL_OK)
        status = members_add_array(model->state, "weights", model->weights, WEIGHTS, SHOAL_I64,
                                   SHOAL_STATE_REPLICATED);
    if (status == SHOAL_OK)
        status =
            members_add_array(model->state, "nothing", NULL, 0, SHOAL_F64, SHOAL_STATE_REPLICATED);
    if (status == SHOAL_OK)
        status = members_add_array(model->state, "small", model->small, SMALL - other, SHOAL_F32,
                                   SHOAL_STATE_REPLICATED);
    if (status == SHOAL_OK)
        status = members_add_array(model->state, "steps", &model->steps, 1, SHOAL_U64,
                                   SHOAL_STATE_REPLICATED);
    if (status == SHOAL_OK)
        status = members_add_array(model->state, "guard", model->guard, GUARD, SHOAL_U64,
                                   SHOAL_STATE_REPLICATED);
    return status;
}

static void close_model(struct model *model)
{
    shoal_state_destroy(model->state);
    free(model->weights);
    free(model->send);
    free(model->recv);
}

/* Between hashing and sending the library allocates. */
static _Thread_local _Atomic uint64_t *scribbled;
static const struct shl_sys_mem *real_mem;

static void *scribble_and_allocate(size_t bytes)
{
    if (scribbled)
        ++*scribbled;
    return real_mem->alloc(bytes);
}

static int train(struct member *self, struct model *model)
{
    struct shoal_step step = {.struct_size = sizeof(step)};
    struct told *told = &shared->told[self->slot];
    told->begins = 1;
    /* Of the last stripe, in which the guard is. */
    if (shared->story == SCRIBBLE && model->steps >= 2 && self->report->rank == 2)
        scribbled = model->guard;
    int status = shoal_step_begin(self->world, &step);
    scribbled = NULL;
    model->guard[0] = 0;
    if (status != SHOAL_OK)
        return status;
    if (model->steps != step.step)
        return SHOAL_ERR_INTERNAL; /* not the state of this step */
    for (size_t i = 0; i < ELEMENTS; i++)
        model->send[i] = i ? (int64_t)self->slot + 1 : self->shared->stop;
    status = shoal_world_allreduce(self->world, model->send, model->recv, ELEMENTS, SHOAL_I64,
                                   SHOAL_SUM);
    if (status == SHOAL_OK)
        status = shoal_step_commit(self->world, 1);
    if (status != SHOAL_OK)
        return status;
    for (size_t i = 0; i < WEIGHTS; i++)
        model->weights[i] += model->recv[1];
    for (size_t i = 0; i < SMALL; i++)
        model->small[i] += (float)model->recv[2];
    model->steps++;
    model->stop = model->recv[0] > 0;
    self->report->count++;
    return SHOAL_OK;
}

static void tell(struct member *self, struct model *model)
{
    struct told *told = &shared->told[self->slot];
    struct shoal_state_info info = {.struct_size = sizeof(info)};
    shoal_state_info(model->state, &info);
    told->received = info.bytes_received;
    told->sent = info.bytes_sent;
    told->settled = info.settled;
    told->bad_chunks = info.bad_chunks;
    told->bad_giver = info.bad_giver;
    told->weight = model->weights[0];
    told->even = true;
    for (size_t i = 0; i < WEIGHTS; i++)
        told->even &= model->weights[i] - model->weights[0] == (int64_t)i;
}

static int verify(struct member *self, struct model *model)
{
    struct told *told = &shared->told[self->slot];
    struct shoal_state_divergence found = {.name = ""};
    float before = model->small[3];
    if (shared->story == DIVERGE && self->slot == 1)
        before = model->small[3] += 1;
    int status = shoal_state_verify(model->state, &found, 1, &told->divergences);
    told->diverged_rank = found.rank;
    snprintf(told->diverged_name, sizeof(told->diverged_name), "%s", found.name);
    told->alone_changed = model->small[3] == before;
    return status;
}

static void body(struct member *self)
{
    struct model model = {.state = NULL};
    int status = open_model(self, &model);
    while (status == SHOAL_OK && !model.stop) {
        status = train(self, &model);
        if (status == SHOAL_ERR_STEP_RETRY)
            status = SHOAL_OK;
    }
    if (status == SHOAL_OK)
        status = verify(self, &model);
    self->report->status = status;
    snprintf(self->report->text, sizeof(self->report->text), "%s", shoal_last_error());
    tell(self, &model);
    close_model(&model);
}

/* ---- tests ----------------------------------------------------------------------------------- */

static const char *const shm[] = {"SHOAL_TRANSPORT=shm", "SHOAL_LOG_LEVEL=off", NULL};
static const char *const tcp[] = {"SHOAL_TRANSPORT=tcp", "SHOAL_LOG_LEVEL=off", NULL};

static struct members_job make_job(enum story story, uint32_t start, enum shoal_step_mode mode,
                                   const char *const *settings)
{
    shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(shared != MAP_FAILED);
    shared->story = story;
    return (struct members_job){.start = start,
                                .min = 1,
                                .mode = mode,
                                .settings = settings,
                                .elements = ELEMENTS,
                                .op_timeout_ms = 20000,
                                .recovery_timeout_ms = 20000,
                                .body = body};
}

static void check_well(const struct members *members, const uint32_t *slots, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        const struct member_report *report = &members->shared->reports[slots[i]];
        const struct told *told = &shared->told[slots[i]];
        if (report->status != SHOAL_OK || report->join_status != SHOAL_OK)
            fail_msg("member %u: %d %d \"%s\"", slots[i], report->join_status, report->status,
                     report->text);
        assert_true(told->even);
        assert_int_equal(told->divergences, 0);
        assert_int_equal(told->weight, shared->told[slots[0]].weight);
    }
}

/* Founders have what rank 0 began with; a joiner gets equal parts from the other three. */
static void joins(enum shoal_step_mode mode, const char *const *settings)
{
    struct members members;
    struct members_job job = make_job(GROW, 3, mode, settings);
    members_open(&members, &job);
    members_await(&members, 0, 5);
    members_start(&members, 3);
    members_await(&members, 3, 3);
    members.shared->stop = 1;
    members_close(&members);
    check_well(&members, (const uint32_t[]){0, 1, 2, 3}, 4);
    const struct told *told = shared->told;
    assert_int_equal(told[3].received, BYTES);
    assert_int_equal(told[3].sent, 0);
    assert_int_equal(told[3].settled, 1);
    assert_int_equal(told[0].sent + told[1].sent + told[2].sent, BYTES);
    for (uint32_t i = 0; i < 3; i++) {
        assert_int_equal(told[i].settled, 2);
        assert_true(told[i].sent > BYTES / 5 && told[i].sent < BYTES / 2);
    }
}

static void joiner_gets_equal_parts_from_all(void **state)
{
    (void)state;
    joins(SHOAL_STEP_RETAIN, tcp);
    joins(SHOAL_STEP_ABORT, shm);
}

static void losses_and_several_joiners(void **state)
{
    (void)state;
    struct members members;
    struct members_job job = make_job(GROW, 3, SHOAL_STEP_RETAIN, tcp);
    members_open(&members, &job);
    members_await(&members, 0, 3);
    members_start(&members, 3);
    members_start(&members, 4);
    members_await(&members, 3, 2);
    members_await(&members, 4, 2);
    members_kill(&members, 0, SIGKILL);
    members_await(&members, 1, 3);
    members_start(&members, 5);
    members_await(&members, 5, 2);
    members.shared->stop = 1;
    members_close(&members);
    check_well(&members, (const uint32_t[]){1, 2, 3, 4, 5}, 5);
}

/* Whenever a giver is lost, the joiner ends with the right state: from the others. */
static void giver_is_lost_while_it_gives(void **state)
{
    (void)state;
    for (useconds_t after_us = 0; after_us < 40000; after_us = after_us * 2 + 1500) {
        struct members members;
        struct members_job job = make_job(GROW, 3, SHOAL_STEP_ABORT, tcp);
        members_open(&members, &job);
        members_await(&members, 0, 3);
        members_start(&members, 3);
        double end_s = members_now_s() + MEMBERS_SECONDS;
        while (!shared->told[3].begins && members_now_s() < end_s)
            usleep(200);
        usleep(after_us);
        members_kill(&members, 1, SIGKILL);
        members_await(&members, 3, 2);
        members.shared->stop = 1;
        members_close(&members);
        check_well(&members, (const uint32_t[]){0, 2, 3}, 3);
    }
}

/* What the last giver sends is never what it hashed. */
static void a_chunk_that_is_not_what_was_hashed_comes_from_another(void **state)
{
    (void)state;
    struct members members;
    struct members_job job = make_job(SCRIBBLE, 3, SHOAL_STEP_ABORT, tcp);
    static struct shl_sys_mem scribbling;
    real_mem = shl_mem;
    scribbling = *real_mem;
    scribbling.alloc = scribble_and_allocate;
    shl_mem = &scribbling; /* also in the members, which are forked */
    members_open(&members, &job);
    members_await(&members, 0, 3);
    members_start(&members, 3);
    shl_mem = real_mem;
    members_await(&members, 3, 2);
    members.shared->stop = 1;
    members_close(&members);
    check_well(&members, (const uint32_t[]){0, 1, 2, 3}, 4); /* all guards are alike, too */
    assert_int_equal(shared->told[3].bad_chunks, 1);
    assert_int_equal(shared->told[3].bad_giver, 2);
}

static void divergence_is_found_and_left_alone(void **state)
{
    (void)state;
    struct members members;
    struct members_job job = make_job(DIVERGE, 3, SHOAL_STEP_RETAIN, shm);
    members_open(&members, &job);
    members_await(&members, 0, 2);
    members.shared->stop = 1;
    members_close(&members);
    for (uint32_t i = 0; i < 3; i++) {
        assert_int_equal(members.shared->reports[i].status, SHOAL_OK);
        assert_int_equal(shared->told[i].divergences, 1);
        assert_int_equal(shared->told[i].diverged_rank, members.shared->reports[1].rank);
        assert_string_equal(shared->told[i].diverged_name, "small");
        assert_true(shared->told[i].alone_changed);
        assert_int_equal(shared->told[i].background, SHOAL_ERR_UNSUPPORTED);
    }
}

static void different_arrays_are_an_error_on_all(void **state)
{
    (void)state;
    struct members members;
    struct members_job job = make_job(DISAGREE, 3, SHOAL_STEP_RETAIN, shm);
    members_open(&members, &job);
    members_close(&members);
    for (uint32_t i = 0; i < 3; i++) {
        assert_int_equal(members.shared->reports[i].status, SHOAL_ERR_MISMATCH);
        assert_non_null(strstr(members.shared->reports[i].text, "register the same"));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(joiner_gets_equal_parts_from_all),
        cmocka_unit_test(losses_and_several_joiners),
        cmocka_unit_test(giver_is_lost_while_it_gives),
        cmocka_unit_test(a_chunk_that_is_not_what_was_hashed_comes_from_another),
        cmocka_unit_test(divergence_is_found_and_left_alone),
        cmocka_unit_test(different_arrays_are_an_error_on_all),
    };
    return cmocka_run_group_tests_name("state", tests, NULL, NULL);
}
