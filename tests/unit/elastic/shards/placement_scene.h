/*
 * Members, hosts and the table of holders, and what must hold of every placement, for tests of
 * shoal_place.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PLACEMENT_SCENE_H
#define PLACEMENT_SCENE_H

#include "support/test.h"

#include <shoal/shoal.h>
#include <stdbool.h>

#define SHARDS_MAX 1500
#define WIDTH_MAX 4
#define ROOM 100

struct placement_scene {
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

/* So many members, `per_host` on each host; nobody holds anything. */
void scene_open(struct placement_scene *scene, uint32_t shards, uint32_t replicas, uint32_t count,
                uint32_t per_host);
void scene_remove_at(struct placement_scene *scene, uint32_t m);
/* Place; what must hold of any placement is checked. */
void scene_place(struct placement_scene *scene);

/* Copies, and shards, that a member holds or owns. */
uint64_t scene_held(const struct placement_scene *scene, uint64_t id);
uint64_t scene_owned(const struct placement_scene *scene, uint64_t id);
/* Whether a member is among the holders of a shard; `row` is its place in a table. */
bool scene_in_row(const struct placement_scene *scene, const uint64_t *row, uint64_t id);
/* Fails unless members are within one copy of each other; for hosts that are alike. */
void scene_check_even(struct placement_scene *scene);
/* No placement makes fewer copies than this; alike: all hosts are. */
uint64_t scene_least_copies(const struct placement_scene *scene, bool alike);

#endif
