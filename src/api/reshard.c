/*
 * Resharding behind the C ABI. Path: checks, then engine/reshard.c plans and request.c starts.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "api/check.h"
#include "api/request.h"
#include "collectives/spread.h"

/* A caller's call and layouts, of whatever header, as they are in this one. */
struct given {
    struct shoal_reshard_call call;
    struct shoal_layout from, to;
};

static enum shoal_status read_given(const struct shoal_comm *comm,
                                    const struct shoal_reshard_call *from, struct given *given)
{
    *given = (struct given){.call = {.count = 0}};
    SHL_TRY(shl_check_comm(comm));
    if (!from)
        return shl_fail(SHOAL_ERR_INVALID, "call is NULL");
    SHL_TRY(shl_copy_options(&given->call, sizeof(given->call), from));
    if (!given->call.from || !given->call.to)
        return shl_fail(SHOAL_ERR_INVALID, "the layout `%s` is NULL",
                        given->call.from ? "to" : "from");
    SHL_TRY(shl_copy_options(&given->from, sizeof(given->from), given->call.from));
    SHL_TRY(shl_copy_options(&given->to, sizeof(given->to), given->call.to));
    given->call.from = &given->from;
    given->call.to = &given->to;
    if ((uint32_t)given->call.dtype >= SHOAL_DTYPE_COUNT)
        return shl_fail(SHOAL_ERR_INVALID, "dtype %d is unknown; use one of enum shoal_dtype",
                        (int)given->call.dtype);
    uint64_t bytes;
    if (__builtin_mul_overflow(given->call.count, (uint64_t)shoal_dtype_bytes(given->call.dtype),
                               &bytes) ||
        bytes > UINT64_MAX / 4)
        return shl_fail(SHOAL_ERR_INVALID, "count %llu of %s is more than can be addressed",
                        (unsigned long long)given->call.count,
                        shoal_dtype_string(given->call.dtype));
    return SHOAL_OK;
}

static enum shoal_status count_held(const struct shoal_layout *layout, uint64_t total,
                                    uint32_t rank, uint32_t size, const char *what, uint64_t *count)
{
    struct shl_spread spread;
    enum shoal_status status = shl_spread_init(&spread, layout, total, size, what);
    if (status == SHOAL_OK)
        *count = shl_spread_count(&spread, rank);
    shl_spread_fini(&spread);
    return status;
}

static enum shoal_status check_buffers(const struct shoal_comm *comm, const struct given *given)
{
    const struct shoal_reshard_call *call = &given->call;
    uint64_t in = 0, out = 0;
    SHL_TRY(count_held(&given->from, call->count, comm->rank, comm->size, "from", &in));
    SHL_TRY(count_held(&given->to, call->count, comm->rank, comm->size, "to", &out));
    if (in > 0 && !call->send)
        return shl_fail(SHOAL_ERR_INVALID, "send is NULL, but rank %u has %llu elements",
                        comm->rank, (unsigned long long)in);
    if (out > 0 && !call->recv)
        return shl_fail(SHOAL_ERR_INVALID, "recv is NULL, but rank %u is to get %llu elements",
                        comm->rank, (unsigned long long)out);
    size_t bytes = shoal_dtype_bytes(call->dtype);
    uintptr_t a = (uintptr_t)call->send, b = (uintptr_t)call->recv;
    if (in > 0 && out > 0 && a < b + out * bytes && b < a + in * bytes)
        return shl_fail(SHOAL_ERR_INVALID,
                        "send (%llu elements at %p) and recv (%llu at %p) overlap; give separate "
                        "buffers",
                        (unsigned long long)in, call->send, (unsigned long long)out, call->recv);
    return SHOAL_OK;
}

enum shoal_status shoal_layout_count(const struct shoal_layout *layout, uint64_t total,
                                     uint32_t rank, uint32_t size, uint64_t *count)
{
    struct shoal_layout given = {0};
    if (!layout || !count)
        return shl_fail(SHOAL_ERR_INVALID, "the layout or the place for the count is NULL");
    SHL_TRY(shl_copy_options(&given, sizeof(given), layout));
    if (rank >= size)
        return shl_fail(SHOAL_ERR_INVALID, "rank %u is not below size %u", rank, size);
    return count_held(&given, total, rank, size, "layout", count);
}

enum shoal_status shoal_reshard(struct shoal_comm *comm, const struct shoal_reshard_call *from)
{
    struct given given;
    struct shoal_call call;
    struct shl_plan *plan;
    SHL_TRY(read_given(comm, from, &given));
    SHL_TRY(check_buffers(comm, &given));
    SHL_TRY(shl_reshard_prepare(comm, &given.call, &call, &plan));
    bool usual = call.timeout_ms == 0 || call.timeout_ms == UINT32_MAX;
    uint64_t timeout_ms = usual ? comm->op_timeout_ms : call.timeout_ms;
    return shl_request_run_planned(comm, &call, plan, timeout_ms * 1000000);
}

enum shoal_status shoal_reshard_start(struct shoal_comm *comm,
                                      const struct shoal_reshard_call *from,
                                      struct shoal_request **request)
{
    struct given given;
    struct shoal_call call;
    struct shl_plan *plan;
    SHL_TRY(read_given(comm, from, &given));
    SHL_TRY(check_buffers(comm, &given));
    if (!request)
        return shl_fail(SHOAL_ERR_INVALID, "the place for the request is NULL");
    SHL_TRY(shl_reshard_prepare(comm, &given.call, &call, &plan));
    enum shoal_status status = shl_api_start(comm, &call, plan, request);
    if (status != SHOAL_OK)
        shl_plan_free(plan);
    return status;
}

enum shoal_status shoal_reshard_plan(struct shoal_comm *comm, const struct shoal_reshard_call *from,
                                     struct shoal_plan_info *info)
{
    struct given given;
    struct shoal_call call;
    struct shl_plan *plan;
    SHL_TRY(read_given(comm, from, &given));
    SHL_TRY(shl_reshard_prepare(comm, &given.call, &call, &plan));
    struct shoal_plan_info filled = {.algorithm = plan->choice.algorithm->name,
                                     .transport = shl_api_transport_name(comm),
                                     .bytes_sent = plan->bytes_sent};
    shl_plan_free(plan);
    return shl_give_struct(info, &filled, sizeof(filled));
}
