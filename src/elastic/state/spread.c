/*
 * Sharded arrays are spread over the members of a view: who holds what from now on, and the moves
 * that this takes. Only what a member is to hold and does not is sent, once, by one that holds it.
 *
 * Invariant: until shl_state_install all that existed is untouched, but for fresh shards; so it can
 * be planned and carried out again for another view.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "core/sys.h"
#include "elastic/node/address.h"
#include "elastic/shards/placement.h"
#include "elastic/state/state.h"

#include <string.h>

#define NS_PER_MS 1000000ull

/* ---- the table ---------------------------------------------------------------------------------
 */

/* Members that are new learn it from the first that knows it. */
static enum shoal_status share_table(struct shoal_state *state, const struct shl_meeting *meeting)
{
    struct shoal_comm *comm = meeting->comm;
    uint32_t root = 0;
    if (meeting->known_count == 0)
        shl_table_clear(&state->table); /* it may be here from a settling that was cut short */
    if (meeting->known_count == 0 || meeting->known_count == comm->size)
        return SHOAL_OK;
    while (!meeting->known[root])
        root++;
    struct shoal_call call = {.struct_size = sizeof(call),
                              .collective = SHOAL_BROADCAST,
                              .dtype = SHOAL_U8,
                              .root = root,
                              .count = shl_table_bytes(&state->table),
                              .send = state->table.holders,
                              .recv = state->table.holders};
    return shl_request_run(comm, &call, comm->op_timeout_ms * NS_PER_MS);
}

/* As members published it when they joined: the communicator's hosts are those that share memory,
 * which is less when a transport is chosen, and where a machine has several pods. */
static uint64_t host_of(const struct shl_member *member)
{
    struct shl_node_address address;
    return shl_node_address_get(member, &address) ? address.domain : member->id;
}

static bool is_leaving(const struct shl_meeting *meeting, uint64_t id)
{
    for (uint32_t i = 0; meeting->leaving && i < meeting->leaving->count; i++)
        if (meeting->leaving->ids[i] == id)
            return true;
    return false;
}

/* Those who stay. Returns how many. */
static uint32_t list_stayers(const struct shl_meeting *meeting, const struct shl_members *members,
                             struct shoal_member *stayers)
{
    uint32_t count = 0;
    for (uint32_t rank = 0; rank < members->count; rank++)
        if (!is_leaving(meeting, members->at[rank].id))
            stayers[count++] =
                (struct shoal_member){members->at[rank].id, host_of(&members->at[rank])};
    return count;
}

/* Where those who stay are fewer than the copies that are to be, whoever leaves keeps its own for
 * as long as it is there: that may take until somebody has joined. */
static void keep_leavers(struct shoal_state *state, const struct shl_meeting *meeting,
                         const struct shl_members *members)
{
    struct shl_table *next = &state->next;
    for (uint32_t s = 0; meeting->leaving && s < next->shards; s++) {
        const uint64_t *before = shl_table_row(&state->table, s);
        uint64_t *row = shl_table_row(next, s);
        uint32_t held = 0;
        while (held < next->width && row[held])
            held++;
        for (uint32_t i = 0; i < next->width && held < next->width; i++)
            if (before[i] && shl_table_find(next, s, before[i]) == UINT32_MAX &&
                shl_members_find(members, before[i]) != SHL_MEMBER_NONE)
                row[held++] = before[i];
    }
}

/* state->next: who is to hold what among these members. */
static enum shoal_status place(struct shoal_state *state, const struct shl_meeting *meeting,
                               const struct shl_members *members)
{
    struct shoal_member *placed = shl_mem->alloc(members->count * sizeof(*placed));
    if (!placed)
        return shl_fail_errno("cannot allocate a list of %u members", members->count);
    uint32_t count = list_stayers(meeting, members, placed);
    struct shoal_place_options options = {.struct_size = sizeof(options),
                                          .shards = state->table.shards,
                                          .replicas = state->table.width - 1,
                                          .members = placed,
                                          .member_count = count};
    struct shoal_place_result result;
    shl_table_copy(&state->next, &state->table);
    enum shoal_status status =
        count ? shl_place(&options, state->next.holders, &result)
              : shl_fail(SHOAL_ERR_EPOCH, "whoever was to take the state over is gone, too");
    if (status == SHOAL_OK)
        keep_leavers(state, meeting, members);
    if (status == SHOAL_OK && !shl_table_equal(&state->next, &state->table))
        ++*state->next.spreads;
    shl_mem->free(placed);
    return status;
}

/* ---- memory ---------------------------------------------------------------------------------- */

void shl_state_drop_pending(struct shoal_state *state)
{
    for (uint32_t a = 0; a < state->array_count; a++) {
        struct shl_state_array *array = &state->arrays[a];
        for (uint32_t s = 0; array->pending && s < state->table.shards; s++) {
            shl_slot_free(&array->pending[s].slot[0]);
            shl_slot_free(&array->pending[s].slot[1]);
        }
    }
}

/* Does this member need a slot for a shard that it has not? 0: for the committed version. */
static bool is_lacking(const struct shoal_state *state, const struct shl_state_array *array,
                       uint32_t shard, unsigned slot, uint64_t id)
{
    const struct shl_copy *copy = &array->copies[shard];
    return shl_table_find(&state->next, shard, id) != UINT32_MAX &&
           shl_state_shard_bytes(state, array, shard) > 0 && !copy->slot[copy->now ^ slot].at;
}

/* Those with the same holders as `first`, which were not cut for any before it, after one another:
 * what goes from an owner to a replica then lies together on both. */
static void cut_alike(struct shoal_state *state, struct shl_state_array *array, uint32_t first,
                      unsigned i, uint64_t id, struct shl_slab *slab)
{
    const struct shl_table *next = &state->next;
    const uint64_t *row = shl_table_row(next, first);
    for (uint32_t s = first; s < next->shards; s++) {
        struct shl_slot *slot = &array->pending[s].slot[i];
        bool alike = memcmp(shl_table_row(next, s), row, next->width * sizeof(*row)) == 0;
        if (alike && !slot->at && is_lacking(state, array, s, i, id))
            *slot = shl_slab_cut(slab, shl_state_shard_bytes(state, array, s));
    }
}

/* What this member needs for an array and has not. */
static enum shoal_status allocate_array(struct shoal_state *state, struct shl_state_array *array,
                                        uint64_t id)
{
    struct shl_slab *slab;
    size_t room = 0;
    for (unsigned i = 0; i < 2; i++)
        for (uint32_t s = 0; s < state->next.shards; s++)
            if (is_lacking(state, array, s, i, id))
                room += shl_slot_room(shl_state_shard_bytes(state, array, s));
    if (room == 0)
        return SHOAL_OK;
    SHL_TRY(shl_slab_make(state->world->options.heap, room, &slab));
    for (unsigned i = 0; i < 2; i++)
        for (uint32_t s = 0; s < state->next.shards; s++)
            if (!array->pending[s].slot[i].at && is_lacking(state, array, s, i, id))
                cut_alike(state, array, s, i, id, slab);
    return SHOAL_OK;
}

static enum shoal_status allocate_copies(struct shoal_state *state, uint64_t id)
{
    for (uint32_t a = 0; a < state->array_count; a++)
        if (state->arrays[a].copies)
            SHL_TRY(allocate_array(state, &state->arrays[a], id));
    return SHOAL_OK;
}

/* ---- moves ----------------------------------------------------------------------------------- */

struct spread {
    struct shoal_state *state;
    const struct shl_members *members;
    struct shl_move_list *list;
    uint64_t id; /* of this member */
};

/* Holders of a shard before that are members still, by rank. */
static uint32_t find_givers(const struct spread *spread, uint32_t shard, uint32_t *givers)
{
    const struct shl_table *table = &spread->state->table;
    uint32_t count = 0;
    for (uint32_t i = 0; i < table->width; i++) {
        uint64_t id = shl_table_row(table, shard)[i];
        uint32_t rank = id ? shl_members_find(spread->members, id) : SHL_MEMBER_NONE;
        if (rank != SHL_MEMBER_NONE)
            givers[count++] = rank;
    }
    return count;
}

/* Where the committed version is to be here. */
static uint8_t *target(const struct shl_state_array *array, uint32_t shard)
{
    const struct shl_copy *copy = &array->copies[shard];
    return copy->slot[copy->now].at ? copy->slot[copy->now].at : array->pending[shard].slot[0].at;
}

/* All arrays' parts of a shard from one member to another. */
static enum shoal_status add_moves(const struct spread *spread, uint32_t shard, uint32_t from,
                                   uint32_t to, bool fresh)
{
    struct shoal_state *state = spread->state;
    for (uint32_t a = 0; a < state->array_count; a++) {
        struct shl_state_array *array = &state->arrays[a];
        uint64_t bytes = array->copies ? shl_state_shard_bytes(state, array, shard) : 0;
        if (bytes == 0)
            continue;
        const struct shl_copy *copy = &array->copies[shard];
        const uint8_t *src =
            fresh ? shl_state_shard_data(state, array, shard) : copy->slot[copy->now].at;
        SHL_TRY(shl_state_add_move(
            spread->list, (struct shl_move){src, target(array, shard), bytes, from, to, 0}));
    }
    return SHOAL_OK;
}

static enum shoal_status plan_shard(const struct spread *spread, uint32_t shard)
{
    const struct shoal_state *state = spread->state;
    const uint64_t *row = shl_table_row(&state->next, shard);
    uint32_t givers[SHOAL_PLACE_REPLICAS_MAX + 1];
    bool fresh = state->table.fresh[shard];
    uint32_t count = find_givers(spread, shard, givers);
    /* Lost, or still lost: whoever was to write it anew has not come to a commit. */
    uint64_t owner = shl_table_row(&state->table, shard)[0];
    state->next.fresh[shard] = fresh ? owner && owner != row[0] : count == 0;
    if (state->next.fresh[shard])
        return SHOAL_OK;
    for (uint32_t i = 0; i < state->next.width && row[i]; i++) {
        bool had = shl_table_find(&state->table, shard, row[i]) != UINT32_MAX;
        uint32_t to = shl_members_find(spread->members, row[i]);
        if (fresh && i > 0)
            SHL_TRY(add_moves(spread, shard, shl_members_find(spread->members, row[0]), to, true));
        else if (!fresh && !had)
            SHL_TRY(add_moves(spread, shard, givers[(shard + i) % count], to, false));
    }
    return SHOAL_OK;
}

static enum shoal_status plan_moves(const struct spread *spread)
{
    for (uint32_t s = 0; s < spread->state->next.shards; s++)
        SHL_TRY(plan_shard(spread, s));
    return SHOAL_OK;
}

/* All that can fail on one member alone. */
static enum shoal_status plan(const struct spread *spread, const struct shl_meeting *meeting)
{
    shl_state_drop_pending(spread->state);
    SHL_TRY(place(spread->state, meeting, spread->members));
    SHL_TRY(allocate_copies(spread->state, spread->id));
    return plan_moves(spread);
}

static enum shoal_status carry_moves(const struct spread *spread, struct shoal_comm *comm)
{
    struct shoal_state *state = spread->state;
    enum shoal_status status = SHOAL_OK;
    if (spread->list->count > 0)
        status = shl_moves_run(comm, spread->list->at, spread->list->count);
    state->next_id = spread->id;
    shl_state_count_moves(&state->stats, spread->list, comm->rank);
    return status;
}

enum shoal_status shl_state_spread(struct shoal_state *state, const struct shl_meeting *meeting,
                                   const struct shl_members *members)
{
    struct shoal_comm *comm = meeting->comm;
    struct shl_move_list list = {.count = 0};
    struct spread spread = {
        .state = state, .members = members, .list = &list, .id = members->at[comm->rank].id};
    SHL_TRY(share_table(state, meeting));
    enum shoal_status status = shl_state_agree(comm, plan(&spread, meeting));
    if (status == SHOAL_OK)
        status = carry_moves(&spread, comm);
    shl_mem->free(list.at);
    return status;
}

/* Of this plan, that of all members. */
static enum shoal_status find_lost(const struct shl_table *next)
{
    for (uint32_t s = 0; s < next->shards; s++)
        if (next->fresh[s])
            return shl_fail(SHOAL_ERR_STATE_LOST, "all who held shard %u of the state are gone", s);
    return SHOAL_OK;
}

enum shoal_status shl_state_hand_over(struct shoal_state *state, const struct shl_meeting *meeting,
                                      const struct shl_members *members, enum shoal_status *refused)
{
    struct shoal_comm *comm = meeting->comm;
    struct shl_move_list list = {.count = 0};
    struct spread spread = {
        .state = state, .members = members, .list = &list, .id = members->at[comm->rank].id};
    enum shoal_status mine = state->lacked_memory ? SHOAL_ERR_NOMEM : plan(&spread, meeting);
    enum shoal_status status = shl_state_poll(comm, mine, refused);
    if (status == SHOAL_OK && *refused == SHOAL_OK)
        *refused = find_lost(&state->next);
    if (status == SHOAL_OK && *refused == SHOAL_OK)
        status = carry_moves(&spread, comm);
    state->lacked_memory = status == SHOAL_ERR_NOMEM; /* the others learn of it in the next try */
    shl_mem->free(list.at);
    return status;
}

/* ---- afterwards ------------------------------------------------------------------------------ */

static void install_copy(struct shoal_state *state, struct shl_state_array *array, uint32_t shard)
{
    struct shl_copy *copy = &array->copies[shard], *pending = &array->pending[shard];
    uint32_t before = shl_table_find(&state->table, shard, state->next_id);
    uint32_t at = shl_table_find(&state->next, shard, state->next_id);
    uint64_t bytes = shl_state_shard_bytes(state, array, shard);
    for (unsigned i = 0; i < 2; i++) {
        if (pending->slot[i].at)
            copy->slot[copy->now ^ i] = pending->slot[i];
        pending->slot[i] = (struct shl_slot){.at = NULL};
    }
    for (unsigned i = 0; i < 2 && at == UINT32_MAX; i++)
        shl_slot_free(&copy->slot[i]);
    if (at != 0 || bytes == 0)
        return;
    uint8_t *data = shl_state_shard_data(state, array, shard);
    if (state->table.fresh[shard])
        memcpy(copy->slot[copy->now].at, data, bytes);
    else if (before != 0 && !state->next.fresh[shard])
        memcpy(data, copy->slot[copy->now].at, bytes);
}

bool shl_state_install(struct shoal_state *state)
{
    bool lost = false;
    for (uint32_t a = 0; a < state->array_count; a++)
        for (uint32_t s = 0; state->arrays[a].copies && s < state->table.shards; s++)
            install_copy(state, &state->arrays[a], s);
    shl_table_copy(&state->table, &state->next);
    state->id = state->next_id;
    for (uint32_t s = 0; s < state->table.shards; s++)
        lost |= state->table.fresh[s];
    return lost;
}
