/*
 * The checker finds what is wrong: correct schedules are broken on purpose, one thing at a time.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "collectives/schedule_check.h"

#include "collectives/schedule_builder.h"
#include "core/sys.h"
#include "shapes.h"
#include "support/fault.h"
#include "support/test.h"

#define RANKS 5

struct broken {
    struct shl_schedule **schedules;
};

static void build(struct broken *broken, enum shoal_collective collective, const char *name,
                  uint32_t chunks)
{
    struct shl_shape shape = {.rank_count = RANKS, .root = 0, .chunks = chunks};
    const struct shl_algorithm *algorithm = shl_algorithm_find(collective, name);
    assert_non_null(algorithm);
    ASSERT_OK(shl_algorithm_build_all(algorithm, &shape, &broken->schedules));
    ASSERT_OK(shl_schedule_check(broken->schedules, RANKS));
}

static void expect(struct broken *broken, const char *finding)
{
    ASSERT_STATUS(SHOAL_ERR_INTERNAL, shl_schedule_check(broken->schedules, RANKS));
    ASSERT_DETAIL(finding);
    shl_schedule_free_all(broken->schedules, RANKS);
}

/* The first step of a rank, from `from` on, that is of this kind and has all of these flags. */
static struct shl_step *find(struct broken *broken, uint32_t rank, uint32_t from, uint8_t kind,
                             uint8_t flags)
{
    struct shl_schedule *schedule = broken->schedules[rank];
    for (uint32_t i = from; i < schedule->step_count; i++) {
        struct shl_step *step = &schedule->steps[i];
        if (step->kind == kind && (step->flags & flags) == flags)
            return step;
    }
    fail_msg("rank %u has no step of kind %u", rank, kind);
    return NULL;
}

/* Removes one dependency of a step; the successor lists follow. */
static void drop_dep(struct shl_schedule *schedule, struct shl_step *step, uint32_t which)
{
    assert_true(which < step->dep_count);
    uint32_t at = step->first_dep + which;
    memmove(&schedule->deps[at], &schedule->deps[at + 1],
            (schedule->dep_count - at - 1) * sizeof(uint32_t));
    schedule->dep_count--;
    step->dep_count--;
    for (uint32_t i = 0; i < schedule->step_count; i++) {
        if (schedule->steps[i].first_dep > at)
            schedule->steps[i].first_dep--;
    }
    ASSERT_OK(shl_build_successors(schedule));
}

static void a_dropped_dependency(void **state)
{
    (void)state;
    struct broken broken;
    build(&broken, SHOAL_ALLREDUCE, "ring", 2);
    struct shl_schedule *schedule = broken.schedules[3];
    struct shl_step *step = find(&broken, 3, 4, SHL_STEP_SEND, 0);
    drop_dep(schedule, step, 0);
    expect(&broken, "rank 3 step 4 (send output");
}

/* Does `later` still wait for `earlier`, through others? Steps only wait for earlier ones. */
static bool waits(const struct shl_schedule *schedule, uint32_t later, uint32_t earlier)
{
    const struct shl_step *step = &schedule->steps[later];
    for (uint32_t i = 0; i < step->dep_count; i++) {
        uint32_t dep = schedule->deps[step->first_dep + i];
        if (dep == earlier || (dep > earlier && waits(schedule, dep, earlier)))
            return true;
    }
    return false;
}

/* Each one is either found or was implied by others: the builder names none without need. */
static void every_dropped_dependency(void **state)
{
    (void)state;
    static const char *const names[] = {"ring", "circulant", "direct",
                                        "flat", "two_rings", "recursive_doubling"};
    for (size_t n = 0; n < sizeof(names) / sizeof(names[0]); n++) {
        for (uint32_t at = 0, total = 1; at < total; at++) {
            struct broken broken;
            build(&broken, SHOAL_ALLREDUCE, names[n], 2);
            struct shl_schedule *schedule = broken.schedules[1];
            total = schedule->dep_count;
            struct shl_step *step = schedule->steps;
            while (step->first_dep + step->dep_count <= at)
                step++;
            uint32_t dep = schedule->deps[at];
            drop_dep(schedule, step, at - step->first_dep);
            if (!waits(schedule, (uint32_t)(step - schedule->steps), dep)) {
                expect(&broken, "rank 1 step");
                continue;
            }
            ASSERT_OK(shl_schedule_check(broken.schedules, RANKS));
            shl_schedule_free_all(broken.schedules, RANKS);
        }
    }
}

static void a_dependency_only_in_place(void **state)
{
    (void)state;
    struct broken broken;
    build(&broken, SHOAL_ALLREDUCE, "ring", 1);
    struct shl_schedule *schedule = broken.schedules[0];
    /* What is received into output[4] lies over the input that step 0 sends. */
    struct shl_step *step = find(&broken, 0, 0, SHL_STEP_RECV, 0);
    assert_int_equal(step->dep_count, 1);
    drop_dep(schedule, step, 0);
    expect(&broken, "writes in place what is used by step 0");
}

static void operands_in_another_order_on_one_rank(void **state)
{
    (void)state;
    struct broken broken;
    build(&broken, SHOAL_ALLREDUCE, "recursive_doubling", 1);
    struct shl_step *step = find(&broken, 4, 0, SHL_STEP_RECV_REDUCE, SHL_STEP_FINAL);
    step->flags ^= SHL_STEP_SWAP;
    expect(&broken, "by another expression");
}

static void operands_out_of_rank_order(void **state)
{
    (void)state;
    struct broken broken;
    build(&broken, SHOAL_REDUCE, "halving", 1);
    find(&broken, 0, 0, SHL_STEP_RECV_REDUCE, 0)->flags ^= SHL_STEP_SWAP;
    expect(&broken, "not combined in rank order");
}

static void a_missing_final(void **state)
{
    (void)state;
    struct broken broken;
    build(&broken, SHOAL_ALLREDUCE, "circulant", 1);
    find(&broken, 2, 0, SHL_STEP_RECV_REDUCE, SHL_STEP_FINAL)->flags &= ~SHL_STEP_FINAL;
    expect(&broken, "never marked FINAL");
}

static void a_final_too_early(void **state)
{
    (void)state;
    struct broken broken;
    build(&broken, SHOAL_ALLREDUCE, "ring", 1);
    find(&broken, 2, 0, SHL_STEP_RECV_REDUCE, 0)->flags |= SHL_STEP_FINAL;
    expect(&broken, "marks FINAL what does not hold each contribution once");
}

static void a_final_where_nothing_is_reduced(void **state)
{
    (void)state;
    struct broken broken;
    build(&broken, SHOAL_ALLGATHER, "ring", 1);
    find(&broken, 2, 0, SHL_STEP_COPY, 0)->flags |= SHL_STEP_FINAL;
    expect(&broken, "marks FINAL where nothing is reduced");
}

static void a_token_that_is_not_sent(void **state)
{
    (void)state;
    struct broken broken;
    build(&broken, SHOAL_BROADCAST, "chain", 1);
    struct shl_step *step = find(&broken, 4, 0, SHL_STEP_SEND, 0);
    assert_int_equal(step->src.count, 0);
    step->kind = SHL_STEP_COPY; /* of nothing */
    expect(&broken, "has no other end");
}

static void tokens_that_do_not_wait_for_each_other(void **state)
{
    (void)state;
    struct broken broken;
    build(&broken, SHOAL_BARRIER, "dissemination", 1);
    /* The second token of rank 1 no longer tells rank 3 about rank 0. */
    struct shl_step *step = find(&broken, 1, 2, SHL_STEP_SEND, 0);
    assert_int_equal(step->peer, 3);
    while (step->dep_count)
        drop_dep(broken.schedules[1], step, 0);
    expect(&broken, "rank 3 may complete before rank 0 starts");
}

static void a_contribution_left_out(void **state)
{
    (void)state;
    struct broken broken;
    build(&broken, SHOAL_REDUCE, "chain", 1);
    struct shl_step *send = find(&broken, 3, 0, SHL_STEP_SEND, 0);
    send->src = find(&broken, 3, 0, SHL_STEP_RECV_REDUCE, 0)->src; /* not the sum, but our own */
    expect(&broken, "marks FINAL what does not hold each contribution once");
}

/* As many contributions as ranks, but one twice and one not at all: only the proof at the end,
 * which counts every one, can tell. */
static void a_contribution_counted_twice(void **state)
{
    (void)state;
    struct broken broken;
    build(&broken, SHOAL_REDUCE, "chain", 1);
    struct shl_step *reduce = find(&broken, 3, 0, SHL_STEP_RECV_REDUCE, 0);
    assert_int_equal(reduce->peer, 4);
    /* Rank 3 passes on twice its own, as if rank 4's had come; rank 2 combines as before. */
    reduce->kind = SHL_STEP_REDUCE;
    reduce->flags = 0;
    reduce->src2 = reduce->src;
    struct shl_step *leaf = find(&broken, 4, 0, SHL_STEP_SEND, 0);
    leaf->kind = SHL_STEP_COPY;
    leaf->dst = shl_scratch(0, 1, 0);
    expect(&broken, "rank 0 output unit 0 holds rank 3's contribution 2 times");
}

static void a_wrong_span(void **state)
{
    (void)state;
    struct broken broken;
    build(&broken, SHOAL_ALLREDUCE, "ring", 1);
    struct shl_step *step = find(&broken, 1, 0, SHL_STEP_SEND, 0);
    step->src.first = (step->src.first + 1) % RANKS;
    step->src.like = step->src.first;
    expect(&broken, "at the sender");
}

static void a_message_of_another_size(void **state)
{
    (void)state;
    struct broken broken;
    build(&broken, SHOAL_ALLREDUCE, "recursive_doubling", 2);
    find(&broken, 0, 0, SHL_STEP_SEND, 0)->src.count = 1;
    expect(&broken, "at the receiver");
}

static void an_input_written(void **state)
{
    (void)state;
    struct broken broken;
    build(&broken, SHOAL_ALLREDUCE, "ring", 1);
    find(&broken, 1, 0, SHL_STEP_RECV_REDUCE, 0)->dst.buffer = SHL_INPUT;
    expect(&broken, "input must not be written here");
}

static void an_output_where_there_is_none(void **state)
{
    (void)state;
    struct broken broken;
    build(&broken, SHOAL_REDUCE, "halving", 1);
    struct shl_step *step = find(&broken, 3, 0, SHL_STEP_RECV_REDUCE, 0);
    step->dst = shl_span(SHL_OUTPUT, 0, 1);
    expect(&broken, "output must not be written here");
}

static void an_input_where_there_is_none(void **state)
{
    (void)state;
    struct broken broken;
    build(&broken, SHOAL_BROADCAST, "chain", 1);
    find(&broken, 1, 0, SHL_STEP_SEND, 0)->src.buffer = SHL_INPUT;
    expect(&broken, "input must not be read here");
}

static void a_span_beyond_its_buffer(void **state)
{
    (void)state;
    struct broken broken;
    build(&broken, SHOAL_ALLREDUCE, "direct", 1);
    find(&broken, 2, 0, SHL_STEP_RECV, 0)->dst.first = 4;
    expect(&broken, "are beyond the buffer");
}

static void scratch_of_another_chunk(void **state)
{
    (void)state;
    struct broken broken;
    build(&broken, SHOAL_REDUCE_SCATTER, "ring", 2);
    struct shl_step *step = find(&broken, 2, 0, SHL_STEP_RECV_REDUCE, 0);
    assert_int_equal(step->dst.buffer, SHL_SCRATCH);
    step->dst.first++;
    expect(&broken, "cannot hold data of unit");
}

static void undefined_memory_read(void **state)
{
    (void)state;
    struct broken broken;
    build(&broken, SHOAL_ALLREDUCE, "ring", 1);
    find(&broken, 2, 0, SHL_STEP_SEND, 0)->src.buffer = SHL_OUTPUT;
    expect(&broken, "undefined memory");
}

static void an_output_left_out(void **state)
{
    (void)state;
    struct broken broken;
    build(&broken, SHOAL_ALLGATHER, "direct", 1);
    struct shl_step *step = find(&broken, 2, 0, SHL_STEP_COPY, 0);
    step->src = step->dst; /* copies undefined memory onto itself */
    expect(&broken, "undefined");
}

static void a_cycle_of_messages(void **state)
{
    (void)state;
    struct broken broken;
    build(&broken, SHOAL_ALLREDUCE, "ring", 1);
    /* Every rank receives before it sends: no one ever does if messages need both ends. */
    for (uint32_t rank = 0; rank < RANKS; rank++) {
        struct shl_schedule *schedule = broken.schedules[rank];
        uint32_t *deps = shl_mem->alloc((schedule->dep_count + 1) * sizeof(uint32_t));
        assert_non_null(deps);
        struct shl_step send = schedule->steps[0];
        schedule->steps[0] = schedule->steps[1];
        schedule->steps[1] = send;
        schedule->steps[1].dep_count = 1;
        schedule->steps[1].first_dep = 0;
        deps[0] = 0;
        for (uint32_t i = 0; i < schedule->dep_count; i++)
            deps[i + 1] = schedule->deps[i] < 2 ? 1 - schedule->deps[i] : schedule->deps[i];
        for (uint32_t i = 2; i < schedule->step_count; i++)
            schedule->steps[i].first_dep++;
        shl_mem->free(schedule->deps);
        schedule->deps = deps;
        schedule->dep_count++;
        ASSERT_OK(shl_build_successors(schedule));
    }
    expect(&broken, "deadlock: the other end");
}

static void a_message_number_used_twice(void **state)
{
    (void)state;
    struct broken broken;
    build(&broken, SHOAL_ALLREDUCE, "ring", 2);
    struct shl_step *step = find(&broken, 0, 2, SHL_STEP_SEND, 0);
    step->msg = 0;
    expect(&broken, "message number 0 is used twice");
}

static void a_message_to_oneself(void **state)
{
    (void)state;
    struct broken broken;
    build(&broken, SHOAL_ALLREDUCE, "ring", 1);
    find(&broken, 3, 0, SHL_STEP_SEND, 0)->peer = 3;
    expect(&broken, "peer 3 is not another rank");
}

static void a_successor_list_that_lacks_a_step(void **state)
{
    (void)state;
    struct broken broken;
    build(&broken, SHOAL_ALLREDUCE, "ring", 1);
    struct shl_schedule *schedule = broken.schedules[0];
    struct shl_step *step = schedule->steps;
    while (step->next_count == 0)
        step++;
    step->next_count--;
    expect(&broken, "knows this one as its successor");
}

static void schedules_of_different_roots(void **state)
{
    (void)state;
    struct broken broken;
    build(&broken, SHOAL_BROADCAST, "binomial", 1);
    broken.schedules[3]->root = 2;
    expect(&broken, "another rank, root, collective or division");
}

static void operands_that_overlap_partly(void **state)
{
    (void)state;
    struct broken broken;
    build(&broken, SHOAL_ALLREDUCE, "recursive_doubling", 2);
    struct shl_step *step = find(&broken, 0, 0, SHL_STEP_RECV_REDUCE, 0);
    step->src = step->dst;
    step->src.first -= 1;
    expect(&broken, "cannot hold data"); /* moved by one chunk, so it is of another */
    build(&broken, SHOAL_REDUCE_SCATTER, "circulant", 1);
    step = find(&broken, 0, 0, SHL_STEP_RECV_REDUCE, 0);
    assert_int_equal(step->dst.count, 2);
    step->src = step->dst;
    step->src.first += 1;
    expect(&broken, "overlap partly");
}

static void flags_that_do_not_suit(void **state)
{
    (void)state;
    struct broken broken;
    build(&broken, SHOAL_ALLREDUCE, "ring", 1);
    find(&broken, 0, 0, SHL_STEP_RECV, 0)->flags = SHL_STEP_FINAL;
    expect(&broken, "flags 2 do not suit");
}

static void nothing_to_check(void **state)
{
    (void)state;
    ASSERT_STATUS(SHOAL_ERR_INVALID, shl_schedule_check(NULL, 0));
}

static enum shoal_status prove_one(void *arg)
{
    (void)arg;
    struct shl_shape shape = {.rank_count = 3, .chunks = 2};
    return shl_algorithm_prove(shl_algorithm_find(SHOAL_ALLREDUCE, "circulant"), &shape);
}

static void failing_allocations(void **state)
{
    (void)state;
    assert_true(shl_fault_sweep(SHL_FAULT_MEM, prove_one, NULL, 500) > 20);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_dropped_dependency),
        cmocka_unit_test(every_dropped_dependency),
        cmocka_unit_test(a_dependency_only_in_place),
        cmocka_unit_test(operands_in_another_order_on_one_rank),
        cmocka_unit_test(operands_out_of_rank_order),
        cmocka_unit_test(a_missing_final),
        cmocka_unit_test(a_final_too_early),
        cmocka_unit_test(a_final_where_nothing_is_reduced),
        cmocka_unit_test(a_token_that_is_not_sent),
        cmocka_unit_test(tokens_that_do_not_wait_for_each_other),
        cmocka_unit_test(a_contribution_left_out),
        cmocka_unit_test(a_contribution_counted_twice),
        cmocka_unit_test(a_wrong_span),
        cmocka_unit_test(a_message_of_another_size),
        cmocka_unit_test(an_input_written),
        cmocka_unit_test(an_output_where_there_is_none),
        cmocka_unit_test(an_input_where_there_is_none),
        cmocka_unit_test(a_span_beyond_its_buffer),
        cmocka_unit_test(scratch_of_another_chunk),
        cmocka_unit_test(undefined_memory_read),
        cmocka_unit_test(an_output_left_out),
        cmocka_unit_test(a_cycle_of_messages),
        cmocka_unit_test(a_message_number_used_twice),
        cmocka_unit_test(a_message_to_oneself),
        cmocka_unit_test(a_successor_list_that_lacks_a_step),
        cmocka_unit_test(schedules_of_different_roots),
        cmocka_unit_test(operands_that_overlap_partly),
        cmocka_unit_test(flags_that_do_not_suit),
        cmocka_unit_test(nothing_to_check),
        cmocka_unit_test(failing_allocations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
