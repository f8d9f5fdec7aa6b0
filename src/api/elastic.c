/*
 * Elastic worlds. Path: here, elastic/views/.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "api/check.h"
#include "api/world.h"
#include "elastic/views/views.h"

#define RECOVERY_MS 30000

enum shoal_status shl_check_world(const struct shoal_world *world)
{
    if (SHL_UNLIKELY(!world))
        return shl_fail(SHOAL_ERR_INVALID, "world is NULL; join one with shoal_world_join");
    return shl_check_context(world->context);
}

/* ---- joining and leaving ----------------------------------------------------------------------
 */

static enum shoal_status check_options(const struct shoal_world_options *given)
{
    if (given->step_mode != SHOAL_STEP_RETAIN && given->step_mode != SHOAL_STEP_ABORT)
        return shl_fail(SHOAL_ERR_INVALID, "step_mode %d is unknown", (int)given->step_mode);
    if (given->catch_up > 1)
        return shl_fail(SHOAL_ERR_INVALID, "catch_up is %u; it is 0 or 1", given->catch_up);
    if (given->partition != SHOAL_PARTITION_MAJORITY && given->partition != SHOAL_PARTITION_ANY)
        return shl_fail(SHOAL_ERR_INVALID, "partition %d is unknown", (int)given->partition);
    if (given->world_min > given->world_start || given->world_start > given->world_max ||
        given->world_max > SHL_MEMBERS_MAX)
        return shl_fail(SHOAL_ERR_INVALID,
                        "world_min %u, world_start %u and world_max %u; they must rise, and end at "
                        "%u at most",
                        given->world_min, given->world_start, given->world_max, SHL_MEMBERS_MAX);
    return SHOAL_OK;
}

static void fill_defaults(struct shoal_world_options *given, const struct shl_config *config)
{
    if (!given->world_min)
        given->world_min = (uint32_t)config->world_min;
    if (!given->world_start)
        given->world_start = (uint32_t)config->world_start;
    if (!given->world_start)
        given->world_start = given->world_min;
    if (!given->world_max)
        given->world_max = (uint32_t)config->world_max;
    if (!given->step_mode)
        given->step_mode = SHOAL_STEP_RETAIN;
    if (!given->partition)
        given->partition = SHOAL_PARTITION_MAJORITY;
    if (!given->join_timeout_ms)
        given->join_timeout_ms = (uint32_t)config->init_timeout_ms;
    if (!given->recovery_timeout_ms)
        given->recovery_timeout_ms = RECOVERY_MS;
    if (!given->op_timeout_ms)
        given->op_timeout_ms = (uint32_t)config->timeout_ms;
}

enum shoal_status shoal_world_join(struct shoal_context *context,
                                   const struct shoal_world_options *options,
                                   struct shoal_world **world)
{
    struct shoal_world_options given = {0};
    SHL_TRY(shl_check_context(context));
    if (!options || !world)
        return shl_fail(SHOAL_ERR_INVALID, "options or the place for the world is NULL");
    SHL_TRY(shl_copy_options(&given, sizeof(given), options));
    const char *store = given.store ? given.store : context->config.join;
    if (!store[0] && !given.custom_store)
        return shl_fail(SHOAL_ERR_INVALID, "no store; give its address in the options, or in "
                                           "SHOAL_JOIN");
    fill_defaults(&given, &context->config);
    SHL_TRY(check_options(&given));
    struct shl_views_options views = {.config = &context->config,
                                      .heap = context->heap,
                                      .memory = context->memory,
                                      .store = store,
                                      .job = given.job ? given.job : context->config.job,
                                      .world = given};
    SHL_TRY(shl_views_join(&views, world));
    (*world)->context = context;
    atomic_fetch_add(&context->comms, 1);
    return SHOAL_OK;
}

enum shoal_status shoal_world_destroy(struct shoal_world *world)
{
    if (!world)
        return SHOAL_OK;
    SHL_TRY(shl_check_world(world));
    struct shoal_context *context = world->context;
    shl_views_destroy(world);
    atomic_fetch_sub(&context->comms, 1); /* From here on the context may be destroyed. */
    return SHOAL_OK;
}

enum shoal_status shoal_leave(struct shoal_world *world, uint32_t deadline_ms)
{
    SHL_TRY(shl_check_world(world));
    return shl_views_leave(world, deadline_ms);
}

/* ---- questions --------------------------------------------------------------------------------
 */

enum shoal_status shoal_world_view(struct shoal_world *world, struct shoal_view *view)
{
    struct shoal_view filled = {0};
    SHL_TRY(shl_check_world(world));
    SHL_TRY(shl_check_struct(view));
    shl_views_look(world, &filled);
    return shl_give_struct(view, &filled, sizeof(filled));
}

uint64_t shoal_world_epoch(const struct shoal_world *world)
{
    return world ? atomic_load(&world->epoch_now) : 0;
}

enum shoal_status shoal_world_members(struct shoal_world *world, uint64_t *ids, uint32_t capacity,
                                      uint32_t *count)
{
    SHL_TRY(shl_check_world(world));
    if (!count || (capacity && !ids))
        return shl_fail(SHOAL_ERR_INVALID, "the place for the count or the ids is NULL");
    pthread_mutex_lock(&world->lock);
    for (uint32_t i = 0; i < world->members.count && i < capacity; i++)
        ids[i] = world->members.at[i].id;
    *count = world->members.count;
    pthread_mutex_unlock(&world->lock);
    return SHOAL_OK;
}

enum shoal_status shoal_world_last(struct shoal_world *world, struct shoal_op_info *info)
{
    SHL_TRY(shl_check_world(world));
    SHL_TRY(shl_check_struct(info));
    pthread_mutex_lock(&world->lock);
    struct shoal_op_info filled = world->last;
    pthread_mutex_unlock(&world->lock);
    return shl_give_struct(info, &filled, sizeof(filled));
}

/* ---- steps ------------------------------------------------------------------------------------
 */

enum shoal_status shoal_step_begin(struct shoal_world *world, struct shoal_step *step)
{
    struct shoal_step filled = {0};
    SHL_TRY(shl_check_world(world));
    SHL_TRY(shl_check_struct(step));
    SHL_TRY(shl_views_begin(world, &filled));
    return shl_give_struct(step, &filled, sizeof(filled));
}

enum shoal_status shoal_step_abort(struct shoal_world *world)
{
    SHL_TRY(shl_check_world(world));
    return shl_views_abort(world);
}

enum shoal_status shoal_step_commit(struct shoal_world *world, uint64_t samples)
{
    SHL_TRY(shl_check_world(world));
    return shl_views_commit(world, samples);
}

enum shoal_status shoal_step_samples(struct shoal_world *world, struct shoal_samples *samples,
                                     uint64_t *indices, size_t capacity,
                                     struct shoal_samples_share *share)
{
    struct shoal_samples_share told;
    SHL_TRY(shl_check_world(world));
    if (!samples)
        return shl_fail(SHOAL_ERR_INVALID,
                        "samples is NULL; create a stream with shoal_samples_create");
    SHL_TRY(shl_check_struct(share));
    SHL_TRY(shl_views_samples(world, samples, indices, capacity, &told));
    return shl_give_struct(share, &told, sizeof(told));
}

enum shoal_status shoal_step_contributors(struct shoal_world *world, uint64_t *ids,
                                          uint32_t capacity, uint32_t *count)
{
    SHL_TRY(shl_check_world(world));
    if (!count || (capacity && !ids))
        return shl_fail(SHOAL_ERR_INVALID, "the place for the count or the ids is NULL");
    pthread_mutex_lock(&world->lock);
    const struct shl_voters *committed = &world->log->committed;
    for (uint32_t i = 0; i < committed->count && i < capacity; i++)
        ids[i] = committed->ids[i];
    *count = committed->count;
    pthread_mutex_unlock(&world->lock);
    return SHOAL_OK;
}
