/*
 * See shards.h.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "elastic/state/shards.h"

#include "core/sys.h"

#include <string.h>

#define ALIGN 64u /* elements: shards begin at cache lines where arrays do */

struct shl_shard_span shl_shard_span(uint64_t count, uint32_t shards, uint32_t shard)
{
    uint64_t each = (count + shards - 1) / shards;
    each = (each + ALIGN - 1) / ALIGN * ALIGN;
    if (each < SHL_SHARD_ELEMENTS_MIN)
        each = SHL_SHARD_ELEMENTS_MIN;
    uint64_t first = each * shard < count ? each * shard : count;
    uint64_t left = count - first;
    return (struct shl_shard_span){.first = first, .count = left < each ? left : each};
}

size_t shl_table_bytes(const struct shl_table *table)
{
    return (size_t)table->shards * (table->width * sizeof(uint64_t) + 1) + sizeof(*table->spreads);
}

/* One piece of memory, so that a table is sent as it stands. */
enum shoal_status shl_table_make(uint32_t shards, uint32_t width, struct shl_table *table)
{
    struct shl_table made = {.shards = shards, .width = width};
    made.holders = shl_mem->alloc(shl_table_bytes(&made));
    if (!made.holders)
        return shl_fail_errno("cannot allocate a table of %u shards", shards);
    made.spreads = made.holders + (size_t)shards * width;
    made.fresh = (uint8_t *)(made.spreads + 1);
    *table = made;
    shl_table_clear(table);
    return SHOAL_OK;
}

void shl_table_clear(struct shl_table *table)
{
    memset(table->holders, 0, (size_t)table->shards * table->width * sizeof(uint64_t));
    *table->spreads = 0;
    memset(table->fresh, 1, table->shards);
}

void shl_table_free(struct shl_table *table)
{
    shl_mem->free(table->holders);
    *table = (struct shl_table){.holders = NULL};
}

void shl_table_copy(struct shl_table *to, const struct shl_table *from)
{
    memcpy(to->holders, from->holders, shl_table_bytes(from));
}

bool shl_table_equal(const struct shl_table *a, const struct shl_table *b)
{
    return memcmp(a->holders, b->holders, (size_t)a->shards * a->width * sizeof(*a->holders)) == 0;
}

uint32_t shl_table_find(const struct shl_table *table, uint32_t shard, uint64_t id)
{
    const uint64_t *row = shl_table_row(table, shard);
    for (uint32_t i = 0; i < table->width && id; i++)
        if (row[i] == id)
            return i;
    return UINT32_MAX;
}
