/*
 * Ranks by host.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "topology/host_map.h"

#include "core/sys.h"

#include <stdlib.h>
#include <string.h>

struct entry {
    const char *id;
    uint32_t rank;
};

/* By host, and inside a host by rank, so that the first of a run is the host's first rank. */
static int compare(const void *a, const void *b)
{
    const struct entry *x = a, *y = b;
    int order = strcmp(x->id, y->id);
    if (order)
        return order;
    return x->rank < y->rank ? -1 : x->rank > y->rank;
}

static bool same_host(const struct entry *a, const struct entry *b)
{
    return *a->id && strcmp(a->id, b->id) == 0;
}

enum shoal_status shl_host_map_fill(uint32_t rank_count,
                                    const char *(*host_id)(void *arg, uint32_t rank), void *arg,
                                    uint32_t *host_of, uint32_t *host_count)
{
    struct entry *entries = shl_mem->alloc(rank_count * sizeof(*entries));
    if (!entries)
        return shl_fail(SHOAL_ERR_NOMEM, "no memory to sort %u ranks by host", rank_count);
    for (uint32_t rank = 0; rank < rank_count; rank++) {
        const char *id = host_id(arg, rank);
        entries[rank] = (struct entry){.id = id ? id : "", .rank = rank};
    }
    qsort(entries, rank_count, sizeof(*entries), compare);

    /* First the host's first rank in place of its number, then numbers in the order of ranks. */
    uint32_t first = 0;
    for (uint32_t i = 0; i < rank_count; i++) {
        if (i == 0 || !same_host(&entries[i], &entries[i - 1]))
            first = entries[i].rank;
        host_of[entries[i].rank] = first;
    }
    shl_mem->free(entries);
    uint32_t count = 0;
    for (uint32_t rank = 0; rank < rank_count; rank++)
        host_of[rank] = host_of[rank] == rank ? count++ : host_of[host_of[rank]];
    *host_count = count;
    return SHOAL_OK;
}
