/*
 * The choice among ways: tries all, keeps the fastest, notices changes, spends little on tries.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "engine/ways.h"

#include "support/test.h"

#define STREAM SHL_GROUP_STREAM
#define WINDOW SHL_GROUP_WINDOW
#define PULL SHL_GROUP_PULL
#define ALL (1u << STREAM | 1u << WINDOW | 1u << PULL)

/* Nanoseconds that an operation takes by each way. */
struct machine {
    uint64_t ns[SHL_GROUP_STAGED];
};

static const struct shl_way_op allreduce_1m = {
    .collective = SHOAL_ALLREDUCE, .bytes = 1 << 20, .usable = ALL, .first = STREAM};

static int set_up(void **state)
{
    return shl_ways_create((struct shl_ways **)state) != SHOAL_OK;
}

static int tear_down(void **state)
{
    shl_ways_destroy(*state);
    return 0;
}

static enum shl_group_mode operate(struct shl_ways *ways, const struct shl_way_op *op,
                                   const struct machine *machine)
{
    enum shl_group_mode way = shl_ways_next(ways, op);
    assert_true(op->usable >> way & 1);
    shl_ways_note(ways, op, way, machine->ns[way]);
    return way;
}

/* How many of `count` operations go this way. */
static uint32_t operate_often(struct shl_ways *ways, const struct shl_way_op *op,
                              const struct machine *machine, uint32_t count,
                              enum shl_group_mode counted)
{
    uint32_t times = 0;
    for (uint32_t i = 0; i < count; i++)
        times += operate(ways, op, machine) == counted;
    return times;
}

static void every_way_is_tried_twice_then_the_fastest_is_used(void **state)
{
    const struct machine machine = {.ns = {[STREAM] = 200, [WINDOW] = 100, [PULL] = 400}};
    const enum shl_group_mode expected[] = {STREAM, STREAM, WINDOW, WINDOW, PULL, PULL, WINDOW};
    assert_int_equal(shl_ways_usual(*state, &allreduce_1m), STREAM);
    for (size_t i = 0; i < sizeof(expected) / sizeof(expected[0]); i++)
        assert_int_equal(operate(*state, &allreduce_1m, &machine), expected[i]);
    assert_int_equal(shl_ways_usual(*state, &allreduce_1m), WINDOW);
}

static void the_first_way_can_be_given(void **state)
{
    struct shl_way_op op = allreduce_1m;
    op.first = WINDOW;
    assert_int_equal(shl_ways_usual(*state, &op), WINDOW);
    assert_int_equal(shl_ways_next(*state, &op), WINDOW);
}

static void only_usable_ways_are_used(void **state)
{
    const struct machine machine = {.ns = {[STREAM] = 200, [WINDOW] = 100, [PULL] = 1}};
    struct shl_way_op op = allreduce_1m;
    op.usable = 1u << STREAM | 1u << WINDOW;
    assert_int_equal(operate_often(*state, &op, &machine, 200, PULL), 0);
    op.usable = 1u << PULL;
    op.collective = SHOAL_BROADCAST;
    assert_int_equal(operate_often(*state, &op, &machine, 200, PULL), 200);
}

static void tries_cost_little(void **state)
{
    const struct machine machine = {.ns = {[STREAM] = 1000, [WINDOW] = 3000, [PULL] = 6000}};
    operate_often(*state, &allreduce_1m, &machine, 6, STREAM);
    uint64_t spent_ns = 0;
    for (int i = 0; i < 5000; i++)
        spent_ns += machine.ns[operate(*state, &allreduce_1m, &machine)];
    assert_true(spent_ns > 5000 * 1000); /* there were tries */
    assert_true(spent_ns < 5000 * 1000 * 103 / 100);
}

static void a_change_of_the_machine_is_noticed(void **state)
{
    const struct machine near = {.ns = {[STREAM] = 2000, [WINDOW] = 1000, [PULL] = 1500}};
    const struct machine far = {.ns = {[STREAM] = 1800, [WINDOW] = 7000, [PULL] = 3000}};
    operate_often(*state, &allreduce_1m, &near, 300, WINDOW);
    assert_int_equal(shl_ways_usual(*state, &allreduce_1m), WINDOW);
    /* The way in use has become slower: at once. */
    operate_often(*state, &allreduce_1m, &far, 20, STREAM);
    assert_int_equal(shl_ways_usual(*state, &allreduce_1m), STREAM);
    /* Another has become faster: when its turn to be tried comes. */
    operate_often(*state, &allreduce_1m, &near, 1500, WINDOW);
    assert_int_equal(shl_ways_usual(*state, &allreduce_1m), WINDOW);
}

static void a_disturbed_operation_does_not_matter(void **state)
{
    const struct machine machine = {.ns = {[STREAM] = 1000, [WINDOW] = 1100, [PULL] = 1200}};
    operate_often(*state, &allreduce_1m, &machine, 12, STREAM);
    for (int i = 0; i < 3; i++)
        shl_ways_note(*state, &allreduce_1m, STREAM, 4000000);
    assert_int_equal(shl_ways_usual(*state, &allreduce_1m), STREAM);
}

static void kinds_and_sizes_are_told_apart(void **state)
{
    const struct machine slow = {.ns = {[STREAM] = 9000, [WINDOW] = 1000, [PULL] = 9000}};
    const struct machine fast = {.ns = {[STREAM] = 1000, [WINDOW] = 9000, [PULL] = 9000}};
    struct shl_way_op ops[] = {allreduce_1m, allreduce_1m, allreduce_1m, allreduce_1m};
    ops[1].bytes = UINT64_MAX;
    ops[2].in_place = true;
    ops[3].collective = SHOAL_ALLGATHER;
    for (int i = 0; i < 4; i++)
        operate_often(*state, &ops[i], i % 2 ? &fast : &slow, 20, STREAM);
    for (int i = 0; i < 4; i++)
        assert_int_equal(shl_ways_usual(*state, &ops[i]), i % 2 ? STREAM : WINDOW);
}

/* Operations in flight are chosen before any is timed, and some never end well. */
static void tries_that_come_to_nothing_are_repeated(void **state)
{
    const struct machine machine = {.ns = {[STREAM] = 3000, [WINDOW] = 2000, [PULL] = 1000}};
    for (int i = 0; i < 6; i++)
        shl_ways_next(*state, &allreduce_1m);
    assert_int_equal(shl_ways_next(*state, &allreduce_1m), STREAM);
    operate_often(*state, &allreduce_1m, &machine, 100, PULL);
    assert_int_equal(shl_ways_usual(*state, &allreduce_1m), PULL);
}

static void the_others_learn_what_is_usual(void **state)
{
    shl_ways_note(*state, &allreduce_1m, PULL, 0);
    assert_int_equal(shl_ways_usual(*state, &allreduce_1m), PULL);
    shl_ways_note(*state, &allreduce_1m, SHL_GROUP_DIRECT, 0); /* no way of these */
    assert_int_equal(shl_ways_usual(*state, &allreduce_1m), PULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(every_way_is_tried_twice_then_the_fastest_is_used, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(the_first_way_can_be_given, set_up, tear_down),
        cmocka_unit_test_setup_teardown(only_usable_ways_are_used, set_up, tear_down),
        cmocka_unit_test_setup_teardown(tries_cost_little, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_change_of_the_machine_is_noticed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_disturbed_operation_does_not_matter, set_up, tear_down),
        cmocka_unit_test_setup_teardown(kinds_and_sizes_are_told_apart, set_up, tear_down),
        cmocka_unit_test_setup_teardown(tries_that_come_to_nothing_are_repeated, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_others_learn_what_is_usual, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
