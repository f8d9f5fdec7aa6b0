/*
 * Layouts: where units lie, and that both ends of every message agree on its length.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "collectives/schedule_check.h"

#include "shapes.h"
#include "support/test.h"

static struct shl_layout layout_of(enum shoal_collective collective, uint32_t blocks,
                                   uint32_t chunks, uint64_t count, uint32_t elem_bytes)
{
    struct shl_schedule schedule = {
        .collective = collective, .rank_count = blocks, .blocks = blocks, .chunks = chunks};
    return shl_layout_make(&schedule, count, elem_bytes);
}

static void blocks_and_chunks_are_whole_cache_lines(void **state)
{
    (void)state;
    struct shl_layout layout = layout_of(SHOAL_ALLREDUCE, 3, 2, 100, 4);
    assert_int_equal(layout.block_elems, 48); /* 34 rounded up to 16s */
    assert_int_equal(layout.chunk_elems, 32); /* 24 rounded up */
    static const uint64_t offsets[] = {0, 32, 48, 80, 96, 100, 100};
    for (uint32_t unit = 0; unit <= 6; unit++)
        assert_int_equal(shl_layout_offset(&layout, SHL_INPUT, unit), offsets[unit]);
    assert_int_equal(shl_layout_offset(&layout, SHL_SCRATCH, 6), 144); /* scratch is never cut */
}

static void callers_blocks_are_kept(void **state)
{
    (void)state;
    struct shl_layout layout = layout_of(SHOAL_REDUCE_SCATTER, 4, 2, 7, 8);
    assert_int_equal(layout.count, 28);
    assert_int_equal(layout.block_elems, 7);
    assert_int_equal(layout.chunk_elems, 8); /* the second chunk of every block is empty */
    assert_int_equal(shl_layout_offset(&layout, SHL_INPUT, 1), 7);
    assert_int_equal(shl_layout_offset(&layout, SHL_INPUT, 2), 7);
    assert_int_equal(shl_layout_offset(&layout, SHL_INPUT, 8), 28);
    assert_int_equal(shl_layout_offset(&layout, SHL_OUTPUT, 2), 7);
}

static void nothing_is_nowhere(void **state)
{
    (void)state;
    for (int collective = 0; collective < SHOAL_COLLECTIVE_COUNT; collective++) {
        struct shl_layout layout = layout_of((enum shoal_collective)collective, 5, 3, 0, 16);
        for (uint32_t unit = 0; unit <= 15; unit++)
            assert_int_equal(shl_layout_offset(&layout, SHL_OUTPUT, unit), 0);
    }
}

static void counts_beyond_32_bits(void **state)
{
    (void)state;
    uint64_t count = UINT64_C(5) << 32;
    struct shl_layout layout = layout_of(SHOAL_ALLREDUCE, 7, 4, count, 1);
    assert_int_equal(shl_layout_offset(&layout, SHL_INPUT, 28), count);
    assert_true(shl_layout_offset(&layout, SHL_INPUT, 27) > UINT32_MAX);
    layout = layout_of(SHOAL_ALLGATHER, 7, 4, count, 1);
    assert_int_equal(shl_layout_offset(&layout, SHL_OUTPUT, 28), 7 * count);
}

static void units_cover_the_buffer_in_order(void **state)
{
    (void)state;
    static const uint64_t counts[] = {1, 15, 16, 17, 63, 64, 65, 1000, 4097};
    static const uint32_t sizes[] = {1, 2, 4, 8, 16};
    for (uint32_t blocks = 1; blocks <= 9; blocks++) {
        for (uint32_t i = 0; i < 9 * 5 * 4; i++) {
            uint32_t chunks = 1 + i % 4;
            uint64_t count = counts[i / 4 % 9];
            struct shl_layout layout = layout_of(i % 2 ? SHOAL_ALLREDUCE : SHOAL_ALLGATHER, blocks,
                                                 chunks, count, sizes[i / 36]);
            uint64_t before = 0;
            for (uint32_t unit = 0; unit <= blocks * chunks; unit++) {
                uint64_t offset = shl_layout_offset(&layout, SHL_OUTPUT, unit);
                assert_true(offset >= before && offset <= layout.count);
                assert_true(offset <= shl_layout_offset(&layout, SHL_SCRATCH, unit));
                before = offset;
            }
            assert_int_equal(before, layout.count);
        }
    }
}

/* Also where data in scratch belong to units that are cut short: the length is always that of the
 * data, and fits where they lie. */
static void both_ends_of_a_message_agree_on_its_length(void **state)
{
    (void)state;
    static struct shape_hosts hosts;
    for (size_t i = 0; i < shl_algorithm_count(); i++) {
        const struct shl_algorithm *algorithm = shl_algorithm_at(i);
        struct shl_shape shape = {.rank_count = 7, .chunks = 3};
        shape.hosts = shape_hosts_make(&hosts, SHAPE_UNEVEN, 7);
        struct shl_schedule **schedules;
        ASSERT_OK(shl_algorithm_build_all(algorithm, &shape, &schedules));
        for (uint64_t count = 0; count < 400; count += 37) {
            struct shl_layout layout = shl_layout_make(schedules[0], count, 4);
            uint64_t ends[7][7] = {{0}};
            for (uint32_t rank = 0; rank < 7; rank++) {
                const struct shl_schedule *schedule = schedules[rank];
                for (uint32_t s = 0; s < schedule->step_count; s++) {
                    const struct shl_step *step = &schedule->steps[s];
                    bool sends = step->kind == SHL_STEP_SEND;
                    const struct shl_span *span = sends ? &step->src : &step->dst;
                    uint64_t length = shl_layout_length(&layout, span);
                    uint64_t room =
                        shl_layout_offset(&layout, (enum shl_buffer)span->buffer,
                                          span->first + span->count) -
                        shl_layout_offset(&layout, (enum shl_buffer)span->buffer, span->first);
                    assert_true(span->buffer == SHL_SCRATCH ? length <= room : length == room);
                    if (sends)
                        ends[rank][step->peer] += length * (step->msg + 1);
                    else if (step->kind == SHL_STEP_RECV || step->kind == SHL_STEP_RECV_REDUCE)
                        ends[step->peer][rank] -= length * (step->msg + 1);
                }
            }
            for (uint32_t pair = 0; pair < 49; pair++)
                assert_int_equal(ends[pair / 7][pair % 7], 0);
        }
        shl_schedule_free_all(schedules, 7);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(blocks_and_chunks_are_whole_cache_lines),
        cmocka_unit_test(callers_blocks_are_kept),
        cmocka_unit_test(nothing_is_nowhere),
        cmocka_unit_test(counts_beyond_32_bits),
        cmocka_unit_test(units_cover_the_buffer_in_order),
        cmocka_unit_test(both_ends_of_a_message_agree_on_its_length),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
