/*
 * Teams and the index of ranks by host. Trees and radices are in rank_trees.c.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "collectives/rank_map.h"

#include "core/sys.h"

struct shl_team shl_team_all(const struct shl_shape *shape, uint32_t first)
{
    struct shl_team team = {.count = shape->rank_count, .first = first};
    team.me = shl_rank_sub(shape->rank, first, shape->rank_count);
    return team;
}

static uint32_t place_by_host(const struct shl_host_map *hosts, const struct shl_host_index *index,
                              uint32_t rank)
{
    return index->host_first[hosts->host_of[rank]] + index->local_of[rank];
}

struct shl_team shl_team_ring(const struct shl_shape *shape, const struct shl_host_index *index,
                              uint32_t first)
{
    struct shl_team team = shl_team_all(shape, first);
    if (index) {
        uint32_t me = place_by_host(shape->hosts, index, shape->rank);
        team.first = place_by_host(shape->hosts, index, first);
        team.me = shl_rank_sub(me, team.first, team.count);
        team.ranks = index->by_host;
    }
    return team;
}

struct shl_team shl_team_local(const struct shl_host_map *hosts, const struct shl_host_index *index,
                               uint32_t rank)
{
    uint32_t host = hosts->host_of[rank];
    struct shl_team team = {.count = shl_host_size(index, host), .me = index->local_of[rank]};
    team.ranks = index->by_host + index->host_first[host];
    return team;
}

struct shl_team shl_team_across(const struct shl_host_map *hosts,
                                const struct shl_host_index *index, uint32_t rank, uint32_t local)
{
    struct shl_team team = {.count = index->host_count, .me = hosts->host_of[rank]};
    team.first = local;
    team.ranks = index->by_host;
    team.starts = index->host_first;
    return team;
}

void shl_host_index_free(struct shl_host_index *index)
{
    if (!index)
        return;
    shl_mem->free(index->host_first);
    shl_mem->free(index->by_host);
    shl_mem->free(index->local_of);
    shl_mem->free(index);
}

static void fill(const struct shl_host_map *hosts, struct shl_host_index *index)
{
    for (uint32_t rank = 0; rank < hosts->rank_count; rank++)
        index->local_of[rank] = index->host_first[hosts->host_of[rank] + 1]++;
    index->local_min = UINT32_MAX;
    for (uint32_t host = 0; host < hosts->host_count; host++) {
        uint32_t local = index->host_first[host + 1];
        index->local_min = local < index->local_min ? local : index->local_min;
        index->local_max = local > index->local_max ? local : index->local_max;
        index->host_first[host + 1] += index->host_first[host];
    }
    for (uint32_t rank = 0; rank < hosts->rank_count; rank++)
        index->by_host[index->host_first[hosts->host_of[rank]] + index->local_of[rank]] = rank;
}

enum shoal_status shl_host_index_make(const struct shl_host_map *hosts,
                                      struct shl_host_index **index)
{
    for (uint32_t rank = 0; rank < hosts->rank_count; rank++) {
        if (hosts->host_of[rank] >= hosts->host_count)
            return shl_fail(SHOAL_ERR_INVALID, "rank %u is on host %u of %u", rank,
                            hosts->host_of[rank], hosts->host_count);
    }
    struct shl_host_index *made = shl_mem->alloc(sizeof(*made));
    if (!made)
        goto no_memory;
    made->host_count = hosts->host_count;
    made->host_first = shl_mem->alloc(((size_t)hosts->host_count + 1) * sizeof(uint32_t));
    made->by_host = shl_mem->alloc((size_t)hosts->rank_count * sizeof(uint32_t));
    made->local_of = shl_mem->alloc((size_t)hosts->rank_count * sizeof(uint32_t));
    if (!made->host_first || !made->by_host || !made->local_of)
        goto free_made;
    fill(hosts, made);
    if (made->local_min == 0) {
        shl_host_index_free(made);
        return shl_fail(SHOAL_ERR_INVALID, "a host of the host map has no rank");
    }
    *index = made;
    return SHOAL_OK;

free_made:
    shl_host_index_free(made);
no_memory:
    return shl_fail(SHOAL_ERR_NOMEM, "no memory to index %u ranks by host", hosts->rank_count);
}

enum shoal_status shl_host_index_get(const struct shl_host_map *hosts,
                                     const struct shl_host_index **index,
                                     struct shl_host_index **made)
{
    *made = NULL;
    if (hosts && !hosts->index)
        SHL_TRY(shl_host_index_make(hosts, made));
    *index = hosts && hosts->index ? hosts->index : *made;
    return SHOAL_OK;
}
