/*
 * Placement of virtual shards: case by case, and over random histories of members that come, fail
 * and leave, of hosts that fail as a whole, and of replicas that change.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "support/fault.h"
#include "support/random.h"
#include "support/test.h"

#include <shoal/shoal.h>
#include <stdlib.h>

#define MEMBERS_MAX 24 /* of histories */
#define SHARDS_MAX 1500
#define WIDTH_MAX 4
#define ROOM 100
#define SLACK 2 /* copies, beside 5 % of the least: parts are no whole numbers */

struct scene {
    uint64_t seed, random;
    uint32_t shards, replicas, count;
    struct shoal_member members[ROOM];
    uint64_t holders[SHARDS_MAX * WIDTH_MAX], before[SHARDS_MAX * WIDTH_MAX];
    struct shoal_place_result result;
    uint64_t moved, least;
};

#define REQUIRE(scene, condition)                                                                  \
    do {                                                                                           \
        if (!(condition))                                                                          \
            fail_msg("not true: %s; scene of seed %llu", #condition,                               \
                     (unsigned long long)(scene)->seed);                                           \
    } while (0)

static uint64_t draw(struct scene *scene, uint64_t bound)
{
    return shl_test_random(&scene->random) % bound;
}

static uint32_t width(const struct scene *scene)
{
    return scene->replicas + 1;
}

static uint32_t smaller(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

static const struct shoal_member *find(const struct scene *scene, uint64_t id)
{
    for (uint32_t m = 0; m < scene->count; m++)
        if (scene->members[m].id == id)
            return &scene->members[m];
    return NULL;
}

static uint32_t count_hosts(const struct scene *scene)
{
    uint32_t hosts = 0;
    for (uint32_t m = 0; m < scene->count; m++) {
        bool first = true;
        for (uint32_t k = 0; k < m; k++)
            first &= scene->members[k].host != scene->members[m].host;
        hosts += first;
    }
    return hosts;
}

/* Holders of a row who are members, and how many hosts they are on. */
static void count_row(const struct scene *scene, const uint64_t *row, uint32_t *holders,
                      uint32_t *hosts)
{
    *holders = *hosts = 0;
    for (uint32_t k = 0; k < width(scene); k++) {
        const struct shoal_member *member = row[k] ? find(scene, row[k]) : NULL;
        bool first = member != NULL;
        if (!member)
            continue;
        for (uint32_t j = 0; j < k; j++) {
            const struct shoal_member *other = row[j] ? find(scene, row[j]) : NULL;
            first &= !other || other->host != member->host;
        }
        *holders += 1;
        *hosts += first;
    }
}

static bool in_row(const struct scene *scene, const uint64_t *row, uint64_t id)
{
    for (uint32_t k = 0; k < width(scene); k++)
        if (row[k] == id)
            return true;
    return false;
}

/* ---- what must hold ------------------------------------------------------------------------- */

static void check_rows(struct scene *scene)
{
    uint32_t copies = smaller(width(scene), scene->count);
    uint32_t spread = smaller(copies, count_hosts(scene));
    for (uint32_t shard = 0; shard < scene->shards; shard++) {
        const uint64_t *row = &scene->holders[shard * width(scene)];
        uint32_t holders, hosts;
        count_row(scene, row, &holders, &hosts);
        REQUIRE(scene, holders == copies && hosts == spread);
        for (uint32_t k = 0; k < width(scene); k++) {
            REQUIRE(scene, (row[k] != 0) == (k < copies));
            for (uint32_t j = 0; row[k] && j < k; j++)
                REQUIRE(scene, row[j] != row[k]);
        }
    }
}

static uint64_t count_held(const struct scene *scene, const uint64_t *holders, uint64_t id)
{
    uint64_t count = 0;
    for (uint32_t i = 0; i < scene->shards * width(scene); i++)
        count += holders[i] == id;
    return count;
}

static uint64_t held(const struct scene *scene, uint64_t id)
{
    return count_held(scene, scene->holders, id);
}

/* No way to give each shard its copies, on as many hosts, makes fewer copies than this; nor does
 * one that gives each member its part. That is the same for all where hosts are alike; elsewhere
 * what the member has come to hold is taken for it. */
static uint64_t least_copies(const struct scene *scene, bool alike)
{
    uint32_t copies = smaller(width(scene), scene->count),
             spread = smaller(copies, count_hosts(scene));
    uint64_t missing = 0, wanting = 0;
    for (uint32_t shard = 0; shard < scene->shards; shard++) {
        uint32_t holders, hosts;
        count_row(scene, &scene->before[shard * width(scene)], &holders, &hosts);
        uint32_t lacks = copies > holders ? copies - holders : 0;
        uint32_t elsewhere = spread > hosts ? spread - hosts : 0;
        missing += lacks > elsewhere ? lacks : elsewhere;
    }
    for (uint32_t m = 0; m < scene->count; m++) {
        uint64_t has = count_held(scene, scene->before, scene->members[m].id);
        uint64_t part = alike ? (uint64_t)scene->shards * copies / scene->count
                              : held(scene, scene->members[m].id);
        wanting += has < part ? part - has : 0;
    }
    return missing > wanting ? missing : wanting;
}

static void check_result(struct scene *scene)
{
    uint64_t fresh = 0, lost = 0, owners = 0;
    for (uint32_t shard = 0; shard < scene->shards; shard++) {
        const uint64_t *row = &scene->holders[shard * width(scene)];
        const uint64_t *before = &scene->before[shard * width(scene)];
        bool had = false, has = false;
        for (uint32_t k = 0; k < width(scene); k++) {
            had |= before[k] != 0;
            has |= before[k] != 0 && find(scene, before[k]);
        }
        for (uint32_t k = 0; has && k < width(scene); k++)
            fresh += row[k] && !in_row(scene, before, row[k]);
        lost += had && !has;
        owners += had && row[0] != before[0];
    }
    REQUIRE(scene, scene->result.copies == fresh);
    REQUIRE(scene, scene->result.lost == lost);
    REQUIRE(scene, scene->result.owners == owners);
}

static uint64_t owned(const struct scene *scene, uint64_t id)
{
    uint64_t count = 0;
    for (uint32_t shard = 0; shard < scene->shards; shard++)
        count += scene->holders[shard * width(scene)] == id;
    return count;
}

/* Within one copy of each other, where hosts are alike. */
static void check_even(struct scene *scene)
{
    uint64_t copies = (uint64_t)scene->shards * smaller(width(scene), scene->count);
    for (uint32_t m = 0; m < scene->count; m++) {
        uint64_t has = held(scene, scene->members[m].id);
        REQUIRE(scene, has >= copies / scene->count);
        REQUIRE(scene, has <= copies / scene->count + 1);
    }
}

static void place(struct scene *scene)
{
    struct shoal_place_options options = {.struct_size = sizeof(options),
                                          .shards = scene->shards,
                                          .replicas = scene->replicas,
                                          .members = scene->members,
                                          .member_count = scene->count};
    memcpy(scene->before, scene->holders, sizeof(scene->before));
    scene->result = (struct shoal_place_result){.struct_size = sizeof(scene->result)};
    ASSERT_OK(shoal_place(&options, scene->holders, &scene->result));
    check_rows(scene);
    check_result(scene);
}

static void remove_at(struct scene *scene, uint32_t m)
{
    scene->count--;
    memmove(&scene->members[m], &scene->members[m + 1],
            (scene->count - m) * sizeof(scene->members[0]));
}

static void open_scene(struct scene *scene, uint32_t shards, uint32_t replicas, uint32_t count,
                       uint32_t per_host)
{
    memset(scene, 0, sizeof(*scene));
    scene->shards = shards;
    scene->replicas = replicas;
    scene->count = count;
    for (uint32_t m = 0; m < count; m++)
        scene->members[m] = (struct shoal_member){.id = 100 + m, .host = m / per_host};
}

/* ---- case by case --------------------------------------------------------------------------- */

static struct scene scene;

static void the_first_placement(void **state)
{
    (void)state;
    open_scene(&scene, 1024, 1, 8, 2);
    place(&scene);
    check_even(&scene);
    assert_int_equal(scene.result.copies + scene.result.lost + scene.result.owners, 0);
    for (uint32_t m = 0; m < 8; m++)
        assert_in_range(owned(&scene, 100 + m), 127, 129);
    /* Once more: nothing moves. */
    place(&scene);
    assert_int_equal(scene.result.copies + scene.result.owners, 0);
    assert_memory_equal(scene.holders, scene.before, sizeof(scene.holders));
}

/* Its shards go on with those that have the copies; only the copies are made anew, from everyone.
 */
static void a_member_fails(void **state)
{
    (void)state;
    open_scene(&scene, 1024, 1, 8, 1);
    place(&scene);
    remove_at(&scene, 3);
    place(&scene);
    check_even(&scene);
    assert_int_equal(scene.result.copies, 256);
    assert_int_equal(scene.result.lost, 0);
    uint32_t sources[8] = {0};
    for (uint32_t shard = 0; shard < 1024; shard++) {
        const uint64_t *before = &scene.before[2 * shard], *row = &scene.holders[2 * shard];
        if (before[0] != 103 && before[1] != 103)
            continue;
        uint64_t survivor = before[0] == 103 ? before[1] : before[0];
        assert_true(in_row(&scene, row, survivor));
        sources[survivor - 100]++;
    }
    for (uint32_t m = 0; m < 8; m++)
        assert_in_range(sources[m], m == 3 ? 0 : 18, m == 3 ? 0 : 60); /* 36.6 each */
}

static void a_member_joins(void **state)
{
    (void)state;
    open_scene(&scene, 1000, 1, 4, 1);
    place(&scene);
    scene.members[scene.count++] = (struct shoal_member){.id = 7, .host = 9};
    place(&scene);
    check_even(&scene);
    assert_int_equal(scene.result.copies, 400); /* its fifth of 2000 */
    assert_int_equal(held(&scene, 7), 400);
    assert_in_range(owned(&scene, 7), 198, 202);
}

static void a_host_fails(void **state)
{
    (void)state;
    open_scene(&scene, 600, 1, 6, 2);
    place(&scene);
    remove_at(&scene, 2);
    remove_at(&scene, 2);
    place(&scene);
    assert_int_equal(scene.result.lost, 0);
    assert_int_equal(scene.result.copies, 400);
}

/* With one host copies are on different members; a second host is used as soon as it is there. */
static void one_host_then_two(void **state)
{
    (void)state;
    open_scene(&scene, 100, 1, 3, 3);
    place(&scene);
    check_even(&scene);
    scene.members[scene.count++] = (struct shoal_member){.id = 9, .host = 5};
    place(&scene);
    assert_int_equal(scene.result.copies, 100); /* one copy of each must be there */
    assert_int_equal(held(&scene, 9), 100);
    assert_in_range(owned(&scene, 9), 24, 26);
    assert_int_equal(scene.result.lost, 0);
}

static void all_copies_gone(void **state)
{
    (void)state;
    open_scene(&scene, 300, 1, 3, 1);
    place(&scene);
    remove_at(&scene, 0);
    remove_at(&scene, 0);
    place(&scene);
    assert_int_equal(scene.result.lost, 100); /* those that the two had between them */
    assert_int_equal(scene.result.copies, 0); /* one member holds all that is left */
    assert_int_equal(held(&scene, 102), 300);
}

static void one_member_and_many_replicas(void **state)
{
    (void)state;
    open_scene(&scene, 50, 3, 1, 1);
    place(&scene);
    assert_int_equal(held(&scene, 100), 50);
    for (uint64_t id = 5; id < 8; id++)
        scene.members[scene.count++] = (struct shoal_member){.id = id, .host = id % 2};
    place(&scene);
    assert_int_equal(scene.result.copies, 150);
    check_even(&scene);
}

/* ---- histories ------------------------------------------------------------------------------ */

static void change(struct scene *at, bool alike, uint64_t *next_id)
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
        remove_at(at, (uint32_t)draw(at, at->count));
    } else {
        uint64_t host = at->members[draw(at, at->count)].host;
        for (uint32_t m = at->count; m-- > 0;)
            if (at->members[m].host == host && at->count > 1)
                remove_at(at, m);
    }
}

static void run(struct scene *at, uint64_t seed, bool alike)
{
    uint64_t next_id = 1;
    memset(at, 0, sizeof(*at));
    at->seed = at->random = seed;
    at->shards = 1 + (uint32_t)draw(at, seed % 4 == 0 ? SHARDS_MAX : 200);
    at->replicas = (uint32_t)draw(at, WIDTH_MAX);
    at->count = 1;
    at->members[0] = (struct shoal_member){.id = 1000000007, .host = alike ? 1u << 30 : 0};
    place(at);
    for (int step = 0; step < 25; step++) {
        change(at, alike, &next_id);
        place(at);
        if (alike)
            check_even(at);
        uint64_t least = least_copies(at, alike);
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
    static struct scene crowd;
    open_scene(&crowd, 1500, 1, 100, 1);
    place(&crowd);
    check_even(&crowd);
    for (uint32_t lost = 0; lost < 10; lost++) {
        remove_at(&crowd, 7 * lost);
        place(&crowd);
        check_even(&crowd);
        uint64_t least = least_copies(&crowd, true);
        REQUIRE(&crowd, crowd.result.copies <= least + least / 20 + SLACK);
    }
}

/* The order in which members are listed changes nothing. */
static void any_order_of_members(void **state)
{
    (void)state;
    static struct scene other;
    open_scene(&scene, 300, 2, 9, 2);
    open_scene(&other, 300, 2, 9, 2);
    for (uint32_t m = 0; m < 9; m++)
        other.members[m] = scene.members[8 - m];
    place(&scene);
    place(&other);
    assert_memory_equal(scene.holders, other.holders, sizeof(scene.holders));
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
        cmocka_unit_test(histories_of_equal_hosts),
        cmocka_unit_test(histories_of_any_hosts),
        cmocka_unit_test(many_members),
        cmocka_unit_test(any_order_of_members),
        cmocka_unit_test(bad_arguments),
        cmocka_unit_test(without_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
