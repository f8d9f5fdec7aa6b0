/*
 * State that follows members behind the C ABI: checks. Path: next elastic/state/state.h.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "elastic/state/state.h"

#include "api/context.h"

#include <shoal/placement.h>

#include <string.h>

static enum shoal_status check_state(const struct shoal_state *state)
{
    if (SHL_UNLIKELY(!state))
        return shl_fail(SHOAL_ERR_INVALID, "state is NULL; create one with shoal_state_create");
    return SHOAL_OK;
}

static enum shoal_status check_alive(const struct shoal_state *state)
{
    SHL_TRY(check_state(state));
    if (state->follower.gone)
        return shl_fail(SHOAL_ERR_INVALID, "the world of this state is destroyed");
    return shl_check_context(state->world->context);
}

enum shoal_status shoal_state_create(struct shoal_world *world,
                                     const struct shoal_state_options *options,
                                     struct shoal_state **state)
{
    struct shoal_state_options given = {0};
    if (!world || !state)
        return shl_fail(SHOAL_ERR_INVALID, "the world or the place for the state is NULL");
    SHL_TRY(shl_check_context(world->context));
    SHL_TRY(shl_copy_options(&given, sizeof(given), options));
    if (!given.shards)
        given.shards = SHL_SHARDS_DEFAULT;
    uint32_t replicas = given.replicas == SHOAL_STATE_NO_REPLICAS ? 0 : given.replicas;
    if (!given.replicas)
        replicas = 1;
    if (given.shards > SHOAL_PLACE_SHARDS_MAX || replicas > SHOAL_PLACE_REPLICAS_MAX)
        return shl_fail(SHOAL_ERR_INVALID,
                        "%u shards with %u replicas; there may be up to %u, with up to %d",
                        given.shards, replicas, SHOAL_PLACE_SHARDS_MAX, SHOAL_PLACE_REPLICAS_MAX);
    if (given.background > 1)
        return shl_fail(SHOAL_ERR_INVALID, "background is %u; it is 0 or 1", given.background);
    return shl_state_create(world, given.shards, replicas, given.background != 0,
                            given.catch_up_bytes, state);
}

void shoal_state_destroy(struct shoal_state *state)
{
    if (state)
        shl_state_destroy(state);
}

static enum shoal_status check_array(const struct shoal_state_array *array)
{
    uint64_t bytes;
    size_t name_bytes = array->name ? strnlen(array->name, SHOAL_STATE_NAME_MAX + 1) : 0;
    if (name_bytes == 0 || name_bytes > SHOAL_STATE_NAME_MAX)
        return shl_fail(SHOAL_ERR_INVALID, "the name of an array has %zu bytes; give 1 to %d",
                        name_bytes, SHOAL_STATE_NAME_MAX);
    if ((uint32_t)array->dtype >= SHOAL_DTYPE_COUNT)
        return shl_fail(SHOAL_ERR_INVALID, "'%s': dtype %d is unknown; use one of enum shoal_dtype",
                        array->name, (int)array->dtype);
    if (array->kind != SHOAL_STATE_REPLICATED && array->kind != SHOAL_STATE_SHARDED)
        return shl_fail(SHOAL_ERR_INVALID,
                        "'%s': kind %d is unknown; use one of enum shoal_state_kind", array->name,
                        (int)array->kind);
    if (__builtin_mul_overflow(array->count, (uint64_t)shoal_dtype_bytes(array->dtype), &bytes) ||
        bytes > UINT64_MAX / 4)
        return shl_fail(SHOAL_ERR_INVALID, "'%s': count %llu of %s is more than can be addressed",
                        array->name, (unsigned long long)array->count,
                        shoal_dtype_string(array->dtype));
    if (bytes > 0 && !array->data)
        return shl_fail(SHOAL_ERR_INVALID, "'%s': data is NULL for %llu elements", array->name,
                        (unsigned long long)array->count);
    return SHOAL_OK;
}

enum shoal_status shoal_state_add(struct shoal_state *state, const struct shoal_state_array *array)
{
    struct shoal_state_array given = {0};
    SHL_TRY(check_alive(state));
    if (!array)
        return shl_fail(SHOAL_ERR_INVALID, "array is NULL");
    SHL_TRY(shl_copy_options(&given, sizeof(given), array));
    if (!given.kind)
        given.kind = SHOAL_STATE_REPLICATED;
    SHL_TRY(check_array(&given));
    return shl_state_add(state, &given);
}

enum shoal_status shoal_state_verify(struct shoal_state *state,
                                     struct shoal_state_divergence *found, size_t capacity,
                                     size_t *count)
{
    SHL_TRY(check_alive(state));
    if (!count || (capacity && !found))
        return shl_fail(SHOAL_ERR_INVALID, "the place for the count or the divergences is NULL");
    return shl_state_verify(state, found, capacity, count);
}

enum shoal_status shoal_state_owned(const struct shoal_state *state, const char *name,
                                    struct shoal_state_range *ranges, size_t capacity,
                                    size_t *count)
{
    const struct shl_state_array *array;
    SHL_TRY(check_state(state));
    if (!name || !count || (capacity && !ranges))
        return shl_fail(SHOAL_ERR_INVALID, "the name or the place for the ranges is NULL");
    SHL_TRY(shl_state_find(state, name, &array));
    *count = shl_state_owned(state, array, ranges, capacity);
    return SHOAL_OK;
}

enum shoal_status shoal_state_flush(struct shoal_state *state)
{
    SHL_TRY(check_alive(state));
    return shl_views_flush(state->world);
}

enum shoal_status shoal_state_gather(struct shoal_state *state, const char *name)
{
    const struct shl_state_array *array;
    SHL_TRY(check_alive(state));
    if (!name)
        return shl_fail(SHOAL_ERR_INVALID, "the name is NULL");
    SHL_TRY(shl_state_find(state, name, &array));
    return shl_state_gather(state, array);
}

enum shoal_status shoal_state_lost(const struct shoal_state *state, struct shoal_state_loss *losses,
                                   size_t capacity, size_t *count)
{
    SHL_TRY(check_state(state));
    if (!count || (capacity && !losses))
        return shl_fail(SHOAL_ERR_INVALID, "the place for the count or the losses is NULL");
    *count = shl_state_lost(state, losses, capacity);
    return SHOAL_OK;
}

enum shoal_status shoal_state_info(const struct shoal_state *state, struct shoal_state_info *info)
{
    SHL_TRY(check_state(state));
    struct shoal_state_info told = {.settled = state->stats.settled,
                                    .bytes_sent = state->stats.sent,
                                    .bytes_received = state->stats.received,
                                    .bytes_moved = state->stats.moved,
                                    .settle_ns = state->stats.settle_ns,
                                    .refresh_bytes = state->stats.refresh_sent,
                                    .refresh_ns = state->stats.refresh_ns,
                                    .bytes_handed = state->stats.handed,
                                    .bad_chunks = state->stats.bad_chunks,
                                    .bad_giver = state->stats.bad_giver,
                                    .keep_ns = state->stats.keep_ns,
                                    .step_ns = state->stats.step_ns,
                                    .caught_up_bytes = state->stats.caught_up,
                                    .catch_up_ns = state->stats.catch_up_ns};
    shl_giver_told(&state->giver, &told.given_bytes, &told.given_steps);
    return shl_give_struct(info, &told, sizeof(told));
}
