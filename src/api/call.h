/*
 * The blocking operations' arguments as a call, alike for communicators and elastic worlds.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef SHL_API_CALL_H
#define SHL_API_CALL_H

#include <shoal/collectives.h>

static inline struct shoal_call shl_call_allreduce(const void *send, void *recv, size_t count,
                                                   enum shoal_dtype dtype, uint32_t op)
{
    return (struct shoal_call){.collective = SHOAL_ALLREDUCE,
                               .dtype = dtype,
                               .op = op,
                               .count = count,
                               .send = send,
                               .recv = recv};
}

static inline struct shoal_call shl_call_broadcast(const void *send, void *recv, size_t count,
                                                   enum shoal_dtype dtype, uint32_t root)
{
    return (struct shoal_call){.collective = SHOAL_BROADCAST,
                               .dtype = dtype,
                               .root = root,
                               .count = count,
                               .send = send,
                               .recv = recv};
}

static inline struct shoal_call shl_call_reduce(const void *send, void *recv, size_t count,
                                                enum shoal_dtype dtype, uint32_t op, uint32_t root)
{
    return (struct shoal_call){.collective = SHOAL_REDUCE,
                               .dtype = dtype,
                               .op = op,
                               .root = root,
                               .count = count,
                               .send = send,
                               .recv = recv};
}

static inline struct shoal_call shl_call_reduce_scatter(const void *send, void *recv,
                                                        size_t recv_count, enum shoal_dtype dtype,
                                                        uint32_t op)
{
    return (struct shoal_call){.collective = SHOAL_REDUCE_SCATTER,
                               .dtype = dtype,
                               .op = op,
                               .count = recv_count,
                               .send = send,
                               .recv = recv};
}

static inline struct shoal_call shl_call_allgather(const void *send, void *recv, size_t send_count,
                                                   enum shoal_dtype dtype)
{
    return (struct shoal_call){.collective = SHOAL_ALLGATHER,
                               .dtype = dtype,
                               .count = send_count,
                               .send = send,
                               .recv = recv};
}

static inline struct shoal_call shl_call_barrier(void)
{
    return (struct shoal_call){.collective = SHOAL_BARRIER};
}

#endif
