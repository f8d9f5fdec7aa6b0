/*
 * Workers that get the state before they are let in: the members go on with their steps meanwhile,
 * only what has changed since is moved when they meet, and all have the same in the end, whoever is
 * killed on the way. Members copy one chunk a step, so that how many steps it takes is no matter of
 * speed.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "elastic/state/state.h"
#include "multiproc/members.h"
#include "support/test.h"

#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#define CHUNK_WORDS (SHL_CHUNK_BYTES / sizeof(uint64_t))
#define CHUNKS 20
#define FROZEN (CHUNKS * CHUNK_WORDS - 5) /* that no step changes */
#define HOT (2 * CHUNK_WORDS)             /* that all do */
#define SHARDED 3000
#define TWO_CHUNKS (2ull * SHL_CHUNK_BYTES)
#define BYTES (8ull * (FROZEN + HOT + 1))

/* What members tell the test, beside their reports. */
struct told {
    _Atomic uint64_t given_bytes, held;
    uint64_t caught_up, received, settled, first_step, given_steps;
    size_t divergences;
    uint32_t size; /* of the view before the first step */
};

static struct {
    bool all_change; /* FROZEN as well, in spite of its name */
    bool background; /* and there is a sharded array */
    bool hasty;      /* all call an operation before each step, joiners before their first */
    bool turns_back; /* the joiner ends its world before its first step */
    bool other;      /* the joiner registers something else */
    _Atomic uint32_t hash_ms; /* that founders take to hash a chunk, when all wait for it */
    /* A member and 1: once it has given two chunks it begins no step, so that nobody is let in. */
    _Atomic uint32_t holds;
    struct told told[MEMBERS_MAX];
} * shared;

struct model {
    struct shoal_state *state;
    uint64_t *frozen, *hot, steps;
    double *sharded;
    bool stop, began;
};

/* ---- members ----------------------------------------------------------------------------------
 */

static _Thread_local bool hashes_slowly;

enum shoal_status __real_shl_hash_data(const void *data, size_t bytes, uint8_t *hash);
enum shoal_status __wrap_shl_hash_data(const void *data, size_t bytes, uint8_t *hash);
enum shoal_status __wrap_shl_hash_data(const void *data, size_t bytes, uint8_t *hash)
{
    if (hashes_slowly && bytes == SHL_CHUNK_BYTES)
        usleep(shared->hash_ms * 1000);
    return __real_shl_hash_data(data, bytes, hash);
}

static int open_model(struct member *self, struct model *model)
{
    bool founds = self->slot < self->job->start;
    struct shoal_state_options options = {.struct_size = sizeof(options),
                                          .background = shared->background,
                                          .catch_up_bytes = SHL_CHUNK_BYTES};
    model->frozen = malloc(FROZEN * sizeof(uint64_t));
    model->hot = malloc(HOT * sizeof(uint64_t));
    model->sharded = calloc(SHARDED, sizeof(double));
    for (size_t i = 0; i < FROZEN; i++)
        model->frozen[i] = founds ? 3 * i : ~i;
    for (size_t i = 0; i < HOT; i++)
        model->hot[i] = founds ? i : 7;
    int status = shoal_state_create(self->world, &options, &model->state);
    if (status == SHOAL_OK)
        status = members_add_array(model->state, "frozen", model->frozen,
                                   FROZEN - (shared->other && !founds), SHOAL_U64,
                                   SHOAL_STATE_REPLICATED);
    if (status == SHOAL_OK)
        status = members_add_array(model->state, "hot", model->hot, HOT, SHOAL_U64,
                                   SHOAL_STATE_REPLICATED);
    if (status == SHOAL_OK)
        status = members_add_array(model->state, "steps", &model->steps, 1, SHOAL_U64,
                                   SHOAL_STATE_REPLICATED);
    if (status == SHOAL_OK && shared->background)
        status = members_add_array(model->state, "sharded", model->sharded, SHARDED, SHOAL_U64,
                                   SHOAL_STATE_SHARDED);
    return status;
}

static bool is_right(const struct model *model, uint64_t step)
{
    uint64_t more = shared->all_change ? step : 0;
    if (model->steps != step)
        return false;
    for (size_t i = 0; i < FROZEN; i++)
        if (model->frozen[i] != 3 * i + more)
            return false;
    for (size_t i = 0; i < HOT; i++)
        if (model->hot[i] != i + step)
            return false;
    return true;
}

static void change(struct model *model)
{
    for (size_t i = 0; i < FROZEN && shared->all_change; i++)
        model->frozen[i]++;
    for (size_t i = 0; i < HOT; i++)
        model->hot[i]++;
    model->steps++;
}

static void tell(const struct member *self, struct model *model)
{
    struct told *told = &shared->told[self->slot];
    struct shoal_state_info info = {.struct_size = sizeof(info)};
    shoal_state_info(model->state, &info);
    told->caught_up = info.caught_up_bytes;
    told->received = info.bytes_received;
    told->settled = info.settled;
    told->given_steps = info.given_steps;
    told->given_bytes = info.given_bytes;
    struct shl_giver *giver = &model->state->giver;
    pthread_mutex_lock(&giver->lock);
    told->held = giver->held_count + giver->spare_count;
    pthread_mutex_unlock(&giver->lock);
}

static int train(struct member *self, struct model *model)
{
    struct shoal_step step = {.struct_size = sizeof(step)};
    int64_t send[2] = {self->shared->stop, 1}, recv[2];
    int64_t word = 0;
    while (shared->holds == self->slot + 1 && shared->told[self->slot].given_bytes >= TWO_CHUNKS)
        usleep(100);
    int status = SHOAL_OK;
    if (shared->hasty)
        status = shoal_world_broadcast(self->world, &word, &word, 1, SHOAL_I64, 0);
    if (status == SHOAL_OK)
        status = shoal_step_begin(self->world, &step);
    if (status != SHOAL_OK)
        return status;
    if (!model->began && !is_right(model, step.step))
        return SHOAL_ERR_INTERNAL; /* not the state of this step */
    if (!model->began)
        shared->told[self->slot].first_step = step.step;
    model->began = true;
    status = shoal_world_allreduce(self->world, send, recv, 2, SHOAL_I64, SHOAL_SUM);
    if (status == SHOAL_OK)
        status = shoal_step_commit(self->world, 1);
    if (status != SHOAL_OK)
        return status;
    change(model);
    model->stop = recv[0] > 0;
    tell(self, model);
    members_note(self, step.step + 1, step.epoch, 1);
    return SHOAL_OK;
}

static int verify(struct member *self, struct model *model)
{
    struct shoal_state_divergence found;
    int status = shared->background ? shoal_state_flush(model->state) : SHOAL_OK;
    if (status == SHOAL_OK)
        status = shoal_state_verify(model->state, &found, 1, &shared->told[self->slot].divergences);
    if (status == SHOAL_OK && !is_right(model, model->steps))
        return SHOAL_ERR_INTERNAL;
    return status;
}

static void body(struct member *self)
{
    struct model model = {.state = NULL};
    struct shoal_view view = {.struct_size = sizeof(view)};
    shoal_world_view(self->world, &view);
    shared->told[self->slot].size = view.size;
    hashes_slowly = self->slot < self->job->start;
    int status = open_model(self, &model);
    bool trains = self->slot < self->job->start || !shared->turns_back;
    while (status == SHOAL_OK && trains && !model.stop) {
        status = train(self, &model);
        if (status == SHOAL_ERR_STEP_RETRY)
            status = SHOAL_OK;
    }
    if (status == SHOAL_OK && trains)
        status = verify(self, &model);
    members_end_with(self, status);
    shoal_state_destroy(model.state);
    free(model.frozen);
    free(model.hot);
    free(model.sharded);
}

/* ---- tests ----------------------------------------------------------------------------------- */

static const char *const tcp[] = {"SHOAL_TRANSPORT=tcp", "SHOAL_LOG_LEVEL=off", NULL};
static const char *const shm[] = {"SHOAL_TRANSPORT=shm", "SHOAL_LOG_LEVEL=off", NULL};

static struct members_job make_job(enum shoal_step_mode mode, const char *const *settings)
{
    shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(shared != MAP_FAILED);
    return (struct members_job){.start = 3,
                                .min = 1,
                                .mode = mode,
                                .settings = settings,
                                .op_timeout_ms = 20000,
                                .recovery_timeout_ms = 20000,
                                .catch_up = true,
                                .body = body};
}

static void finish(struct members *members, const uint32_t *slots, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        members_await(members, slots[i], 2);
    members->shared->stop = 1;
    members_close(members);
    members_check_ended(members, slots, count);
    for (uint32_t i = 0; i < count; i++)
        assert_int_equal(shared->told[slots[i]].divergences, 0);
}

/* Until a member has given so much. */
static void await_given(const struct members *members, uint32_t slot, uint64_t bytes)
{
    double end_s = members_now_s() + MEMBERS_SECONDS;
    while (shared->told[slot].given_bytes < bytes && members_now_s() < end_s)
        usleep(100);
    if (shared->told[slot].given_bytes < bytes)
        fail_msg("member %u gave %llu bytes: %s", slot,
                 (unsigned long long)shared->told[slot].given_bytes,
                 members->shared->reports[slot].text);
}

/* Nothing is kept for a learner that is gone. */
static void await_nothing_held(uint32_t slot)
{
    double end_s = members_now_s() + MEMBERS_SECONDS;
    while (shared->told[slot].held && members_now_s() < end_s)
        usleep(1000);
    assert_int_equal(shared->told[slot].held, 0);
}

/* Three members with one copy a step: of so many chunks each has to give a third, one after the
 * other, so some begin at least this many steps meanwhile. */
#define STEPS_MEANWHILE ((CHUNKS + 2) / 3 - 1)

static void joins(enum shoal_step_mode mode, const char *const *settings, bool background)
{
    struct members members;
    struct members_job job = make_job(mode, settings);
    shared->background = background;
    members_open(&members, &job);
    members_await(&members, 0, 3);
    members_start(&members, 3);
    members_await(&members, 3, 1);
    finish(&members, (const uint32_t[]){0, 1, 2, 3}, 4);
    const struct told *told = shared->told;
    uint64_t given = 0, steps = 0;
    for (uint32_t i = 0; i < 3; i++) {
        assert_int_equal(told[i].size, 3);
        given += told[i].given_bytes;
        steps = told[i].given_steps > steps ? told[i].given_steps : steps;
    }
    assert_int_equal(told[3].size, 0); /* not let in yet */
    assert_true(steps >= STEPS_MEANWHILE);
    assert_true(told[3].caught_up >= BYTES && given >= told[3].caught_up);
    /* What changes with each step, and nothing else: two chunks and a number; and its part of a
     * sharded array, and of the copies. */
    uint64_t changed = 8ull * (HOT + 1), parts = background ? 8ull * SHARDED : 0;
    assert_true(told[3].received >= changed && told[3].received <= changed + parts);
    assert_int_equal(told[3].settled, 1);
}

static void members_train_while_a_joiner_catches_up(void **state)
{
    (void)state;
    joins(SHOAL_STEP_RETAIN, tcp, false);
    joins(SHOAL_STEP_ABORT, shm, false);
}

static void so_they_do_with_sharded_arrays_in_the_background(void **state)
{
    (void)state;
    joins(SHOAL_STEP_ABORT, tcp, true);
}

/* Then there is nothing to be gained, and nothing lost. */
static void all_may_have_changed(void **state)
{
    (void)state;
    struct members members;
    struct members_job job = make_job(SHOAL_STEP_ABORT, tcp);
    shared->all_change = true;
    members_open(&members, &job);
    members_await(&members, 0, 2);
    members_start(&members, 3);
    members_await(&members, 3, 1);
    finish(&members, (const uint32_t[]){0, 1, 2, 3}, 4);
    assert_int_equal(shared->told[3].received, BYTES);
    assert_true(shared->told[3].caught_up < 2 * BYTES); /* it saw that in time */
}

static void a_learner_is_killed(void **state)
{
    (void)state;
    struct members members;
    struct members_job job = make_job(SHOAL_STEP_RETAIN, tcp);
    members_open(&members, &job);
    members_await(&members, 0, 2);
    shared->holds = 0 + 1;
    members_start(&members, 3);
    await_given(&members, 0, TWO_CHUNKS);
    members_kill(&members, 3, SIGKILL);
    shared->holds = 0;
    members_await(&members, 0, 3);
    for (uint32_t i = 0; i < 3; i++)
        await_nothing_held(i);
    assert_int_equal(members.shared->reports[3].count, 0);
    members_start(&members, 4);
    members_await(&members, 4, 1);
    finish(&members, (const uint32_t[]){0, 1, 2, 4}, 4);
    assert_int_equal(shared->told[4].received, 8ull * (HOT + 1));
}

/* The others give what it had been asked for. */
static void a_giver_is_killed(void **state)
{
    (void)state;
    struct members members;
    struct members_job job = make_job(SHOAL_STEP_ABORT, tcp);
    members_open(&members, &job);
    members_await(&members, 0, 2);
    shared->holds = 1 + 1;
    members_start(&members, 3);
    await_given(&members, 1, TWO_CHUNKS);
    members_kill(&members, 1, SIGKILL);
    shared->holds = 0;
    members_await(&members, 3, 1);
    finish(&members, (const uint32_t[]){0, 2, 3}, 3);
    assert_int_equal(shared->told[3].received, 8ull * (HOT + 1));
    assert_true(shared->told[3].caught_up >= BYTES);
}

static void two_at_once(void **state)
{
    (void)state;
    struct members members;
    struct members_job job = make_job(SHOAL_STEP_RETAIN, shm);
    members_open(&members, &job);
    members_await(&members, 0, 2);
    members_start(&members, 3);
    members_start(&members, 4);
    members_await(&members, 3, 1);
    members_await(&members, 4, 1);
    finish(&members, (const uint32_t[]){0, 1, 2, 3, 4}, 5);
    assert_true(shared->told[3].caught_up >= BYTES && shared->told[4].caught_up >= BYTES);
}

/* An operation before the first step: it is let in at once, and gets all of it then. */
static void an_operation_has_it_let_in(void **state)
{
    (void)state;
    struct members members;
    struct members_job job = make_job(SHOAL_STEP_RETAIN, tcp);
    shared->hasty = true;
    members_open(&members, &job);
    members_await(&members, 0, 2);
    members_start(&members, 3);
    members_await(&members, 3, 1);
    finish(&members, (const uint32_t[]){0, 1, 2, 3}, 4);
    assert_int_equal(shared->told[3].caught_up, 0);
    assert_int_equal(shared->told[3].received, BYTES);
}

/* All of it takes longer than an operation may, as hundreds of GiB do; each part does not. */
static void hashing_takes_longer_than_an_operation(void **state)
{
    (void)state;
    struct members members;
    struct members_job job = make_job(SHOAL_STEP_RETAIN, tcp);
    job.start = 1;
    job.op_timeout_ms = 3000;
    shared->hash_ms = 150;
    members_open(&members, &job);
    members_await(&members, 0, 2);
    members_start(&members, 1);
    members_await(&members, 1, 1);
    shared->hash_ms = 0;
    finish(&members, (const uint32_t[]){0, 1}, 2);
    assert_int_equal(shared->told[1].received, 8ull * (HOT + 1));
}

/* The members never take it for one of them, nor for lost. */
static void a_learner_may_turn_back(void **state)
{
    (void)state;
    struct members members;
    struct members_job job = make_job(SHOAL_STEP_ABORT, tcp);
    shared->turns_back = true;
    members_open(&members, &job);
    members_await(&members, 0, 2);
    members_start(&members, 3);
    double end_s = members_now_s() + MEMBERS_SECONDS;
    while (!members.shared->reports[3].done && members_now_s() < end_s)
        usleep(500);
    finish(&members, (const uint32_t[]){0, 1, 2}, 3);
    members_check_ended(&members, (const uint32_t[]){3}, 1);
    const struct member_report *report = &members.shared->reports[0];
    assert_int_equal(report->saw[report->count - 1].epoch, report->saw[0].epoch);
}

static void a_joiner_with_other_arrays_is_told_by_all(void **state)
{
    (void)state;
    struct members members;
    struct members_job job = make_job(SHOAL_STEP_RETAIN, tcp);
    shared->other = true;
    members_open(&members, &job);
    members_await(&members, 0, 2);
    members_start(&members, 3);
    members_close(&members);
    for (uint32_t i = 0; i < 4; i++)
        assert_int_equal(members.shared->reports[i].status, SHOAL_ERR_MISMATCH);
    assert_int_equal(shared->told[3].caught_up, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(members_train_while_a_joiner_catches_up),
        cmocka_unit_test(so_they_do_with_sharded_arrays_in_the_background),
        cmocka_unit_test(all_may_have_changed),
        cmocka_unit_test(a_learner_is_killed),
        cmocka_unit_test(a_giver_is_killed),
        cmocka_unit_test(two_at_once),
        cmocka_unit_test(an_operation_has_it_let_in),
        cmocka_unit_test(hashing_takes_longer_than_an_operation),
        cmocka_unit_test(a_learner_may_turn_back),
        cmocka_unit_test(a_joiner_with_other_arrays_is_told_by_all),
    };
    return cmocka_run_group_tests_name("catch_up", tests, NULL, NULL);
}
