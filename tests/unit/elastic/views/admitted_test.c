/*
 * A loss leaves fewer members than the job needs at least, so one that waits is admitted at once,
 * wherever the others are: one is in a step in which it has called nothing, another is not. Both
 * are to be told of the joiner in the same step.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "elastic/views/views.h"
#include "support/test.h"
#include "unit/elastic/views/cell.h"

#include <pthread.h>
#include <shoal/shoal.h>
#include <stdatomic.h>
#include <unistd.h>

#define MEMBERS 3u

static struct {
    struct cell cell;
    struct shoal_context *context;
    enum shoal_step_mode mode;
    _Atomic uint32_t begun;    /* members that are where the loss finds them */
    _Atomic uint64_t admitted; /* epoch of the view that the joiner found */
} job;

struct member {
    pthread_t thread;
    uint32_t number; /* the last one is lost; the one after it joins */
    enum shoal_status status;
    char text[256];
};

static enum shoal_status join(struct shoal_world **world)
{
    struct shoal_store store = cell_store(&job.cell);
    struct shoal_world_options options = {.struct_size = sizeof(options),
                                          .world_start = MEMBERS,
                                          .world_min = MEMBERS,
                                          .world_max = MEMBERS,
                                          .step_mode = job.mode,
                                          .op_timeout_ms = 20000,
                                          .custom_store = &store};
    return shoal_world_join(job.context, &options, world);
}

/* What every program does: whoever is new gets what the others have. */
static enum shoal_status one_step(struct shoal_world *world, uint32_t *joined)
{
    struct shoal_step step = {.struct_size = sizeof(step)};
    int state = 5;
    float one = 1, sum = 0;
    SHL_TRY(shoal_step_begin(world, &step));
    *joined = step.joined;
    if (step.joined)
        SHL_TRY(shoal_world_broadcast(world, &state, &state, 1, SHOAL_I32, 0));
    SHL_TRY(shoal_world_allreduce(world, &one, &sum, 1, SHOAL_F32, SHOAL_SUM));
    SHL_TRY(shoal_step_commit(world, 1));
    return sum == MEMBERS ? SHOAL_OK : shl_fail(SHOAL_ERR_INTERNAL, "the sum is %g", (double)sum);
}

static void await_epoch(struct shoal_world *world, uint64_t epoch)
{
    for (int i = 0; i < 200000 && shoal_world_epoch(world) < epoch; i++)
        usleep(100);
}

static void await_admission(struct shoal_world *world)
{
    job.begun++;
    for (int i = 0; i < 200000 && !job.admitted; i++)
        usleep(100);
    await_epoch(world, job.admitted);
}

static enum shoal_status survive(struct shoal_world *world, bool in_step)
{
    struct shoal_step step = {.struct_size = sizeof(step)};
    uint32_t joined = 0;
    float one = 1, sum = 0;
    if (in_step)
        SHL_TRY(shoal_step_begin(world, &step));
    await_admission(world);
    if (in_step &&
        shoal_world_allreduce(world, &one, &sum, 1, SHOAL_F32, SHOAL_SUM) != SHOAL_ERR_STEP_RETRY)
        return shl_fail(SHOAL_ERR_INTERNAL, "the step goes on with %u joined", step.joined);
    SHL_TRY(one_step(world, &joined));
    if (joined != 1)
        return shl_fail(SHOAL_ERR_INTERNAL, "%u joined", joined);
    return one_step(world, &joined);
}

static enum shoal_status live(const struct member *member, struct shoal_world *world)
{
    uint32_t joined = 0;
    if (member->number > MEMBERS - 1) {
        job.admitted = shoal_world_epoch(world);
        SHL_TRY(one_step(world, &joined));
        return one_step(world, &joined);
    }
    SHL_TRY(one_step(world, &joined));
    if (member->number < MEMBERS - 1)
        return survive(world, member->number == 0);
    for (int i = 0; i < 200000 && job.begun < MEMBERS - 1; i++)
        usleep(100);
    return SHOAL_OK; /* and is gone */
}

static void *run(void *arg)
{
    struct member *member = arg;
    struct shoal_world *world = NULL;
    member->status = join(&world);
    if (member->status == SHOAL_OK)
        member->status = live(member, world);
    strncpy(member->text, shl_error_text(), sizeof(member->text) - 1);
    if (world)
        shoal_world_destroy(world);
    return NULL;
}

static void admit(enum shoal_step_mode mode)
{
    const char *const settings[] = {"SHOAL_TRANSPORT=tcp"};
    struct shoal_context_options options = {
        .struct_size = sizeof(options), .settings = settings, .setting_count = 1};
    struct member members[MEMBERS + 1] = {{.number = 0}};
    job.mode = mode;
    job.begun = 0;
    job.admitted = 0;
    cell_open(&job.cell);
    ASSERT_OK(shoal_context_create(&options, &job.context));
    for (uint32_t i = 0; i <= MEMBERS; i++) {
        members[i].number = i;
        for (int t = 0; i == MEMBERS && t < 200000 && job.begun < MEMBERS - 1; t++)
            usleep(100);
        assert_int_equal(pthread_create(&members[i].thread, NULL, run, &members[i]), 0);
    }
    for (uint32_t i = 0; i <= MEMBERS; i++)
        pthread_join(members[i].thread, NULL);
    ASSERT_OK(shoal_context_destroy(job.context));
    cell_close(&job.cell);
    for (uint32_t i = 0; i <= MEMBERS; i++)
        if (members[i].status != SHOAL_OK)
            fail_msg("member %u: %d, %s", i, (int)members[i].status, members[i].text);
}

static void who_has_begun_a_retained_step_begins_it_again(void **state)
{
    (void)state;
    admit(SHOAL_STEP_RETAIN);
}

static void who_has_begun_an_aborted_step_begins_it_again(void **state)
{
    (void)state;
    admit(SHOAL_STEP_ABORT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_has_begun_a_retained_step_begins_it_again),
        cmocka_unit_test(who_has_begun_an_aborted_step_begins_it_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
