/*
 * Placement of virtual shards, case by case: members and hosts that come and fail, and bad calls.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "support/fault.h"
#include "unit/elastic/shards/placement_scene.h"

#include <stdlib.h>

static struct placement_scene scene;

static void the_first_placement(void **state)
{
    (void)state;
    scene_open(&scene, 1024, 1, 8, 2);
    scene_place(&scene);
    scene_check_even(&scene);
    assert_int_equal(scene.result.copies + scene.result.lost + scene.result.owners, 0);
    for (uint32_t m = 0; m < 8; m++)
        assert_in_range(scene_owned(&scene, 100 + m), 127, 129);
    /* Once more: nothing moves. */
    scene_place(&scene);
    assert_int_equal(scene.result.copies + scene.result.owners, 0);
    assert_memory_equal(scene.holders, scene.before, sizeof(scene.holders));
}

/* Its shards go on with those that have the copies; only the copies are made anew, from everyone.
 */
static void a_member_fails(void **state)
{
    (void)state;
    scene_open(&scene, 1024, 1, 8, 1);
    scene_place(&scene);
    scene_remove_at(&scene, 3);
    scene_place(&scene);
    scene_check_even(&scene);
    assert_int_equal(scene.result.copies, 256);
    assert_int_equal(scene.result.lost, 0);
    uint32_t sources[8] = {0};
    for (uint32_t shard = 0; shard < 1024; shard++) {
        const uint64_t *before = &scene.before[2 * shard], *row = &scene.holders[2 * shard];
        if (before[0] != 103 && before[1] != 103)
            continue;
        uint64_t survivor = before[0] == 103 ? before[1] : before[0];
        assert_true(scene_in_row(&scene, row, survivor));
        sources[survivor - 100]++;
    }
    for (uint32_t m = 0; m < 8; m++)
        assert_in_range(sources[m], m == 3 ? 0 : 18, m == 3 ? 0 : 60); /* 36.6 each */
}

static void a_member_joins(void **state)
{
    (void)state;
    scene_open(&scene, 1000, 1, 4, 1);
    scene_place(&scene);
    scene.members[scene.count++] = (struct shoal_member){.id = 7, .host = 9};
    scene_place(&scene);
    scene_check_even(&scene);
    assert_int_equal(scene.result.copies, 400); /* its fifth of 2000 */
    assert_int_equal(scene_held(&scene, 7), 400);
    assert_in_range(scene_owned(&scene, 7), 198, 202);
}

static void a_host_fails(void **state)
{
    (void)state;
    scene_open(&scene, 600, 1, 6, 2);
    scene_place(&scene);
    scene_remove_at(&scene, 2);
    scene_remove_at(&scene, 2);
    scene_place(&scene);
    assert_int_equal(scene.result.lost, 0);
    assert_int_equal(scene.result.copies, 400);
}

/* With one host copies are on different members; a second host is used as soon as it is there. */
static void one_host_then_two(void **state)
{
    (void)state;
    scene_open(&scene, 100, 1, 3, 3);
    scene_place(&scene);
    scene_check_even(&scene);
    scene.members[scene.count++] = (struct shoal_member){.id = 9, .host = 5};
    scene_place(&scene);
    assert_int_equal(scene.result.copies, 100); /* one copy of each must be there */
    assert_int_equal(scene_held(&scene, 9), 100);
    assert_in_range(scene_owned(&scene, 9), 24, 26);
    assert_int_equal(scene.result.lost, 0);
}

static void all_copies_gone(void **state)
{
    (void)state;
    scene_open(&scene, 300, 1, 3, 1);
    scene_place(&scene);
    scene_remove_at(&scene, 0);
    scene_remove_at(&scene, 0);
    scene_place(&scene);
    assert_int_equal(scene.result.lost, 100); /* those that the two had between them */
    assert_int_equal(scene.result.copies, 0); /* one member holds all that is left */
    assert_int_equal(scene_held(&scene, 102), 300);
}

static void one_member_and_many_replicas(void **state)
{
    (void)state;
    scene_open(&scene, 50, 3, 1, 1);
    scene_place(&scene);
    assert_int_equal(scene_held(&scene, 100), 50);
    for (uint64_t id = 5; id < 8; id++)
        scene.members[scene.count++] = (struct shoal_member){.id = id, .host = id % 2};
    scene_place(&scene);
    assert_int_equal(scene.result.copies, 150);
    scene_check_even(&scene);
}

/* ---- errors --------------------------------------------------------------------------------- */

static void bad_arguments(void **state)
{
    (void)state;
    uint64_t holders[8] = {1, 2, 3, 4, 5, 6, 7, 8}, same[8];
    const struct shoal_member members[] = {{1, 0}, {2, 0}}, twice[] = {{2, 0}, {2, 1}};
    const struct shoal_member nobody[] = {{1, 0}, {0, 0}};
    const struct shoal_place_options good = {.struct_size = sizeof(good),
                                             .shards = 4,
                                             .replicas = 1,
                                             .members = members,
                                             .member_count = 2};
    struct shoal_place_options bad[8];
    struct shoal_place_result result = {.struct_size = 0};
    for (int i = 0; i < 8; i++)
        bad[i] = good;
    bad[0].struct_size = 0;
    bad[1].shards = 0;
    bad[2].shards = SHOAL_PLACE_SHARDS_MAX + 1;
    bad[3].replicas = SHOAL_PLACE_REPLICAS_MAX + 1;
    bad[4].members = NULL;
    bad[5].member_count = 0;
    bad[6].members = twice;
    bad[7].members = nobody;
    memcpy(same, holders, sizeof(same));
    for (int i = 0; i < 8; i++)
        ASSERT_STATUS(SHOAL_ERR_INVALID, shoal_place(&bad[i], holders, NULL));
    ASSERT_STATUS(SHOAL_ERR_INVALID, shoal_place(&good, holders, &result));
    ASSERT_STATUS(SHOAL_ERR_INVALID, shoal_place(&good, NULL, NULL));
    ASSERT_STATUS(SHOAL_ERR_INVALID, shoal_place(NULL, holders, NULL));
    assert_memory_equal(same, holders, sizeof(same));
}

static enum shoal_status place_few(void *arg)
{
    uint64_t holders[8] = {0};
    const struct shoal_member members[] = {{1, 0}, {2, 0}};
    struct shoal_place_options options = {.struct_size = sizeof(options),
                                          .shards = 4,
                                          .replicas = 1,
                                          .members = members,
                                          .member_count = 2};
    (void)arg;
    return shoal_place(&options, holders, NULL);
}

static void without_memory(void **state)
{
    (void)state;
    assert_int_equal(shl_fault_sweep(SHL_FAULT_ALL, place_few, NULL, 100), 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_placement),
        cmocka_unit_test(a_member_fails),
        cmocka_unit_test(a_member_joins),
        cmocka_unit_test(a_host_fails),
        cmocka_unit_test(one_host_then_two),
        cmocka_unit_test(all_copies_gone),
        cmocka_unit_test(one_member_and_many_replicas),
        cmocka_unit_test(bad_arguments),
        cmocka_unit_test(without_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
