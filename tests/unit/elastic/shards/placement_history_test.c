/*
 * Placement over random histories of members that come, fail and leave, of hosts that fail as a
 * whole, and of replicas that change.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "support/random.h"
#include "unit/elastic/shards/placement_scene.h"

#define MEMBERS_MAX 24
#define SLACK 2 /* copies, beside 5 % of the least: parts are no whole numbers */

static struct placement_scene scene;

static uint64_t draw(struct placement_scene *at, uint64_t bound)
{
    return shl_test_random(&at->random) % bound;
}

static void change(struct placement_scene *at, bool alike, uint64_t *next_id)
{
    uint64_t what = draw(at, 10);
    if ((what < 5 && at->count < MEMBERS_MAX) || at->count == 1) {
        uint64_t id = (*next_id)++;
        struct shoal_member fresh = {.id = id * 2654435761u, .host = alike ? id : draw(at, 6)};
        uint32_t place_at = (uint32_t)draw(at, at->count + 1);
        memmove(&at->members[place_at + 1], &at->members[place_at],
                (at->count - place_at) * sizeof(fresh));
        at->members[place_at] = fresh;
        at->count++;
    } else if (what < 9) {
        scene_remove_at(at, (uint32_t)draw(at, at->count));
    } else {
        uint64_t host = at->members[draw(at, at->count)].host;
        for (uint32_t m = at->count; m-- > 0;)
            if (at->members[m].host == host && at->count > 1)
                scene_remove_at(at, m);
    }
}

static void run(struct placement_scene *at, uint64_t seed, bool alike)
{
    uint64_t next_id = 1;
    memset(at, 0, sizeof(*at));
    at->seed = at->random = seed;
    at->shards = 1 + (uint32_t)draw(at, seed % 4 == 0 ? SHARDS_MAX : 200);
    at->replicas = (uint32_t)draw(at, WIDTH_MAX);
    at->count = 1;
    at->members[0] = (struct shoal_member){.id = 1000000007, .host = alike ? 1u << 30 : 0};
    scene_place(at);
    for (int step = 0; step < 25; step++) {
        change(at, alike, &next_id);
        scene_place(at);
        if (alike)
            scene_check_even(at);
        uint64_t least = scene_least_copies(at, alike);
        /* Shards that are lost need no copy, but are in the bound. */
        REQUIRE(at, at->result.lost > 0 || at->result.copies >= least);
        /* Each change, where hosts are alike; in the long run, where they are not. */
        REQUIRE(at,
                !alike || at->result.lost > 0 || at->result.copies <= least + least / 20 + SLACK);
        at->moved += at->result.copies;
        at->least += at->result.lost > 0 ? at->result.copies : least;
    }
}

static void histories(bool alike)
{
    uint64_t seed = shl_test_seed(), moved = 0, least = 0;
    for (uint64_t i = 0; i < 150; i++) {
        run(&scene, seed + i, alike);
        moved += scene.moved;
        least += scene.least;
        if (scene.moved > scene.least + scene.least / 20 + 25 * SLACK)
            fail_msg("%llu copies where %llu are the least; seed %llu",
                     (unsigned long long)scene.moved, (unsigned long long)scene.least,
                     (unsigned long long)scene.seed);
    }
    print_message("%llu copies, the least is %llu\n", (unsigned long long)moved,
                  (unsigned long long)least);
    assert_true(moved <= least + least / 100);
}

/* Every host with one member: even to one copy. */
static void histories_of_equal_hosts(void **state)
{
    (void)state;
    histories(true);
}

/* Hosts of any size: copies and hosts are right, whatever the load. */
static void histories_of_any_hosts(void **state)
{
    (void)state;
    histories(false);
}

/* So many that nobody counts pairs. */
static void many_members(void **state)
{
    (void)state;
    static struct placement_scene crowd;
    scene_open(&crowd, 1500, 1, 100, 1);
    scene_place(&crowd);
    scene_check_even(&crowd);
    for (uint32_t lost = 0; lost < 10; lost++) {
        scene_remove_at(&crowd, 7 * lost);
        scene_place(&crowd);
        scene_check_even(&crowd);
        uint64_t least = scene_least_copies(&crowd, true);
        REQUIRE(&crowd, crowd.result.copies <= least + least / 20 + SLACK);
    }
}

/* The order in which members are listed changes nothing. */
static void any_order_of_members(void **state)
{
    (void)state;
    static struct placement_scene other;
    scene_open(&scene, 300, 2, 9, 2);
    scene_open(&other, 300, 2, 9, 2);
    for (uint32_t m = 0; m < 9; m++)
        other.members[m] = scene.members[8 - m];
    scene_place(&scene);
    scene_place(&other);
    assert_memory_equal(scene.holders, other.holders, sizeof(scene.holders));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(histories_of_equal_hosts),
        cmocka_unit_test(histories_of_any_hosts),
        cmocka_unit_test(many_members),
        cmocka_unit_test(any_order_of_members),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
