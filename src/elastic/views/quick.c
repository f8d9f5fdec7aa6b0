/*
 * Small sums and barriers while nothing happens: what call.c and carry.c do about any operation, in
 * an order that costs little. What it takes to remember the operation is done while this member's
 * part of it is on its way to the others, and one lock is held for the whole of it, unless the
 * others are late.
 *
 * Invariant: what others see of the operation, also of its failure, is what carry.c would show.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "elastic/views/views.h"

#include <string.h>

#define MS 1000000ull
#define QUICK_BYTES 4096

struct quick {
    struct shoal_world *world;
    const struct shoal_call *call;
    struct shl_op *op;
    size_t bytes;
    struct shl_input input; /* found for it */
    bool unlocked;
};

bool shl_views_is_quick(const struct shoal_world *world, const struct shoal_call *call)
{
    const struct shl_oplog *log = world->log;
    size_t bytes = call->count * shoal_dtype_bytes(call->dtype);
    if (call->collective == SHOAL_BARRIER)
        bytes = 0;
    else if (call->collective != SHOAL_ALLREDUCE || bytes > QUICK_BYTES)
        return false;
    if (!world->usable || world->stopped || world->ended || !shl_oplog_is_calm(log))
        return false;
    return log->in_step ? !world->follower : bytes <= world->kept_bytes;
}

/* token, lock */
static void begin(void *arg)
{
    struct quick *quick = arg;
    struct shoal_world *world = quick->world;
    struct shl_op *op = quick->op = shl_oplog_begin_plain(world->log);
    op->call = *quick->call;
    op->small = !op->in_step;
    op->result_bytes = quick->bytes;
    op->input = quick->input.at;
    op->input_bytes = quick->input.bytes;
    op->restores = op->input != NULL;
    if (op->input)
        memcpy(op->input, quick->call->send, quick->bytes);
    shl_node_progress(world->node, world->epoch, op->seq);
}

/* token, lock, which is given away. */
static void wait_unlocked(void *arg)
{
    struct quick *quick = arg;
    quick->unlocked = true;
    quick->world->users++;
    pthread_mutex_unlock(&quick->world->lock);
}

static void lock_again(struct shoal_world *world)
{
    pthread_mutex_lock(&world->lock);
    world->users--;
    if (!world->usable)
        pthread_cond_broadcast(&world->changed);
}

static bool is_overwritten(const struct shoal_world *world, const struct shoal_call *call)
{
    bool kept = !world->log->in_step || world->log->mode == SHL_STEP_RETAIN;
    return kept && call->send == call->recv;
}

enum shoal_status shl_views_call_quick(struct shoal_world *world, const struct shoal_call *call)
{
    struct quick quick = {.world = world, .call = call};
    const struct shl_beside beside = {&quick, begin, wait_unlocked};
    struct shoal_comm *comm = world->comm;
    if (call->collective != SHOAL_BARRIER)
        quick.bytes = call->count * shoal_dtype_bytes(call->dtype);
    if (quick.bytes && is_overwritten(world, call))
        SHL_TRY(shl_views_find_memory(world, quick.bytes, &quick.input));
    enum shoal_status status =
        shl_request_run_beside(comm, call, &beside, comm->op_timeout_ms * MS);
    struct shl_op *op = quick.op;
    if (SHL_UNLIKELY(quick.unlocked))
        lock_again(world);
    if (SHL_LIKELY(status == SHOAL_OK)) {
        op->epoch = world->epoch;
        op->contributors = comm->size;
        if (!op->in_step)
            shl_views_keep(world, op);
        shl_views_note_last(world, op);
        if (op->input)
            shl_views_give_memory_back(world, op);
        shl_oplog_end_plain(world->log, op);
        return SHOAL_OK;
    }
    shl_views_stumble(world, op, status);
    status = shl_views_carry_out(world, op);
    shl_views_give_memory_back(world, op);
    shl_oplog_unpin(world->log);
    return status;
}
