/*
 * The blocking operations of elastic worlds. Path: here, elastic/views/call.c.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "api/call.h"
#include "api/check.h"
#include "api/world.h"
#include "elastic/views/views.h"

/* lock. Roots and sizes are those of a view, which who is not let in yet has to have first. */
static enum shoal_status check_call(struct shoal_world *world, const struct shoal_call *call)
{
    if (SHL_UNLIKELY(world->learning))
        SHL_TRY(shl_views_ready(world));
    const struct shl_ranks ranks = {
        .rank = world->seen_rank, .size = world->seen.count, .user_ops = world->user_op_count};
    return shl_check_call(&ranks, call);
}

enum shoal_status shl_check_world_call(struct shoal_world *world, const struct shoal_call *call)
{
    pthread_mutex_lock(&world->lock);
    enum shoal_status status = check_call(world, call);
    pthread_mutex_unlock(&world->lock);
    return status;
}

enum shoal_status shl_check_world_mean(struct shoal_world *world, const struct shoal_call *call,
                                       double weight)
{
    SHL_TRY(shl_check_world_call(world, call));
    if (call->dtype != SHOAL_F32 && call->dtype != SHOAL_F64)
        return shl_fail(SHOAL_ERR_UNSUPPORTED, "a weighted mean of %s; f32 and f64 are supported",
                        shoal_dtype_string(call->dtype));
    if (!(weight >= 0))
        return shl_fail(SHOAL_ERR_INVALID, "weight %g; give 0 or more", weight);
    return SHOAL_OK;
}

static enum shoal_status run(struct shoal_world *world, const struct shoal_call *call)
{
    SHL_TRY(shl_check_world(world));
    shl_views_enter(world);
    enum shoal_status status = check_call(world, call);
    if (status == SHOAL_OK)
        status = shl_views_call_locked(world, call, NULL);
    shl_views_exit(world);
    return status;
}

enum shoal_status shoal_world_allreduce(struct shoal_world *world, const void *send, void *recv,
                                        size_t count, enum shoal_dtype dtype, uint32_t op)
{
    const struct shoal_call call = shl_call_allreduce(send, recv, count, dtype, op);
    return run(world, &call);
}

enum shoal_status shoal_world_broadcast(struct shoal_world *world, const void *send, void *recv,
                                        size_t count, enum shoal_dtype dtype, uint32_t root)
{
    const struct shoal_call call = shl_call_broadcast(send, recv, count, dtype, root);
    return run(world, &call);
}

enum shoal_status shoal_world_reduce(struct shoal_world *world, const void *send, void *recv,
                                     size_t count, enum shoal_dtype dtype, uint32_t op,
                                     uint32_t root)
{
    const struct shoal_call call = shl_call_reduce(send, recv, count, dtype, op, root);
    return run(world, &call);
}

enum shoal_status shoal_world_reduce_scatter(struct shoal_world *world, const void *send,
                                             void *recv, size_t recv_count, enum shoal_dtype dtype,
                                             uint32_t op)
{
    const struct shoal_call call = shl_call_reduce_scatter(send, recv, recv_count, dtype, op);
    return run(world, &call);
}

enum shoal_status shoal_world_allgather(struct shoal_world *world, const void *send, void *recv,
                                        size_t send_count, enum shoal_dtype dtype)
{
    const struct shoal_call call = shl_call_allgather(send, recv, send_count, dtype);
    return run(world, &call);
}

enum shoal_status shoal_world_barrier(struct shoal_world *world)
{
    const struct shoal_call call = shl_call_barrier();
    return run(world, &call);
}

enum shoal_status shoal_world_mean(struct shoal_world *world, const void *send, void *recv,
                                   size_t count, enum shoal_dtype dtype, double weight)
{
    const struct shoal_call call = shl_call_allreduce(send, recv, count, dtype, SHOAL_SUM);
    SHL_TRY(shl_check_world(world));
    SHL_TRY(shl_check_world_mean(world, &call, weight));
    shl_views_enter(world);
    enum shoal_status status = shl_views_mean_locked(world, &call, weight, NULL);
    shl_views_exit(world);
    return status;
}
