/*
 * SPDX-License-Identifier: Apache-2.0
 */
#include "shapes.h"

const char *shape_layout_string(enum shape_layout layout)
{
    static const char *const names[] = {"pairs", "fours", "uneven", "round robin"};
    return names[layout];
}

static const struct shl_host_map *finish(struct shape_hosts *hosts, uint32_t rank_count)
{
    uint32_t count = 0;
    for (uint32_t rank = 0; rank < rank_count; rank++)
        count = hosts->host_of[rank] + 1 > count ? hosts->host_of[rank] + 1 : count;
    hosts->map = (struct shl_host_map){
        .rank_count = rank_count, .host_count = count, .host_of = hosts->host_of};
    return &hosts->map;
}

const struct shl_host_map *shape_hosts_even(struct shape_hosts *hosts, uint32_t rank_count,
                                            uint32_t local)
{
    for (uint32_t rank = 0; rank < rank_count; rank++)
        hosts->host_of[rank] = rank / local;
    return finish(hosts, rank_count);
}

const struct shl_host_map *shape_hosts_make(struct shape_hosts *hosts, enum shape_layout layout,
                                            uint32_t rank_count)
{
    uint32_t host = 0, left = 1;
    if (layout == SHAPE_PAIRS || layout == SHAPE_FOURS)
        return shape_hosts_even(hosts, rank_count, layout == SHAPE_PAIRS ? 2 : 4);
    for (uint32_t rank = 0; rank < rank_count; rank++) {
        if (left == 0) {
            host++;
            left = host + 1;
        }
        left--;
        hosts->host_of[rank] = layout == SHAPE_UNEVEN ? host : rank % 3;
    }
    return finish(hosts, rank_count);
}

bool shape_rooted(enum shoal_collective collective)
{
    return collective == SHOAL_BROADCAST || collective == SHOAL_REDUCE;
}
