/*
 * Host maps and shapes that the tests of this folder share.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef UNIT_COLLECTIVES_SHAPES_H
#define UNIT_COLLECTIVES_SHAPES_H

#include "collectives/schedule.h"

#define SHAPE_RANKS_MAX 1024

struct shape_hosts {
    struct shl_host_map map;
    uint32_t host_of[SHAPE_RANKS_MAX];
};

enum shape_layout {
    SHAPE_PAIRS,       /* hosts of two neighbours */
    SHAPE_FOURS,       /* hosts of four neighbours, the last may have fewer */
    SHAPE_UNEVEN,      /* hosts of 1, 2, 3, ... ranks */
    SHAPE_ROUND_ROBIN, /* three hosts dealt out like cards */
    SHAPE_LAYOUT_COUNT
};

const char *shape_layout_string(enum shape_layout layout);
/* Ranks by host; `hosts` keeps the map's memory. */
const struct shl_host_map *shape_hosts_make(struct shape_hosts *hosts, enum shape_layout layout,
                                            uint32_t rank_count);
/* Hosts of `local` neighbours each. */
const struct shl_host_map *shape_hosts_even(struct shape_hosts *hosts, uint32_t rank_count,
                                            uint32_t local);

/* Does the collective have a root? */
bool shape_rooted(enum shoal_collective collective);

#endif
