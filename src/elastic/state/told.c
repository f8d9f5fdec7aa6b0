/*
 * What programs ask about sharded arrays: what they own, and what is lost.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "elastic/state/state.h"

#include <stdio.h>
#include <string.h>

enum shoal_status shl_state_find(const struct shoal_state *state, const char *name,
                                 const struct shl_state_array **array)
{
    for (uint32_t a = 0; a < state->array_count; a++)
        if (strcmp(state->arrays[a].name, name) == 0 && state->arrays[a].copies) {
            *array = &state->arrays[a];
            return SHOAL_OK;
        }
    return shl_fail(SHOAL_ERR_INVALID, "'%.128s' is no sharded array of this state", name);
}

static bool is_owned(const struct shoal_state *state, uint32_t shard)
{
    return state->id && shl_table_row(&state->table, shard)[0] == state->id;
}

static bool is_lost(const struct shoal_state *state, uint32_t shard)
{
    return state->id && state->table.fresh[shard];
}

/* The next range of an array's shards that are chosen, from *shard on; shards one after another are
 * one range. false: there is none. */
static bool next_range(const struct shoal_state *state, const struct shl_state_array *array,
                       bool (*chosen)(const struct shoal_state *, uint32_t shard), uint32_t *shard,
                       struct shoal_state_range *range)
{
    *range = (struct shoal_state_range){0, 0};
    for (; *shard < state->table.shards; ++*shard) {
        struct shl_shard_span span = shl_shard_span(array->count, state->table.shards, *shard);
        bool is = span.count && chosen(state, *shard);
        if (!is && range->count)
            return true;
        if (is && !range->count)
            range->first = span.first;
        range->count += is ? span.count : 0;
    }
    return range->count > 0;
}

size_t shl_state_owned(const struct shoal_state *state, const struct shl_state_array *array,
                       struct shoal_state_range *ranges, size_t capacity)
{
    struct shoal_state_range range;
    uint32_t shard = 0;
    size_t count = 0;
    for (; next_range(state, array, is_owned, &shard, &range); count++)
        if (count < capacity)
            ranges[count] = range;
    return count;
}

size_t shl_state_lost(const struct shoal_state *state, struct shoal_state_loss *losses,
                      size_t capacity)
{
    struct shoal_state_range range;
    size_t count = 0;
    for (uint32_t a = 0; a < state->array_count; a++) {
        const struct shl_state_array *array = &state->arrays[a];
        uint32_t shard = array->copies ? 0 : state->table.shards;
        for (; next_range(state, array, is_lost, &shard, &range); count++)
            if (count < capacity)
                losses[count] = (struct shoal_state_loss){array->name, range.first, range.count};
    }
    return count;
}

enum shoal_status shl_state_say_lost(const struct shoal_state *state)
{
    struct shoal_state_loss losses[4];
    char text[512] = "";
    size_t count = shl_state_lost(state, losses, 4), at = 0;
    for (size_t i = 0; i < count && i < 4; i++)
        at += (size_t)snprintf(text + at, sizeof(text) - at, "%s'%.64s' %llu to %llu",
                               i ? ", " : "", losses[i].name, (unsigned long long)losses[i].first,
                               (unsigned long long)(losses[i].first + losses[i].count - 1));
    return shl_fail(SHOAL_ERR_STATE_LOST,
                    "all copies of a part of the state are gone: %s%s; write these and begin again",
                    text, count > 4 ? ", and more (shoal_state_lost)" : "");
}
