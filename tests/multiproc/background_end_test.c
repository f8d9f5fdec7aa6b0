/*
 * Refreshes in the background that are not waited for by the next commit: the step after is given
 * up by its program, the state is destroyed, or the world is, while a refresh is under way. What is
 * there afterwards is of the steps that count, and nobody waits for long.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "multiproc/finding.h"
#include "multiproc/members.h"
#include "support/test.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#define SHARDS 16
#define FLOATS (SHARDS * 32768) /* 4 MiB: a refresh takes some time */
#define RANGES SHARDS
#define MEMBERS 3
#define AT_STEP 4

enum story { GIVEN_UP, STATE_DESTROYED, WORLD_DESTROYED, MEMBER_LOST };

static struct {
    enum story story;
    _Atomic uint32_t refused; /* states, since a step was not safe */
    _Atomic uint32_t begun;   /* members that are in the step that is given up */
    struct finding findings[MEMBERS_MAX];
} * shared;

struct model {
    struct shoal_state *state; /* NULL: destroyed */
    double *big;
    uint64_t next; /* step */
    struct shoal_state_range ranges[RANGES];
};

static int wrong(const struct member *self, const char *what, uint64_t step, uint64_t i,
                 double value)
{
    finding_keep(&shared->findings[self->slot], what, step, i, value);
    return SHOAL_ERR_INTERNAL;
}

static int open_state(struct member *self, struct model *model)
{
    struct shoal_state_options options = {
        .struct_size = sizeof(options), .shards = SHARDS, .background = 1};
    int status = shoal_state_create(self->world, &options, &model->state);
    if (status != SHOAL_OK)
        return status;
    return members_add_array(model->state, "big", model->big, FLOATS, SHOAL_F64,
                             SHOAL_STATE_SHARDED);
}

/* ---- steps ----------------------------------------------------------------------------------- */

/* What is owned is of the steps that count; change it for the next. */
static int update(struct member *self, struct model *model, uint64_t step)
{
    size_t count = 0;
    if (!model->state)
        return SHOAL_OK;
    ASSERT_OK(shoal_state_owned(model->state, "big", model->ranges, RANGES, &count));
    return finding_big_next(&shared->findings[self->slot], model->big, model->ranges, count, step);
}

static int one_step(struct member *self, struct model *model, bool gives_up)
{
    struct shoal_step step = {.struct_size = sizeof(step)};
    int64_t one = 1, all = 0;
    int status = shoal_step_begin(self->world, &step);
    if (status == SHOAL_OK && step.step != model->next)
        return wrong(self, "the number", model->next, 0, (double)step.step);
    if (status == SHOAL_OK)
        status = update(self, model, step.step);
    shared->begun += step.step == AT_STEP && status == SHOAL_OK;
    while (status == SHOAL_OK && gives_up && shared->begun < MEMBERS)
        usleep(500);
    if (status == SHOAL_OK && gives_up)
        return shoal_step_abort(self->world);
    if (status == SHOAL_OK)
        status = shoal_world_allreduce(self->world, &one, &all, 1, SHOAL_I64, SHOAL_SUM);
    if (status == SHOAL_OK)
        status = shoal_step_commit(self->world, 1);
    if (status == SHOAL_OK)
        model->next++;
    return status;
}

static int steps_until(struct member *self, struct model *model, uint64_t end)
{
    int status = SHOAL_OK;
    while (status == SHOAL_OK && model->next < end)
        status = one_step(self, model, false);
    return status;
}

/* ---- stories --------------------------------------------------------------------------------- */

/* One member gives up the step after; the others are in it. The one before is not safe, so all do
 * both again. */
static int give_up(struct member *self, struct model *model)
{
    int status = one_step(self, model, self->slot == 1);
    if (status != (self->slot == 1 ? SHOAL_OK : SHOAL_ERR_STEP_RETRY))
        return status ? status : wrong(self, "the step given up", model->next, 0, 0);
    self->report->retries++;
    model->next = AT_STEP - 1;
    status = steps_until(self, model, AT_STEP + 3);
    return status == SHOAL_OK ? shoal_state_flush(model->state) : status;
}

/* A step without a state makes safe what was committed; then there may be another state, which
 * begins with what its owners have. */
static int destroy_state(struct member *self, struct model *model)
{
    shoal_state_destroy(model->state);
    model->state = NULL;
    int status = open_state(self, model);
    shared->refused += status == SHOAL_ERR_INVALID;
    if (status != SHOAL_ERR_INVALID)
        return status ? status : wrong(self, "a state in a step that is not safe", AT_STEP, 0, 0);
    status = one_step(self, model, false);
    for (uint64_t i = 0; i < FLOATS; i++)
        model->big[i] = finding_big_value(AT_STEP + 1, i);
    if (status == SHOAL_OK)
        status = open_state(self, model);
    if (status == SHOAL_OK)
        status = steps_until(self, model, AT_STEP + 4);
    return status == SHOAL_OK ? shoal_state_flush(model->state) : status;
}

static int end_story(struct member *self, struct model *model)
{
    switch (shared->story) {
    case GIVEN_UP:
        return give_up(self, model);
    case STATE_DESTROYED:
        return destroy_state(self, model);
    case MEMBER_LOST:
        if (self->slot == 1)
            raise(SIGKILL);
        break;
    case WORLD_DESTROYED:
        break;
    }
    return SHOAL_OK; /* the world is destroyed with the state in it */
}

static void body(struct member *self)
{
    struct model model = {.big = malloc(FLOATS * sizeof(double))};
    for (uint64_t i = 0; i < FLOATS; i++)
        model.big[i] = finding_big_value(0, i);
    int status = open_state(self, &model);
    if (status == SHOAL_OK)
        status = steps_until(self, &model, AT_STEP);
    if (status == SHOAL_OK)
        status = end_story(self, &model);
    /* Others may have gone before this one had seen the end of the last step. */
    if (status == SHOAL_ERR_STEP_RETRY && shared->story >= WORLD_DESTROYED)
        status = SHOAL_OK;
    snprintf(self->report->text, sizeof(self->report->text), "%s", shoal_last_error());
    self->report->status = status;
    bool world_first = shared->story == WORLD_DESTROYED && self->slot != 2;
    if (world_first && shoal_world_destroy(self->world) != SHOAL_OK)
        self->report->status = SHOAL_ERR_INTERNAL;
    if (world_first)
        self->world = NULL;
    shoal_state_destroy(model.state);
    free(model.big);
}

/* ---- tests ----------------------------------------------------------------------------------- */

static const char *const shm[] = {"SHOAL_TRANSPORT=shm", "SHOAL_LOG_LEVEL=off", NULL};
static const char *const tcp[] = {"SHOAL_TRANSPORT=tcp", "SHOAL_LOG_LEVEL=off", NULL};

static void play(enum story story, const char *const *settings)
{
    struct members members;
    struct members_job job = {.start = MEMBERS,
                              .min = 1,
                              .mode = SHOAL_STEP_ABORT,
                              .settings = settings,
                              .op_timeout_ms = 20000,
                              .recovery_timeout_ms = 20000,
                              .body = body};
    shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(shared != MAP_FAILED);
    shared->story = story;
    members_open(&members, &job);
    members_close(&members);
    for (uint32_t i = 0; i < MEMBERS; i++) {
        const struct member_report *report = &members.shared->reports[i];
        if (story == MEMBER_LOST && i == 1)
            continue;
        finding_fail(&shared->findings[i], "the end of a refresh", i);
        if (report->status != SHOAL_OK || report->join_status != SHOAL_OK)
            fail_msg("story %d, member %u: %d %d \"%s\"", (int)story, i, report->join_status,
                     report->status, report->text);
        assert_true(report->done);
        assert_int_equal(report->retries, story == GIVEN_UP);
    }
    if (story == STATE_DESTROYED)
        assert_int_equal(shared->refused, MEMBERS);
    munmap(shared, sizeof(*shared));
}

static void a_step_is_given_up_with_the_one_before(void **state)
{
    (void)state;
    play(GIVEN_UP, shm);
    play(GIVEN_UP, tcp);
}

static void the_state_is_destroyed_meanwhile(void **state)
{
    (void)state;
    play(STATE_DESTROYED, shm);
    play(STATE_DESTROYED, tcp);
}

static void the_world_is_destroyed_meanwhile(void **state)
{
    (void)state;
    play(WORLD_DESTROYED, shm);
    play(WORLD_DESTROYED, tcp);
}

static void so_it_is_when_a_member_is_lost(void **state)
{
    (void)state;
    play(MEMBER_LOST, shm);
    play(MEMBER_LOST, tcp);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_step_is_given_up_with_the_one_before),
        cmocka_unit_test(the_state_is_destroyed_meanwhile),
        cmocka_unit_test(the_world_is_destroyed_meanwhile),
        cmocka_unit_test(so_it_is_when_a_member_is_lost),
    };
    return cmocka_run_group_tests_name("background_end", tests, NULL, NULL);
}
