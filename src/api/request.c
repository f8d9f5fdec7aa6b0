/*
 * Requests: start, test, wait, abort, and what a plan would be.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "api/request.h"

#include "api/check.h"
#include "core/sys.h"

#include <string.h>

static enum shoal_status check_request(const struct shoal_request *request)
{
    if (!request)
        return shl_fail(SHOAL_ERR_INVALID, "request is NULL; shoal_start gives one");
    return shl_check_comm(request->comm);
}

/* Copy what the caller gave, clear what its collective does not use. */
static enum shoal_status read_call(const struct shoal_comm *comm, const struct shoal_call *from,
                                   bool planned, struct shoal_call *call)
{
    memset(call, 0, sizeof(*call));
    if (!from)
        return shl_fail(SHOAL_ERR_INVALID, "call is NULL");
    SHL_TRY(shl_copy_options(call, sizeof(*call), from));
    bool nowhere = planned && !call->send && !call->recv;
    const struct shl_ranks ranks = shl_ranks_of(comm);
    SHL_TRY(nowhere ? shl_check_shape(&ranks, call) : shl_check_call(&ranks, call));
    if (call->collective == SHOAL_BARRIER)
        *call = (struct shoal_call){.collective = SHOAL_BARRIER, .timeout_ms = call->timeout_ms};
    if (call->collective == SHOAL_BROADCAST || call->collective == SHOAL_ALLGATHER)
        call->op = 0;
    if (call->collective != SHOAL_BROADCAST && call->collective != SHOAL_REDUCE)
        call->root = 0;
    return SHOAL_OK;
}

static enum shoal_status outcome(const struct shoal_request *request)
{
    if (request->status < 0)
        return shl_fail(request->status, "%s", request->text);
    return request->status;
}

static uint64_t timeout_of(const struct shoal_comm *comm, const struct shoal_call *call)
{
    if (call->timeout_ms == 0)
        return UINT64_MAX;
    return (call->timeout_ms == UINT32_MAX ? comm->op_timeout_ms : call->timeout_ms) * 1000000;
}

enum shoal_status shl_api_start(struct shoal_comm *comm, const struct shoal_call *call,
                                struct shl_plan *plan, struct shoal_request **request)
{
    shl_token_take(comm->engine);
    enum shoal_status status = shl_request_start_planned(comm, call, plan, request);
    if (status == SHOAL_OK && (*request)->status == SHOAL_IN_PROGRESS) {
        (*request)->timeout_ns = timeout_of(comm, call);
        if (call->timeout_ms > 0)
            (*request)->deadline_ns = shl_now_ns() + (*request)->timeout_ns;
        shl_engine_kick_service(comm->engine);
    }
    shl_token_give(comm->engine);
    return status;
}

enum shoal_status shoal_start(struct shoal_comm *comm, const struct shoal_call *from,
                              struct shoal_request **request)
{
    struct shoal_call call;
    SHL_TRY(shl_check_comm(comm));
    SHL_TRY(read_call(comm, from, false, &call));
    if (!request)
        return shl_fail(SHOAL_ERR_INVALID, "the place for the request is NULL");
    return shl_api_start(comm, &call, NULL, request);
}

enum shoal_status shoal_start_wait(struct shoal_comm *comm, const struct shoal_call *from,
                                   uint32_t wait_ms, struct shoal_request **out)
{
    struct shoal_call call;
    struct shoal_request *request;
    SHL_TRY(shl_check_comm(comm));
    SHL_TRY(read_call(comm, from, false, &call));
    if (!out)
        return shl_fail(SHOAL_ERR_INVALID, "the place for the request is NULL");
    uint64_t wait_ns = wait_ms == UINT32_MAX ? UINT64_MAX : wait_ms * 1000000ull;
    shl_token_take(comm->engine);
    enum shoal_status status = shl_request_start(comm, &call, &request);
    if (status != SHOAL_OK)
        goto give_token;
    request->timeout_ns = timeout_of(comm, &call);
    shl_request_wait(request, wait_ns);
    status = outcome(request);
    if (status == SHOAL_IN_PROGRESS) {
        *out = request;
        shl_engine_kick_service(comm->engine);
    } else {
        *out = NULL;
        shl_request_free(request);
    }
give_token:
    shl_token_give(comm->engine);
    return status;
}

enum shoal_status shoal_request_test(struct shoal_request *request)
{
    SHL_TRY(check_request(request));
    struct shl_engine *engine = request->comm->engine;
    shl_token_take(engine);
    if (request->status == SHOAL_IN_PROGRESS)
        shl_engine_poll(engine);
    /* Whoever only ever tests must not miss the operation's own deadline either. */
    if (request->status == SHOAL_IN_PROGRESS && request->deadline_ns != 0 &&
        request->state != SHL_REQUEST_STOPPED && shl_now_ns() >= request->deadline_ns)
        shl_request_expire(request);
    enum shoal_status status = outcome(request);
    shl_token_give(engine);
    return status;
}

enum shoal_status shoal_request_wait(struct shoal_request *request, uint32_t timeout_ms)
{
    SHL_TRY(check_request(request));
    struct shl_engine *engine = request->comm->engine;
    uint64_t timeout_ns = timeout_ms == UINT32_MAX ? UINT64_MAX : timeout_ms * 1000000ull;
    shl_token_take(engine);
    shl_request_wait(request, timeout_ns);
    enum shoal_status status = outcome(request);
    if (status == SHOAL_IN_PROGRESS)
        shl_engine_kick_service(engine);
    shl_token_give(engine);
    return status;
}

enum shoal_status shoal_request_abort(struct shoal_request *request)
{
    SHL_TRY(check_request(request));
    struct shl_engine *engine = request->comm->engine;
    shl_token_take(engine);
    if (request->status == SHOAL_IN_PROGRESS) {
        shl_incident_raise(request->comm, request->seq, SHOAL_ERR_ABORTED, "aborted by the caller");
        shl_request_drive(request, UINT64_MAX);
    }
    shl_token_give(engine);
    return SHOAL_OK;
}

enum shoal_status shoal_request_destroy(struct shoal_request *request)
{
    if (!request)
        return SHOAL_OK;
    SHL_TRY(shoal_request_abort(request));
    struct shl_engine *engine = request->comm->engine;
    shl_token_take(engine);
    shl_request_free(request);
    shl_token_give(engine);
    return SHOAL_OK;
}

const char *shl_api_transport_name(const struct shoal_comm *comm)
{
    const char *name = NULL;
    for (uint32_t i = 0; i < comm->size; i++) {
        if (i == comm->rank)
            continue;
        const char *other = shl_engine_ops(comm->engine, comm->members[i])->name;
        if (name && strcmp(name, other) != 0)
            return "mixed";
        name = other;
    }
    return name ? name : "self";
}

static enum shoal_status fill_info(struct shoal_comm *comm, const struct shoal_call *call,
                                   struct shoal_plan_info *info)
{
    info->transport = shl_api_transport_name(comm);
    info->algorithm = "copy";
    if (comm->size == 1)
        return SHOAL_OK;
    int mode = shl_group_mode_for(comm, call);
    if (mode >= 0 && mode != SHL_GROUP_STAGED) {
        info->algorithm = shl_group_mode_string((enum shl_group_mode)mode);
        return SHOAL_OK;
    }
    struct shl_plan *plan;
    SHL_TRY(shl_plan_get(comm, call, &plan));
    info->algorithm = plan->choice.algorithm->name;
    info->predicted_us = plan->choice.predicted_s * 1e6;
    info->bytes_sent = plan->bytes_sent;
    info->bytes_reduced = plan->bytes_reduced;
    return SHOAL_OK;
}

enum shoal_status shoal_plan(struct shoal_comm *comm, const struct shoal_call *from,
                             struct shoal_plan_info *info)
{
    struct shoal_call call;
    struct shoal_plan_info filled = {0};
    SHL_TRY(shl_check_comm(comm));
    SHL_TRY(read_call(comm, from, true, &call));
    shl_token_take(comm->engine);
    enum shoal_status status = fill_info(comm, &call, &filled);
    shl_token_give(comm->engine);
    SHL_TRY(status);
    return shl_give_struct(info, &filled, sizeof(filled));
}
