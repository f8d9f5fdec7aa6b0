/*
 * The program's operations: one number each, and what is kept of their inputs.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "core/sys.h"
#include "elastic/views/views.h"

#include <string.h>

enum shoal_status shl_views_find_memory(struct shoal_world *world, size_t bytes,
                                        struct shl_input *input)
{
    if (input->bytes >= bytes)
        return SHOAL_OK;
    struct shl_input found = world->pool;
    world->pool = (struct shl_input){0};
    if (found.bytes < bytes) {
        shl_mem->free(found.at);
        found = (struct shl_input){shl_mem->alloc_aligned(4096, bytes), bytes};
    }
    if (!found.at)
        return shl_fail_errno("cannot keep %zu bytes of input for the case of a failure", bytes);
    *input = found;
    return SHOAL_OK;
}

void shl_views_give_input(struct shoal_world *world, struct shl_input *input)
{
    bool larger = input->bytes > world->pool.bytes;
    shl_mem->free(larger ? world->pool.at : input->at);
    if (larger)
        world->pool = *input;
    *input = (struct shl_input){0};
}

void shl_views_give_memory_back(struct shoal_world *world, struct shl_op *op)
{
    if (op->in_step || !op->input || op->input_bytes < world->pool.bytes)
        return;
    shl_mem->free(world->pool.at);
    world->pool = (struct shl_input){op->input, op->input_bytes};
    op->input = NULL;
}

/* lock: the memory is found before there is a number: a member that lacks it is in step with the
 * others when it calls again. */
static enum shoal_status begin(struct shoal_world *world, size_t bytes, struct shl_input *given,
                               struct shl_op **op)
{
    struct shl_input own = {0}, *input = given ? given : &own;
    SHL_TRY(shl_views_find_memory(world, bytes, input));
    enum shoal_status status = shl_oplog_begin(world->log, false, op);
    if (status == SHOAL_OK && bytes) {
        (*op)->input = input->at;
        (*op)->input_bytes = input->bytes;
        *input = (struct shl_input){0};
    }
    if (own.at)
        shl_views_give_input(world, &own);
    return status;
}

static bool follows_view(const struct shoal_call *call)
{
    return call->collective == SHOAL_REDUCE_SCATTER || call->collective == SHOAL_ALLGATHER;
}

static uint64_t root_of(const struct shoal_world *world, const struct shoal_call *call)
{
    bool rooted = call->collective == SHOAL_BROADCAST || call->collective == SHOAL_REDUCE;
    return rooted && call->root < world->seen.count ? world->seen.at[call->root].id : 0;
}

/* lock */
static void describe(struct shoal_world *world, struct shl_op *op, const struct shoal_call *call)
{
    size_t bytes = call->count * shoal_dtype_bytes(call->dtype);
    bool small = call->collective == SHOAL_BARRIER ||
                 (call->collective == SHOAL_ALLREDUCE && bytes <= SHL_OPLOG_KEPT_BYTES);
    op->call = *call;
    op->shape = follows_view(call) ? shl_members_hash(&world->seen) : 0;
    op->result_bytes = call->collective == SHOAL_BARRIER ? 0 : bytes;
    op->rounds = !op->in_step;
    op->small = op->rounds && small;
    op->root_id = root_of(world, call);
}

/* In place the input would be gone when it is needed again: so many bytes of it. An allgather
 * leaves it where it is, and a broadcast the root's. */
static size_t overwritten_bytes(const struct shoal_world *world, const struct shoal_call *call)
{
    bool kept = !world->log->in_step || world->log->mode == SHL_STEP_RETAIN;
    size_t bytes = call->count * shoal_dtype_bytes(call->dtype);
    const uint8_t *send = call->send, *recv = call->recv;
    if (!kept || !recv || !bytes)
        return 0;
    if (call->collective == SHOAL_ALLREDUCE || call->collective == SHOAL_REDUCE)
        return send == recv ? bytes : 0;
    size_t all_bytes = bytes * world->seen.count;
    if (call->collective == SHOAL_REDUCE_SCATTER)
        return send <= recv && recv < send + all_bytes ? all_bytes : 0;
    return 0;
}

/* lock: an operation may be begun. */
static enum shoal_status prepare(struct shoal_world *world)
{
    SHL_TRY(shl_views_carry_out(world, NULL));
    if (world->log->retry || shl_views_drop_stale(world))
        return shl_fail(SHOAL_ERR_STEP_RETRY, "members changed within the step; begin it again");
    return SHOAL_OK;
}

/* lock: nothing is begun with a root that is lost already, since those who have looked at the view
 * meanwhile mean another member by its rank. */
static enum shoal_status check_root(struct shoal_world *world, const struct shoal_call *call)
{
    uint64_t root = root_of(world, call);
    if (!root || shl_members_find(&world->members, root) != SHL_MEMBER_NONE)
        return SHOAL_OK;
    if (world->log->in_step) {
        SHL_TRY(shl_views_give_up(world));
        return shl_fail(SHOAL_ERR_STEP_RETRY, "root %u was lost within the step; begin it again",
                        call->root);
    }
    return shl_fail(SHOAL_ERR_EPOCH,
                    "root %u of the view of epoch %llu was lost; look at the view of epoch %llu "
                    "and call again",
                    call->root, (unsigned long long)world->seen_epoch,
                    (unsigned long long)world->epoch);
}

static enum shoal_status check_shape(struct shoal_world *world, const struct shoal_call *call)
{
    /* Its buffers have the size of a view: that must be this one. */
    if (!follows_view(call) || world->seen_epoch == world->epoch ||
        shl_members_hash(&world->seen) == shl_members_hash(&world->members))
        return SHOAL_OK;
    if (world->log->in_step) {
        SHL_TRY(shl_views_give_up(world));
        return shl_fail(
            SHOAL_ERR_STEP_RETRY,
            "%s has the shape of the view of epoch %llu, and members changed within the "
            "step; begin it again",
            shoal_collective_string(call->collective), (unsigned long long)world->seen_epoch);
    }
    /* Nothing was begun, so the program may look and call again, while the others wait. */
    return shl_fail(SHOAL_ERR_EPOCH,
                    "%s was called for the view of epoch %llu, and that of epoch %llu is in force; "
                    "look at the view and call it again",
                    shoal_collective_string(call->collective),
                    (unsigned long long)world->seen_epoch, (unsigned long long)world->epoch);
}

static enum shoal_status end_call(struct shoal_world *world, struct shl_op *op,
                                  enum shoal_status status)
{
    shl_views_give_memory_back(world, op);
    shl_oplog_unpin(world->log);
    return status;
}

enum shoal_status shl_views_call_locked(struct shoal_world *world, const struct shoal_call *call,
                                        struct shl_input *input)
{
    struct shl_op *op;
    if (!input && shl_views_is_quick(world, call))
        return shl_views_call_quick(world, call);
    SHL_TRY(prepare(world));
    SHL_TRY(check_shape(world, call));
    SHL_TRY(check_root(world, call));
    size_t bytes = overwritten_bytes(world, call);
    SHL_TRY(begin(world, bytes, input, &op));
    describe(world, op, call);
    if (bytes)
        memcpy(op->input, call->send, bytes);
    return end_call(world, op, shl_views_carry_out(world, op));
}

void shl_views_call_alone(struct shoal_world *world)
{
    while (SHL_UNLIKELY(world->calling)) {
        world->callers++;
        shl_views_wait(world, UINT64_MAX);
        world->callers--;
    }
    world->calling = true;
}

void shl_views_called(struct shoal_world *world)
{
    world->calling = false;
    if (world->callers)
        pthread_cond_broadcast(&world->changed);
}

void shl_views_seize(struct shoal_world *world)
{
    pthread_mutex_lock(&world->lock);
    shl_views_call_alone(world);
}

void shl_views_enter(struct shoal_world *world)
{
    shl_views_seize(world);
    shl_views_call_from(world);
    shl_started_drain(world);
}

void shl_views_exit(struct shoal_world *world)
{
    shl_views_called(world);
    pthread_mutex_unlock(&world->lock);
}

enum shoal_status shl_views_add_op(struct shoal_world *world, const struct shl_user_op *op,
                                   uint32_t *id)
{
    pthread_mutex_lock(&world->lock);
    uint32_t index = world->user_op_count;
    if (index < SHL_COMM_USER_OPS) {
        world->user_ops[index] = *op;
        world->user_op_count++;
        if (world->usable)
            shl_views_give_ops(world, world->comm);
    }
    pthread_mutex_unlock(&world->lock);
    if (index == SHL_COMM_USER_OPS)
        return shl_fail(SHOAL_ERR_UNSUPPORTED, "a world has at most %d user operations",
                        SHL_COMM_USER_OPS);
    *id = SHOAL_OP_USER_FIRST + index;
    return SHOAL_OK;
}

/* ---- weighted mean ----------------------------------------------------------------------------
 */

static void weigh(uint8_t *to, const void *from, size_t count, enum shoal_dtype dtype,
                  double weight)
{
    if (dtype == SHOAL_F32) {
        float *out = (float *)to, by = (float)weight;
        const float *in = from;
        for (size_t i = 0; i < count; i++)
            out[i] = in[i] * by;
        out[count] = by;
        return;
    }
    double *out = (double *)to;
    const double *in = from;
    for (size_t i = 0; i < count; i++)
        out[i] = in[i] * weight;
    out[count] = weight;
}

/* What is sent, or comes back. */
static size_t half_bytes(const struct shoal_call *mean)
{
    size_t bytes = (mean->count + 1) * shoal_dtype_bytes(mean->dtype);
    return (bytes + 63) & ~(size_t)63;
}

enum shoal_status shl_views_find_input(struct shoal_world *world, const struct shoal_call *call,
                                       bool is_mean, struct shl_input *input)
{
    size_t bytes = is_mean ? 2 * half_bytes(call) : overwritten_bytes(world, call);
    return shl_views_find_memory(world, bytes, input);
}

/* One sum: the weighted elements and, after them, the weights. */
enum shoal_status shl_views_mean_locked(struct shoal_world *world, const struct shoal_call *given,
                                        double weight, struct shl_input *input)
{
    struct shl_op *op;
    size_t half = half_bytes(given);
    SHL_TRY(prepare(world));
    SHL_TRY(begin(world, 2 * half, input, &op));
    weigh(op->input, given->send, given->count, given->dtype, weight);
    struct shoal_call call = *given;
    call.count++;
    call.send = op->input;
    call.recv = op->input + half;
    describe(world, op, &call);
    op->mean = given->recv;
    return end_call(world, op, shl_views_carry_out(world, op));
}
