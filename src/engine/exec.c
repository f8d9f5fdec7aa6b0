/*
 * Executing a schedule: a step starts when the steps it names are done. Path: from plan.c, next
 * transport/transport.h, then device/reduce.h.
 *
 * Invariant: everything an execution needs was allocated when its plan was first used; a step's
 * completion only queues its successors, so callbacks never nest.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "core/sys.h"
#include "engine/comm.h"

#include <string.h>

struct shl_run { /* one step of one execution */
    struct shl_xfer xfer;
    struct shl_exec *exec;
    const struct shl_step *step;
    const struct shl_bound *bound;
};

struct shl_exec {
    struct shl_list link; /* plan->idle, or engine->ready_execs */
    struct shl_plan *plan;
    struct shoal_request *request;
    const struct shl_reducer *reducer; /* NULL: user-defined, or nothing to reduce */
    const struct shl_user_op *user_op;
    uint8_t *buffers[3]; /* by enum shl_buffer */
    uint8_t *scratch;
    uint8_t *shadow; /* stands in for OUTPUT where the caller gave none */
    uint32_t remaining;
    uint32_t ready_count;
    uint32_t *ready; /* stack of step indices */
    uint32_t *unmet; /* dependencies not done, by step */
    struct shl_run *runs;
    bool running; /* in shl_exec_run */
    enum shoal_status failed;
};

struct shl_exec *shl_exec_from_link(struct shl_list *link)
{
    return SHL_CONTAINER_OF(link, struct shl_exec, link);
}

void shl_exec_free(struct shl_exec *exec)
{
    shl_mem->free(exec->shadow);
    shl_mem->free(exec->scratch);
    shl_mem->free(exec->runs);
    shl_mem->free(exec->unmet);
    shl_mem->free(exec->ready);
    shl_mem->free(exec);
}

static enum shoal_status make(struct shl_plan *plan, struct shl_exec **out)
{
    uint32_t steps = plan->schedule->step_count;
    struct shl_exec *exec = shl_mem->alloc(sizeof(*exec));
    if (!exec)
        return shl_fail_errno("cannot allocate an execution");
    exec->plan = plan;
    exec->ready = shl_mem->alloc((steps + 1) * sizeof(*exec->ready));
    exec->unmet = shl_mem->alloc((steps + 1) * sizeof(*exec->unmet));
    exec->runs = shl_mem->alloc((steps + 1) * sizeof(*exec->runs));
    uint64_t bytes = plan->scratch_bytes;
    if (bytes > 0)
        exec->scratch = shl_mem->alloc_aligned(4096, bytes);
    if (!exec->ready || !exec->unmet || !exec->runs || (bytes > 0 && !exec->scratch)) {
        enum shoal_status status =
            shl_fail_errno("cannot allocate an execution of %u steps with %llu bytes of scratch",
                           steps, (unsigned long long)bytes);
        shl_exec_free(exec);
        return status;
    }
    shl_list_init(&exec->link);
    *out = exec;
    return SHOAL_OK;
}

/* Reduce ranks other than the root need not have a recv buffer. */
static enum shoal_status bind_buffers(struct shl_exec *exec)
{
    const struct shoal_call *call = &exec->request->call;
    bool shadowed = call->collective == SHOAL_REDUCE && exec->request->comm->rank != call->root;
    if (shadowed && !exec->shadow) {
        size_t bytes = call->count * exec->plan->elem_bytes;
        exec->shadow = shl_mem->alloc_aligned(4096, bytes + 1);
        if (!exec->shadow)
            return shl_fail_errno("cannot allocate %zu bytes to reduce in", bytes);
    }
    exec->buffers[SHL_INPUT] = (uint8_t *)(uintptr_t)call->send;
    exec->buffers[SHL_OUTPUT] = shadowed ? exec->shadow : call->recv;
    exec->buffers[SHL_SCRATCH] = exec->scratch;
    bool built_in = call->collective != SHOAL_BARRIER && call->op < SHOAL_OP_COUNT;
    exec->reducer = built_in ? shl_reducer_get(call->dtype, (enum shoal_op)call->op) : NULL;
    exec->user_op = shl_comm_user_op(exec->request->comm, call->op);
    return SHOAL_OK;
}

static uint8_t *at(const struct shl_exec *exec, const struct shl_span *span, uint64_t offset)
{
    uint8_t *base = exec->buffers[span->buffer];
    return base ? base + offset : NULL;
}

static void scale_final(const struct shl_exec *exec, void *data, size_t count)
{
    const struct shoal_call *call = &exec->request->call;
    if (call->op == SHOAL_AVG)
        shl_reduce_scale(data, data, count, call->dtype, exec->request->comm->size);
}

static void combine(const struct shl_exec *exec, const struct shl_step *step, uint8_t *out,
                    const uint8_t *mine, const uint8_t *other, uint64_t bytes)
{
    const struct shoal_call *call = &exec->request->call;
    size_t count = bytes / exec->plan->elem_bytes;
    const uint8_t *a = step->flags & SHL_STEP_SWAP ? other : mine;
    const uint8_t *b = step->flags & SHL_STEP_SWAP ? mine : other;
    if (exec->reducer)
        exec->reducer->two(out, a, b, count);
    else
        exec->user_op->function(a, b, out, count, call->dtype, exec->user_op->user);
    if (step->flags & SHL_STEP_FINAL)
        scale_final(exec, out, count);
}

static void sink_reduce(struct shl_xfer *xfer, uint64_t offset, const void *piece, size_t bytes)
{
    const struct shl_run *run = xfer->owner;
    uint8_t *out = at(run->exec, &run->step->dst, run->bound->dst);
    const uint8_t *mine = at(run->exec, &run->step->src, run->bound->src);
    combine(run->exec, run->step, out + offset, mine + offset, piece, bytes);
}

static void finish_step(struct shl_exec *exec, const struct shl_step *step)
{
    const struct shl_schedule *schedule = exec->plan->schedule;
    exec->remaining--;
    for (uint32_t i = step->next_count; i-- > 0;) {
        uint32_t next = schedule->nexts[step->first_next + i];
        if (--exec->unmet[next] == 0)
            exec->ready[exec->ready_count++] = next;
    }
}

static void xfer_done(struct shl_xfer *xfer)
{
    struct shl_run *run = xfer->owner;
    struct shl_exec *exec = run->exec;
    struct shl_engine *engine = exec->request->comm->engine;
    if (SHL_UNLIKELY(xfer->status != SHOAL_OK)) {
        /* The transport told why through `lost`; this makes the others stop too. */
        exec->failed =
            shl_fail(xfer->status, "a message to or from rank %u failed", run->step->peer);
    } else {
        finish_step(exec, run->step);
    }
    if (!exec->running && shl_list_empty(&exec->link))
        shl_list_append(&engine->ready_execs, &exec->link);
}

static enum shoal_status start_message(struct shl_exec *exec, struct shl_run *run)
{
    const struct shl_step *step = run->step;
    struct shoal_request *request = exec->request;
    struct shoal_comm *comm = request->comm;
    struct shl_xfer *xfer = &run->xfer;
    bool sends = step->kind == SHL_STEP_SEND;
    uint32_t peer = comm->members[step->peer];
    shl_list_init(&xfer->link);
    xfer->peer = peer;
    xfer->tag = (struct shl_tag){.seq = request->seq, .comm = comm->id, .msg = step->msg};
    xfer->signature = request->signature;
    xfer->data =
        sends ? at(exec, &step->src, run->bound->src) : at(exec, &step->dst, run->bound->dst);
    xfer->bytes = run->bound->bytes;
    xfer->elem_bytes = exec->plan->elem_bytes;
    xfer->sink = step->kind == SHL_STEP_RECV_REDUCE && xfer->bytes > 0 ? sink_reduce : NULL;
    xfer->done = xfer_done;
    xfer->owner = run;
    xfer->status = SHOAL_IN_PROGRESS;
    xfer->moved_bytes = 0;
    const struct shl_transport_ops *ops = shl_engine_ops(comm->engine, peer);
    struct shl_transport *t = shl_engine_transport(comm->engine, peer);
    return sends ? ops->send(t, xfer) : ops->recv(t, xfer);
}

static enum shoal_status start_step(struct shl_exec *exec, uint32_t index)
{
    struct shl_run *run = &exec->runs[index];
    const struct shl_step *step = run->step;
    const uint64_t bytes = run->bound->bytes;
    if (step->kind != SHL_STEP_REDUCE && step->kind != SHL_STEP_COPY)
        return start_message(exec, run);
    uint8_t *dst = at(exec, &step->dst, run->bound->dst);
    const uint8_t *src = at(exec, &step->src, run->bound->src);
    if (step->kind == SHL_STEP_REDUCE && bytes > 0) {
        combine(exec, step, dst, src, at(exec, &step->src2, run->bound->src2), bytes);
    } else if (bytes > 0 && dst != src) {
        memcpy(dst, src, bytes);
    }
    if (step->kind == SHL_STEP_COPY && step->flags & SHL_STEP_FINAL)
        scale_final(exec, dst, bytes / exec->plan->elem_bytes);
    finish_step(exec, step);
    return SHOAL_OK;
}

void shl_exec_run(struct shl_exec *exec)
{
    struct shoal_request *request = exec->request;
    exec->running = true;
    enum shoal_status status = exec->failed;
    while (exec->ready_count > 0 && status == SHOAL_OK) {
        status = start_step(exec, exec->ready[--exec->ready_count]);
        if (status == SHOAL_OK)
            status = exec->failed;
    }
    exec->running = false;
    if (status != SHOAL_OK) {
        /* Without the peer the others cannot go on either; other failures are this rank's own. */
        enum shoal_status kind = status == SHOAL_ERR_PEER ? SHOAL_ERR_PEER : SHOAL_ERR_ABORTED;
        shl_incident_raise(request->comm, request->seq, kind, shl_error_text());
        return;
    }
    if (exec->remaining == 0)
        shl_request_complete(request, SHOAL_OK, NULL);
}

enum shoal_status shl_exec_start(struct shoal_request *request)
{
    struct shl_plan *plan = request->plan;
    struct shl_exec *exec = NULL;
    if (!plan)
        SHL_TRY(shl_plan_get(request->comm, &request->call, &plan));
    struct shl_list *node = shl_list_pop(&plan->idle);
    if (node)
        exec = shl_exec_from_link(node);
    else
        SHL_TRY(make(plan, &exec));
    exec->request = request;
    enum shoal_status status = bind_buffers(exec);
    if (status != SHOAL_OK) {
        shl_list_append(&plan->idle, &exec->link);
        return status;
    }
    const struct shl_schedule *schedule = plan->schedule;
    plan->busy++;
    request->exec = exec;
    request->state = SHL_REQUEST_SCHEDULE;
    exec->remaining = schedule->step_count;
    exec->ready_count = 0;
    exec->failed = SHOAL_OK;
    /* Later steps go to the bottom of the stack, so that earlier ones start first. */
    for (uint32_t i = schedule->step_count; i-- > 0;) {
        exec->runs[i].exec = exec;
        exec->runs[i].step = &schedule->steps[i];
        exec->runs[i].bound = &plan->bound[i];
        exec->unmet[i] = schedule->steps[i].dep_count;
        if (exec->unmet[i] == 0)
            exec->ready[exec->ready_count++] = i;
    }
    shl_exec_run(exec);
    return SHOAL_OK;
}

/* The transports hold none of its transfers any more: all are done or cancelled. */
void shl_exec_release(struct shl_exec *exec)
{
    if (!shl_list_empty(&exec->link))
        shl_list_remove(&exec->link);
    exec->running = false;
    exec->request = NULL;
    exec->plan->busy--;
    shl_list_append(&exec->plan->idle, &exec->link);
}
