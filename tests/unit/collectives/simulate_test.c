/*
 * The simulator against times worked out by hand, and on more ranks than anyone has here.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "collectives/simulate.h"

#include "shapes.h"
#include "support/fault.h"
#include "support/test.h"

/* alpha 1 s and 10 s, a byte takes 1 s inside and 2 s between hosts and 0.5 s to combine. */
static const struct shl_costs slow = {1, 1, 10, 2, 0.5, 0, 0};

static struct shl_simulation run(enum shoal_collective collective, const char *name,
                                 struct shl_shape shape, uint64_t bytes,
                                 const struct shl_costs *costs)
{
    struct shl_simulation result;
    struct shl_simulate_query query = {.algorithm = shl_algorithm_find(collective, name),
                                       .shape = shape,
                                       .bytes = bytes,
                                       .elem_bytes = 1,
                                       .costs = costs};
    assert_non_null(query.algorithm);
    ASSERT_OK(shl_simulate(&query, &result));
    return result;
}

static void assert_near(double value, double expected)
{
    if (value < expected * 0.999999 - 1e-12 || value > expected * 1.000001 + 1e-12)
        fail_msg("%.9g is not %.9g", value, expected);
}

static void one_message(void **state)
{
    (void)state;
    struct shape_hosts hosts;
    struct shl_shape shape = {.rank_count = 2, .chunks = 1};
    shape.hosts = shape_hosts_even(&hosts, 2, 2);
    /* Ports are held for 0.3 s and 100 s by the data and 0.3 s by the token the other way. */
    struct shl_simulation inside = run(SHOAL_BROADCAST, "binomial", shape, 100, &slow);
    assert_near(inside.seconds, 1 + 100);
    assert_int_equal(inside.rounds, 1);
    assert_int_equal(inside.bytes_sent_max, 100);
    assert_int_equal(inside.bytes_net_total, 0);
    shape.hosts = NULL;
    struct shl_simulation between = run(SHOAL_BROADCAST, "binomial", shape, 100, &slow);
    assert_near(between.seconds, 10 + 200);
    assert_int_equal(between.bytes_net_total, 100);
}

static void combining_takes_time(void **state)
{
    (void)state;
    struct shl_shape shape = {.rank_count = 2, .chunks = 1};
    struct shl_simulation result = run(SHOAL_REDUCE, "binomial", shape, 100, &slow);
    assert_near(result.seconds, 10 + 200 + 50);
}

static void a_large_message_waits_for_its_receiver(void **state)
{
    (void)state;
    struct shl_shape shape = {.rank_count = 2, .chunks = 1};
    uint64_t bytes = SHL_EAGER_BYTES + 1;
    struct shl_simulation result = run(SHOAL_BROADCAST, "binomial", shape, bytes, &slow);
    assert_near(result.seconds, 1 + 10 + 2 * (double)bytes);
}

static void ranks_of_a_host_share_its_port(void **state)
{
    (void)state;
    struct shape_hosts hosts;
    struct shl_shape shape = {.rank_count = 4, .chunks = 1};
    shape.hosts = shape_hosts_even(&hosts, 4, 2);
    /* Rank 1 has heard of rank 0 after 1 s; its second token still waits for its first to leave the
     * port at 3 s. Rank 0's leaves at 10 s, when rank 3's has come, and arrives at 20 s. */
    struct shl_simulation barrier = run(SHOAL_BARRIER, "dissemination", shape, 0, &slow);
    assert_near(barrier.seconds, 20);
    /* Both ranks of a host send 50 bytes to the other host at once: 100 bytes through one port. */
    struct shl_simulation shared = run(SHOAL_ALLREDUCE, "hierarchical", shape, 100, &slow);
    shape.hosts = NULL;
    struct shl_simulation alone = run(SHOAL_ALLREDUCE, "circulant", shape, 100, &slow);
    assert_int_equal(shared.bytes_net_total, 4 * 2 * 25);
    assert_int_equal(alone.bytes_net_total, 4 * 150);
}

static void cores_are_shared(void **state)
{
    (void)state;
    struct shape_hosts hosts;
    struct shl_costs costs = slow;
    struct shl_shape shape = {.rank_count = 4, .chunks = 1};
    shape.hosts = shape_hosts_even(&hosts, 4, 4);
    double all = run(SHOAL_ALLREDUCE, "recursive_doubling", shape, 100, &costs).seconds;
    costs.cores_per_host = 2;
    double shared = run(SHOAL_ALLREDUCE, "recursive_doubling", shape, 100, &costs).seconds;
    assert_near(shared, 2 * all);
}

static void an_oversubscribed_core_is_slower(void **state)
{
    (void)state;
    struct shl_simulation plain, narrow;
    struct shl_simulate_query query = {.algorithm = shl_algorithm_find(SHOAL_ALLGATHER, "direct"),
                                       .shape = {.rank_count = 8, .chunks = 1},
                                       .bytes = 8 << 20,
                                       .elem_bytes = 4,
                                       .costs = &slow};
    ASSERT_OK(shl_simulate(&query, &plain));
    query.oversubscription = 4;
    ASSERT_OK(shl_simulate(&query, &narrow));
    assert_true(narrow.seconds > 3.9 * plain.seconds && narrow.seconds < 4.1 * plain.seconds);
}

static void a_ring_moves_what_it_must(void **state)
{
    (void)state;
    static const struct shl_costs fast = {1e-9, 1e-9, 1e-9, 1e-9, 0, 0, 0};
    for (uint32_t ranks = 2; ranks <= 9; ranks++) {
        struct shl_shape shape = {.rank_count = ranks, .chunks = 1};
        uint64_t bytes = 64 * 1000 * (uint64_t)ranks;
        struct shl_simulation result = run(SHOAL_ALLREDUCE, "ring", shape, bytes, &fast);
        assert_int_equal(result.bytes_sent_max, 2 * (ranks - 1) * bytes / ranks);
        assert_int_equal(result.bytes_sent_total, 2 * (ranks - 1) * bytes);
        assert_int_equal(result.rounds, 2 * (ranks - 1));
        double busbw = result.busbw_bytes_per_s / 1e9; /* alpha costs a little */
        assert_true(busbw > 0.999 && busbw < 1);
    }
}

static void circulant_moves_as_much_in_fewer_rounds(void **state)
{
    (void)state;
    static const struct shl_costs fast = {1e-6, 1e-9, 1e-6, 1e-9, 1e-10, 0, 0};
    for (uint32_t ranks = 2; ranks <= 70; ranks++) {
        struct shl_shape shape = {.rank_count = ranks, .chunks = 1};
        uint64_t bytes = 64 * (uint64_t)ranks;
        uint32_t rounds = 0;
        while (1u << rounds < ranks)
            rounds++;
        struct shl_simulation result = run(SHOAL_ALLREDUCE, "circulant", shape, bytes, &fast);
        assert_int_equal(result.bytes_sent_max, 2 * (ranks - 1) * 64);
        /* Where a part that only its owner has touched is sent, that round waits for nothing. */
        assert_true(result.rounds <= 2 * rounds);
        if ((ranks & (ranks - 1)) == 0)
            assert_int_equal(result.rounds, 2 * rounds);
        assert_true(result.messages_max <= 4 * rounds);
    }
}

static void many_ranks(void **state)
{
    (void)state;
    static struct shape_hosts hosts;
    static const struct shl_costs fast = {1e-6, 1e-10, 5e-6, 1e-9, 1e-10, 0, 0};
    struct shl_shape shape = {.rank_count = 1000, .chunks = 1};
    struct shl_simulation flat = run(SHOAL_ALLREDUCE, "circulant", shape, 1 << 20, &fast);
    assert_int_equal(flat.rounds, 20);
    shape.hosts = shape_hosts_even(&hosts, 1000, 8);
    struct shl_simulation hosted = run(SHOAL_ALLREDUCE, "circulant", shape, 1 << 20, &fast);
    struct shl_simulation by_host = run(SHOAL_ALLREDUCE, "hierarchical", shape, 1 << 20, &fast);
    assert_true(by_host.seconds < hosted.seconds / 3);
    assert_true(by_host.bytes_net_total < hosted.bytes_net_total / 4);
}

static void too_many_steps_are_refused(void **state)
{
    (void)state;
    struct shl_simulation result;
    struct shl_simulate_query query = {.algorithm = shl_algorithm_find(SHOAL_ALLREDUCE, "ring"),
                                       .shape = {.rank_count = 20000, .chunks = 64},
                                       .bytes = 1 << 20,
                                       .elem_bytes = 4,
                                       .costs = &slow};
    ASSERT_STATUS(SHOAL_ERR_INVALID, shl_simulate(&query, &result)); /* one schedule alone */
    query.shape = (struct shl_shape){.rank_count = 20000, .chunks = 1};
    ASSERT_STATUS(SHOAL_ERR_UNSUPPORTED, shl_simulate(&query, &result));
    ASSERT_DETAIL("more than 33554432 steps");
}

static void bus_bandwidth_factors(void **state)
{
    (void)state;
    assert_near(shl_busbw_factor(SHOAL_ALLREDUCE, 4), 1.5);
    assert_near(shl_busbw_factor(SHOAL_ALLGATHER, 4), 0.75);
    assert_near(shl_busbw_factor(SHOAL_REDUCE_SCATTER, 4), 0.75);
    assert_near(shl_busbw_factor(SHOAL_BROADCAST, 4), 1);
    assert_near(shl_busbw_factor(SHOAL_ALLREDUCE, 1), 1);
}

static enum shoal_status simulate_some(void *arg)
{
    struct shl_simulation result;
    struct shl_simulate_query query = {.algorithm = shl_algorithm_find(SHOAL_ALLREDUCE, "leaders"),
                                       .shape = {.rank_count = 6, .chunks = 1, .hosts = arg},
                                       .bytes = 64,
                                       .elem_bytes = 4,
                                       .costs = &slow};
    return shl_simulate(&query, &result);
}

static void failing_allocations(void **state)
{
    (void)state;
    struct shape_hosts hosts;
    shape_hosts_make(&hosts, SHAPE_PAIRS, 6);
    assert_true(shl_fault_sweep(SHL_FAULT_MEM, simulate_some, &hosts.map, 300) > 30);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_message),
        cmocka_unit_test(combining_takes_time),
        cmocka_unit_test(a_large_message_waits_for_its_receiver),
        cmocka_unit_test(ranks_of_a_host_share_its_port),
        cmocka_unit_test(cores_are_shared),
        cmocka_unit_test(an_oversubscribed_core_is_slower),
        cmocka_unit_test(a_ring_moves_what_it_must),
        cmocka_unit_test(circulant_moves_as_much_in_fewer_rounds),
        cmocka_unit_test(many_ranks),
        cmocka_unit_test(too_many_steps_are_refused),
        cmocka_unit_test(bus_bandwidth_factors),
        cmocka_unit_test(failing_allocations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
