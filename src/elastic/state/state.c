/*
 * Life of a world's state, and what the views call when members change.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "elastic/state/state.h"

#include "core/sys.h"

#include <string.h>

/* ---- called by the views ----------------------------------------------------------------------
 */

static enum shoal_status settle(void *arg, struct shoal_comm *comm,
                                const struct shl_members *members)
{
    struct shoal_state *state = arg;
    struct shl_meeting meeting;
    uint64_t begin_ns = shl_now_ns();
    (void)members;
    state->stats.sent = state->stats.received = 0;
    SHL_TRY(shl_state_meet(state, comm, &meeting));
    SHL_TRY(shl_state_pull(state, &meeting));
    state->stats.settle_ns = shl_now_ns() - begin_ns;
    return SHOAL_OK;
}

static enum shoal_status settled(void *arg)
{
    struct shoal_state *state = arg;
    state->known = true;
    state->stats.settled++;
    return SHOAL_OK;
}

static void begin(void *arg)
{
    (void)arg;
}

static void committed(void *arg)
{
    (void)arg;
}

/* ---- life ------------------------------------------------------------------------------------ */

enum shoal_status shl_state_create(struct shoal_world *world, struct shoal_state **out)
{
    struct shoal_state *state = shl_mem->alloc(sizeof(*state));
    if (!state)
        return shl_fail_errno("cannot allocate the state of a world");
    state->world = world;
    state->follower = (struct shl_follower){.arg = state,
                                            .settle = {.run = settle, .arg = state},
                                            .begin = begin,
                                            .settled = settled,
                                            .committed = committed};
    enum shoal_status status = shl_views_attach(world, &state->follower);
    if (status != SHOAL_OK) {
        shl_mem->free(state);
        return status;
    }
    *out = state;
    return SHOAL_OK;
}

void shl_state_destroy(struct shoal_state *state)
{
    if (!state->follower.gone)
        shl_views_detach(state->world);
    for (uint32_t i = 0; i < state->array_count; i++)
        shl_mem->free(state->arrays[i].name);
    shl_mem->free(state->arrays);
    shl_mem->free(state);
}

static enum shoal_status reserve(struct shoal_state *state)
{
    if (state->array_count < state->array_capacity)
        return SHOAL_OK;
    uint32_t capacity = state->array_capacity ? 2 * state->array_capacity : 16;
    struct shl_state_array *arrays = shl_mem->resize(state->arrays, capacity * sizeof(*arrays));
    if (!arrays)
        return shl_fail(SHOAL_ERR_NOMEM, "no memory for %u arrays of state", capacity);
    state->arrays = arrays;
    state->array_capacity = capacity;
    return SHOAL_OK;
}

static enum shoal_status check_new(const struct shoal_state *state, const char *name)
{
    if (state->known)
        return shl_fail(SHOAL_ERR_INVALID,
                        "'%s' comes after this member took part in a step; add it before", name);
    for (uint32_t i = 0; i < state->array_count; i++)
        if (strcmp(state->arrays[i].name, name) == 0)
            return shl_fail(SHOAL_ERR_INVALID, "'%s' is the name of another array of the state",
                            name);
    return SHOAL_OK;
}

enum shoal_status shl_state_add(struct shoal_state *state, const struct shoal_state_array *given)
{
    SHL_TRY(check_new(state, given->name));
    SHL_TRY(reserve(state));
    char *name = shl_mem->alloc(strlen(given->name) + 1);
    if (!name)
        return shl_fail_errno("cannot allocate a name");
    memcpy(name, given->name, strlen(given->name) + 1);
    state->arrays[state->array_count++] =
        (struct shl_state_array){.name = name,
                                 .data = given->data,
                                 .count = given->count,
                                 .bytes = given->count * shoal_dtype_bytes(given->dtype),
                                 .dtype = given->dtype,
                                 .kind = given->kind};
    return SHOAL_OK;
}
