/*
 * Layouts: every kind against the model, element by element, and what is refused.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "collectives/spread.h"
#include "support/layouts.h"
#include "support/random.h"
#include "support/test.h"

#define TOTAL_MAX 900

static uint64_t seed;

static int draw_seed(void **state)
{
    (void)state;
    seed = shl_test_seed();
    return 0;
}

static void against_the_model(void **state)
{
    (void)state;
    static uint32_t holder[TOTAL_MAX];
    static uint64_t place[TOTAL_MAX], held[LAYOUT_RANKS_MAX];
    uint64_t random = seed;
    for (int i = 0; i < 3000; i++) {
        struct test_layout drawn;
        uint64_t total = shl_test_random(&random) % TOTAL_MAX;
        uint32_t size = 1 + (uint32_t)(shl_test_random(&random) % 12);
        test_layout_draw(&random, total, size, false, &drawn);
        test_layout_model(&drawn.layout, total, size, holder, place, held);
        struct shl_spread spread;
        struct shl_spread_walk walk = {0};
        ASSERT_OK(shl_spread_init(&spread, &drawn.layout, total, size, "layout"));
        for (uint64_t at = 0; at < total;) {
            struct shl_spread_part run = shl_spread_run(&spread, &walk, at);
            assert_true(run.count > 0 && run.count <= total - at && run.first == at);
            for (uint64_t k = 0; k < run.count; k++) {
                assert_int_equal(run.rank, holder[at + k]);
                if (run.rank != LAYOUT_NOBODY)
                    assert_int_equal(run.offset + k, place[at + k]);
            }
            at += run.count > 1 && shl_test_random(&random) % 2 ? run.count / 2 : run.count;
        }
        for (uint32_t rank = 0; rank < size; rank++)
            assert_int_equal(shl_spread_count(&spread, rank), held[rank]);
        shl_spread_fini(&spread);
    }
}

static uint64_t hash_of(const struct shoal_layout *layout)
{
    struct shl_spread spread;
    ASSERT_OK(shl_spread_init(&spread, layout, 100, 4, "layout"));
    uint64_t hash = shl_spread_hash(&spread);
    shl_spread_fini(&spread);
    return hash;
}

static void hashes_tell_layouts_apart(void **state)
{
    (void)state;
    const uint64_t even[] = {25, 25, 25, 25}, odd[] = {24, 26, 25, 25};
    const struct shoal_span two[] = {{0, 50, 1}, {50, 50, 1}},
                            swapped[] = {{50, 50, 1}, {0, 50, 1}};
    struct shoal_layout layouts[] = {
        {.kind = SHOAL_LAYOUT_BLOCK},
        {.kind = SHOAL_LAYOUT_BLOCK, .ranks = 3},
        {.kind = SHOAL_LAYOUT_BLOCK, .ranks = 3, .first_rank = 1},
        {.kind = SHOAL_LAYOUT_BLOCKS, .counts = odd},
        {.kind = SHOAL_LAYOUT_CYCLIC, .block = 1},
        {.kind = SHOAL_LAYOUT_CYCLIC, .block = 2},
        {.kind = SHOAL_LAYOUT_CYCLIC, .block = 1, .ranks = 2},
        {.kind = SHOAL_LAYOUT_CYCLIC, .block = 1, .ranks = 2, .first_rank = 2},
        {.kind = SHOAL_LAYOUT_SPANS, .spans = two, .span_count = 2},
        {.kind = SHOAL_LAYOUT_SPANS, .spans = swapped, .span_count = 2},
        {.kind = SHOAL_LAYOUT_SPANS},
    };
    const size_t count = sizeof(layouts) / sizeof(layouts[0]);
    for (size_t i = 0; i < count; i++)
        for (size_t k = 0; k < i; k++)
            assert_int_not_equal(hash_of(&layouts[i]), hash_of(&layouts[k]));
    struct shoal_layout same = {.kind = SHOAL_LAYOUT_BLOCKS, .counts = even};
    assert_int_equal(hash_of(&layouts[0]), hash_of(&same));
}

static void refuse(const struct shoal_layout *layout, const char *detail)
{
    struct shl_spread spread;
    ASSERT_STATUS(SHOAL_ERR_INVALID, shl_spread_init(&spread, layout, 100, 4, "from"));
    ASSERT_DETAIL("from: ");
    ASSERT_DETAIL(detail);
    shl_spread_fini(&spread);
}

static void bad_layouts(void **state)
{
    (void)state;
    const uint64_t few[] = {25, 25, 25, 24}, many[] = {25, 25, 25, 26};
    const uint64_t huge[] = {1, UINT64_MAX, 50, 50};
    const struct shoal_span overlap[] = {{40, 20, 1}, {0, 41, 2}}, rank[] = {{0, 1, 4}};
    const struct shoal_span late[] = {{100, 1, 0}}, wraps[] = {{50, UINT64_MAX, 0}};
    const struct shoal_layout bad[] = {
        {.kind = (enum shoal_layout_kind)9},
        {.kind = SHOAL_LAYOUT_BLOCK, .first_rank = 4},
        {.kind = SHOAL_LAYOUT_BLOCK, .first_rank = 2, .ranks = 3},
        {.kind = SHOAL_LAYOUT_BLOCKS},
        {.kind = SHOAL_LAYOUT_BLOCKS, .counts = few},
        {.kind = SHOAL_LAYOUT_BLOCKS, .counts = many},
        {.kind = SHOAL_LAYOUT_BLOCKS, .counts = huge},
        {.kind = SHOAL_LAYOUT_CYCLIC},
        {.kind = SHOAL_LAYOUT_SPANS, .span_count = 1},
        {.kind = SHOAL_LAYOUT_SPANS, .spans = overlap, .span_count = 2},
        {.kind = SHOAL_LAYOUT_SPANS, .spans = rank, .span_count = 1},
        {.kind = SHOAL_LAYOUT_SPANS, .spans = late, .span_count = 1},
        {.kind = SHOAL_LAYOUT_SPANS, .spans = wraps, .span_count = 1},
    };
    const char *const details[] = {
        "kind 9 is unknown",
        "first_rank 4 is not below size 4",
        "3 parts from rank 2 on",
        "counts is NULL",
        "counts are 99 together",
        "part 3 are more than the 100",
        "part 1 are more",
        "block is 0",
        "spans is NULL",
        "element 40 is in two ",
        "of rank 4",
        "span 0 is 100..+1",
        "span 0 is 50..+",
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        refuse(&bad[i], details[i]);
}

/* A round of a cycle that no 64-bit number can count. */
static void enormous_blocks(void **state)
{
    (void)state;
    struct shoal_layout layout = {.kind = SHOAL_LAYOUT_CYCLIC, .block = UINT64_MAX / 2};
    struct shl_spread spread;
    struct shl_spread_walk walk = {0};
    ASSERT_OK(shl_spread_init(&spread, &layout, 100, 4, "layout"));
    struct shl_spread_part run = shl_spread_run(&spread, &walk, 10);
    assert_int_equal(run.rank, 0);
    assert_int_equal(run.count, 90);
    assert_int_equal(shl_spread_count(&spread, 0), 100);
    assert_int_equal(shl_spread_count(&spread, 3), 0);
    shl_spread_fini(&spread);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(against_the_model),
        cmocka_unit_test(hashes_tell_layouts_apart),
        cmocka_unit_test(bad_layouts),
        cmocka_unit_test(enormous_blocks),
    };
    return cmocka_run_group_tests(tests, draw_seed, NULL);
}
