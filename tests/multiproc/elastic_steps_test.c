/*
 * Steps that cannot be finished: a member gives one up, or the root of one of its operations is
 * lost. All members begin it again, and commit it with the same result.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "multiproc/members.h"

#include "support/test.h"

#include <signal.h>
#include <unistd.h>

#define ROUNDS 8 /* what happens in a step repeats after so many */

static const char *const shm[] = {"SHOAL_TRANSPORT=shm", NULL};
static const char *const tcp[] = {"SHOAL_TRANSPORT=tcp", NULL};

/* Until the kernel or another member has done something; not for ever. */
static bool await_flag(const _Atomic int *flag)
{
    double end_s = members_now_s() + 0.5;
    while (!*flag && members_now_s() < end_s)
        usleep(200);
    return *flag;
}

/* ---- a member gives a step up -----------------------------------------------------------------
 */

enum wish { FINISH, BEFORE_ALL, AFTER_ONE };

/* The first time only: then all finish it. */
static enum wish wish_of(const struct member *self, const struct shoal_step *step, uint64_t *tried)
{
    bool chosen = self->slot == step->step / ROUNDS % 3, again = *tried == step->step;
    *tried = step->step;
    if (again)
        return FINISH;
    switch (step->step % ROUNDS) {
    case 1:
        return chosen ? BEFORE_ALL : FINISH;
    case 3:
        return chosen ? AFTER_ONE : FINISH;
    case 5:
        return AFTER_ONE;
    default:
        return FINISH;
    }
}

static int one_step(struct member *self, uint64_t *tried, bool *stop)
{
    struct shoal_step step = {.struct_size = sizeof(step)};
    int64_t mine[2] = {self->shared->stop, (int64_t)(1ull << self->slot)}, sum[2], again[2];
    int status = shoal_step_begin(self->world, &step);
    if (status != SHOAL_OK)
        return status;
    enum wish wish = wish_of(self, &step, tried);
    if (wish == BEFORE_ALL)
        return shoal_step_abort(self->world);
    status = shoal_world_allreduce(self->world, mine, sum, 2, SHOAL_I64, SHOAL_SUM);
    if (wish == AFTER_ONE) {
        int given_up = shoal_step_abort(self->world); /* also when others were faster */
        return status == SHOAL_OK ? given_up : status;
    }
    memcpy(again, mine, sizeof(again));
    if (status == SHOAL_OK)
        status = shoal_world_allreduce(self->world, again, again, 2, SHOAL_I64, SHOAL_SUM);
    if (status == SHOAL_OK)
        status = shoal_step_commit(self->world, 1);
    if (status != SHOAL_OK)
        return status;
    *stop = sum[0] > 0 && again[0] > 0;
    members_note(self, step.step + 1, step.position, sum[1]);
    return sum[1] == again[1] ? SHOAL_OK : SHOAL_ERR_INTERNAL;
}

static void give_up_sometimes(struct member *self)
{
    uint64_t tried = UINT64_MAX;
    bool stop = false;
    int status = SHOAL_OK;
    while (status == SHOAL_OK && !stop) {
        status = one_step(self, &tried, &stop);
        if (status == SHOAL_ERR_STEP_RETRY) {
            self->report->retries++;
            status = SHOAL_OK;
        }
    }
    members_end_with(self, status);
}

static void steps_are_given_up(enum shoal_step_mode mode, const char *const *settings)
{
    struct members_job job = {
        .start = 3, .min = 1, .mode = mode, .settings = settings, .body = give_up_sometimes};
    const uint32_t all[] = {0, 1, 2};
    struct members members;
    members_open(&members, &job);
    for (uint32_t i = 0; i < 3; i++)
        members_await(&members, i, 3 * ROUNDS);
    members.shared->stop = 1;
    members_close(&members);
    members_check_ended(&members, all, 3);
    assert_true(members_check_history(&members, all, 3) >= 3 * ROUNDS);
    for (uint32_t i = 0; i < 3; i++) {
        const struct member_report *report = &members.shared->reports[i];
        assert_true(report->retries >= 2); /* of others' AFTER_ONE, which it had begun */
        for (uint32_t at = 0; at < report->count; at++) {
            assert_int_equal(report->saw[at].seq, at + 1); /* each once, none left out */
            assert_int_equal(report->saw[at].mask, 7);
        }
    }
}

static void a_retained_step_is_given_up_by_all(void **state)
{
    (void)state;
    steps_are_given_up(SHOAL_STEP_RETAIN, shm);
}

static void an_aborting_step_is_given_up_by_all(void **state)
{
    (void)state;
    steps_are_given_up(SHOAL_STEP_ABORT, tcp);
}

static void a_step_is_given_up_while_a_member_dies(void **state)
{
    (void)state;
    struct members_job job = {.start = 4, .min = 1, .settings = shm, .body = give_up_sometimes};
    const uint32_t left[] = {0, 1, 2};
    struct members members;
    members_open(&members, &job);
    for (uint32_t i = 0; i < 4; i++)
        members_await(&members, i, ROUNDS / 2);
    members_kill(&members, 3, SIGKILL);
    for (uint32_t i = 0; i < 3; i++)
        members_await(&members, left[i], 2 * ROUNDS);
    members.shared->stop = 1;
    members_close(&members);
    members_check_ended(&members, left, 3);
    assert_true(members_check_history(&members, left, 3) >= 2 * ROUNDS);
}

/* ---- the root is lost -------------------------------------------------------------------------
 */

static uint32_t slot_of_rank(const struct member *self, uint32_t rank)
{
    for (uint32_t i = 0; i < self->job->start; i++)
        if (self->shared->reports[i].rank == rank)
            return i;
    return 0;
}

/* Rank 0 comes late to a broadcast of the last rank, which is no more, but was in time for rank 1.
 */
static void lose_the_root(const struct member *self)
{
    const struct member_report *reports = self->shared->reports;
    pid_t root = (pid_t)reports[slot_of_rank(self, self->job->start - 1)].state;
    await_flag(&reports[slot_of_rank(self, 1)].left);
    kill(root, SIGKILL);
}

static int step_of_root(struct member *self, bool *stop)
{
    struct shoal_step step = {.struct_size = sizeof(step)};
    int64_t mine[2] = {self->shared->stop, (int64_t)(1ull << self->slot)}, sum[2];
    int64_t value = mine[1];
    int status = shoal_step_begin(self->world, &step);
    if (status != SHOAL_OK)
        return status;
    bool bad_day = step.step == 10 && step.size == self->job->start;
    if (bad_day && step.rank == 0)
        lose_the_root(self);
    status = shoal_world_broadcast(self->world, &value, &value, 1, SHOAL_I64, step.size - 1);
    if (bad_day && status == SHOAL_OK)
        self->report->left = 1;
    if (status == SHOAL_OK)
        status = shoal_world_allreduce(self->world, mine, sum, 2, SHOAL_I64, SHOAL_SUM);
    if (status == SHOAL_OK)
        status = shoal_step_commit(self->world, 1);
    if (status != SHOAL_OK)
        return status;
    *stop = sum[0] > 0;
    members_note(self, step.step + 1, step.position, sum[1]);
    return sum[1] & value ? SHOAL_OK : SHOAL_ERR_INTERNAL; /* of a contributor */
}

static void steps_of_root(struct member *self)
{
    bool stop = false;
    int status = SHOAL_OK;
    self->report->state = (uint64_t)getpid();
    while (status == SHOAL_OK && !stop) {
        status = step_of_root(self, &stop);
        if (status == SHOAL_ERR_STEP_RETRY) {
            self->report->retries++;
            status = SHOAL_OK;
        }
    }
    members_end_with(self, status);
}

/* Everybody but the founder of the last rank. */
static uint32_t survivors_of(struct members *members, uint32_t *left)
{
    uint32_t count = 0;
    double end_s = members_now_s() + MEMBERS_SECONDS;
    for (uint32_t i = 0; i < members->job->start; i++)
        while (!members->shared->reports[i].state && members_now_s() < end_s)
            usleep(500);
    for (uint32_t i = 0; i < members->job->start; i++)
        if (members->shared->reports[i].rank != members->job->start - 1)
            left[count++] = i;
    return count;
}

/* A job whose root is lost at some time, until all survivors have gone on for a while; *left is who
 * they are. Each was told once that it is to begin again. */
static uint32_t run_without_root(struct members *members, const struct members_job *job,
                                 uint32_t *left)
{
    members_open(members, job);
    uint32_t count = survivors_of(members, left);
    members_finish(members, left, count, 20);
    for (uint32_t i = 0; i < count; i++)
        assert_int_equal(members->shared->reports[left[i]].retries, 1);
    return count;
}

static void step_whose_root_is_lost(enum shoal_step_mode mode, const char *const *settings)
{
    struct members_job job = {
        .start = 4, .min = 1, .mode = mode, .settings = settings, .body = steps_of_root};
    struct members members;
    uint32_t left[4];
    uint32_t count = run_without_root(&members, &job, left);
    for (uint32_t i = 0; i < count; i++) {
        const struct member_report *report = &members.shared->reports[left[i]];
        for (uint32_t at = 0; at < report->count; at++)
            assert_int_equal(report->saw[at].seq, at + 1);
    }
}

static void a_retained_step_whose_root_is_lost_begins_again(void **state)
{
    (void)state;
    step_whose_root_is_lost(SHOAL_STEP_RETAIN, shm);
    step_whose_root_is_lost(SHOAL_STEP_RETAIN, tcp);
}

static void an_aborting_step_whose_root_is_lost_begins_again(void **state)
{
    (void)state;
    step_whose_root_is_lost(SHOAL_STEP_ABORT, shm);
}

/* Outside of steps rank 0 looks at the next view before its call, and means another root by then;
 * the others have called for the one that is lost. */
static int broadcast_of_last(struct member *self, bool bad_day, bool *stop)
{
    struct shoal_view view = {.struct_size = sizeof(view)};
    struct shoal_op_info info = {.struct_size = sizeof(info)};
    int64_t value[2];
    shoal_world_view(self->world, &view);
    if (bad_day && view.rank == 0 && view.size == self->job->start) {
        uint64_t epoch = view.epoch;
        double end_s = members_now_s() + MEMBERS_SECONDS;
        lose_the_root(self);
        while (shoal_world_epoch(self->world) == epoch && members_now_s() < end_s)
            usleep(200);
        shoal_world_view(self->world, &view);
    }
    value[0] = self->shared->stop;
    value[1] = (int64_t)(1ull << self->slot);
    int status = shoal_world_broadcast(self->world, value, value, 2, SHOAL_I64, view.size - 1);
    if (status == SHOAL_ERR_EPOCH && shoal_world_epoch(self->world)) {
        self->report->retries++;
        return SHOAL_OK;
    }
    if (status != SHOAL_OK)
        return status;
    shoal_world_last(self->world, &info);
    members_note(self, info.seq, info.epoch, value[1]);
    *stop = value[0] > 0;
    return SHOAL_OK;
}

static void broadcasts_of_last(struct member *self)
{
    bool stop = false;
    int status = SHOAL_OK;
    self->report->state = (uint64_t)getpid();
    while (status == SHOAL_OK && !stop)
        status = broadcast_of_last(self, self->report->count == 10, &stop);
    members_end_with(self, status);
}

static void a_broadcast_whose_root_is_lost_fails_on_all(void **state)
{
    (void)state;
    struct members_job job = {.start = 4, .min = 1, .settings = tcp, .body = broadcasts_of_last};
    struct members members;
    uint32_t left[4];
    uint32_t count = run_without_root(&members, &job, left);
    for (uint32_t i = 0; i < count; i++)
        assert_int_equal(members.shared->reports[left[i]].count,
                         members.shared->reports[left[0]].count);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_retained_step_is_given_up_by_all),
        cmocka_unit_test(an_aborting_step_is_given_up_by_all),
        cmocka_unit_test(a_step_is_given_up_while_a_member_dies),
        cmocka_unit_test(a_retained_step_whose_root_is_lost_begins_again),
        cmocka_unit_test(an_aborting_step_whose_root_is_lost_begins_again),
        cmocka_unit_test(a_broadcast_whose_root_is_lost_fails_on_all),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
