/*
 * Checking the arguments of operations. Path: from collectives.c, world_collectives.c.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "api/check.h"

static enum shoal_status check_kind(const struct shl_ranks *ranks, const struct shoal_call *call)
{
    bool reduces = call->collective == SHOAL_ALLREDUCE || call->collective == SHOAL_REDUCE ||
                   call->collective == SHOAL_REDUCE_SCATTER;
    bool rooted = call->collective == SHOAL_BROADCAST || call->collective == SHOAL_REDUCE;
    if ((uint32_t)call->collective >= SHOAL_COLLECTIVE_COUNT)
        return shl_fail(SHOAL_ERR_INVALID, "collective %d is unknown", (int)call->collective);
    if (call->collective == SHOAL_BARRIER)
        return SHOAL_OK;
    if ((uint32_t)call->dtype >= SHOAL_DTYPE_COUNT)
        return shl_fail(SHOAL_ERR_INVALID, "dtype %d is unknown; use one of enum shoal_dtype",
                        (int)call->dtype);
    bool made = call->op >= SHOAL_OP_USER_FIRST && call->op - SHOAL_OP_USER_FIRST < ranks->user_ops;
    if (reduces && call->op >= SHOAL_OP_COUNT && !made)
        return shl_fail(SHOAL_ERR_INVALID,
                        "op %u is unknown; use one of enum shoal_op, or an id from "
                        "shoal_op_create on this communicator, or from shoal_world_op_create",
                        call->op);
    if (rooted && call->root >= ranks->size)
        return shl_fail(SHOAL_ERR_INVALID, "root %u is not below size %u", call->root, ranks->size);
    return SHOAL_OK;
}

static bool partly_overlap(const void *a, size_t a_bytes, const void *b, size_t b_bytes)
{
    uintptr_t x = (uintptr_t)a, y = (uintptr_t)b;
    return x < y + b_bytes && y < x + a_bytes;
}

/* In place means one exact position; anything else that overlaps is a mistake. */
static enum shoal_status check_overlap(const struct shl_ranks *ranks, const struct shoal_call *call,
                                       size_t block_bytes)
{
    const uint8_t *send = call->send, *recv = call->recv;
    size_t send_bytes = block_bytes, recv_bytes = block_bytes;
    const uint8_t *in_place = recv;
    if (call->collective == SHOAL_ALLGATHER) {
        recv_bytes *= ranks->size;
        in_place = recv + ranks->rank * block_bytes;
    }
    if (call->collective == SHOAL_REDUCE_SCATTER) {
        send_bytes *= ranks->size;
        if (recv == send + ranks->rank * block_bytes)
            return SHOAL_OK;
    } else if (send == in_place) {
        return SHOAL_OK;
    }
    if (partly_overlap(send, send_bytes, recv, recv_bytes))
        return shl_fail(SHOAL_ERR_INVALID,
                        "send (%zu bytes at %p) and recv (%zu bytes at %p) overlap; give separate "
                        "buffers, or the exact address for in place",
                        send_bytes, (const void *)send, recv_bytes, (const void *)recv);
    return SHOAL_OK;
}

enum shoal_status shl_check_shape(const struct shl_ranks *ranks, const struct shoal_call *call)
{
    SHL_TRY(check_kind(ranks, call));
    if (call->collective == SHOAL_BARRIER || call->count == 0)
        return SHOAL_OK;
    size_t elem_bytes = shoal_dtype_bytes(call->dtype), total_bytes;
    if (__builtin_mul_overflow(call->count, elem_bytes, &total_bytes) ||
        __builtin_mul_overflow(total_bytes, (size_t)ranks->size, &total_bytes) ||
        total_bytes > SIZE_MAX / 4)
        return shl_fail(SHOAL_ERR_INVALID, "count %zu of %s on %u ranks is more than memory holds",
                        call->count, shoal_dtype_string(call->dtype), ranks->size);
    return SHOAL_OK;
}

enum shoal_status shl_check_call(const struct shl_ranks *ranks, const struct shoal_call *call)
{
    SHL_TRY(shl_check_shape(ranks, call));
    if (call->collective == SHOAL_BARRIER || call->count == 0)
        return SHOAL_OK;
    size_t block_bytes = call->count * shoal_dtype_bytes(call->dtype);
    bool root = ranks->rank == call->root;
    bool sends = call->collective != SHOAL_BROADCAST || root;
    bool receives = call->collective != SHOAL_REDUCE || root;
    if (sends && !call->send)
        return shl_fail(SHOAL_ERR_INVALID, "send is NULL with count %zu", call->count);
    if (receives && !call->recv)
        return shl_fail(SHOAL_ERR_INVALID, "recv is NULL with count %zu", call->count);
    return sends && receives ? check_overlap(ranks, call, block_bytes) : SHOAL_OK;
}

enum shoal_status shl_check_op(const struct shoal_op_options *options, const uint32_t *id,
                               struct shl_user_op *op)
{
    struct shoal_op_options given = {0};
    if (!options || !id)
        return shl_fail(SHOAL_ERR_INVALID, "options or the place for the operation is NULL");
    SHL_TRY(shl_copy_options(&given, sizeof(given), options));
    if (!given.function)
        return shl_fail(SHOAL_ERR_INVALID, "the operation's function is NULL");
    *op = (struct shl_user_op){
        .function = given.function, .user = given.user, .commutes = given.commutes != 0};
    return SHOAL_OK;
}
