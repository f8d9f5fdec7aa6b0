/*
 * Building: dependencies from data, message numbers, successors, errors.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "collectives/schedule_builder.h"

#include "support/fault.h"
#include "support/random.h"
#include "support/test.h"

/* ---- a schedule built by the test itself ---------------------------------------------------- */

static void (*script)(struct shl_builder *builder);

static enum shoal_status run_script(const struct shl_shape *shape, struct shl_builder *builder)
{
    (void)shape;
    script(builder);
    return SHOAL_OK;
}

static const struct shl_algorithm *scripted(enum shoal_collective collective)
{
    static struct shl_algorithm algorithm;
    algorithm = (struct shl_algorithm){
        .name = "scripted", .source = "test", .collective = collective, .build = run_script};
    return &algorithm;
}

static struct shl_schedule *build(enum shoal_collective collective,
                                  void (*steps)(struct shl_builder *builder))
{
    struct shl_schedule *schedule = NULL;
    struct shl_shape shape = {.rank_count = 3, .rank = 1, .chunks = 2};
    script = steps;
    ASSERT_OK(shl_schedule_build(scripted(collective), &shape, &schedule));
    return schedule;
}

static bool waits(const struct shl_schedule *schedule, uint32_t step, uint32_t earlier)
{
    const struct shl_step *later = &schedule->steps[step];
    for (uint32_t i = 0; i < later->dep_count; i++) {
        if (schedule->deps[later->first_dep + i] == earlier)
            return true;
    }
    return false;
}

/* ---- dependencies --------------------------------------------------------------------------- */

static void overtaking_steps(struct shl_builder *builder)
{
    shl_build_blocks(builder, 3);
    shl_build_scratch(builder, 4);
    shl_build_recv(builder, 0, shl_scratch(0, 2, 0)); /* 0 writes scratch 0, 1 */
    shl_build_send(builder, 2, shl_scratch(1, 1, 1)); /* 1 reads scratch 1 */
    shl_build_recv(builder, 0, shl_scratch(1, 1, 1)); /* 2 writes scratch 1 */
    shl_build_recv(builder, 0, shl_scratch(0, 1, 0)); /* 3 writes scratch 0 */
    shl_build_send(builder, 2, shl_scratch(0, 2, 0)); /* 4 reads both */
    shl_build_send(builder, 2, shl_scratch(2, 2, 0)); /* 5 reads what nobody wrote */
    shl_build_reduce(builder, shl_span(SHL_OUTPUT, 0, 2), shl_span(SHL_INPUT, 0, 2),
                     shl_scratch(0, 2, 0), 0); /* 6 */
}

static void steps_wait_for_what_they_would_overtake(void **state)
{
    (void)state;
    struct shl_schedule *schedule = build(SHOAL_ALLREDUCE, overtaking_steps);
    assert_true(waits(schedule, 1, 0)); /* read after write */
    assert_true(waits(schedule, 2, 1)); /* write after read, which implies 0 */
    assert_false(waits(schedule, 2, 0));
    assert_true(waits(schedule, 3, 0)); /* write after write */
    assert_true(waits(schedule, 4, 2) && waits(schedule, 4, 3));
    assert_false(waits(schedule, 4, 0));
    assert_int_equal(schedule->steps[5].dep_count, 0);
    assert_true(waits(schedule, 6, 2) && waits(schedule, 6, 3));
    assert_int_equal(schedule->steps[6].dep_count, 2); /* readers do not wait for readers */
    shl_schedule_free(schedule);
}

static void aliasing_steps(struct shl_builder *builder)
{
    shl_build_blocks(builder, 3);
    shl_build_send(builder, 2, shl_span(SHL_INPUT, 0, 3));                             /* 0 */
    shl_build_copy(builder, shl_span(SHL_OUTPUT, 0, 6), shl_span(SHL_INPUT, 0, 6), 0); /* 1 */
    shl_build_recv(builder, 0, shl_span(SHL_OUTPUT, 2, 2));                            /* 2 */
    shl_build_recv(builder, 0, shl_span(SHL_OUTPUT, 2, 2));                            /* 3 */
    shl_build_recv(builder, 0, shl_span(SHL_OUTPUT, 4, 1));                            /* 4 */
}

static void output_lies_over_input_in_place(void **state)
{
    (void)state;
    struct shl_schedule *schedule = build(SHOAL_ALLREDUCE, aliasing_steps);
    assert_int_equal(schedule->steps[1].dep_count, 0); /* in place it moves nothing */
    assert_true(waits(schedule, 2, 0));                /* unit 2 is being sent from below */
    assert_true(waits(schedule, 2, 1));
    assert_true(waits(schedule, 3, 2));
    assert_false(waits(schedule, 3, 0)); /* 2 has waited for it */
    assert_false(waits(schedule, 4, 0)); /* another unit */
    assert_true(waits(schedule, 4, 1));
    shl_schedule_free(schedule);
}

static void allgather_steps(struct shl_builder *builder)
{
    shl_build_blocks(builder, 3);
    shl_build_send(builder, 2, shl_span(SHL_INPUT, 1, 1));  /* 0: own block's chunk 1, unit 3 */
    shl_build_recv(builder, 0, shl_span(SHL_OUTPUT, 2, 1)); /* 1 */
    shl_build_recv(builder, 0, shl_span(SHL_OUTPUT, 3, 3)); /* 2 */
    shl_build_recv(builder, 0, shl_span(SHL_OUTPUT, 0, 2)); /* 3 */
}

static void allgather_has_its_input_in_its_own_block(void **state)
{
    (void)state;
    struct shl_schedule *schedule = build(SHOAL_ALLGATHER, allgather_steps);
    assert_int_equal(schedule->steps[0].src.like, 3);
    assert_int_equal(schedule->steps[1].dep_count, 0);
    assert_true(waits(schedule, 2, 0));
    assert_int_equal(schedule->steps[3].dep_count, 0);
    shl_schedule_free(schedule);
}

static void reduce_scatter_steps(struct shl_builder *builder)
{
    shl_build_blocks(builder, 3);
    shl_build_send(builder, 2,
                   shl_span(SHL_INPUT, 0, 3)); /* 0: its last unit is our block's first */
    shl_build_recv(builder, 0, shl_span(SHL_OUTPUT, 1, 1)); /* 1 */
    shl_build_recv(builder, 0, shl_span(SHL_OUTPUT, 0, 1)); /* 2 */
}

static void reduce_scatter_has_its_output_in_its_own_block(void **state)
{
    (void)state;
    struct shl_schedule *schedule = build(SHOAL_REDUCE_SCATTER, reduce_scatter_steps);
    assert_int_equal(schedule->steps[1].dst.like, 3);
    assert_int_equal(schedule->steps[1].dep_count, 0);
    assert_true(waits(schedule, 2, 0));
    shl_schedule_free(schedule);
}

static void named_steps(struct shl_builder *builder)
{
    uint32_t first = shl_build_send(builder, 2, shl_token());
    uint32_t second = shl_build_recv(builder, 0, shl_token());
    shl_build_send(builder, 2, shl_token());
    shl_build_after(builder, second);
    shl_build_after(builder, SHL_NONE);
    shl_build_after(builder, second);
    shl_build_after(builder, first);
}

static void named_dependencies_are_kept_once(void **state)
{
    (void)state;
    struct shl_schedule *schedule = build(SHOAL_BARRIER, named_steps);
    assert_int_equal(schedule->steps[2].dep_count, 2);
    assert_true(waits(schedule, 2, 0) && waits(schedule, 2, 1));
    assert_int_equal(schedule->steps[0].next_count, 1);
    assert_int_equal(schedule->nexts[schedule->steps[0].first_next], 2);
    assert_int_equal(schedule->nexts[schedule->steps[1].first_next], 2);
    shl_schedule_free(schedule);
}

static void numbered_steps(struct shl_builder *builder)
{
    shl_build_send(builder, 2, shl_token());
    shl_build_send(builder, 0, shl_token());
    shl_build_recv(builder, 2, shl_token());
    shl_build_send(builder, 2, shl_token());
    shl_build_recv_reduce(builder, 2, shl_span(SHL_OUTPUT, 0, 1), shl_span(SHL_INPUT, 0, 1), 0);
}

static void messages_are_numbered_by_peer_and_direction(void **state)
{
    (void)state;
    static const uint32_t expected[] = {0, 0, 0, 1, 1};
    struct shl_schedule *schedule = build(SHOAL_ALLREDUCE, numbered_steps);
    for (uint32_t i = 0; i < 5; i++)
        assert_int_equal(schedule->steps[i].msg, expected[i]);
    shl_schedule_free(schedule);
}

/* ---- against a plain model ------------------------------------------------------------------ */

#define RANDOM_STEPS 60
#define RANDOM_UNITS 70 /* more than one word of the run bitmap */

static uint64_t random_state;

static uint32_t below(uint32_t limit)
{
    return (uint32_t)(shl_test_random(&random_state) % limit);
}

static void random_steps(struct shl_builder *builder)
{
    shl_build_blocks(builder, RANDOM_UNITS / 2);
    shl_build_scratch(builder, RANDOM_UNITS);
    for (uint32_t i = 0; i < RANDOM_STEPS; i++) {
        uint32_t first = below(RANDOM_UNITS), count = 1 + below(RANDOM_UNITS - first);
        struct shl_span scratch = shl_scratch(first, count, first);
        struct shl_span output = shl_span(SHL_OUTPUT, first, count);
        struct shl_span input = shl_span(SHL_INPUT, first, count);
        switch (below(6)) {
        case 0:
            shl_build_send(builder, 0, below(2) ? input : scratch);
            break;
        case 1:
            shl_build_recv(builder, 0, below(2) ? output : scratch);
            break;
        case 2:
            shl_build_recv_reduce(builder, 0, below(2) ? output : scratch, input, 0);
            break;
        case 3:
            shl_build_reduce(builder, scratch, scratch, below(2) ? input : output, 0);
            break;
        case 4:
            shl_build_copy(builder, output, input, 0);
            break;
        default:
            shl_build_copy(builder, output, scratch, 0);
        }
    }
}

static bool overlap(const struct shl_span *a, const struct shl_span *b, bool in_place)
{
    bool same = a->buffer == b->buffer ||
                (in_place && a->buffer != SHL_SCRATCH && b->buffer != SHL_SCRATCH);
    return same && a->first < b->first + b->count && b->first < a->first + a->count;
}

static bool conflict(const struct shl_step *a, const struct shl_step *b, bool in_place)
{
    const struct shl_span *reads_a[] = {&a->src, &a->src2}, *reads_b[] = {&b->src, &b->src2};
    if (in_place && ((a->kind == SHL_STEP_COPY && a->src.buffer == SHL_INPUT) ||
                     (b->kind == SHL_STEP_COPY && b->src.buffer == SHL_INPUT)))
        return false;
    bool found = overlap(&a->dst, &b->dst, in_place);
    for (int i = 0; i < 2; i++)
        found |= overlap(&a->dst, reads_b[i], in_place) || overlap(reads_a[i], &b->dst, in_place);
    return found;
}

/* All pairs that conflict are ordered, and nobody waits for a step without a conflict. A read of
 * INPUT after a write of the OUTPUT over it is no order that could help: such a schedule is wrong
 * in place, and the checker says so. */
static void order_is_what_a_plain_model_asks_for(void **state)
{
    (void)state;
    random_state = shl_test_seed();
    for (int round = 0; round < 200; round++) {
        bool before[RANDOM_STEPS][RANDOM_STEPS] = {{false}};
        struct shl_schedule *schedule = build(SHOAL_ALLREDUCE, random_steps);
        for (uint32_t b = 0; b < RANDOM_STEPS; b++) {
            const struct shl_step *later = &schedule->steps[b];
            for (uint32_t i = 0; i < later->dep_count; i++) {
                uint32_t dep = schedule->deps[later->first_dep + i];
                before[b][dep] = true;
                for (uint32_t a = 0; a < dep; a++)
                    before[b][a] |= before[dep][a];
            }
            for (uint32_t a = 0; a < b; a++) {
                const struct shl_step *earlier = &schedule->steps[a];
                bool out = conflict(earlier, later, false);
                bool in =
                    conflict(earlier, later, true) && overlap(&later->dst, &earlier->src, true);
                if ((out || in) && !before[b][a])
                    fail_msg("step %u does not wait for step %u", b, a);
                if (waits(schedule, b, a) && !out && !conflict(earlier, later, true) && !in)
                    fail_msg("step %u waits for step %u without need", b, a);
            }
        }
        shl_schedule_free(schedule);
    }
}

/* ---- one rank, errors ----------------------------------------------------------------------- */

static void one_rank_copies(void **state)
{
    (void)state;
    for (size_t i = 0; i < shl_algorithm_count(); i++) {
        const struct shl_algorithm *algorithm = shl_algorithm_at(i);
        struct shl_schedule *schedule;
        struct shl_shape shape = {.rank_count = 1, .chunks = 3};
        ASSERT_OK(shl_schedule_build(algorithm, &shape, &schedule));
        bool barrier = algorithm->collective == SHOAL_BARRIER;
        bool reduces = algorithm->collective == SHOAL_ALLREDUCE ||
                       algorithm->collective == SHOAL_REDUCE ||
                       algorithm->collective == SHOAL_REDUCE_SCATTER;
        assert_int_equal(schedule->step_count, barrier ? 0 : 1);
        if (!barrier) {
            assert_int_equal(schedule->steps[0].kind, SHL_STEP_COPY);
            assert_int_equal(schedule->steps[0].flags, reduces ? SHL_STEP_FINAL : 0);
            assert_int_equal(schedule->steps[0].dst.count, 3);
        }
        shl_schedule_free(schedule);
    }
}

static void bad_shapes_are_refused(void **state)
{
    (void)state;
    static const uint32_t hosts_of[] = {0, 1, 2};
    struct shl_host_map map = {.rank_count = 3, .host_count = 3, .host_of = hosts_of};
    const struct shl_algorithm *ring = shl_algorithm_find(SHOAL_ALLREDUCE, "ring");
    const struct shl_algorithm *leaders = shl_algorithm_find(SHOAL_ALLREDUCE, "leaders");
    struct shl_schedule *schedule = NULL;
    static const struct {
        struct shl_shape shape;
        const char *detail;
    } cases[] = {
        {{.rank_count = 0, .chunks = 1}, "rank 0 is not below the rank count 0"},
        {{.rank_count = 4, .rank = 4, .chunks = 1}, "rank 4 is not below"},
        {{.rank_count = 4, .root = 7, .chunks = 1}, "root 7 is not below"},
        {{.rank_count = 4}, "at least one chunk"},
        {{.rank_count = SHL_RANKS_MAX + 1, .chunks = 1}, "more than the"},
        {{.rank_count = SHL_RANKS_MAX, .chunks = 1u << 20}, "too many for"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        ASSERT_STATUS(SHOAL_ERR_INVALID, shl_schedule_build(ring, &cases[i].shape, &schedule));
        ASSERT_DETAIL(cases[i].detail);
    }
    struct shl_shape shape = {.rank_count = 4, .chunks = 1, .hosts = &map};
    ASSERT_STATUS(SHOAL_ERR_INVALID, shl_schedule_build(ring, &shape, &schedule));
    ASSERT_DETAIL("the host map has 3 ranks, the communicator 4");
    shape.rank_count = 3;
    ASSERT_STATUS(SHOAL_ERR_INVALID, shl_schedule_build(leaders, &shape, &schedule));
    ASSERT_DETAIL("needs several hosts");
    shape.hosts = NULL;
    ASSERT_STATUS(SHOAL_ERR_INVALID, shl_schedule_build(leaders, &shape, &schedule));
    shape.rank_count = 65;
    ASSERT_STATUS(SHOAL_ERR_INVALID, shl_schedule_build(shl_algorithm_find(SHOAL_ALLREDUCE, "flat"),
                                                        &shape, &schedule));
    ASSERT_DETAIL("at most 64 ranks");
    shape.rank_count = 2;
    ASSERT_STATUS(
        SHOAL_ERR_INVALID,
        shl_schedule_build(shl_algorithm_find(SHOAL_ALLREDUCE, "two_rings"), &shape, &schedule));
    ASSERT_DETAIL("at least 3 ranks");
    assert_null(schedule);
}

static void step_beyond_its_buffer(struct shl_builder *builder)
{
    shl_build_send(builder, 0, shl_span(SHL_INPUT, 1, 2));
    shl_build_send(builder, 0, shl_span(SHL_INPUT, 0, 1)); /* nothing more is appended */
}

static void a_builders_mistake_is_an_error(void **state)
{
    (void)state;
    struct shl_schedule *schedule = NULL;
    struct shl_shape shape = {.rank_count = 3, .chunks = 2};
    script = step_beyond_its_buffer;
    ASSERT_STATUS(SHOAL_ERR_INTERNAL,
                  shl_schedule_build(scripted(SHOAL_ALLREDUCE), &shape, &schedule));
    ASSERT_DETAIL("are beyond its 2");
    assert_null(schedule);
}

static enum shoal_status build_each(void *arg)
{
    (void)arg;
    static const uint32_t host_of[] = {0, 1, 0, 1, 0};
    struct shl_host_map map = {.rank_count = 5, .host_count = 2, .host_of = host_of};
    static const char *const names[] = {"direct", "hierarchical", "ring", "leaders"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        struct shl_schedule *schedule;
        struct shl_shape shape = {.rank_count = 5, .rank = 2, .chunks = 4, .hosts = &map};
        SHL_TRY(
            shl_schedule_build(shl_algorithm_find(SHOAL_ALLREDUCE, names[i]), &shape, &schedule));
        shl_schedule_free(schedule);
    }
    return SHOAL_OK;
}

static void failing_allocations(void **state)
{
    (void)state;
    assert_true(shl_fault_sweep(SHL_FAULT_MEM, build_each, NULL, 500) > 30);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(steps_wait_for_what_they_would_overtake),
        cmocka_unit_test(output_lies_over_input_in_place),
        cmocka_unit_test(allgather_has_its_input_in_its_own_block),
        cmocka_unit_test(reduce_scatter_has_its_output_in_its_own_block),
        cmocka_unit_test(named_dependencies_are_kept_once),
        cmocka_unit_test(messages_are_numbered_by_peer_and_direction),
        cmocka_unit_test(order_is_what_a_plain_model_asks_for),
        cmocka_unit_test(one_rank_copies),
        cmocka_unit_test(bad_shapes_are_refused),
        cmocka_unit_test(a_builders_mistake_is_an_error),
        cmocka_unit_test(failing_allocations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
