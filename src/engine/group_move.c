/*
 * Data movement of group operations. Path: from group.c, next device/reduce.h.
 *
 * Bytes, allreduce of n bytes on k members: DIRECT reads k * n and writes k * n in total, the
 * lower bound with streaming stores (each member a k-th of both). PULL moves every byte once more
 * through the cache.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "engine/group_move.h"

#include <string.h>

#define PIECE_BYTES (1u << 20)   /* between looks at anything else */
#define CACHED_PIECE_BYTES 32768 /* when a piece is read again at once */
#define LINE_BYTES 64

static const struct shl_reducer *reducer_of(const struct shoal_call *call)
{
    return shl_reducer_get(call->dtype, (enum shoal_op)call->op);
}

bool shl_move_streams(const struct shoal_comm *comm, const struct shoal_call *call)
{
    uint64_t bytes = shl_call_count_total(call, comm->size) * shoal_dtype_bytes(call->dtype);
    return call->send != call->recv && bytes >= comm->stream_bytes;
}

/* ---- INLINE ------------------------------------------------------------------------------- */

/* Fold all members' `count` elements from element `first` into out, in rank order. */
static void fold_inline(struct shoal_request *request, void *out, uint64_t first, uint64_t count)
{
    struct shoal_comm *comm = request->comm;
    const struct shoal_call *call = &request->call;
    size_t offset = first * shoal_dtype_bytes(call->dtype);
    struct shl_group_peek peek;
    for (uint32_t i = 0; i < comm->size; i++) {
        const void *payload = call->send;
        if (i != comm->rank && shl_group_peek(comm->group, i, request->seq, 0, &peek))
            payload = peek.payload;
        comm->piece_inputs[i] = (const uint8_t *)payload + offset;
    }
    const struct shl_user_op *user_op = shl_comm_user_op(comm, call->op);
    if (!user_op) {
        reducer_of(call)->many(out, comm->piece_inputs, comm->size, count);
        if (call->op == SHOAL_AVG)
            shl_reduce_scale(out, out, count, call->dtype, comm->size);
        return;
    }
    /* A user's function takes two operands: fold into the bounce buffer, which aliases no input. */
    size_t bytes = count * shoal_dtype_bytes(call->dtype);
    memcpy(comm->bounce, comm->piece_inputs[0], bytes);
    for (uint32_t i = 1; i < comm->size; i++)
        user_op->function(comm->bounce, comm->piece_inputs[i], comm->bounce, count, call->dtype,
                          user_op->user);
    memcpy(out, comm->bounce, bytes);
}

static void gather_inline(struct shoal_request *request)
{
    struct shoal_comm *comm = request->comm;
    const struct shoal_call *call = &request->call;
    size_t bytes = call->count * shoal_dtype_bytes(call->dtype);
    struct shl_group_peek peek;
    for (uint32_t i = 0; i < comm->size; i++) {
        uint8_t *block = (uint8_t *)call->recv + i * bytes;
        if (i == comm->rank) {
            if (block != call->send)
                memcpy(block, call->send, bytes);
        } else if (shl_group_peek(comm->group, i, request->seq, 0, &peek)) {
            memcpy(block, peek.payload, bytes);
        }
    }
}

static void broadcast_inline(struct shoal_request *request)
{
    struct shoal_comm *comm = request->comm;
    const struct shoal_call *call = &request->call;
    size_t bytes = call->count * shoal_dtype_bytes(call->dtype);
    struct shl_group_peek peek;
    if (comm->rank == call->root) {
        if (call->recv != call->send)
            memcpy(call->recv, call->send, bytes);
    } else if (shl_group_peek(comm->group, call->root, request->seq, 0, &peek)) {
        memcpy(call->recv, peek.payload, bytes);
    }
}

void shl_move_inline(struct shoal_request *request)
{
    const struct shoal_call *call = &request->call;
    uint32_t rank = request->comm->rank;
    if (call->count == 0 || call->collective == SHOAL_BARRIER)
        return;
    switch (call->collective) {
    case SHOAL_ALLREDUCE:
        fold_inline(request, call->recv, 0, call->count);
        break;
    case SHOAL_REDUCE:
        if (rank == call->root)
            fold_inline(request, call->recv, 0, call->count);
        break;
    case SHOAL_REDUCE_SCATTER:
        fold_inline(request, call->recv, rank * call->count, call->count);
        break;
    case SHOAL_ALLGATHER:
        gather_inline(request);
        break;
    default:
        broadcast_inline(request);
        break;
    }
}

/* ---- DIRECT and PULL ---------------------------------------------------------------------- */

struct slice {
    uint64_t first, end; /* elements of the larger buffer */
};

static struct slice slice_of(const struct shoal_comm *comm, const struct shoal_call *call,
                             uint32_t member)
{
    uint64_t total = shl_call_count_total(call, comm->size);
    if (call->collective == SHOAL_REDUCE_SCATTER || call->collective == SHOAL_ALLGATHER)
        return (struct slice){member * call->count, (member + 1) * call->count};
    uint64_t line = LINE_BYTES / shoal_dtype_bytes(call->dtype);
    uint64_t each = (total / comm->size + line) / line * line;
    uint64_t first = member * each < total ? member * each : total;
    uint64_t end = first + each < total ? first + each : total;
    return (struct slice){first, end};
}

/* Bring `count` elements at `first` of a member's buffer within reach. */
static enum shoal_status fetch(struct shoal_request *request, uint32_t member, bool output,
                               uint64_t first, uint64_t count, const void **at)
{
    struct shoal_comm *comm = request->comm;
    size_t elem_bytes = shoal_dtype_bytes(request->call.dtype);
    const void *base = output ? comm->outputs[member] : comm->inputs[member];
    if (base) {
        *at = (const uint8_t *)base + first * elem_bytes;
        return SHOAL_OK;
    }
    uint64_t address = output ? comm->out_address[member] : comm->in_address[member];
    void *bounce = comm->bounce + member * comm->bounce_bytes;
    SHL_TRY(shl_group_pull(comm->group, member, address + first * elem_bytes, bounce,
                           count * elem_bytes));
    *at = bounce;
    return SHOAL_OK;
}

/* Combine elements [first, first + count) of all inputs into the outputs that need them. */
static enum shoal_status reduce_piece(struct shoal_request *request, uint64_t first, uint64_t count)
{
    struct shoal_comm *comm = request->comm;
    const struct shoal_call *call = &request->call;
    size_t elem_bytes = shoal_dtype_bytes(call->dtype);
    const void **inputs = comm->piece_inputs;
    void **outputs = comm->piece_outputs;
    uint32_t output_count = 0;
    for (uint32_t i = 0; i < comm->size; i++)
        SHL_TRY(fetch(request, i, false, first, count, &inputs[i]));
    uint64_t at = first;
    if (call->collective == SHOAL_REDUCE_SCATTER)
        at = first - comm->rank * call->count;
    bool everywhere =
        call->collective == SHOAL_ALLREDUCE && request->group.mode == SHL_GROUP_DIRECT;
    if (everywhere) {
        for (uint32_t i = 0; i < comm->size; i++)
            outputs[output_count++] = (uint8_t *)comm->outputs[i] + at * elem_bytes;
    } else {
        uint32_t owner = call->collective == SHOAL_REDUCE ? call->root : comm->rank;
        outputs[output_count++] = (uint8_t *)comm->outputs[owner] + at * elem_bytes;
    }
    bool streaming = shl_move_streams(comm, call);
    const struct shl_reducer *reducer = reducer_of(call);
    if (call->op != SHOAL_AVG) {
        reducer->push(outputs, output_count, inputs, comm->size, count,
                      streaming ? 0 : output_count);
        return SHOAL_OK;
    }
    reducer->many(outputs[0], inputs, comm->size, count);
    shl_reduce_scale(outputs[0], outputs[0], count, call->dtype, comm->size);
    for (uint32_t i = 1; i < output_count; i++)
        shl_copy(outputs[i], outputs[0], count * elem_bytes, streaming);
    return SHOAL_OK;
}

/* Copy a piece of a member's input or output into the same place of mine. */
static enum shoal_status copy_piece(struct shoal_request *request, uint32_t member, bool output,
                                    uint64_t first, uint64_t count)
{
    struct shoal_comm *comm = request->comm;
    const struct shoal_call *call = &request->call;
    size_t elem_bytes = shoal_dtype_bytes(call->dtype);
    uint8_t *to = (uint8_t *)call->recv + first * elem_bytes;
    const void *base = output ? comm->outputs[member] : comm->inputs[member];
    uint64_t source = first;
    if (call->collective == SHOAL_ALLGATHER)
        source = first - member * call->count;
    bool streaming = shl_move_streams(comm, call);
    if (base) {
        const uint8_t *from = (const uint8_t *)base + source * elem_bytes;
        if (from != to)
            shl_copy(to, from, count * elem_bytes, streaming);
        return SHOAL_OK;
    }
    uint64_t address = output ? comm->out_address[member] : comm->in_address[member];
    return shl_group_pull(comm->group, member, address + source * elem_bytes, to,
                          count * elem_bytes);
}

/* Elements of one piece. */
static uint64_t piece_elems(const struct shoal_request *request, bool reducing)
{
    const struct shoal_call *call = &request->call;
    size_t bytes = PIECE_BYTES;
    if (reducing && request->group.mode == SHL_GROUP_PULL)
        bytes = request->comm->bounce_bytes;
    if (reducing && call->op == SHOAL_AVG && bytes > CACHED_PIECE_BYTES)
        bytes = CACHED_PIECE_BYTES;
    return bytes / shoal_dtype_bytes(call->dtype);
}

/* Advance through [slice.first, slice.end) by one piece; `at` counts from 0. */
static uint64_t next_piece(struct slice slice, uint64_t at, uint64_t limit)
{
    uint64_t left = slice.end - slice.first - at;
    return left < limit ? left : limit;
}

static enum shoal_status step_reduce(struct shoal_request *request, bool *done)
{
    struct shl_group_run *run = &request->group;
    struct slice slice = slice_of(request->comm, &request->call, request->comm->rank);
    uint64_t count = next_piece(slice, run->at, piece_elems(request, true));
    if (count > 0)
        SHL_TRY(reduce_piece(request, slice.first + run->at, count));
    run->at += count;
    *done = slice.first + run->at == slice.end;
    return SHOAL_OK;
}

/* Copy the slices of members one after another, beginning after my own to spread the load. */
static enum shoal_status step_copy(struct shoal_request *request, bool output, bool *done)
{
    struct shoal_comm *comm = request->comm;
    struct shl_group_run *run = &request->group;
    uint32_t member = (comm->rank + run->member) % comm->size;
    struct slice slice = slice_of(comm, &request->call, member);
    bool mine_already = output && member == comm->rank;
    uint64_t count = mine_already ? 0 : next_piece(slice, run->at, piece_elems(request, false));
    if (count > 0)
        SHL_TRY(copy_piece(request, member, output, slice.first + run->at, count));
    run->at += count;
    if (mine_already || slice.first + run->at == slice.end) {
        run->member++;
        run->at = 0;
    }
    *done = run->member == comm->size;
    return SHOAL_OK;
}

static enum shoal_status step_broadcast(struct shoal_request *request, bool *done)
{
    struct shl_group_run *run = &request->group;
    struct slice all = {0, request->call.count};
    uint64_t count = next_piece(all, run->at, piece_elems(request, false));
    if (count > 0)
        SHL_TRY(copy_piece(request, request->call.root, false, run->at, count));
    run->at += count;
    *done = run->at == all.end;
    return SHOAL_OK;
}

enum shoal_status shl_move_step(struct shoal_request *request, bool *done)
{
    if (request->group.phase == 1)
        return step_copy(request, true, done);
    if (request->call.collective == SHOAL_BROADCAST)
        return step_broadcast(request, done);
    if (request->call.collective == SHOAL_ALLGATHER)
        return step_copy(request, false, done);
    return step_reduce(request, done);
}

bool shl_move_has_stage(const struct shoal_request *request, unsigned phase)
{
    return phase == 1 && request->group.mode == SHL_GROUP_PULL &&
           request->call.collective == SHOAL_ALLREDUCE;
}
