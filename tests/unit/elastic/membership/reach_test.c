/*
 * Whom to evict when members do not reach each other.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "elastic/membership/reach.h"
#include "support/random.h"
#include "support/test.h"

static struct shl_reach reach;
static uint64_t number;

static void misses(uint32_t from, uint64_t row)
{
    struct shl_set set = {{row}};
    shl_reach_report(&reach, from, ++number, &set);
}

static uint64_t evicted(uint32_t keep)
{
    struct shl_set out;
    shl_reach_evict(&reach, keep, &out);
    for (size_t i = 1; i < SHL_MEMBERS_MAX / 64; i++)
        assert_int_equal(out.words[i], 0);
    return out.words[0];
}

static void nobody_is_missed(void **state)
{
    (void)state;
    shl_reach_reset(&reach, 5);
    assert_false(shl_reach_broken(&reach));
    assert_int_equal(evicted(SHL_MEMBER_NONE), 0);
}

static void the_dead_one_goes(void **state)
{
    (void)state;
    for (uint32_t dead = 0; dead < 5; dead++) {
        shl_reach_reset(&reach, 5);
        for (uint32_t i = 0; i < 5; i++)
            if (i != dead)
                misses(i, 1u << dead);
        assert_true(shl_reach_broken(&reach));
        assert_int_equal(evicted(SHL_MEMBER_NONE), 1u << dead);
    }
}

/* One that hears nobody says so of all others: it is the one that is cut off. */
static void the_deaf_one_goes(void **state)
{
    (void)state;
    shl_reach_reset(&reach, 5);
    misses(0, 0x1e);
    assert_int_equal(evicted(SHL_MEMBER_NONE), 1);
}

/* Who is dead complains about nobody, so of a pair the one that is complained of goes. */
static void of_a_pair_the_silent_one_goes(void **state)
{
    (void)state;
    for (uint32_t noticed = 1; noticed <= 2; noticed++) {
        shl_reach_reset(&reach, 4);
        misses(noticed, 1u << (3 - noticed));
        assert_int_equal(evicted(SHL_MEMBER_NONE), 1u << (3 - noticed));
        assert_int_equal(evicted(3 - noticed), 1u << noticed);
    }
}

static void of_a_pair_that_agrees_the_higher_goes(void **state)
{
    (void)state;
    shl_reach_reset(&reach, 4);
    misses(2, 1u << 1);
    misses(1, 1u << 2);
    assert_int_equal(evicted(SHL_MEMBER_NONE), 1u << 2);
    assert_int_equal(evicted(2), 1u << 1);
}

/* Two dead ones, each noticed by one other so far. */
static void of_two_pairs_the_silent_ones_go(void **state)
{
    (void)state;
    shl_reach_reset(&reach, 5);
    misses(3, 1u << 0);
    misses(4, 1u << 1);
    assert_int_equal(evicted(SHL_MEMBER_NONE), 0x3);
}

static void own_position_and_strangers_are_ignored(void **state)
{
    (void)state;
    shl_reach_reset(&reach, 3);
    misses(1, 1u << 1 | 1u << 3 | 1ull << 60);
    assert_false(shl_reach_broken(&reach));
    assert_false(shl_reach_report(&reach, 3, ++number, &(struct shl_set){{1}}));
}

static void old_rows_are_ignored(void **state)
{
    (void)state;
    shl_reach_reset(&reach, 3);
    assert_true(shl_reach_report(&reach, 1, 7, &(struct shl_set){{1}}));
    assert_false(shl_reach_report(&reach, 1, 6, &(struct shl_set){{0}}));
    assert_true(shl_reach_broken(&reach));
    assert_true(shl_reach_report(&reach, 1, 8, &(struct shl_set){{0}}));
    assert_false(shl_reach_broken(&reach));
    assert_int_equal(evicted(SHL_MEMBER_NONE), 0);
}

/* Greedy takes the middle of this tree first; the least eviction is its two neighbours' sides. */
static void fewest_are_found_where_greed_fails(void **state)
{
    (void)state;
    shl_reach_reset(&reach, 7);
    misses(6, 0x7); /* 6 misses 0, 1, 2 */
    misses(0, 1 << 3);
    misses(1, 1 << 4);
    misses(2, 1 << 5);
    assert_int_equal(evicted(SHL_MEMBER_NONE), 0x7);
}

static bool covers(const uint64_t *rows, uint32_t count, uint64_t out)
{
    for (uint32_t i = 0; i < count; i++)
        if (!(out >> i & 1) && rows[i] & ~out)
            return false;
    return true;
}

/* Against all subsets, for random matrices of up to ten members. */
static void the_least_eviction(void **state)
{
    (void)state;
    uint64_t random = shl_test_seed();
    for (unsigned run = 0; run < 500; run++) {
        uint32_t count = 2 + (uint32_t)(shl_test_random(&random) % 9);
        uint64_t rows[10] = {0}, density = 1 + shl_test_random(&random) % 6;
        shl_reach_reset(&reach, count);
        for (uint32_t i = 0; i < count; i++) {
            for (uint32_t j = 0; j < count; j++)
                if (i != j && shl_test_random(&random) % 8 < density)
                    rows[i] |= 1ull << j;
            misses(i, rows[i]);
        }
        int least = (int)count;
        for (uint64_t out = 0; out < 1ull << count; out++)
            if (covers(rows, count, out) && __builtin_popcountll(out) < least)
                least = __builtin_popcountll(out);
        uint64_t out = evicted(SHL_MEMBER_NONE);
        assert_true(covers(rows, count, out));
        assert_int_equal(__builtin_popcountll(out), least);
        uint32_t keep = (uint32_t)(shl_test_random(&random) % count);
        out = evicted(keep);
        assert_true(covers(rows, count, out) && !(out >> keep & 1));
    }
}

static void a_large_view_takes_bounded_time(void **state)
{
    (void)state;
    uint64_t random = 1;
    shl_reach_reset(&reach, SHL_MEMBERS_MAX);
    for (uint32_t i = 0; i < SHL_MEMBERS_MAX; i++) {
        struct shl_set row = {{0}};
        shl_set_put(&row, (uint32_t)(shl_test_random(&random) % SHL_MEMBERS_MAX));
        shl_reach_report(&reach, i, ++number, &row);
    }
    struct shl_set out;
    shl_reach_evict(&reach, SHL_MEMBER_NONE, &out);
    for (uint32_t i = 0; i < SHL_MEMBERS_MAX; i++)
        for (uint32_t j = 0; j < SHL_MEMBERS_MAX; j++)
            if (shl_set_has(&reach.rows[i], j))
                assert_true(shl_set_has(&out, i) || shl_set_has(&out, j));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nobody_is_missed),
        cmocka_unit_test(the_dead_one_goes),
        cmocka_unit_test(the_deaf_one_goes),
        cmocka_unit_test(of_a_pair_the_silent_one_goes),
        cmocka_unit_test(of_a_pair_that_agrees_the_higher_goes),
        cmocka_unit_test(of_two_pairs_the_silent_ones_go),
        cmocka_unit_test(own_position_and_strangers_are_ignored),
        cmocka_unit_test(old_rows_are_ignored),
        cmocka_unit_test(fewest_are_found_where_greed_fails),
        cmocka_unit_test(the_least_eviction),
        cmocka_unit_test(a_large_view_takes_bounded_time),
    };
    return cmocka_run_group_tests_name("reach", tests, NULL, NULL);
}
