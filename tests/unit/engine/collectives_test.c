/*
 * The engine over the simulator: results against a plain reference, and failures that end alike on
 * every rank.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "support/sim_world.h"
#include "support/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SECOND_NS 1000000000ull
#define COUNT_MAX 3000

static int32_t value(uint32_t rank, size_t i)
{
    return (int32_t)(rank * 1000003u + i * 7919u) % 1000;
}

static int32_t sum_at(uint32_t size, size_t i)
{
    int32_t sum = 0;
    for (uint32_t r = 0; r < size; r++)
        sum += value(r, i);
    return sum;
}

/* What element i of rank's recv must be. */
static int32_t expected(const struct shoal_call *call, uint32_t size, uint32_t rank, size_t i)
{
    switch (call->collective) {
    case SHOAL_BROADCAST:
        return value(call->root, i);
    case SHOAL_ALLGATHER:
        return value((uint32_t)(i / call->count), i % call->count);
    case SHOAL_REDUCE_SCATTER:
        return sum_at(size, rank * call->count + i);
    default:
        return sum_at(size, i);
    }
}

struct buffers {
    int32_t *send[SIM_WORLD_MAX], *recv[SIM_WORLD_MAX];
};

static void make_buffers(struct buffers *buffers, uint32_t size, size_t count)
{
    for (uint32_t r = 0; r < size; r++) {
        buffers->send[r] = malloc((count * size + 1) * sizeof(int32_t));
        buffers->recv[r] = malloc((count * size + 1) * sizeof(int32_t));
        memset(buffers->recv[r], 0xee, (count * size + 1) * sizeof(int32_t));
        for (size_t i = 0; i < count * size; i++)
            buffers->send[r][i] = value(r, i);
    }
}

static void free_buffers(struct buffers *buffers, uint32_t size)
{
    for (uint32_t r = 0; r < size; r++) {
        free(buffers->send[r]);
        free(buffers->recv[r]);
    }
}

static size_t recv_count(const struct shoal_call *call, uint32_t size, uint32_t rank)
{
    if (call->collective == SHOAL_BARRIER ||
        (call->collective == SHOAL_REDUCE && rank != call->root))
        return 0;
    return call->collective == SHOAL_ALLGATHER ? call->count * size : call->count;
}

static void run_once(struct sim_world *world, enum shoal_collective which, size_t count,
                     uint32_t root)
{
    struct buffers buffers;
    struct shoal_request *requests[SIM_WORLD_MAX] = {0};
    struct shoal_call call = {
        .collective = which, .dtype = SHOAL_I32, .op = SHOAL_SUM, .root = root, .count = count};
    make_buffers(&buffers, world->size, count);
    for (uint32_t r = 0; r < world->size; r++) {
        call.send = buffers.send[r];
        call.recv = buffers.recv[r];
        requests[r] = sim_world_start(world, r, &call);
    }
    assert_true(sim_world_wait(world, requests, 100 * SECOND_NS));
    for (uint32_t r = 0; r < world->size; r++) {
        if (requests[r]->status != SHOAL_OK)
            fail_msg("rank %u of %u: %s: %s", r, world->size, shoal_collective_string(which),
                     requests[r]->text);
        for (size_t i = 0; i < recv_count(&call, world->size, r); i++)
            if (buffers.recv[r][i] != expected(&call, world->size, r, i))
                fail_msg("%s p %u rank %u element %zu: %d, not %d", shoal_collective_string(which),
                         world->size, r, i, buffers.recv[r][i], expected(&call, world->size, r, i));
    }
    sim_world_free(world, requests);
    free_buffers(&buffers, world->size);
}

static void test_results(void **state)
{
    (void)state;
    const size_t counts[] = {0, 1, 5, 300, COUNT_MAX};
    for (uint32_t size = 1; size <= 7; size++) {
        struct sim_world *world = sim_world_create(size, size, NULL);
        for (int which = 0; which < SHOAL_COLLECTIVE_COUNT; which++)
            for (size_t c = 0; c < sizeof(counts) / sizeof(counts[0]); c++)
                run_once(world, (enum shoal_collective)which, counts[c], size - 1);
        sim_world_destroy(world);
    }
}

/* One rank calls something else: the same error everywhere, and the next operation works. */
static void mismatch_once(uint32_t size, uint32_t odd, const struct shoal_call *normal,
                          const struct shoal_call *other)
{
    struct sim_world *world = sim_world_create(size, odd + 1, NULL);
    struct buffers buffers;
    struct shoal_request *requests[SIM_WORLD_MAX] = {0};
    make_buffers(&buffers, size, 64);
    for (uint32_t r = 0; r < size; r++) {
        struct shoal_call call = r == odd ? *other : *normal;
        call.send = buffers.send[r];
        call.recv = buffers.recv[r];
        requests[r] = sim_world_start(world, r, &call);
    }
    assert_true(sim_world_wait(world, requests, 100 * SECOND_NS));
    for (uint32_t r = 0; r < size; r++) {
        assert_int_equal(requests[r]->status, SHOAL_ERR_MISMATCH);
        assert_string_equal(requests[r]->text, requests[0]->text);
    }
    sim_world_free(world, requests);
    free_buffers(&buffers, size);
    run_once(world, SHOAL_ALLREDUCE, 100, 0);
    run_once(world, SHOAL_BROADCAST, 100, odd);
    sim_world_destroy(world);
}

static void test_mismatch(void **state)
{
    (void)state;
    const uint32_t sizes[] = {2, 3, 5};
    struct shoal_call variants[] = {
        {.collective = SHOAL_ALLREDUCE, .dtype = SHOAL_I32, .count = 63},
        {.collective = SHOAL_ALLREDUCE, .dtype = SHOAL_F32, .count = 64},
        {.collective = SHOAL_ALLREDUCE, .dtype = SHOAL_I32, .count = 64, .op = SHOAL_MAX},
        {.collective = SHOAL_BROADCAST, .dtype = SHOAL_I32, .count = 64},
        {.collective = SHOAL_REDUCE, .dtype = SHOAL_I32, .count = 64, .root = 1},
        {.collective = SHOAL_ALLGATHER, .dtype = SHOAL_I32, .count = 64},
        {.collective = SHOAL_BARRIER}};
    const struct shoal_call normals[] = {
        {.collective = SHOAL_ALLREDUCE, .dtype = SHOAL_I32, .count = 64},
        {.collective = SHOAL_REDUCE, .dtype = SHOAL_I32, .count = 64},
        {.collective = SHOAL_BROADCAST, .dtype = SHOAL_I32, .count = 64, .root = 1},
        {.collective = SHOAL_REDUCE_SCATTER, .dtype = SHOAL_I32, .count = 64}};
    for (size_t s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++)
        for (uint32_t odd = 0; odd < sizes[s]; odd++)
            for (size_t n = 0; n < sizeof(normals) / sizeof(normals[0]); n++)
                for (size_t v = 0; v < sizeof(variants) / sizeof(variants[0]); v++)
                    mismatch_once(sizes[s], odd, &normals[n], &variants[v]);
}

static void test_text_names_both_sides(void **state)
{
    (void)state;
    struct sim_world *world = sim_world_create(4, 3, NULL);
    struct shoal_request *requests[SIM_WORLD_MAX] = {0};
    int32_t data[4][64] = {{0}};
    for (uint32_t r = 0; r < 4; r++) {
        struct shoal_call call = {.collective = SHOAL_ALLREDUCE,
                                  .dtype = SHOAL_I32,
                                  .count = r == 2 ? 63 : 64,
                                  .send = data[r],
                                  .recv = data[r]};
        requests[r] = sim_world_start(world, r, &call);
    }
    assert_true(sim_world_wait(world, requests, 10 * SECOND_NS));
    assert_string_equal(requests[1]->text,
                        "ranks disagree on operation #1: ranks 0, 1, 3 called allreduce #1(count "
                        "64, i32, sum); rank 2 called allreduce #1(count 63, i32, sum)");
    sim_world_free(world, requests);
    sim_world_destroy(world);
}

/* A rank that does not call: the others give up; it gets the same error when it calls. */
static void test_absent_rank(void **state)
{
    (void)state;
    struct sim_world *world = sim_world_create(5, 9, NULL);
    struct shoal_request *requests[SIM_WORLD_MAX] = {0};
    int32_t data[5][10] = {{0}};
    struct shoal_call call = {.collective = SHOAL_ALLREDUCE, .dtype = SHOAL_I32, .count = 10};
    for (uint32_t r = 0; r < 5; r++) {
        call.send = call.recv = data[r];
        if (r != 3)
            requests[r] = sim_world_start(world, r, &call);
    }
    assert_false(sim_world_wait(world, requests, SECOND_NS));
    shl_incident_raise(world->ranks[1].comm, 1, SHOAL_ERR_TIMEOUT, "it was not done in time");
    assert_true(sim_world_wait(world, requests, SECOND_NS));
    call.send = call.recv = data[3];
    requests[3] = sim_world_start(world, 3, &call);
    for (uint32_t r = 0; r < 5; r++) {
        assert_int_equal(requests[r]->status, SHOAL_ERR_TIMEOUT);
        assert_string_equal(requests[r]->text, requests[0]->text);
    }
    assert_non_null(strstr(requests[0]->text, "rank 3 had not called allreduce #1"));
    sim_world_free(world, requests);
    run_once(world, SHOAL_ALLREDUCE, 100, 0);
    sim_world_destroy(world);
}

static void test_lost_rank(void **state)
{
    (void)state;
    struct sim_world *world = sim_world_create(4, 11, NULL);
    struct shoal_request *requests[SIM_WORLD_MAX] = {0}, *late;
    struct buffers buffers;
    struct shoal_call call = {.collective = SHOAL_ALLREDUCE, .dtype = SHOAL_I32, .count = 1000};
    make_buffers(&buffers, 4, 1000);
    for (uint32_t r = 0; r < 3; r++) {
        call.send = buffers.send[r];
        call.recv = buffers.recv[r];
        requests[r] = sim_world_start(world, r, &call);
    }
    sim_world_kill(world, 3, "connection reset");
    assert_true(sim_world_wait(world, requests, 10 * SECOND_NS));
    for (uint32_t r = 0; r < 3; r++) {
        assert_int_equal(requests[r]->status, SHOAL_ERR_PEER);
        assert_string_equal(requests[r]->text, "rank 3 lost: connection reset");
    }
    assert_int_equal(shl_request_start(world->ranks[0].comm, &call, &late), SHOAL_ERR_PEER);
    sim_world_free(world, requests);
    free_buffers(&buffers, 4);
    sim_world_destroy(world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_results),     cmocka_unit_test(test_mismatch),
        cmocka_unit_test(test_absent_rank), cmocka_unit_test(test_text_names_both_sides),
        cmocka_unit_test(test_lost_rank),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
