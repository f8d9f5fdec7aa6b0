/*
 * The blocking operations. Path 1: validate, then engine/wait.c starts and drives.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
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
    struct shoal_call call = {.collective = SHOAL_ALLREDUCE,
                              .dtype = dtype,
                              .op = op,
                              .count = count,
                              .send = send,
                              .recv = recv};
    return run(comm, &call);
}

enum shoal_status shoal_broadcast(struct shoal_comm *comm, const void *send, void *recv,
                                  size_t count, enum shoal_dtype dtype, uint32_t root)
{
    struct shoal_call call = {.collective = SHOAL_BROADCAST,
                              .dtype = dtype,
                              .root = root,
                              .count = count,
                              .send = send,
                              .recv = recv};
    return run(comm, &call);
}

enum shoal_status shoal_reduce(struct shoal_comm *comm, const void *send, void *recv, size_t count,
                               enum shoal_dtype dtype, uint32_t op, uint32_t root)
{
    struct shoal_call call = {.collective = SHOAL_REDUCE,
                              .dtype = dtype,
                              .op = op,
                              .root = root,
                              .count = count,
                              .send = send,
                              .recv = recv};
    return run(comm, &call);
}

enum shoal_status shoal_reduce_scatter(struct shoal_comm *comm, const void *send, void *recv,
                                       size_t recv_count, enum shoal_dtype dtype, uint32_t op)
{
    struct shoal_call call = {.collective = SHOAL_REDUCE_SCATTER,
                              .dtype = dtype,
                              .op = op,
                              .count = recv_count,
                              .send = send,
                              .recv = recv};
    return run(comm, &call);
}

enum shoal_status shoal_allgather(struct shoal_comm *comm, const void *send, void *recv,
                                  size_t send_count, enum shoal_dtype dtype)
{
    struct shoal_call call = {.collective = SHOAL_ALLGATHER,
                              .dtype = dtype,
                              .count = send_count,
                              .send = send,
                              .recv = recv};
    return run(comm, &call);
}

enum shoal_status shoal_barrier(struct shoal_comm *comm)
{
    struct shoal_call call = {.collective = SHOAL_BARRIER};
    return run(comm, &call);
}
