/*
 * Orders of samples: each is a permutation, they differ, look random, and never change.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "elastic/samples/permutation.h"
#include "elastic/samples/samples.h"
#include "support/random.h"
#include "support/test.h"

#include <stdlib.h>

static uint64_t seed;

static int draw_seed(void **state)
{
    (void)state;
    seed = shl_test_seed();
    return 0;
}

static void every_place_has_one_sample(void **state)
{
    (void)state;
    static uint8_t seen[5000];
    for (uint64_t count = 1; count <= 5000; count += count < 300 ? 1 : 397) {
        struct shl_permutation order;
        shl_permutation_init(&order, seed, count % 3, count);
        memset(seen, 0, sizeof(seen));
        for (uint64_t at = 0; at < count; at++) {
            uint64_t value = shl_permutation_at(&order, at);
            assert_true(value < count);
            assert_int_equal(seen[value], 0);
            seen[value] = 1;
        }
    }
}

static int compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static void large_counts(void **state)
{
    (void)state;
    static uint64_t values[20000];
    const uint64_t counts[] = {SHL_SAMPLES_MAX, SHL_SAMPLES_MAX - 12345, (UINT64_C(1) << 40) + 1,
                               UINT64_C(1) << 33};
    for (size_t c = 0; c < 4; c++) {
        struct shl_permutation order;
        shl_permutation_init(&order, seed + c, 0, counts[c]);
        for (size_t i = 0; i < 20000; i++) {
            values[i] = shl_permutation_at(&order, i < 10000 ? i : counts[c] - i);
            assert_true(values[i] < counts[c]);
        }
        qsort(values, 20000, sizeof(values[0]), compare);
        for (size_t i = 1; i < 20000; i++)
            assert_true(values[i - 1] < values[i]);
    }
}

/* Every order of four is about as frequent as any other: 24 orders, 24,000 seeds. */
static void small_orders_are_fair(void **state)
{
    (void)state;
    static uint32_t times[256];
    memset(times, 0, sizeof(times));
    for (uint64_t i = 0; i < 24000; i++) {
        struct shl_permutation order;
        uint32_t code = 0;
        shl_permutation_init(&order, seed ^ (i / 10), i % 10, 4);
        for (uint64_t at = 0; at < 4; at++)
            code = code << 2 | (uint32_t)shl_permutation_at(&order, at);
        times[code]++;
    }
    uint32_t orders = 0;
    for (uint32_t code = 0; code < 256; code++) {
        if (times[code] == 0)
            continue;
        orders++;
        assert_in_range(times[code], 800, 1200); /* expected 1000, sigma 31 */
    }
    assert_int_equal(orders, 24);
}

/* Each tenth of the places holds about a tenth of each tenth of the samples, and what follows a
 * sample says nothing about it. */
static void large_orders_are_mixed(void **state)
{
    (void)state;
    uint32_t cells[10][10] = {{0}}, follows = 0;
    struct shl_permutation order;
    shl_permutation_init(&order, seed, 7, 100000);
    uint64_t before = shl_permutation_at(&order, 0);
    cells[0][before / 10000]++;
    for (uint64_t at = 1; at < 100000; at++) {
        uint64_t value = shl_permutation_at(&order, at);
        cells[at / 10000][value / 10000]++;
        follows += value > before;
        before = value;
    }
    for (int i = 0; i < 10; i++)
        for (int k = 0; k < 10; k++)
            assert_in_range(cells[i][k], 1000 - 180, 1000 + 180); /* 6 sigma */
    assert_in_range(follows, 50000 - 600, 50000 + 600);
}

static void seeds_and_data_epochs_differ(void **state)
{
    (void)state;
    struct shl_permutation a, b, c;
    uint32_t same_b = 0, same_c = 0;
    shl_permutation_init(&a, seed, 0, 1000);
    shl_permutation_init(&b, seed + 1, 0, 1000);
    shl_permutation_init(&c, seed, 1, 1000);
    for (uint64_t at = 0; at < 1000; at++) {
        same_b += shl_permutation_at(&a, at) == shl_permutation_at(&b, at);
        same_c += shl_permutation_at(&a, at) == shl_permutation_at(&c, at);
    }
    assert_true(same_b < 12 && same_c < 12); /* expected 1 */
}

/* A checkpoint of an older release continues in the same order. */
static void orders_never_change(void **state)
{
    (void)state;
    static const uint64_t ten[] = {6, 1, 5, 0, 8, 4, 3, 7, 9, 2};
    static const uint64_t million[] = {693998, 930303, 586892, 59984};
    struct shl_permutation order;
    shl_permutation_init(&order, 42, 3, 10);
    for (uint64_t at = 0; at < 10; at++)
        assert_int_equal(shl_permutation_at(&order, at), ten[at]);
    shl_permutation_init(&order, UINT64_MAX, 0, 1000000);
    for (uint64_t at = 0; at < 4; at++)
        assert_int_equal(shl_permutation_at(&order, at * 333333), million[at]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_place_has_one_sample),   cmocka_unit_test(large_counts),
        cmocka_unit_test(small_orders_are_fair),        cmocka_unit_test(large_orders_are_mixed),
        cmocka_unit_test(seeds_and_data_epochs_differ), cmocka_unit_test(orders_never_change),
    };
    return cmocka_run_group_tests(tests, draw_seed, NULL);
}
