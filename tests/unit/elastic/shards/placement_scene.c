/*
 * What must hold of every placement.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "unit/elastic/shards/placement_scene.h"

static uint32_t width(const struct placement_scene *scene)
{
    return scene->replicas + 1;
}

static uint32_t smaller(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

static const struct shoal_member *find(const struct placement_scene *scene, uint64_t id)
{
    for (uint32_t m = 0; m < scene->count; m++)
        if (scene->members[m].id == id)
            return &scene->members[m];
    return NULL;
}

static uint32_t count_hosts(const struct placement_scene *scene)
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
static void count_row(const struct placement_scene *scene, const uint64_t *row, uint32_t *holders,
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

bool scene_in_row(const struct placement_scene *scene, const uint64_t *row, uint64_t id)
{
    for (uint32_t k = 0; k < width(scene); k++)
        if (row[k] == id)
            return true;
    return false;
}

/* ---- what must hold ------------------------------------------------------------------------- */

static void check_rows(struct placement_scene *scene)
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

static uint64_t count_held(const struct placement_scene *scene, const uint64_t *holders,
                           uint64_t id)
{
    uint64_t count = 0;
    for (uint32_t i = 0; i < scene->shards * width(scene); i++)
        count += holders[i] == id;
    return count;
}

uint64_t scene_held(const struct placement_scene *scene, uint64_t id)
{
    return count_held(scene, scene->holders, id);
}

/* No way to give each shard its copies, on as many hosts, makes fewer copies than this; nor does
 * one that gives each member its part. That is the same for all where hosts are alike; elsewhere
 * what the member has come to hold is taken for it. */
uint64_t scene_least_copies(const struct placement_scene *scene, bool alike)
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
                              : scene_held(scene, scene->members[m].id);
        wanting += has < part ? part - has : 0;
    }
    return missing > wanting ? missing : wanting;
}

static void check_result(struct placement_scene *scene)
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
            fresh += row[k] && !scene_in_row(scene, before, row[k]);
        lost += had && !has;
        owners += had && row[0] != before[0];
    }
    REQUIRE(scene, scene->result.copies == fresh);
    REQUIRE(scene, scene->result.lost == lost);
    REQUIRE(scene, scene->result.owners == owners);
}

uint64_t scene_owned(const struct placement_scene *scene, uint64_t id)
{
    uint64_t count = 0;
    for (uint32_t shard = 0; shard < scene->shards; shard++)
        count += scene->holders[shard * width(scene)] == id;
    return count;
}

/* Within one copy of each other, where hosts are alike. */
void scene_check_even(struct placement_scene *scene)
{
    uint64_t copies = (uint64_t)scene->shards * smaller(width(scene), scene->count);
    for (uint32_t m = 0; m < scene->count; m++) {
        uint64_t has = scene_held(scene, scene->members[m].id);
        REQUIRE(scene, has >= copies / scene->count);
        REQUIRE(scene, has <= copies / scene->count + 1);
    }
}

void scene_place(struct placement_scene *scene)
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

void scene_remove_at(struct placement_scene *scene, uint32_t m)
{
    scene->count--;
    memmove(&scene->members[m], &scene->members[m + 1],
            (scene->count - m) * sizeof(scene->members[0]));
}

void scene_open(struct placement_scene *scene, uint32_t shards, uint32_t replicas, uint32_t count,
                uint32_t per_host)
{
    memset(scene, 0, sizeof(*scene));
    scene->shards = shards;
    scene->replicas = replicas;
    scene->count = count;
    for (uint32_t m = 0; m < count; m++)
        scene->members[m] = (struct shoal_member){.id = 100 + m, .host = m / per_host};
}
