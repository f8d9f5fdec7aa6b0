/*
 * The blocking operations. Path 1: validate, then engine/wait.c starts and drives.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "api/call.h"
#include "api/check.h"

static enum shoal_status run(struct shoal_comm *comm, const struct shoal_call *call)
{
    SHL_TRY(shl_check_comm(comm));
    const struct shl_ranks ranks = shl_ranks_of(comm);
    SHL_TRY(shl_check_call(&ranks, call));
    return shl_request_run(comm, call, comm->op_timeout_ms * 1000000);
}

enum shoal_status shoal_allreduce(struct shoal_comm *comm, const void *send, void *recv,
                                  size_t count, enum shoal_dtype dtype, uint32_t op)
{
    const struct shoal_call call = shl_call_allreduce(send, recv, count, dtype, op);
    return run(comm, &call);
}

enum shoal_status shoal_broadcast(struct shoal_comm *comm, const void *send, void *recv,
                                  size_t count, enum shoal_dtype dtype, uint32_t root)
{
    const struct shoal_call call = shl_call_broadcast(send, recv, count, dtype, root);
    return run(comm, &call);
}

enum shoal_status shoal_reduce(struct shoal_comm *comm, const void *send, void *recv, size_t count,
                               enum shoal_dtype dtype, uint32_t op, uint32_t root)
{
    const struct shoal_call call = shl_call_reduce(send, recv, count, dtype, op, root);
    return run(comm, &call);
}

enum shoal_status shoal_reduce_scatter(struct shoal_comm *comm, const void *send, void *recv,
                                       size_t recv_count, enum shoal_dtype dtype, uint32_t op)
{
    const struct shoal_call call = shl_call_reduce_scatter(send, recv, recv_count, dtype, op);
    return run(comm, &call);
}

enum shoal_status shoal_allgather(struct shoal_comm *comm, const void *send, void *recv,
                                  size_t send_count, enum shoal_dtype dtype)
{
    const struct shoal_call call = shl_call_allgather(send, recv, send_count, dtype);
    return run(comm, &call);
}

enum shoal_status shoal_barrier(struct shoal_comm *comm)
{
    const struct shoal_call call = shl_call_barrier();
    return run(comm, &call);
}
