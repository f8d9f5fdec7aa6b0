/*
 * Sharded arrays at the end of a step: owners keep what they have made and send it to the replicas,
 * before the step is committed; once it is, that is the version to go back to.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "core/array.h"
#include "core/sys.h"
#include "device/reduce.h"
#include "elastic/state/slots.h"
#include "elastic/state/state.h"

#include <string.h>

uint64_t shl_state_shard_bytes(const struct shoal_state *state, const struct shl_state_array *array,
                               uint32_t shard)
{
    return shl_shard_span(array->count, state->table.shards, shard).count *
           shoal_dtype_bytes(array->dtype);
}

uint8_t *shl_state_shard_data(const struct shoal_state *state, const struct shl_state_array *array,
                              uint32_t shard)
{
    return array->data + shl_shard_span(array->count, state->table.shards, shard).first *
                             shoal_dtype_bytes(array->dtype);
}

enum shoal_status shl_state_add_move(struct shl_move_list *list, struct shl_move move)
{
    SHL_TRY(shl_array_reserve(&list->at, &list->capacity, list->count, sizeof(*list->at),
                              "moves of state"));
    list->at[list->count++] = move;
    return SHOAL_OK;
}

void shl_state_count_moves(struct shl_state_stats *stats, const struct shl_move_list *list,
                           uint32_t rank)
{
    for (size_t i = 0; i < list->count; i++) {
        const struct shl_move *move = &list->at[i];
        stats->moved += move->bytes;
        stats->sent += move->from == rank ? move->bytes : 0;
        stats->received += move->to == rank ? move->bytes : 0;
    }
}

/* ---- refresh --------------------------------------------------------------------------------- */

/* Slots of a pair lie together from the first spread on (spread.c) until they are spread anew; that
 * is known to all alike. With more replicas other pairs' are between them. 0: they do not. */
static uint32_t lot_of(const struct shoal_state *state, uint32_t a)
{
    size_t bytes = shl_state_shard_bytes(state, &state->arrays[a], 0);
    bool together = state->table.width == 2 && *state->table.spreads == 1;
    return together && shl_slot_room(bytes) == bytes ? a + 1 : 0;
}

/* A shard of an array, from what its owner has kept to the replicas' second slots. */
static enum shoal_status add_refresh(const struct shoal_state *state, uint32_t a, uint32_t shard,
                                     const struct shl_members *members, struct shl_move_list *list)
{
    const uint64_t *row = shl_table_row(&state->table, shard);
    const struct shl_state_array *array = &state->arrays[a];
    const struct shl_copy *copy = &array->copies[shard];
    uint64_t bytes = shl_state_shard_bytes(state, array, shard);
    uint32_t lot = lot_of(state, a);
    for (uint32_t i = 1; i < state->table.width && row[i] && bytes; i++) {
        uint32_t from = shl_members_find(members, row[0]), to = shl_members_find(members, row[i]);
        if (from == SHL_MEMBER_NONE || to == SHL_MEMBER_NONE)
            return shl_fail(SHOAL_ERR_INTERNAL, "shard %u is held by a member that is gone", shard);
        uint8_t *slot = copy->slot[copy->now ^ 1].at; /* here: the owner's, or a replica's */
        SHL_TRY(shl_state_add_move(list, (struct shl_move){slot, slot, bytes, from, to, lot}));
    }
    return SHOAL_OK;
}

enum shoal_status shl_state_list_refresh(const struct shoal_state *state,
                                         const struct shl_members *members,
                                         struct shl_move_list *list)
{
    for (uint32_t a = 0; a < state->array_count; a++)
        for (uint32_t s = 0; state->arrays[a].copies && s < state->table.shards; s++)
            SHL_TRY(add_refresh(state, a, s, members, list));
    return SHOAL_OK;
}

enum shoal_status shl_state_refresh(void *arg, struct shoal_comm *comm,
                                    const struct shl_members *members)
{
    struct shoal_state *state = arg;
    struct shl_move_list list = {.count = 0};
    enum shoal_status status;
    if (!state->background)
        shl_state_keep(state);
    uint64_t begin_ns = shl_now_ns();
    if (!shl_state_finish(state, &status)) {
        status = shl_state_list_refresh(state, members, &list);
        if (status == SHOAL_OK && list.count > 0)
            status = shl_moves_run(comm, list.at, list.count);
        struct shl_state_stats now = {.sent = 0};
        shl_state_count_moves(&now, &list, comm->rank);
        state->stats.refresh_sent = now.sent;
        shl_mem->free(list.at);
    }
    state->stats.refresh_ns = shl_now_ns() - begin_ns;
    return status;
}

/* ---- the two ends of a step ------------------------------------------------------------------ */

/* The program works on its array, and the slot is read here only when a step is given up: stores
 * that pass the cache by leave it to the program. */
static void keep_array(const struct shoal_state *state, const struct shl_state_array *array)
{
    for (uint32_t s = 0; s < state->table.shards; s++) {
        const struct shl_copy *copy = &array->copies[s];
        uint64_t bytes = shl_state_shard_bytes(state, array, s);
        if (bytes && shl_table_find(&state->table, s, state->id) == 0)
            shl_copy(copy->slot[copy->now ^ 1].at, shl_state_shard_data(state, array, s), bytes,
                     true);
    }
}

void shl_state_keep(struct shoal_state *state)
{
    uint64_t begin_ns = shl_now_ns();
    for (uint32_t a = 0; a < state->array_count; a++)
        if (state->arrays[a].copies)
            keep_array(state, &state->arrays[a]);
    state->stats.keep_ns = shl_now_ns() - begin_ns;
}

static void commit_array(const struct shoal_state *state, struct shl_state_array *array)
{
    for (uint32_t s = 0; s < state->table.shards; s++)
        if (shl_table_find(&state->table, s, state->id) != UINT32_MAX)
            array->copies[s].now ^= 1;
}

void shl_state_commit(struct shoal_state *state)
{
    for (uint32_t a = 0; a < state->array_count; a++)
        if (state->arrays[a].copies)
            commit_array(state, &state->arrays[a]);
    if (state->ahead)
        state->shot ^= 1;
    state->ahead = false;
}

static void roll_array_back(const struct shoal_state *state, const struct shl_state_array *array)
{
    for (uint32_t s = 0; s < state->table.shards; s++) {
        const struct shl_copy *copy = &array->copies[s];
        uint64_t bytes = shl_state_shard_bytes(state, array, s);
        if (bytes && shl_table_find(&state->table, s, state->id) == 0)
            memcpy(shl_state_shard_data(state, array, s), copy->slot[copy->now].at, bytes);
    }
}

void shl_state_roll_back(struct shoal_state *state)
{
    for (uint32_t a = 0; a < state->array_count; a++)
        if (state->arrays[a].copies)
            roll_array_back(state, &state->arrays[a]);
    if (state->follower.behind)
        shl_state_put_back(state);
    state->ahead = false;
}

/* ---- gather ---------------------------------------------------------------------------------- */

struct gather {
    const struct shoal_state *state;
    const struct shl_state_array *array;
};

static enum shoal_status plan_gather(const struct gather *gather, const struct shl_members *members,
                                     struct shl_move_list *list)
{
    const struct shoal_state *state = gather->state;
    for (uint32_t s = 0; s < state->table.shards; s++) {
        uint64_t bytes = shl_state_shard_bytes(state, gather->array, s);
        uint64_t owner = shl_table_row(&state->table, s)[0];
        uint32_t from = owner ? shl_members_find(members, owner) : SHL_MEMBER_NONE;
        uint8_t *data = shl_state_shard_data(state, gather->array, s);
        if (from == SHL_MEMBER_NONE)
            return shl_fail(SHOAL_ERR_EPOCH,
                            "a member that owns a part of '%s' is gone; begin a step first",
                            gather->array->name);
        for (uint32_t to = 0; to < members->count && bytes; to++)
            if (to != from)
                SHL_TRY(
                    shl_state_add_move(list, (struct shl_move){data, data, bytes, from, to, 0}));
    }
    return SHOAL_OK;
}

static enum shoal_status run_gather(void *arg, struct shoal_comm *comm,
                                    const struct shl_members *members)
{
    struct shl_move_list list = {.count = 0};
    enum shoal_status status = plan_gather(arg, members, &list);
    if (status == SHOAL_OK)
        status = shl_moves_run(comm, list.at, list.count);
    shl_mem->free(list.at);
    return status;
}

enum shoal_status shl_state_gather(struct shoal_state *state, const struct shl_state_array *array)
{
    struct gather gather = {.state = state, .array = array};
    struct shl_task task = {.run = run_gather, .arg = &gather};
    return shl_views_task(state->world, &task, true);
}
