/*
 * What a program may do wrong with a world, and what may go wrong on one member alone: a world of
 * one, over a store in memory.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "core/sys.h"
#include "elastic/views/views.h"
#include "support/test.h"
#include "unit/elastic/views/cell.h"

#include <errno.h>
#include <shoal/shoal.h>
#include <stdatomic.h>

#define COUNT 1000

static _Atomic bool no_memory; /* for inputs: nothing else asks for whole pages here */

static void *alloc_aligned(size_t alignment, size_t bytes)
{
    if (!no_memory)
        return shl_mem_kernel.alloc_aligned(alignment, bytes);
    errno = ENOMEM;
    return NULL;
}

/* ---- a world of one ----------------------------------------------------------------------- */

struct alone {
    struct cell cell;
    struct shl_sys_mem mem;
    struct shoal_context *context;
    struct shoal_world *world;
};

static enum shoal_status try_to_join(struct alone *alone)
{
    struct shoal_store store = cell_store(&alone->cell);
    struct shoal_world_options options = {
        .struct_size = sizeof(options), .world_start = 1, .world_min = 1, .custom_store = &store};
    return shoal_world_join(alone->context, &options, &alone->world);
}

static int join(void **state)
{
    static struct alone alone;
    cell_open(&alone.cell);
    alone.mem = shl_mem_kernel;
    alone.mem.alloc_aligned = alloc_aligned;
    shl_mem = &alone.mem; /* before there are threads */
    ASSERT_OK(shoal_context_create(NULL, &alone.context));
    ASSERT_OK(try_to_join(&alone));
    *state = &alone;
    return 0;
}

static int end(void **state)
{
    struct alone *alone = *state;
    no_memory = false;
    ASSERT_OK(shoal_world_destroy(alone->world));
    ASSERT_OK(shoal_context_destroy(alone->context));
    cell_close(&alone->cell);
    shl_mem = &shl_mem_kernel;
    return 0;
}

static uint64_t last_seq(struct shoal_world *world)
{
    struct shoal_op_info info = {.struct_size = sizeof(info)};
    ASSERT_OK(shoal_world_last(world, &info));
    return info.seq;
}

/* ---- tests -------------------------------------------------------------------------------- */

/* The other members wait in their call; the number of this one must not be gone. */
static void without_memory_an_operation_is_not_begun(void **state)
{
    struct shoal_world *world = ((struct alone *)*state)->world;
    float data[COUNT] = {2};
    no_memory = true;
    ASSERT_STATUS(SHOAL_ERR_NOMEM,
                  shoal_world_allreduce(world, data, data, COUNT, SHOAL_F32, SHOAL_SUM));
    ASSERT_STATUS(SHOAL_ERR_NOMEM, shoal_world_mean(world, data, data, COUNT, SHOAL_F32, 1));
    no_memory = false;
    ASSERT_OK(shoal_world_allreduce(world, data, data, COUNT, SHOAL_F32, SHOAL_SUM));
    assert_int_equal(last_seq(world), 1);
    ASSERT_OK(shoal_world_mean(world, data, data, COUNT, SHOAL_F32, 3));
    assert_int_equal(last_seq(world), 2);
    assert_true(data[0] == 2 && data[1] == 0);
}

static struct shoal_world_request *start(struct shoal_world *world, float *data)
{
    struct shoal_world_request *request = NULL;
    struct shoal_call call = {.struct_size = sizeof(call),
                              .collective = SHOAL_ALLREDUCE,
                              .dtype = SHOAL_F32,
                              .op = SHOAL_SUM,
                              .count = COUNT,
                              .send = data,
                              .recv = data};
    return shoal_world_start(world, &call, &request) == SHOAL_OK ? request : NULL;
}

static struct shoal_world_request *start_mean(struct shoal_world *world, float *data)
{
    struct shoal_world_request *request = NULL;
    enum shoal_status status =
        shoal_world_start_mean(world, data, data, COUNT, SHOAL_F32, 3, &request);
    return status == SHOAL_OK ? request : NULL;
}

/* Its turn comes when others after it were started, on this member and the others. */
static void without_memory_an_operation_is_not_started(void **state)
{
    struct shoal_world *world = ((struct alone *)*state)->world;
    struct shoal_world_request *request;
    float data[COUNT] = {2};
    no_memory = true;
    assert_null(start(world, data));
    ASSERT_DETAIL("cannot keep");
    assert_null(start_mean(world, data));
    no_memory = false;
    assert_non_null(request = start(world, data));
    ASSERT_OK(shoal_world_request_wait(request, UINT32_MAX));
    assert_int_equal(last_seq(world), 1);
    ASSERT_OK(shoal_world_request_destroy(request));
}

/* In and between steps, however many wait for their turn. */
static void what_was_started_has_its_memory(void **state)
{
    struct shoal_world *world = ((struct alone *)*state)->world;
    struct shoal_step step = {.struct_size = sizeof(step)};
    static float data[6][COUNT];
    struct shoal_world_request *requests[6];
    for (uint64_t round = 0; round < 2; round++) {
        shl_views_seize(world); /* as by another thread's call */
        pthread_mutex_unlock(&world->lock);
        for (uint32_t i = 0; i < 6; i++) {
            data[i][0] = (float)i;
            requests[i] = i % 3 == 2 ? start_mean(world, data[i]) : start(world, data[i]);
            assert_non_null(requests[i]);
        }
        no_memory = true;
        pthread_mutex_lock(&world->lock);
        shl_views_exit(world);
        for (uint32_t i = 0; i < 6; i++) {
            ASSERT_OK(shoal_world_request_wait(requests[i], UINT32_MAX));
            assert_int_equal(last_seq(world), 6 * round + i + 1);
            assert_true(data[i][0] == (float)i);
            ASSERT_OK(shoal_world_request_destroy(requests[i]));
        }
        no_memory = false;
        if (round == 0)
            ASSERT_OK(shoal_step_begin(world, &step));
    }
    ASSERT_OK(shoal_step_commit(world, 1));
}

static void a_step_is_open_until_its_commit(void **state)
{
    struct shoal_world *world = ((struct alone *)*state)->world;
    struct shoal_step step = {.struct_size = sizeof(step)};
    ASSERT_OK(shoal_step_begin(world, &step));
    assert_int_equal(step.joined, 1);
    ASSERT_STATUS(SHOAL_ERR_INVALID, shoal_step_begin(world, &step));
    ASSERT_OK(shoal_step_commit(world, 5));
    ASSERT_OK(shoal_step_begin(world, &step));
    assert_int_equal(step.joined, 0);
    assert_int_equal(step.step, 1);
    assert_int_equal(step.position, 5);
}

static struct shoal_samples *open_stream(uint64_t seed)
{
    struct shoal_samples *samples;
    struct shoal_samples_options options = {
        .struct_size = sizeof(options), .seed = seed, .samples = 10, .batch = 4};
    ASSERT_OK(shoal_samples_create(&options, &samples));
    return samples;
}

static uint64_t consumed(const struct shoal_samples *samples)
{
    struct shoal_samples_info info = {.struct_size = sizeof(info)};
    ASSERT_OK(shoal_samples_info(samples, &info));
    return info.data_epoch * 10 + info.consumed;
}

static void streams_move_with_the_steps_that_they_are_in(void **state)
{
    struct shoal_world *world = ((struct alone *)*state)->world;
    struct shoal_samples *one = open_stream(1), *other = open_stream(2);
    struct shoal_step step = {.struct_size = sizeof(step)};
    struct shoal_samples_share share = {.struct_size = sizeof(share)};
    uint64_t indices[4], again[4];
    uint32_t count = 0;
    uint64_t seq = 0;
    for (uint64_t i = 0; i < 7; i++) {
        ASSERT_OK(shoal_step_begin(world, &step));
        ASSERT_OK(shoal_step_samples(world, one, indices, 4, &share));
        assert_int_equal(share.count, i % 3 == 2 ? 2 : 4);
        ASSERT_OK(shoal_step_samples(world, one, again, 4, &share));
        assert_memory_equal(indices, again, share.count * sizeof(indices[0]));
        if (i % 2)
            ASSERT_OK(shoal_step_samples(world, other, NULL, 0, &share));
        ASSERT_OK(shoal_step_commit(world, share.count));
        if (i >= 2) /* both were met: the commit is all that members do together */
            assert_int_equal(last_seq(world), seq + 1);
        seq = last_seq(world);
    }
    assert_int_equal(consumed(one), 24);
    assert_int_equal(consumed(other), 10);
    ASSERT_OK(shoal_step_contributors(world, indices, 1, &count));
    ASSERT_OK(shoal_world_members(world, again, 1, &count));
    assert_int_equal(count, 1);
    assert_int_equal(indices[0], again[0]);
    shoal_samples_destroy(one);
    shoal_samples_destroy(other);
}

static void samples_are_for_an_open_step(void **state)
{
    struct shoal_world *world = ((struct alone *)*state)->world;
    struct shoal_samples *samples = open_stream(1);
    struct shoal_step step = {.struct_size = sizeof(step)};
    struct shoal_samples_share share = {.struct_size = sizeof(share)}, unset = {0};
    uint64_t indices[4];
    ASSERT_STATUS(SHOAL_ERR_INVALID, shoal_step_samples(world, samples, indices, 4, &share));
    ASSERT_OK(shoal_step_begin(world, &step));
    ASSERT_STATUS(SHOAL_ERR_INVALID, shoal_step_samples(world, NULL, indices, 4, &share));
    ASSERT_STATUS(SHOAL_ERR_INVALID, shoal_step_samples(world, samples, indices, 4, &unset));
    ASSERT_STATUS(SHOAL_ERR_INVALID, shoal_step_samples(world, samples, indices, 3, &share));
    ASSERT_OK(shoal_step_samples(world, samples, indices, 4, &share));
    ASSERT_STATUS(SHOAL_ERR_INVALID, shoal_step_contributors(world, indices, 4, NULL));
    ASSERT_OK(shoal_step_commit(world, share.count));
    assert_int_equal(consumed(samples), 4);
    shoal_samples_destroy(samples);
}

static void a_world_is_destroyed_within_a_step(void **state)
{
    struct shoal_world *world = ((struct alone *)*state)->world;
    struct shoal_step step = {.struct_size = sizeof(step)};
    float data[COUNT] = {1};
    ASSERT_OK(shoal_step_begin(world, &step));
    ASSERT_OK(shoal_world_allreduce(world, data, data, COUNT, SHOAL_F32, SHOAL_SUM));
}

static void a_commit_needs_a_step(void **state)
{
    struct shoal_world *world = ((struct alone *)*state)->world;
    struct shoal_step step = {.struct_size = sizeof(step)};
    ASSERT_STATUS(SHOAL_ERR_INVALID, shoal_step_commit(world, 5));
    ASSERT_OK(shoal_step_begin(world, &step));
    assert_int_equal(step.step, 0);
    ASSERT_OK(shoal_step_commit(world, 5));
    ASSERT_STATUS(SHOAL_ERR_INVALID, shoal_step_commit(world, 5));
}

static void *look(void *world)
{
    struct shoal_view view = {.struct_size = sizeof(view)};
    ASSERT_OK(shoal_world_view(world, &view));
    return NULL;
}

/* Buffers of an allgather have the size of the view that its caller knows. */
static void another_thread_looks_for_itself(void **state)
{
    struct shoal_world *world = ((struct alone *)*state)->world;
    struct shoal_step step = {.struct_size = sizeof(step)};
    float one = 1, all = 0;
    pthread_t thread;
    ASSERT_OK(shoal_world_allgather(world, &one, &all, 1, SHOAL_F32));
    ASSERT_OK(shoal_step_begin(world, &step));
    ASSERT_OK(shoal_step_abort(world)); /* another view */
    ASSERT_OK(shoal_step_begin(world, &step));
    ASSERT_OK(shoal_step_abort(world)); /* and one that the program does not know */
    ASSERT_STATUS(SHOAL_ERR_STEP_RETRY, shoal_world_allgather(world, &one, &all, 1, SHOAL_F32));
    assert_int_equal(pthread_create(&thread, NULL, look, world), 0);
    pthread_join(thread, NULL);
    world->log->retry = false; /* as it would be after a failure outside of steps */
    world->seen.at[0].id ^= 1; /* of somebody else */
    ASSERT_STATUS(SHOAL_ERR_EPOCH, shoal_world_allgather(world, &one, &all, 1, SHOAL_F32));
    look(world);
    ASSERT_OK(shoal_world_allgather(world, &one, &all, 1, SHOAL_F32));
}

static void a_step_is_given_up(void **state)
{
    struct shoal_world *world = ((struct alone *)*state)->world;
    struct shoal_step step = {.struct_size = sizeof(step)};
    float data[COUNT] = {1};
    ASSERT_STATUS(SHOAL_ERR_INVALID, shoal_step_abort(world));
    uint64_t epoch = shoal_world_epoch(world);
    ASSERT_OK(shoal_step_begin(world, &step));
    ASSERT_OK(shoal_world_allreduce(world, data, data, COUNT, SHOAL_F32, SHOAL_SUM));
    ASSERT_OK(shoal_step_abort(world));
    assert_true(shoal_world_epoch(world) > epoch);
    ASSERT_STATUS(SHOAL_ERR_STEP_RETRY, shoal_world_barrier(world)); /* of no step any more */
    ASSERT_STATUS(SHOAL_ERR_STEP_RETRY, shoal_step_commit(world, 5));
    ASSERT_OK(shoal_step_abort(world));
    ASSERT_OK(shoal_step_begin(world, &step));
    assert_int_equal(step.step, 0);
    assert_int_equal(step.joined, 1); /* nobody has its state */
    ASSERT_OK(shoal_step_commit(world, 5));
    ASSERT_STATUS(SHOAL_ERR_INVALID, shoal_step_abort(world));
}

static void *give_up(void *world)
{
    ASSERT_OK(shoal_step_abort(world));
    return NULL;
}

/* While another thread has `calling`: until the one that gives up waits for that, too. */
static void await_caller(struct shoal_world *world)
{
    pthread_mutex_lock(&world->lock);
    while (world->callers < 1u + world->started.driven)
        shl_views_wait(world, shl_now_ns() + 1000000);
    pthread_mutex_unlock(&world->lock);
}

/* Others would not come to it. */
static void what_was_started_is_not_begun_after_its_step_was_given_up(void **state)
{
    struct shoal_world *world = ((struct alone *)*state)->world;
    struct shoal_step step = {.struct_size = sizeof(step)};
    struct shoal_world_request *requests[2];
    float data[2][COUNT] = {{1}, {1}};
    pthread_t thread;
    ASSERT_OK(shoal_step_begin(world, &step));
    shl_views_seize(world);
    world->started.driven = true; /* the world's thread sleeps through what follows */
    pthread_mutex_unlock(&world->lock);
    assert_non_null(requests[0] = start(world, data[0]));
    assert_non_null(requests[1] = start(world, data[1]));
    pthread_mutex_lock(&world->lock);
    world->started.driven = false;
    pthread_mutex_unlock(&world->lock);
    assert_int_equal(pthread_create(&thread, NULL, give_up, world), 0);
    await_caller(world);
    enum shoal_status first = shoal_world_request_test(requests[0]);
    enum shoal_status second = shoal_world_request_test(requests[1]);
    pthread_mutex_lock(&world->lock);
    shl_views_exit(world);
    pthread_join(thread, NULL);
    assert_int_equal(first, SHOAL_ERR_STEP_RETRY);
    assert_int_equal(second, SHOAL_ERR_STEP_RETRY);
    for (int i = 0; i < 2; i++)
        ASSERT_OK(shoal_world_request_destroy(requests[i]));
    ASSERT_OK(shoal_step_begin(world, &step));
    ASSERT_OK(shoal_step_commit(world, 1));
    assert_true(data[0][0] == 1);
}

/* ---- state that follows the members ------------------------------------------------------- */

struct settling {
    struct shoal_world *world;
    uint32_t times;
    bool joins; /* the change while it is settled: a join, too, or only a loss */
};

/* As if members changed after this one was told that all have settled, and before others were. */
static enum shoal_status settle(void *arg, struct shoal_comm *comm,
                                const struct shl_members *members)
{
    struct settling *settling = arg;
    struct shoal_world *world = settling->world;
    (void)comm, (void)members;
    pthread_mutex_lock(&world->lock);
    world->changed_epoch = world->epoch;
    world->joined_epoch = world->epoch;
    if (settling->times++ == 0) {
        world->lost_due = true;
        world->changed_epoch++;
        world->joined_epoch += settling->joins;
    }
    pthread_mutex_unlock(&world->lock);
    return SHOAL_OK;
}

static enum shoal_status nothing(void *arg)
{
    (void)arg;
    return SHOAL_OK;
}

static void nothing_at_all(void *arg)
{
    (void)arg;
}

static uint32_t times_settled(struct shoal_world *world, bool on_loss, bool joins)
{
    struct settling settling = {.world = world, .joins = joins};
    struct shl_follower follower = {.arg = &settling,
                                    .on_loss = on_loss,
                                    .settle = {.run = settle, .arg = &settling},
                                    .begin = nothing_at_all,
                                    .settled = nothing,
                                    .committed = nothing_at_all};
    struct shoal_step step = {.struct_size = sizeof(step)};
    ASSERT_OK(shl_views_attach(world, &follower));
    ASSERT_OK(shoal_step_begin(world, &step));
    ASSERT_OK(shoal_step_commit(world, 1));
    shl_views_detach(world);
    return settling.times;
}

/* Whoever returned before the loss does not settle for the joiner again; nor may the others, who
 * would meet its next operation. */
static void a_loss_as_a_settling_ends_does_not_repeat_it(void **state)
{
    struct shoal_world *world = ((struct alone *)*state)->world;
    assert_int_equal(times_settled(world, false, false), 1);
    assert_int_equal(times_settled(world, true, false), 2); /* for the loss */
    assert_int_equal(times_settled(world, false, true), 2); /* for the next joiner */
}

static uint8_t *version_of_record(struct alone *alone)
{
    static const uint8_t head[] = {'S', 'H', 'L', 'M', 2, 0}; /* magic and version */
    uint8_t *at = memmem(alone->cell.bytes, alone->cell.size, head, sizeof(head));
    assert_non_null(at);
    return at + sizeof(uint32_t);
}

/* It could not dial anybody, and would wait for the join timeout without saying why. */
static void a_job_of_another_version_is_not_joined(void **state)
{
    struct alone *alone = *state;
    ASSERT_OK(shoal_world_destroy(alone->world));
    *version_of_record(alone) = 1;
    ASSERT_STATUS(SHOAL_ERR_STORE, try_to_join(alone));
    ASSERT_DETAIL("no record of this version");
    alone->cell.size = 0;
    ASSERT_OK(try_to_join(alone));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(without_memory_an_operation_is_not_begun, join, end),
        cmocka_unit_test_setup_teardown(without_memory_an_operation_is_not_started, join, end),
        cmocka_unit_test_setup_teardown(what_was_started_has_its_memory, join, end),
        cmocka_unit_test_setup_teardown(a_step_is_open_until_its_commit, join, end),
        cmocka_unit_test_setup_teardown(streams_move_with_the_steps_that_they_are_in, join, end),
        cmocka_unit_test_setup_teardown(samples_are_for_an_open_step, join, end),
        cmocka_unit_test_setup_teardown(a_world_is_destroyed_within_a_step, join, end),
        cmocka_unit_test_setup_teardown(a_step_is_given_up, join, end),
        cmocka_unit_test_setup_teardown(what_was_started_is_not_begun_after_its_step_was_given_up,
                                        join, end),
        cmocka_unit_test_setup_teardown(a_commit_needs_a_step, join, end),
        cmocka_unit_test_setup_teardown(a_loss_as_a_settling_ends_does_not_repeat_it, join, end),
        cmocka_unit_test_setup_teardown(a_job_of_another_version_is_not_joined, join, end),
        cmocka_unit_test_setup_teardown(another_thread_looks_for_itself, join, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
