/*
 * How sharded arrays are cut, and the table of who holds them.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "elastic/state/shards.h"

#include "support/random.h"
#include "support/test.h"

static void every_element_is_in_one_shard(void **state)
{
    (void)state;
    uint64_t random = shl_test_seed();
    for (int i = 0; i < 500; i++) {
        uint64_t count = shl_test_random(&random) % (i % 2 ? 3000 : 10000000), at = 0;
        uint32_t shards = 1 + (uint32_t)(shl_test_random(&random) % 700);
        uint64_t most = shl_shard_span(count, shards, 0).count;
        for (uint32_t s = 0; s < shards; s++) {
            struct shl_shard_span span = shl_shard_span(count, shards, s);
            assert_true(span.count <= most);
            assert_true(span.count == 0 || span.first == at);
            at += span.count;
        }
        assert_int_equal(at, count);
        assert_true(most <= count / shards + SHL_SHARD_ELEMENTS_MIN);
    }
}

/* What several optimizers' arrays of one size need: the same cut. */
static void shards_begin_at_cache_lines(void **state)
{
    (void)state;
    for (uint32_t s = 0; s < 512; s++)
        assert_int_equal(shl_shard_span(1000003, 512, s).first % 64,
                         shl_shard_span(1000003, 512, s).count ? 0 : 1000003 % 64);
}

static void a_table_is_copied_and_searched(void **state)
{
    (void)state;
    struct shl_table table, other;
    assert_int_equal(shl_table_make(5, 3, &table), SHOAL_OK);
    assert_int_equal(shl_table_make(5, 3, &other), SHOAL_OK);
    assert_int_equal(shl_table_bytes(&table), 5 * (3 * 8 + 1) + 8);
    assert_true(shl_table_equal(&table, &other));
    for (uint32_t s = 0; s < 5; s++)
        assert_int_equal(table.fresh[s], 1);
    shl_table_row(&table, 2)[0] = 77;
    shl_table_row(&table, 2)[1] = 78;
    table.fresh[2] = 0;
    *table.spreads = 9;
    assert_false(shl_table_equal(&table, &other));
    shl_table_copy(&other, &table);
    assert_int_equal(shl_table_find(&other, 2, 77), 0);
    assert_int_equal(shl_table_find(&other, 2, 78), 1);
    assert_int_equal(shl_table_find(&other, 2, 79), UINT32_MAX);
    assert_int_equal(shl_table_find(&other, 1, 77), UINT32_MAX);
    assert_int_equal(other.fresh[2], 0);
    assert_int_equal(other.fresh[3], 1);
    assert_int_equal(*other.spreads, 9);
    assert_true(shl_table_equal(&table, &other));
    shl_table_clear(&table);
    assert_int_equal(*table.spreads, 0);
    shl_table_free(&table);
    shl_table_free(&other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_element_is_in_one_shard),
        cmocka_unit_test(shards_begin_at_cache_lines),
        cmocka_unit_test(a_table_is_copied_and_searched),
    };
    return cmocka_run_group_tests_name("shards", tests, NULL, NULL);
}
