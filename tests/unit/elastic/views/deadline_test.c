/*
 * The deadline of one member passes in the moment after the other has finished: the operation still
 * has one outcome.
 *
 * Two members in one process, a thread each. The late one is held in a look at its clock until the
 * other is through, and then told that its time is over: it has not looked at the operation again.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "core/sys.h"
#include "elastic/views/views.h"
#include "support/test.h"
#include "unit/elastic/views/cell.h"

#include <pthread.h>
#include <shoal/shoal.h>
#include <stdatomic.h>
#include <unistd.h>

#define OP_TIMEOUT_MS 60000
#define LATE_NS (OP_TIMEOUT_MS * 1000000ull)

/* ---- the clock ---------------------------------------------------------------------------- */

/* Numbers of operations in the engine: in the view of `epoch`, or a later one. */
static struct {
    _Atomic uint64_t seq; /* 0: nothing is to be late */
    _Atomic uint64_t epoch;
    _Atomic bool alone;   /* the other does not come before it is late */
    _Atomic bool waits;   /* the late one is in the operation, for the other to come */
    _Atomic bool through; /* the other is through */
    _Atomic bool served;  /* the late one has what the other had */
    _Atomic uint32_t times;
} window;

static _Thread_local struct shoal_world *late_one, *other_one;
static _Thread_local uint32_t looks;

static bool is_in(const struct shoal_world *world, uint64_t seq)
{
    return seq && world && world->comm && world->epoch >= window.epoch &&
           world->comm->next_seq > seq;
}

static uint64_t now_ns(void)
{
    uint64_t now = shl_time_kernel.now_ns();
    if (is_in(other_one, window.seq ? window.seq + 1 : 0)) /* as in the completion round */
        window.through = true;
    if (!is_in(late_one, window.seq) || shl_list_empty(&late_one->comm->ops))
        return now;
    if (++looks == 1) /* fixes the deadline */
        return now;
    uint64_t seq = window.seq;
    looks = 0;
    window.waits = true;
    while (!window.alone && !window.through)
        usleep(100);
    atomic_compare_exchange_strong(&window.seq, &seq, 0); /* unless there is another already */
    window.times++;
    return now + LATE_NS;
}

/* What the late one calls `after` this many operations of the engine is late. */
static void be_late(struct shoal_world *world, uint64_t after, bool alone)
{
    window.alone = alone;
    window.epoch = world->epoch;
    late_one = world;
    window.seq = world->comm->next_seq + after;
}

static void await(const _Atomic bool *what)
{
    for (int i = 0; i < 200000 && !*what; i++)
        usleep(100);
}

/* ---- two members -------------------------------------------------------------------------- */

struct member {
    struct shoal_world *world;
    bool late;
    bool ends; /* with its story */
    enum shoal_status (*story)(struct member *member);
    float send[2], recv[2]; /* a step may read and write them until its commit */
    enum shoal_status status;
    char text[256];
};

static struct {
    struct cell cell;
    struct shoal_context *context;
    struct shl_sys_time time;
    enum shoal_step_mode mode;
} job;

static enum shoal_status join(struct shoal_world **world)
{
    struct shoal_store store = cell_store(&job.cell);
    struct shoal_world_options options = {.struct_size = sizeof(options),
                                          .world_start = 2,
                                          .world_min = 2,
                                          .step_mode = job.mode,
                                          .op_timeout_ms = OP_TIMEOUT_MS,
                                          .custom_store = &store};
    return shoal_world_join(job.context, &options, world);
}

static enum shoal_status sum_is_right(struct member *member)
{
    member->send[0] = member->late ? 1 : 2;
    member->send[1] = 3;
    SHL_TRY(
        shoal_world_allreduce(member->world, member->send, member->recv, 2, SHOAL_F32, SHOAL_SUM));
    if (member->recv[0] != 3 || member->recv[1] != 6)
        return shl_fail(SHOAL_ERR_INTERNAL, "the sum is %g", (double)member->recv[0]);
    return SHOAL_OK;
}

static void *live(void *arg)
{
    struct member *member = arg;
    enum shoal_status status = join(&member->world);
    other_one = member->late ? NULL : member->world;
    if (status == SHOAL_OK)
        status = sum_is_right(member); /* all is there from here on */
    if (status == SHOAL_OK)
        status = member->story(member);
    if (status == SHOAL_OK && !member->ends)
        status = sum_is_right(member); /* and goes on */
    member->status = status;
    strncpy(member->text, shl_error_text(), sizeof(member->text) - 1);
    late_one = other_one = NULL;
    shoal_world_destroy(member->world);
    return NULL;
}

static void run(enum shoal_step_mode mode, enum shoal_status (*story)(struct member *member),
                uint32_t times)
{
    static const char *const transports[] = {"SHOAL_TRANSPORT=tcp", "SHOAL_TRANSPORT=shm"};
    for (int i = 0; i < 2; i++) {
        struct member members[] = {{.late = true, .story = story}, {.story = story}};
        struct shoal_context_options options = {
            .struct_size = sizeof(options), .settings = &transports[i], .setting_count = 1};
        pthread_t other;
        job.mode = mode;
        window.seq = 0;
        window.times = 0;
        window.waits = window.through = window.served = false;
        cell_open(&job.cell);
        job.time = shl_time_kernel;
        job.time.now_ns = now_ns;
        shl_time = &job.time;
        ASSERT_OK(shoal_context_create(&options, &job.context));
        assert_int_equal(pthread_create(&other, NULL, live, &members[1]), 0);
        live(&members[0]);
        pthread_join(other, NULL);
        ASSERT_OK(shoal_context_destroy(job.context));
        shl_time = &shl_time_kernel;
        cell_close(&job.cell);
        for (int m = 0; m < 2; m++)
            if (members[m].status != SHOAL_OK)
                fail_msg("%s, %s: %d, %s", transports[i], m ? "the other" : "the late one",
                         (int)members[m].status, members[m].text);
        if (window.times != times)
            fail_msg("%s: %u late, not %u", transports[i], window.times, times);
    }
}

static enum shoal_status expect(enum shoal_status expected, enum shoal_status status,
                                const char *what)
{
    if (status == expected)
        return SHOAL_OK;
    char text[160];
    strncpy(text, shl_error_text(), sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    return shl_fail(SHOAL_ERR_INTERNAL, "%s: %d and not %d (%s)", what, (int)status, (int)expected,
                    status < 0 ? text : "");
}

/* ---- between steps ------------------------------------------------------------------------ */

static enum shoal_status a_sum(struct member *member)
{
    if (member->late)
        be_late(member->world, 0, false);
    else
        await(&window.waits);
    SHL_TRY(sum_is_right(member));
    if (!member->late)
        window.through = true;
    return SHOAL_OK;
}

static void a_sum_that_one_returned_is_the_others_too(void **state)
{
    (void)state;
    run(SHOAL_STEP_RETAIN, a_sum, 1);
}

static enum shoal_status a_broadcast(struct member *member)
{
    int value[2] = {member->late ? 0 : 7, 0};
    struct shoal_view view = {.struct_size = sizeof(view)};
    ASSERT_OK(shoal_world_view(member->world, &view));
    uint32_t root = member->late ? 1 - view.rank : view.rank;
    if (member->late)
        be_late(member->world, 0, false);
    else
        await(&window.waits);
    SHL_TRY(shoal_world_broadcast(member->world, value, value, 1, SHOAL_I32, root));
    return value[0] == 7 ? SHOAL_OK : shl_fail(SHOAL_ERR_INTERNAL, "broadcast %d", value[0]);
}

static void what_returns_after_a_round_is_done_again(void **state)
{
    (void)state;
    run(SHOAL_STEP_RETAIN, a_broadcast, 1);
}

static enum shoal_status come_later(void *arg, struct shoal_comm *comm,
                                    const struct shl_members *members)
{
    (void)comm, (void)members;
    if (!((struct member *)arg)->late)
        await(&window.waits);
    return SHOAL_OK;
}

/* Nothing but its completion round. */
static enum shoal_status a_round(struct member *member)
{
    struct shl_task task = {.run = come_later, .arg = member};
    if (member->late)
        be_late(member->world, 0, false);
    SHL_TRY(shl_views_task(member->world, &task, false));
    if (!member->late)
        window.through = true;
    return SHOAL_OK;
}

static void what_one_has_seen_through_is_done(void **state)
{
    (void)state;
    run(SHOAL_STEP_RETAIN, a_round, 1);
}

/* The other beats and does not call until it is over, and gets the same when it does. */
static enum shoal_status a_sum_of_one(struct member *member)
{
    uint64_t epoch = shoal_world_epoch(member->world);
    if (member->late)
        be_late(member->world, 0, true);
    else
        await(&window.through); /* else it may find what the late one had sent */
    enum shoal_status status = sum_is_right(member);
    SHL_TRY(expect(SHOAL_ERR_TIMEOUT, status, "nobody had a sum"));
    window.through = true;
    if (shoal_world_epoch(member->world) != epoch)
        return shl_fail(SHOAL_ERR_INTERNAL, "the view has changed");
    return SHOAL_OK;
}

static void what_nobody_has_is_late_on_all_alike(void **state)
{
    (void)state;
    run(SHOAL_STEP_RETAIN, a_sum_of_one, 1);
}

/* The one that has the result computes, and calls nothing before the other has it too. */
static enum shoal_status a_sum_and_no_call(struct member *member)
{
    SHL_TRY(a_sum(member));
    if (member->late)
        window.served = true;
    else
        await(&window.served);
    return window.served ? SHOAL_OK : shl_fail(SHOAL_ERR_INTERNAL, "the late one waits for a call");
}

static void what_one_has_comes_without_a_call_of_its_program(void **state)
{
    (void)state;
    run(SHOAL_STEP_RETAIN, a_sum_and_no_call, 1);
}

/* The one that has the result ends while the view is made that is to bring it to the other. */
static enum shoal_status a_sum_and_the_end(struct member *member)
{
    struct shoal_world *world = member->world;
    uint64_t epoch = world->epoch;
    SHL_TRY(a_sum(member));
    member->ends = true;
    if (member->late)
        return SHOAL_OK;
    pthread_mutex_lock(&world->lock);
    while (world->usable && world->epoch == epoch)
        shl_views_wait(world, UINT64_MAX);
    pthread_mutex_unlock(&world->lock);
    return SHOAL_OK;
}

static void what_one_has_comes_though_it_ends(void **state)
{
    (void)state;
    run(SHOAL_STEP_RETAIN, a_sum_and_the_end, 1);
}

/* ---- in steps ----------------------------------------------------------------------------- */

static enum shoal_status a_step(struct member *member)
{
    struct shoal_step step = {.struct_size = sizeof(step)};
    SHL_TRY(shoal_step_begin(member->world, &step));
    SHL_TRY(a_sum(member));
    return shoal_step_commit(member->world, 1);
}

static void what_is_retained_is_done_again(void **state)
{
    (void)state;
    run(SHOAL_STEP_RETAIN, a_step, 1);
}

static enum shoal_status two_steps(struct member *member)
{
    struct shoal_step step = {.struct_size = sizeof(step)};
    SHL_TRY(expect(SHOAL_ERR_STEP_RETRY, a_step(member), "the step"));
    SHL_TRY(shoal_step_begin(member->world, &step));
    SHL_TRY(sum_is_right(member));
    return shoal_step_commit(member->world, 1);
}

/* The one that has the result computes for longer than an operation may take. */
static enum shoal_status a_sum_and_a_pause(struct member *member)
{
    struct shoal_world *world = member->world;
    uint64_t epoch = shoal_world_epoch(world);
    SHL_TRY(a_sum(member));
    if (member->late)
        return SHOAL_OK;
    window.alone = true;
    window.epoch = epoch + 1;
    window.seq = 1; /* what the next view begins with */
    for (int i = 0; i < 100000 && shoal_world_epoch(world) < epoch + 2; i++)
        usleep(100);
    return SHOAL_OK;
}

/* It is done again, and the one that has returned it already computes for too long. */
static enum shoal_status a_step_with_a_pause(struct member *member)
{
    struct shoal_step step = {.struct_size = sizeof(step)};
    SHL_TRY(shoal_step_begin(member->world, &step));
    SHL_TRY(expect(member->late ? SHOAL_ERR_STEP_RETRY : SHOAL_OK, a_sum_and_a_pause(member),
                   "the sum"));
    SHL_TRY(expect(SHOAL_ERR_STEP_RETRY, shoal_step_commit(member->world, 1), "the commit"));
    SHL_TRY(shoal_step_begin(member->world, &step));
    SHL_TRY(sum_is_right(member));
    return shoal_step_commit(member->world, 1);
}

static void a_step_that_is_late_a_second_time_is_given_up(void **state)
{
    (void)state;
    run(SHOAL_STEP_RETAIN, a_step_with_a_pause, 2);
}

static void what_is_not_retained_is_given_up_by_all(void **state)
{
    (void)state;
    run(SHOAL_STEP_ABORT, two_steps, 1);
}

/* The other has all votes, and does not know yet that the late one has them. */
static enum shoal_status a_commit(struct member *member)
{
    struct shoal_step step = {.struct_size = sizeof(step)};
    SHL_TRY(shoal_step_begin(member->world, &step));
    SHL_TRY(sum_is_right(member));
    if (member->late)
        be_late(member->world, 0, false);
    else
        await(&window.waits);
    enum shoal_status expected = job.mode == SHOAL_STEP_ABORT ? SHOAL_ERR_STEP_RETRY : SHOAL_OK;
    SHL_TRY(expect(expected, shoal_step_commit(member->world, 1), "the commit"));
    if (expected != SHOAL_OK) {
        SHL_TRY(shoal_step_begin(member->world, &step));
        SHL_TRY(shoal_step_commit(member->world, 1));
    }
    SHL_TRY(shoal_step_begin(member->world, &step));
    SHL_TRY(expect(1, (enum shoal_status)step.step, "steps"));
    return shoal_step_commit(member->world, 1);
}

static void a_step_is_committed_once(void **state)
{
    (void)state;
    run(SHOAL_STEP_RETAIN, a_commit, 1);
    run(SHOAL_STEP_ABORT, a_commit, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_sum_that_one_returned_is_the_others_too),
        cmocka_unit_test(what_returns_after_a_round_is_done_again),
        cmocka_unit_test(what_one_has_seen_through_is_done),
        cmocka_unit_test(what_nobody_has_is_late_on_all_alike),
        cmocka_unit_test(what_one_has_comes_without_a_call_of_its_program),
        cmocka_unit_test(what_one_has_comes_though_it_ends),
        cmocka_unit_test(what_is_retained_is_done_again),
        cmocka_unit_test(a_step_that_is_late_a_second_time_is_given_up),
        cmocka_unit_test(what_is_not_retained_is_given_up_by_all),
        cmocka_unit_test(a_step_is_committed_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
