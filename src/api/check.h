/*
 * What is wrong with a call, before anything is started.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef SHL_API_CHECK_H
#define SHL_API_CHECK_H

#include "api/context.h"
#include "engine/comm.h"

static inline enum shoal_status shl_check_comm(const struct shoal_comm *comm)
{
    if (SHL_UNLIKELY(!comm))
        return shl_fail(SHOAL_ERR_INVALID, "comm is NULL; create one with shoal_comm_create");
    return shl_check_context(comm->context);
}

/* Whom an operation is checked for. */
struct shl_ranks {
    uint32_t rank, size;
    uint32_t user_ops; /* how many there are */
};

static inline struct shl_ranks shl_ranks_of(const struct shoal_comm *comm)
{
    return (struct shl_ranks){
        .rank = comm->rank, .size = comm->size, .user_ops = comm->user_op_count};
}

/* shl_check_call - arguments of an operation; names the bad one. */
enum shoal_status shl_check_call(const struct shl_ranks *ranks, const struct shoal_call *call);

/* shl_check_shape - the same without the buffers, for a call that is only planned. */
enum shoal_status shl_check_shape(const struct shl_ranks *ranks, const struct shoal_call *call);

/* shl_check_op - options of a reduction of the program's, and the place for its id. */
enum shoal_status shl_check_op(const struct shoal_op_options *options, const uint32_t *id,
                               struct shl_user_op *op);

#endif
