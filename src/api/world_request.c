/*
 * Operations of elastic worlds that are started, and reductions of the program's. Path: here,
 * elastic/views/started.c.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "api/call.h"
#include "api/check.h"
#include "api/world.h"
#include "elastic/views/views.h"

static enum shoal_status start(struct shoal_world *world, const struct shoal_world_request *what,
                               struct shoal_world_request **request)
{
    if (!request)
        return shl_fail(SHOAL_ERR_INVALID, "the place for the request is NULL");
    return shl_started_add(world, what, request);
}

enum shoal_status shoal_world_start(struct shoal_world *world, const struct shoal_call *call,
                                    struct shoal_world_request **request)
{
    struct shoal_world_request what = {.is_mean = false};
    SHL_TRY(shl_check_world(world));
    if (!call)
        return shl_fail(SHOAL_ERR_INVALID, "call is NULL");
    SHL_TRY(shl_copy_options(&what.call, sizeof(what.call), call));
    SHL_TRY(shl_check_world_call(world, &what.call));
    if (what.call.collective == SHOAL_BARRIER)
        what.call = (struct shoal_call){.collective = SHOAL_BARRIER};
    return start(world, &what, request);
}

enum shoal_status shoal_world_start_mean(struct shoal_world *world, const void *send, void *recv,
                                         size_t count, enum shoal_dtype dtype, double weight,
                                         struct shoal_world_request **request)
{
    const struct shoal_world_request what = {
        .is_mean = true,
        .weight = weight,
        .call = shl_call_allreduce(send, recv, count, dtype, SHOAL_SUM)};
    SHL_TRY(shl_check_world(world));
    SHL_TRY(shl_check_world_mean(world, &what.call, weight));
    return start(world, &what, request);
}

static enum shoal_status check_request(const struct shoal_world_request *request)
{
    if (!request)
        return shl_fail(SHOAL_ERR_INVALID, "request is NULL; shoal_world_start gives one");
    return request->world ? shl_check_world(request->world) : SHOAL_OK;
}

enum shoal_status shoal_world_request_test(struct shoal_world_request *request)
{
    SHL_TRY(check_request(request));
    return shl_started_wait(request, 0);
}

enum shoal_status shoal_world_request_wait(struct shoal_world_request *request, uint32_t timeout_ms)
{
    SHL_TRY(check_request(request));
    return shl_started_wait(request, timeout_ms);
}

enum shoal_status shoal_world_request_destroy(struct shoal_world_request *request)
{
    if (!request)
        return SHOAL_OK;
    SHL_TRY(check_request(request));
    shl_started_destroy(request);
    return SHOAL_OK;
}

enum shoal_status shoal_world_op_create(struct shoal_world *world,
                                        const struct shoal_op_options *options, uint32_t *op)
{
    struct shl_user_op user_op;
    SHL_TRY(shl_check_world(world));
    SHL_TRY(shl_check_op(options, op, &user_op));
    return shl_views_add_op(world, &user_op, op);
}
