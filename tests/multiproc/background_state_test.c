/*
 * State whose copies are refreshed in the background, in worlds whose members join, leave and are
 * killed at one point after another between a commit and the end of its refresh. Every element is a
 * function of the steps that were committed, and so are the replicated ones, which programs change
 * after commits: any that did not go back with the others shows. Samples are counted by the steps
 * that lasted.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "multiproc/finding.h"
#include "multiproc/members.h"
#include "support/test.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define SHARDS 64
#define FLOATS (SHARDS * 1024)
#define WEIGHTS 1000
#define RANGES SHARDS
#define SLOTS 6

enum moment { NEVER, IN_STEP, BEFORE_COMMIT, AFTER_COMMIT, AFTER_BEGIN };

struct told {
    _Atomic uint32_t back; /* steps that it had committed and that were begun again */
    _Atomic uint64_t refreshed;
    _Atomic uint32_t flushed; /* shoal_state_flush was SHOAL_OK so often */
    struct finding finding;
};

static struct {
    uint32_t victims; /* a bit for each slot */
    uint64_t at_step;
    enum moment moment; /* when they end */
    bool flushes;       /* every other step */
    _Atomic uint32_t leavers;
    struct told told[MEMBERS_MAX];
} * shared;

struct model {
    struct shoal_state *state;
    struct shoal_samples *samples;
    double *big;
    float *weights;
    struct shoal_state_range ranges[RANGES];
    int64_t send[SLOTS + 3], recv[SLOTS + 3];
    bool stop;
};

static int wrong(struct member *self, const char *what, uint64_t step, uint64_t i, double value)
{
    finding_keep(&shared->told[self->slot].finding, what, step, i, value);
    return SHOAL_ERR_INTERNAL;
}

/* ---- a member ----------------------------------------------------------------------------------
 */

static void die_if(const struct member *self, uint64_t step, enum moment moment)
{
    if (shared->moment == moment && step == shared->at_step && shared->victims >> self->slot & 1)
        raise(SIGKILL);
}

static int open_model(struct member *self, struct model *model)
{
    struct shoal_state_options options = {
        .struct_size = sizeof(options), .shards = SHARDS, .background = 1};
    struct shoal_samples_options samples = {.struct_size = sizeof(samples),
                                            .seed = 7,
                                            .samples = MEMBERS_SAMPLES,
                                            .batch = 3,
                                            .mode = SHOAL_BATCH_PER_RANK};
    model->big = malloc(FLOATS * sizeof(double));
    model->weights = malloc(WEIGHTS * sizeof(float));
    bool first = self->report->rank < self->job->start;
    for (uint64_t i = 0; i < FLOATS; i++)
        model->big[i] = first ? finding_big_value(0, i) : -1;
    for (uint64_t i = 0; i < WEIGHTS; i++)
        model->weights[i] = first ? finding_small_value(0, i) : -1;
    int status = shoal_samples_create(&samples, &model->samples);
    if (status == SHOAL_OK)
        status = shoal_state_create(self->world, &options, &model->state);
    if (status == SHOAL_OK)
        status = members_add_array(model->state, "big", model->big, FLOATS, SHOAL_F64,
                                   SHOAL_STATE_SHARDED);
    if (status == SHOAL_OK)
        status = members_add_array(model->state, "w", model->weights, WEIGHTS, SHOAL_F32,
                                   SHOAL_STATE_REPLICATED);
    return status;
}

static int read_samples(struct member *self, struct model *model, uint64_t step)
{
    uint64_t indices[MEMBERS_SAMPLES], read = 0;
    struct shoal_samples_share share = {.struct_size = sizeof(share)};
    int status = shoal_step_samples(self->world, model->samples, indices, MEMBERS_SAMPLES, &share);
    for (uint64_t i = 0; status == SHOAL_OK && i < share.count; i++)
        read |= UINT64_C(1) << indices[i];
    if (step < MEMBERS_SEEN && status == SHOAL_OK) {
        self->report->read[step] = read;
        self->report->data_epoch[step] = share.data_epoch;
    }
    return status;
}

/* All that is here is of the steps that count; change what is owned for the next. */
static int update(struct member *self, struct model *model, uint64_t step)
{
    size_t count = 0;
    ASSERT_OK(shoal_state_owned(model->state, "big", model->ranges, RANGES, &count));
    int status =
        finding_big_next(&shared->told[self->slot].finding, model->big, model->ranges, count, step);
    if (status != SHOAL_OK)
        return status;
    for (uint64_t i = 0; i < WEIGHTS; i++)
        if (model->weights[i] != finding_small_value(step, i))
            return wrong(self, "weights", step, i, (double)model->weights[i]);
    return SHOAL_OK;
}

/* Who takes part, whether all are in the same step, and whether somebody wants to end. */
static int meet(struct member *self, struct model *model, uint64_t step)
{
    memset(model->send, 0, sizeof(model->send));
    model->send[self->slot] = 1;
    model->send[SLOTS] = self->shared->stop;
    model->send[SLOTS + 1] = (int64_t)step;
    model->send[SLOTS + 2] = 1;
    int status = shoal_world_allreduce(self->world, model->send, model->recv, SLOTS + 3, SHOAL_I64,
                                       SHOAL_SUM);
    if (status == SHOAL_OK && model->recv[SLOTS + 1] != (int64_t)step * model->recv[SLOTS + 2])
        return wrong(self, "step", step, 0, (double)model->recv[SLOTS + 1]);
    return status;
}

/* Of steps that were given up after all nothing is left. */
static void note(struct member *self, const struct model *model, const struct shoal_step *step)
{
    struct member_report *report = self->report;
    int64_t mask = 0;
    for (unsigned i = 0; i < SLOTS; i++)
        mask |= model->recv[i] << i;
    while (report->count && report->saw[report->count - 1].seq > step->step) {
        report->count--;
        shared->told[self->slot].back++;
    }
    members_note(self, step->step + 1, step->position, mask);
}

static void tell(const struct member *self, const struct model *model)
{
    struct shoal_state_info info = {.struct_size = sizeof(info)};
    ASSERT_OK(shoal_state_info(model->state, &info));
    shared->told[self->slot].refreshed = info.refresh_bytes;
}

static int train(struct member *self, struct model *model)
{
    struct shoal_step step = {.struct_size = sizeof(step)};
    int status = shoal_step_begin(self->world, &step);
    if (status != SHOAL_OK)
        return status;
    die_if(self, step.step, AFTER_BEGIN);
    if (shared->leavers >> self->slot & 1)
        shoal_leave(self->world, 0);
    status = read_samples(self, model, step.step);
    if (status == SHOAL_OK)
        status = meet(self, model, step.step);
    die_if(self, step.step, IN_STEP);
    if (status == SHOAL_OK)
        status = update(self, model, step.step);
    die_if(self, step.step, BEFORE_COMMIT);
    if (status == SHOAL_OK)
        status = shoal_step_commit(self->world, 1);
    if (status != SHOAL_OK)
        return status;
    note(self, model, &step);
    for (uint64_t i = 0; i < WEIGHTS; i++)
        model->weights[i] = finding_small_value(step.step + 1, i);
    die_if(self, step.step, AFTER_COMMIT);
    tell(self, model);
    model->stop = model->recv[SLOTS] > 0;
    if (!shared->flushes || step.step % 2 == 0)
        return SHOAL_OK;
    status = shoal_state_flush(model->state);
    shared->told[self->slot].flushed += status == SHOAL_OK;
    return status;
}

/* The last step counts when it is safe, and is done again when it is not. */
static int train_to_the_end(struct member *self, struct model *model)
{
    int status = SHOAL_OK;
    bool safe = false;
    while (status == SHOAL_OK && !safe) {
        status = model->stop ? shoal_state_flush(model->state) : train(self, model);
        if (status == SHOAL_OK && model->stop) {
            struct shoal_view view = {.struct_size = sizeof(view)};
            shoal_world_view(self->world, &view);
            safe = view.step == self->report->saw[self->report->count - 1].seq;
        }
        if (status == SHOAL_ERR_STEP_RETRY) {
            self->report->retries++;
            model->stop = false;
            status = SHOAL_OK;
        }
    }
    return status;
}

static void body(struct member *self)
{
    struct model model = {.state = NULL};
    struct shoal_view view = {.struct_size = sizeof(view)};
    int status = open_model(self, &model);
    if (status == SHOAL_OK)
        status = train_to_the_end(self, &model);
    snprintf(self->report->text, sizeof(self->report->text), "%s", shoal_last_error());
    shoal_world_view(self->world, &view);
    self->report->left = view.left != 0;
    self->report->status = view.left ? SHOAL_OK : status;
    shoal_samples_destroy(model.samples);
    shoal_state_destroy(model.state);
    free(model.big);
    free(model.weights);
}

/* ---- jobs ------------------------------------------------------------------------------------ */

static const char *const shm[] = {"SHOAL_TRANSPORT=shm", "SHOAL_LOG_LEVEL=off", NULL};
static const char *const tcp[] = {"SHOAL_TRANSPORT=tcp", "SHOAL_LOG_LEVEL=off", NULL};

static struct members_job make_job(uint32_t start, const char *const *settings)
{
    shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(shared != MAP_FAILED);
    return (struct members_job){.start = start,
                                .min = 1,
                                .mode = SHOAL_STEP_ABORT,
                                .settings = settings,
                                .op_timeout_ms = 20000,
                                .recovery_timeout_ms = 20000,
                                .body = body};
}

/* `slots`: who came through; the first of them was there from the beginning. At each change of
 * members one committed step at most is done again. */
static void check(const struct members *members, const uint32_t *slots, uint32_t count,
                  uint32_t changes, const char *story)
{
    for (uint32_t i = 0; i < count; i++) {
        const struct member_report *report = &members->shared->reports[slots[i]];
        finding_fail(&shared->told[slots[i]].finding, story, slots[i]);
        if (report->status != SHOAL_OK || report->join_status != SHOAL_OK)
            fail_msg("%s: member %u: %d %d \"%s\"", story, slots[i], report->join_status,
                     report->status, report->text);
    }
    members_check_samples(members, slots, count);
    for (uint32_t i = 0; i < count; i++)
        if (shared->told[slots[i]].back > changes)
            fail_msg("%s: member %u went back %u steps", story, slots[i],
                     shared->told[slots[i]].back);
}

/* Three of four come through. Returns how many of these went back. */
static uint32_t survive(const struct members_job *job, const char *story)
{
    static const uint32_t slots[] = {0, 2, 3};
    struct members members;
    uint32_t back = 0;
    members_open(&members, job);
    double end_s = members_now_s() + MEMBERS_SECONDS;
    while (members.shared->reports[0].count < 12 && members_now_s() < end_s) {
        for (unsigned i = 0; i < 3; i++)
            if (members.shared->reports[slots[i]].done)
                check(&members, slots, 3, 1, story);
        usleep(500);
    }
    members.shared->stop = 1;
    members_close(&members);
    check(&members, slots, 3, 1, story);
    for (unsigned i = 0; i < 3; i++)
        back += shared->told[slots[i]].back;
    munmap(shared, sizeof(*shared));
    return back;
}

static uint32_t end_at(enum moment moment, const char *const *settings, bool flushes)
{
    struct members_job job = make_job(4, settings);
    shared->victims = 1 << 1;
    shared->at_step = 5;
    shared->moment = moment;
    shared->flushes = flushes;
    char story[32];
    snprintf(story, sizeof(story), "moment %d", (int)moment);
    return survive(&job, story);
}

/* ---- tests ----------------------------------------------------------------------------------- */

static void all_go_back_to_what_is_safe(void **state)
{
    (void)state;
    /* The step before is committed by none: its refresh is waited for in the commit that this one
     * never comes to. */
    assert_int_equal(end_at(IN_STEP, tcp, false), 3);
    assert_int_equal(end_at(BEFORE_COMMIT, shm, false), 3);
    /* Some may not have seen yet that it was committed. */
    assert_in_range(end_at(AFTER_BEGIN, shm, false), 0, 3);
    assert_in_range(end_at(AFTER_COMMIT, tcp, false), 0, 3);
    assert_in_range(end_at(AFTER_COMMIT, shm, false), 0, 3);
}

static void what_was_flushed_stays(void **state)
{
    (void)state;
    assert_int_equal(end_at(IN_STEP, tcp, true), 3); /* 4 is not flushed */
    struct members_job job = make_job(4, tcp);
    shared->victims = 1 << 1;
    shared->at_step = 6; /* 5 is */
    shared->moment = IN_STEP;
    shared->flushes = true;
    assert_int_equal(survive(&job, "flushed"), 0);
}

/* Dies at its k-th message: within refreshes, within votes, and between them. */
static void one_version_wherever_a_member_dies(void **state)
{
    (void)state;
    for (unsigned k = 62; k < 80; k++) {
        char fault[96], story[64];
        snprintf(fault, sizeof(fault), "SHOAL_TEST_FAULT=on=%s,k=%u,do=kill",
                 k % 8 == 6 ? "recv" : "send", k);
        snprintf(story, sizeof(story), "killed at message %u", k);
        const char *const settings[] = {"SHOAL_TRANSPORT=tcp", "SHOAL_LOG_LEVEL=off", fault, NULL};
        struct members_job job = make_job(4, tcp);
        job.victim = 1 + 1;
        job.victim_settings = settings;
        survive(&job, story);
    }
}

/* Each shard has its second copy in the other domain. */
static void a_whole_domain_is_lost(void **state)
{
    (void)state;
    static const uint32_t slots[] = {0, 2};
    struct members members;
    struct members_job job = make_job(4, tcp);
    job.domains = 2;
    shared->victims = 1 << 1 | 1 << 3;
    shared->at_step = 5;
    shared->moment = AFTER_COMMIT;
    members_open(&members, &job);
    members_await(&members, 0, 9);
    members.shared->stop = 1;
    members_close(&members);
    check(&members, slots, 2, 2, "domain lost");
    munmap(shared, sizeof(*shared));
}

/* Nothing that was committed is lost by those who come and go as they asked. */
static void members_come_and_go(void **state)
{
    (void)state;
    static const uint32_t slots[] = {0, 2, 3, 4};
    struct members members;
    struct members_job job = make_job(3, tcp);
    members_open(&members, &job);
    members_await(&members, 0, 3);
    assert_true(shared->told[0].refreshed > 0);
    members_start(&members, 3);
    members_await(&members, 3, 3);
    shared->leavers = 1 << 1;
    double end_s = members_now_s() + MEMBERS_SECONDS;
    while (!members.shared->reports[1].done && members_now_s() < end_s)
        usleep(500);
    assert_true(members.shared->reports[1].left);
    members_start(&members, 4);
    members_await(&members, 4, 3);
    members.shared->stop = 1;
    members_close(&members);
    check(&members, slots, 4, 0, "come and go");
    munmap(shared, sizeof(*shared));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(members_come_and_go),
        cmocka_unit_test(all_go_back_to_what_is_safe),
        cmocka_unit_test(what_was_flushed_stays),
        cmocka_unit_test(a_whole_domain_is_lost),
        cmocka_unit_test(one_version_wherever_a_member_dies),
    };
    return cmocka_run_group_tests_name("background_state", tests, NULL, NULL);
}
