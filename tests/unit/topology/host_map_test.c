/*
 * Ranks by host.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "topology/host_map.h"

#include "support/fault.h"
#include "support/random.h"
#include "support/test.h"

#include <stdlib.h>

static const char *at_index(void *arg, uint32_t rank)
{
    return ((const char *const *)arg)[rank];
}

static void assert_map(uint32_t rank_count, const char *const *ids, const uint32_t *expected,
                       uint32_t hosts)
{
    uint32_t host_of[16] = {0}, host_count = 99;
    ASSERT_OK(
        shl_host_map_fill(rank_count, at_index, (void *)(uintptr_t)ids, host_of, &host_count));
    assert_int_equal(host_count, hosts);
    for (uint32_t rank = 0; rank < rank_count; rank++)
        assert_int_equal(host_of[rank], expected[rank]);
}

static void hosts_are_numbered_by_first_appearance(void **state)
{
    (void)state;
    assert_map(1, (const char *[]){"a"}, (uint32_t[]){0}, 1);
    assert_map(4, (const char *[]){"a", "a", "a", "a"}, (uint32_t[]){0, 0, 0, 0}, 1);
    assert_map(4, (const char *[]){"z", "a", "m", "b"}, (uint32_t[]){0, 1, 2, 3}, 4);
    assert_map(6, (const char *[]){"b", "a", "b", "c", "a", "b"}, (uint32_t[]){0, 1, 0, 2, 1, 0},
               3);
}

static void an_unknown_host_is_nobody_elses(void **state)
{
    (void)state;
    assert_map(5, (const char *[]){"", "a", NULL, "a", ""}, (uint32_t[]){0, 1, 2, 1, 3}, 4);
}

static void no_ranks_have_no_hosts(void **state)
{
    (void)state;
    assert_map(0, NULL, NULL, 0);
}

static void random_maps_agree_with_the_slow_way(void **state)
{
    (void)state;
    static const char *const names[] = {"h0", "h1", "h2", "h3", "h4", "", "h5"};
    uint64_t seed = shl_test_seed();
    for (int round = 0; round < 500; round++) {
        const char *ids[16];
        uint32_t expected[16], hosts = 0;
        uint32_t count = 1 + (uint32_t)(shl_test_random(&seed) % 16);
        for (uint32_t rank = 0; rank < count; rank++) {
            ids[rank] = names[shl_test_random(&seed) % 7];
            uint32_t before = 0;
            while (before < rank && (!*ids[rank] || strcmp(ids[before], ids[rank]) != 0))
                before++;
            expected[rank] = before < rank ? expected[before] : hosts++;
        }
        assert_map(count, ids, expected, hosts);
    }
}

static enum shoal_status fill(void *arg)
{
    uint32_t host_of[2], host_count;
    return shl_host_map_fill(2, at_index, arg, host_of, &host_count);
}

static void a_lack_of_memory_is_reported(void **state)
{
    (void)state;
    static const char *const ids[] = {"a", "b"};
    assert_int_equal(shl_fault_sweep(SHL_FAULT_ALL, fill, (void *)(uintptr_t)ids, 5), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hosts_are_numbered_by_first_appearance),
        cmocka_unit_test(an_unknown_host_is_nobody_elses),
        cmocka_unit_test(no_ranks_have_no_hosts),
        cmocka_unit_test(random_maps_agree_with_the_slow_way),
        cmocka_unit_test(a_lack_of_memory_is_reported),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
