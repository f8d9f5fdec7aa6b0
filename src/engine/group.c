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
 *   STREAM  buffers. STREAM is the same past the caches.
 *   STAGED  a schedule over messages: what user-defined operations and reshards need.
 *
 * Ordinary buffers go by PULL, WINDOW or STREAM, as member 0 says in phase 0; ways.h.
 *
 * Invariant: a member touches another's buffers only between phase 0 and the last phase, which all
 * wait for; in the first stage only its own slice of anybody's buffers.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "core/sys.h"
#include "engine/comm.h"
#include "engine/group_move.h"
#include "engine/ways.h"
#include "engine/window.h"

#define INLINE_TOTAL_BYTES 65536 /* all members' payloads together */

struct shl_group_place {
    struct shl_group_buffer in, out;
    uint64_t way; /* of member 0: how to move ordinary buffers, an enum shl_group_mode */
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

/* How ordinary buffers can travel: the same on every member. Pulling cannot write into the root's
 * private output. Members that share cores share their caches too. */
static struct shl_way_op way_op(const struct shoal_comm *comm, const struct shoal_call *call)
{
    enum setting { COPY_AUTO, COPY_STAGED, COPY_CMA }; /* SHOAL_SHM_COPY */
    const unsigned windows = 1u << SHL_GROUP_WINDOW | 1u << SHL_GROUP_STREAM;
    const unsigned pull = 1u << SHL_GROUP_PULL;
    uint32_t setting = comm->engine->config->shm_copy;
    bool can_pull = setting != COPY_STAGED && shl_group_can_pull(comm->group) &&
                    call->collective != SHOAL_REDUCE;
    unsigned usable = !can_pull ? windows : setting == COPY_CMA ? pull : windows | pull;
    return (struct shl_way_op){.collective = call->collective,
                               .in_place = call->send == call->recv,
                               .bytes = shl_call_count_total(call, comm->size) *
                                        shoal_dtype_bytes(call->dtype),
                               .usable = usable,
                               .first = comm->window_crowded ? SHL_GROUP_WINDOW : SHL_GROUP_STREAM};
}

/* Member 0, for all. A way that is to be tried is not spent on an operation that goes directly. */
static enum shl_group_mode choose_way(struct shoal_comm *comm, const struct shoal_call *call,
                                      const struct shl_group_place *own)
{
    struct shl_way_op op = way_op(comm, call);
    bool ordinary = own->in.heap_offset == UINT64_MAX || own->out.heap_offset == UINT64_MAX;
    return ordinary ? shl_ways_next(comm->ways, &op) : shl_ways_usual(comm->ways, &op);
}

static void post_call(struct shoal_request *request)
{
    struct shoal_comm *comm = request->comm;
    const struct shoal_call *call = &request->call;
    int64_t bytes = request->plan ? -1 : inline_bytes(comm, call);
    request->group.posted = true;
    if (request->plan) {
        /* Shown for the agreement; the data go by messages. */
        request->group.mode = SHL_GROUP_STAGED;
        shl_group_post(comm->group, request->seq, 0, &request->signature, NULL, 0);
    } else if (bytes >= 0) {
        bool silent = call->collective == SHOAL_BROADCAST && call->root != comm->rank;
        request->group.mode = SHL_GROUP_INLINE;
        shl_group_post(comm->group, request->seq, 0, &request->signature, call->send,
                       silent ? 0 : (uint32_t)bytes);
    } else {
        struct shl_group_place place;
        describe(request, &place);
        if (comm->rank == 0)
            request->group.way = choose_way(comm, call, &place);
        place.way = request->group.way;
        request->group.mode = SHL_GROUP_STAGED; /* until phase 0 tells more */
        shl_request_tell_posted(request); /* as soon as others know its place they write there */
        shl_group_post(comm->group, request->seq, 0, &request->signature, &place, sizeof(place));
    }
    shl_request_tell_posted(request); /* before the fence, which waits for the line to be away */
    shl_group_wake(comm->group);
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
        own->way = request->group.way;
        return own;
    }
    if (!shl_group_peek(request->comm->group, member, request->seq, 0, &peek) ||
        peek.bytes != sizeof(struct shl_group_place))
        return NULL;
    return peek.payload;
}

/* The same answer on every member, since all see the same descriptions. */
static enum shl_group_mode choose_mode(struct shoal_request *request)
{
    struct shoal_comm *comm = request->comm;
    const struct shoal_call *call = &request->call;
    struct shl_group_place own;
    bool direct = true;
    uint64_t way = SHL_GROUP_WINDOW;
    if (request->plan || call->op >= SHOAL_OP_USER_FIRST)
        return SHL_GROUP_STAGED;
    for (uint32_t i = 0; i < comm->size; i++) {
        const struct shl_group_place *place = place_of(request, i, &own);
        if (!place)
            return SHL_GROUP_STAGED;
        if (i == 0)
            way = place->way;
        if (needs_input(call, i) && place->in.heap_offset == UINT64_MAX)
            direct = false;
        if (needs_output(call, i) && place->out.heap_offset == UINT64_MAX)
            direct = false;
    }
    if (direct)
        return SHL_GROUP_DIRECT;
    bool usable = way < SHL_GROUP_STAGED && (way_op(comm, call).usable >> way & 1);
    return usable ? (enum shl_group_mode)way : SHL_GROUP_WINDOW;
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

static bool uses_windows(const struct shl_group_run *run)
{
    return run->mode == SHL_GROUP_WINDOW || run->mode == SHL_GROUP_STREAM;
}

/* All was moved. Member 0 times the ways; the others only learn what is usual. */
static void finish(struct shoal_request *request)
{
    struct shl_group_run *run = &request->group;
    bool timed = request->comm->rank == 0;
    if (uses_windows(run) || run->mode == SHL_GROUP_PULL) {
        struct shl_way_op op = way_op(request->comm, &request->call);
        shl_ways_note(request->comm->ways, &op, run->mode,
                      timed ? shl_now_ns() - run->begin_ns : 0);
    }
    shl_request_complete(request, SHOAL_OK, NULL);
}

/* Phase 0 is complete: decide, and begin. */
static void begin(struct shoal_request *request)
{
    if (SHL_UNLIKELY(request->group.look.differences != 0)) {
        shl_incident_raise(request->comm, request->seq, SHOAL_ERR_MISMATCH, "ranks disagree");
        return;
    }
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
    if (request->comm->rank == 0 && request->group.mode != SHL_GROUP_DIRECT)
        request->group.begin_ns = shl_now_ns();
    if (!uses_windows(&request->group) && map_members(request) != SHOAL_OK)
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
    run->look = (struct shl_group_look){0};
    run->member = 0;
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
        finish(request);
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
    if (request->state == SHL_REQUEST_MOVE && uses_windows(run))
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
    if (!shl_group_gathered(comm->group, request->seq, run->phase, &request->signature, &run->look))
        return 0;
    if (run->phase == 0) {
        if (!is_first(request))
            return 0;
        begin(request);
    } else if (shl_move_has_stage(request, run->phase)) {
        request->state = SHL_REQUEST_MOVE;
    } else {
        finish(request);
    }
    return 1;
}

const char *shl_group_mode_string(enum shl_group_mode mode)
{
    static const char *const names[] = {"flat", "direct", "pull", "window", "stream", "staged"};
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
    struct shl_way_op op = way_op(comm, call);
    return (int)shl_ways_usual(comm->ways, &op);
}
