/*
 * Operations of a communicator whose members all share memory. Path: from request.c, next
 * transport/group.h, device/reduce.h; or exec.c when buffers cannot be reached directly.
 *
 * Every operation begins with an exchange (phase 0) in which each member shows its signature and
 * either its data, when these are small, or where its buffers are. So all members know of all
 * before anything moves: they agree on the call and on how to carry it out, without a message.
 *
 *   INLINE  phase 0 carries the data; each member combines what it needs.
 *   DIRECT  each member combines its slice of all inputs into all outputs; phase 1: done.
 *   PULL    the same with process_vm_readv: own slice first; phase 1; then the others' slices;
 *           phase 2: done reading.
 *   WINDOW  through windows of shared memory; window.c. No phase after 0: nobody touches another's
 *           buffers.
 *   STAGED  a schedule over messages: what user-defined operations need.
 *
 * Invariant: a member touches another's buffers only between phase 0 and the last phase, which all
 * wait for; in the first stage only its own slice of anybody's buffers.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "core/sys.h"
#include "engine/comm.h"
#include "engine/group_move.h"
#include "engine/window.h"

#include <string.h>

/* Where pulling beat windows when both were measured in turns, docs/benchmarks.md. */
#define PULL_BYTES_MIN (512u << 10)
#define PULL_BYTES_MAX (4u << 20)

#define INLINE_TOTAL_BYTES 65536 /* all members' payloads together */

struct shl_group_place {
    struct shl_group_buffer in, out;
};

/* Bytes this member publishes when the call is small enough, else -1. A function of the signature
 * and the size alone, so that members that agree on the call agree on this. */
static int64_t inline_bytes(const struct shoal_comm *comm, const struct shoal_call *call)
{
    if (call->collective == SHOAL_BARRIER)
        return 0;
    uint64_t elem_bytes = shoal_dtype_bytes(call->dtype);
    uint64_t total = shl_call_count_total(call, comm->size);
    if (call->collective == SHOAL_ALLGATHER)
        total = call->count;
    if (total > SHL_GROUP_INLINE_BYTES / elem_bytes ||
        total * elem_bytes * comm->size > INLINE_TOTAL_BYTES)
        return -1;
    return (int64_t)(total * elem_bytes);
}

static void describe(struct shoal_request *request, struct shl_group_place *place)
{
    const struct shoal_comm *comm = request->comm;
    const struct shoal_call *call = &request->call;
    uint64_t elem_bytes = shoal_dtype_bytes(call->dtype);
    uint64_t total_bytes = shl_call_count_total(call, comm->size) * elem_bytes;
    uint64_t block_bytes = call->count * elem_bytes;
    uint64_t in_bytes = call->collective == SHOAL_ALLGATHER ? block_bytes : total_bytes;
    uint64_t out_bytes = call->collective == SHOAL_REDUCE_SCATTER ? block_bytes : total_bytes;
    shl_group_describe(comm->group, call->send, in_bytes, &place->in);
    shl_group_describe(comm->group, call->recv, out_bytes, &place->out);
}

static void post_call(struct shoal_request *request)
{
    struct shoal_comm *comm = request->comm;
    const struct shoal_call *call = &request->call;
    int64_t bytes = inline_bytes(comm, call);
    request->group.posted = true;
    if (bytes >= 0) {
        bool silent = call->collective == SHOAL_BROADCAST && call->root != comm->rank;
        request->group.mode = SHL_GROUP_INLINE;
        shl_group_post(comm->group, request->seq, 0, &request->signature, call->send,
                       silent ? 0 : (uint32_t)bytes);
    } else {
        struct shl_group_place place;
        describe(request, &place);
        request->group.mode = SHL_GROUP_STAGED; /* until phase 0 tells more */
        shl_group_post(comm->group, request->seq, 0, &request->signature, &place, sizeof(place));
    }
    shl_group_wake(comm->group);
}

/* Do all members mean the same? Raises a mismatch if not. */
static bool agreed(struct shoal_request *request)
{
    struct shoal_comm *comm = request->comm;
    struct shl_group_peek peek;
    for (uint32_t i = 0; i < comm->size; i++) {
        if (i == comm->rank)
            continue;
        if (SHL_UNLIKELY(!shl_group_peek(comm->group, i, request->seq, 0, &peek))) {
            /* It was there a moment ago: the member wrote what it must not, and is given up. */
            shl_incident_raise(comm, request->seq, SHOAL_ERR_ABORTED, "a slot was overwritten");
            return false;
        }
        if (SHL_UNLIKELY(!shl_signature_equal(peek.signature, &request->signature))) {
            shl_incident_raise(comm, request->seq, SHOAL_ERR_MISMATCH, "ranks disagree");
            return false;
        }
    }
    return true;
}

/* Which members' buffers must be reachable by mapping for DIRECT. */
static bool needs_input(const struct shoal_call *call, uint32_t member)
{
    return call->collective != SHOAL_BROADCAST || member == call->root;
}

static bool needs_output(const struct shoal_call *call, uint32_t member)
{
    return call->collective == SHOAL_ALLREDUCE ||
           (call->collective == SHOAL_REDUCE && member == call->root);
}

static const struct shl_group_place *place_of(struct shoal_request *request, uint32_t member,
                                              struct shl_group_place *own)
{
    struct shl_group_peek peek;
    if (member == request->comm->rank) {
        describe(request, own);
        return own;
    }
    if (!shl_group_peek(request->comm->group, member, request->seq, 0, &peek) ||
        peek.bytes != sizeof(struct shl_group_place))
        return NULL;
    return peek.payload;
}

/* How buffers that are not all in shareable heaps travel. */
static enum shl_group_mode ordinary_mode(const struct shoal_comm *comm,
                                         const struct shoal_call *call)
{
    enum setting { COPY_AUTO, COPY_STAGED, COPY_CMA }; /* SHOAL_SHM_COPY */
    uint32_t setting = comm->engine->config->shm_copy;
    uint64_t bytes = shl_call_count_total(call, comm->size) * shoal_dtype_bytes(call->dtype);
    bool pays = bytes >= PULL_BYTES_MIN && bytes < PULL_BYTES_MAX;
    enum shl_group_mode mode =
        setting == COPY_CMA || (setting == COPY_AUTO && pays) ? SHL_GROUP_PULL : SHL_GROUP_WINDOW;
    /* Pulling cannot write into the root's private output. */
    if (mode == SHL_GROUP_PULL &&
        (!shl_group_can_pull(comm->group) || call->collective == SHOAL_REDUCE))
        return SHL_GROUP_WINDOW;
    return mode;
}

/* The same answer on every member, since all see the same descriptions. */
static enum shl_group_mode choose_mode(struct shoal_request *request)
{
    struct shoal_comm *comm = request->comm;
    const struct shoal_call *call = &request->call;
    struct shl_group_place own;
    bool direct = true;
    if (call->op >= SHOAL_OP_USER_FIRST)
        return SHL_GROUP_STAGED;
    for (uint32_t i = 0; i < comm->size; i++) {
        const struct shl_group_place *place = place_of(request, i, &own);
        if (!place)
            return SHL_GROUP_STAGED;
        if (needs_input(call, i) && place->in.heap_offset == UINT64_MAX)
            direct = false;
        if (needs_output(call, i) && place->out.heap_offset == UINT64_MAX)
            direct = false;
    }
    if (direct)
        return SHL_GROUP_DIRECT;
    return ordinary_mode(comm, call);
}

/* Fill comm->inputs and outputs with where members' buffers can be read or written; NULL: only by
 * a pull from `addresses`. */
static enum shoal_status map_members(struct shoal_request *request)
{
    struct shoal_comm *comm = request->comm;
    const struct shoal_call *call = &request->call;
    struct shl_group_place own;
    for (uint32_t i = 0; i < comm->size; i++) {
        const struct shl_group_place *place = place_of(request, i, &own);
        if (i == comm->rank) {
            comm->inputs[i] = call->send;
            comm->outputs[i] = call->recv;
            continue;
        }
        comm->inputs[i] = comm->outputs[i] = NULL;
        if (place->in.heap_offset != UINT64_MAX && needs_input(call, i))
            comm->inputs[i] = shl_group_map(comm->group, i, &place->in);
        if (place->out.heap_offset != UINT64_MAX && needs_output(call, i))
            comm->outputs[i] = shl_group_map(comm->group, i, &place->out);
        if (request->group.mode == SHL_GROUP_DIRECT &&
            ((needs_input(call, i) && !comm->inputs[i]) ||
             (needs_output(call, i) && !comm->outputs[i])))
            return shl_fail(SHOAL_ERR_SYSTEM, "rank %u's shared buffer cannot be mapped", i);
        comm->in_address[i] = place->in.address;
        comm->out_address[i] = place->out.address;
    }
    return SHOAL_OK;
}

static void give_up(struct shoal_request *request)
{
    shl_incident_raise(request->comm, request->seq, SHOAL_ERR_ABORTED, shl_error_text());
}

/* Phase 0 is complete: decide, and begin. */
static void begin(struct shoal_request *request)
{
    if (!agreed(request))
        return;
    if (request->group.mode == SHL_GROUP_INLINE) {
        shl_move_inline(request);
        shl_request_complete(request, SHOAL_OK, NULL);
        return;
    }
    request->group.mode = choose_mode(request);
    if (request->group.mode == SHL_GROUP_STAGED) {
        if (shl_exec_start(request) != SHOAL_OK)
            give_up(request);
        return;
    }
    request->state = SHL_REQUEST_MOVE;
    request->group.cursor = 0;
    if (request->group.mode != SHL_GROUP_WINDOW && map_members(request) != SHOAL_OK)
        give_up(request);
}

/* A piece of data movement; when the stage is done, publish it. */
static void move(struct shoal_request *request)
{
    struct shoal_comm *comm = request->comm;
    struct shl_group_run *run = &request->group;
    bool done;
    if (shl_move_step(request, &done) != SHOAL_OK) {
        give_up(request);
        return;
    }
    if (!done)
        return;
    run->phase++;
    run->cursor = run->member = 0;
    run->at = 0;
    shl_group_post(comm->group, request->seq, run->phase, &request->signature, NULL, 0);
    shl_group_wake(comm->group);
    request->state = SHL_REQUEST_GATHER;
}

static unsigned move_window(struct shoal_request *request)
{
    bool done;
    if (!shl_window_step(request, &done))
        return 0;
    if (done)
        shl_request_complete(request, SHOAL_OK, NULL);
    return 1;
}

/*
 * Direct operations of a communicator run one after another, in the same order everywhere: two that
 * waited for each other on different members would never end, and the tables of addresses serve one
 * at a time. One that was given up goes before, too: until its verdict others may still read the
 * windows for it, and would take the next operation's data for its own.
 */
static bool is_first(const struct shoal_request *request)
{
    const struct shl_list *node = request->comm->ops.next;
    for (; node != &request->link; node = node->next) {
        enum shl_request_state state = SHL_CONTAINER_OF(node, struct shoal_request, link)->state;
        if (state != SHL_REQUEST_SCHEDULE)
            return false;
    }
    return true;
}

unsigned shl_group_advance(struct shoal_request *request)
{
    struct shoal_comm *comm = request->comm;
    struct shl_group_run *run = &request->group;
    if (request->state == SHL_REQUEST_MOVE && run->mode == SHL_GROUP_WINDOW)
        return move_window(request);
    if (request->state == SHL_REQUEST_MOVE) {
        move(request);
        return 1;
    }
    if (!run->posted) {
        if (!shl_group_ready(comm->group, request->seq))
            return 0;
        post_call(request);
    }
    if (!shl_group_gathered(comm->group, request->seq, run->phase, &run->cursor))
        return 0;
    if (run->phase == 0) {
        if (!is_first(request))
            return 0;
        begin(request);
    } else if (shl_move_has_stage(request, run->phase)) {
        request->state = SHL_REQUEST_MOVE;
    } else {
        shl_request_complete(request, SHOAL_OK, NULL);
    }
    return 1;
}

const char *shl_group_mode_string(enum shl_group_mode mode)
{
    static const char *const names[] = {"flat", "direct", "pull", "window", "staged"};
    return names[mode];
}

int shl_group_mode_for(struct shoal_comm *comm, const struct shoal_call *call)
{
    if (!comm->group)
        return -1;
    if (inline_bytes(comm, call) >= 0)
        return SHL_GROUP_INLINE;
    if (call->op >= SHOAL_OP_USER_FIRST)
        return SHL_GROUP_STAGED;
    /* The others are assumed to hold their buffers in the same kind of memory. */
    struct shoal_request probe = {.comm = comm, .call = *call};
    struct shl_group_place own;
    describe(&probe, &own);
    if ((!needs_input(call, comm->rank) || own.in.heap_offset != UINT64_MAX) &&
        (!needs_output(call, comm->rank) || own.out.heap_offset != UINT64_MAX))
        return SHL_GROUP_DIRECT;
    return ordinary_mode(comm, call);
}
