/*
 * Teams, host indices, trees and radices.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "collectives/rank_map.h"

#include "shapes.h"
#include "support/fault.h"
#include "support/test.h"

static void logarithms(void **state)
{
    (void)state;
    static const uint32_t expected[][2] = {{0, 0}, {1, 0}, {2, 1}, {3, 2},        {4, 2},
                                           {5, 3}, {8, 3}, {9, 4}, {1u << 31, 31}};
    for (size_t i = 0; i < sizeof(expected) / sizeof(expected[0]); i++)
        assert_int_equal(shl_log2_ceil(expected[i][0]), expected[i][1]);
}

static void a_team_may_begin_anywhere(void **state)
{
    (void)state;
    struct shl_shape shape = {.rank_count = 5, .rank = 1};
    struct shl_team team = shl_team_all(&shape, 3);
    assert_int_equal(team.me, 3);
    for (uint32_t member = 0; member < 5; member++)
        assert_int_equal(shl_team_rank(&team, member), (3 + member) % 5);
}

static void the_index_orders_ranks_by_host(void **state)
{
    (void)state;
    struct shape_hosts hosts;
    struct shl_host_index *index;
    const struct shl_host_map *map = shape_hosts_make(&hosts, SHAPE_ROUND_ROBIN, 8);
    ASSERT_OK(shl_host_index_make(map, &index));
    static const uint32_t by_host[] = {0, 3, 6, 1, 4, 7, 2, 5};
    for (uint32_t i = 0; i < 8; i++)
        assert_int_equal(index->by_host[i], by_host[i]);
    assert_int_equal(index->local_min, 2);
    assert_int_equal(index->local_max, 3);
    assert_int_equal(index->local_of[7], 2);
    assert_int_equal(shl_host_size(index, 2), 2);
    struct shl_team local = shl_team_local(map, index, 4);
    assert_int_equal(local.count, 3);
    assert_int_equal(shl_team_rank(&local, local.me), 4);
    struct shl_team across = shl_team_across(map, index, 4, 1);
    assert_int_equal(shl_team_rank(&across, 0), 3);
    assert_int_equal(shl_team_rank(&across, across.me), 4);
    assert_int_equal(shl_team_rank(&across, 2), 5);
    struct shl_shape shape = {.rank_count = 8, .rank = 2, .hosts = map};
    struct shl_team ring = shl_team_ring(&shape, index, 4);
    assert_int_equal(shl_team_rank(&ring, 0), 4);
    assert_int_equal(shl_team_rank(&ring, 1), 7);
    assert_int_equal(shl_team_rank(&ring, ring.me), 2);
    shl_host_index_free(index);
    shl_host_index_free(NULL);
}

static void malformed_maps_are_refused(void **state)
{
    (void)state;
    static const uint32_t too_high[] = {0, 2}, gap[] = {0, 2, 2};
    struct shl_host_index *index = NULL;
    struct shl_host_map map = {.rank_count = 2, .host_count = 2, .host_of = too_high};
    ASSERT_STATUS(SHOAL_ERR_INVALID, shl_host_index_make(&map, &index));
    ASSERT_DETAIL("rank 1 is on host 2 of 2");
    map = (struct shl_host_map){.rank_count = 3, .host_count = 3, .host_of = gap};
    ASSERT_STATUS(SHOAL_ERR_INVALID, shl_host_index_make(&map, &index));
    ASSERT_DETAIL("has no rank");
    assert_null(index);
}

static void a_maps_own_index_is_used(void **state)
{
    (void)state;
    struct shape_hosts hosts;
    struct shl_host_index *own, *made;
    const struct shl_host_index *got;
    struct shl_host_map map = *shape_hosts_make(&hosts, SHAPE_PAIRS, 6);
    ASSERT_OK(shl_host_index_get(NULL, &got, &made));
    assert_true(!got && !made);
    ASSERT_OK(shl_host_index_get(&map, &got, &own));
    assert_true(own && got == own);
    map.index = own;
    ASSERT_OK(shl_host_index_get(&map, &got, &made));
    assert_true(got == own && !made);
    shl_host_index_free(own);
}

/* ---- trees ---------------------------------------------------------------------------------- */

typedef void (*grow_tree)(uint32_t rank, uint32_t count, uint32_t root, struct shl_tree *tree);

/* Every rank's place, computed by itself, fits the others': one root, children know their parent,
 * and everyone is reached. Returns the depth. */
static uint32_t check_tree(grow_tree grow, uint32_t count, uint32_t root)
{
    static struct shl_tree trees[SHAPE_RANKS_MAX];
    uint32_t depth_max = 0;
    for (uint32_t rank = 0; rank < count; rank++) {
        trees[rank] = (struct shl_tree){.parent = UINT32_MAX};
        grow(rank, count, root, &trees[rank]);
    }
    for (uint32_t rank = 0; rank < count; rank++) {
        uint32_t depth = 0, at = rank;
        for (; trees[at].parent != UINT32_MAX; at = trees[at].parent, depth++) {
            bool known = false;
            for (uint32_t i = 0; i < trees[trees[at].parent].child_count; i++)
                known |= trees[trees[at].parent].children[i] == at;
            assert_true(known);
            assert_true(depth < count);
        }
        assert_int_equal(at, root);
        depth_max = depth > depth_max ? depth : depth_max;
    }
    uint32_t children = 0;
    for (uint32_t rank = 0; rank < count; rank++)
        children += trees[rank].child_count;
    assert_int_equal(children, count - 1);
    return depth_max;
}

static struct shl_team team_from(uint32_t rank, uint32_t count, uint32_t first)
{
    struct shl_shape shape = {.rank_count = count, .rank = rank};
    return shl_team_all(&shape, first);
}

static void grow_halving(uint32_t rank, uint32_t count, uint32_t root, struct shl_tree *tree)
{
    struct shl_team team = team_from(rank, count, 0);
    shl_tree_halving(&team, root, tree);
}

static void grow_chain(uint32_t rank, uint32_t count, uint32_t root, struct shl_tree *tree)
{
    struct shl_team team = team_from(rank, count, root);
    shl_tree_chain(&team, tree);
}

static void grow_first(uint32_t rank, uint32_t count, uint32_t root, struct shl_tree *tree)
{
    struct shl_team team = team_from(rank, count, root);
    shl_tree_double(&team, 0, tree);
}

static void grow_second(uint32_t rank, uint32_t count, uint32_t root, struct shl_tree *tree)
{
    struct shl_team team = team_from(rank, count, root);
    shl_tree_double(&team, 1, tree);
}

static void trees_fit_together(void **state)
{
    (void)state;
    for (uint32_t count = 2; count <= 130; count++) {
        for (uint32_t root = 0; root < count; root += 1 + count / 5) {
            assert_true(check_tree(grow_halving, count, root) <= shl_log2_ceil(count));
            assert_int_equal(check_tree(grow_chain, count, root), count - 1);
            assert_true(check_tree(grow_first, count, root) <= shl_log2_ceil(count) + 1);
            assert_true(check_tree(grow_second, count, root) <= shl_log2_ceil(count) + 1);
        }
    }
}

static void nobody_works_in_both_trees(void **state)
{
    (void)state;
    for (uint32_t count = 2; count <= 130; count++) {
        for (uint32_t rank = 1; rank < count; rank++) {
            struct shl_tree first = {.parent = UINT32_MAX}, second = {.parent = UINT32_MAX};
            grow_first(rank, count, 0, &first);
            grow_second(rank, count, 0, &second);
            assert_true(first.child_count == 0 || second.child_count == 0);
            assert_true(first.child_count <= 2 && second.child_count <= 2);
        }
    }
}

static const struct shl_host_map *tree_hosts;
static const struct shl_host_index *tree_index;

static void grow_hosts(uint32_t rank, uint32_t count, uint32_t root, struct shl_tree *tree)
{
    (void)count;
    shl_tree_hosts(tree_hosts, tree_index, rank, root, tree);
}

static void the_host_tree_enters_every_host_once(void **state)
{
    (void)state;
    struct shape_hosts hosts;
    for (int layout = 0; layout < SHAPE_LAYOUT_COUNT; layout++) {
        for (uint32_t count = 4; count <= 40; count += 3) {
            struct shl_host_index *index;
            tree_hosts = shape_hosts_make(&hosts, (enum shape_layout)layout, count);
            ASSERT_OK(shl_host_index_make(tree_hosts, &index));
            tree_index = index;
            for (uint32_t root = 0; root < count; root += 5) {
                uint32_t entered = 0;
                check_tree(grow_hosts, count, root);
                for (uint32_t rank = 0; rank < count; rank++) {
                    struct shl_tree tree = {.parent = UINT32_MAX};
                    grow_hosts(rank, count, root, &tree);
                    entered += tree.parent != UINT32_MAX &&
                               hosts.host_of[tree.parent] != hosts.host_of[rank];
                }
                assert_int_equal(entered, index->host_count - 1);
            }
            shl_host_index_free(index);
        }
    }
}

/* ---- radices -------------------------------------------------------------------------------- */

static void radices_multiply_to_most_ranks(void **state)
{
    (void)state;
    for (uint32_t radix_max = 2; radix_max <= 8; radix_max++) {
        for (uint32_t count = 1; count <= 1024; count++) {
            struct shl_radices radices;
            uint32_t product = 1;
            shl_radices_find(count, radix_max, &radices);
            for (uint32_t i = 0; i < radices.rounds; i++) {
                assert_in_range(radices.radix[i], 2, radix_max);
                product *= radices.radix[i];
            }
            assert_int_equal(product, radices.core);
            assert_true(radices.core <= count && count - radices.core <= radices.core);
        }
    }
}

static void radices_take_the_fewest_rounds(void **state)
{
    (void)state;
    static const struct {
        uint32_t count, radix_max, core, rounds;
    } cases[] = {
        {8, 2, 8, 3}, {7, 2, 4, 2},   {8, 4, 8, 2},   {6, 4, 6, 2}, {5, 4, 3, 1}, {5, 8, 5, 1},
        {7, 4, 4, 1}, {64, 8, 64, 2}, {12, 4, 12, 2}, {1, 2, 1, 0}, {2, 2, 2, 1}, {13, 13, 13, 1},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct shl_radices radices;
        shl_radices_find(cases[i].count, cases[i].radix_max, &radices);
        assert_int_equal(radices.core, cases[i].core);
        assert_int_equal(radices.rounds, cases[i].rounds);
    }
}

static enum shoal_status make_index(void *arg)
{
    struct shl_host_index *index;
    SHL_TRY(shl_host_index_make(arg, &index));
    shl_host_index_free(index);
    return SHOAL_OK;
}

static void failing_allocations(void **state)
{
    (void)state;
    struct shape_hosts hosts;
    shape_hosts_make(&hosts, SHAPE_PAIRS, 6);
    assert_int_equal(shl_fault_sweep(SHL_FAULT_MEM, make_index, &hosts.map, 10), 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(logarithms),
        cmocka_unit_test(a_team_may_begin_anywhere),
        cmocka_unit_test(the_index_orders_ranks_by_host),
        cmocka_unit_test(malformed_maps_are_refused),
        cmocka_unit_test(a_maps_own_index_is_used),
        cmocka_unit_test(trees_fit_together),
        cmocka_unit_test(nobody_works_in_both_trees),
        cmocka_unit_test(the_host_tree_enters_every_host_once),
        cmocka_unit_test(radices_multiply_to_most_ranks),
        cmocka_unit_test(radices_take_the_fewest_rounds),
        cmocka_unit_test(failing_allocations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
