/*
 * Moving ordinary buffers through windows. Path: from group.c, next device/reduce.h.
 *
 * Stages of window k: A copies input into my buffer for it; B combines my slice from all members'
 * buffers; C copies the slices that others combined. With two members and little data B combines
 * the whole window, so that there is one wait less. The order is A(0), A(1), then for each k: B(k),
 * C(k - 1), A(k + 2): between a stage and the one that waits for it in other members lie two
 * others, so that members which are not quite level do not wait.
 *
 * Waits: B(k) for all members' A(k); C(k) for all members' B(k); A(k) for the last stage that
 * reads the window that had the buffer before, in all members. A member's progress is the number of
 * places it has passed in that order, above a base made of the operation's number; so it only
 * grows. Places of windows that do not exist are passed with the next one that does.
 *
 * Invariant: a member writes only its own window, and that only in A, and in B to its own slice,
 * which nobody else reads before B is published. An operation that is given up stops in the middle;
 * the next begins only after its verdict, when nobody looks at what it left. Everything that the
 * sizes of windows follow from is agreed when the communicator forms.
 *
 * In mode WINDOW what is written stays in the caches; in mode STREAM it goes past them, because a
 * core reads lines that another core has just written several times slower than memory where the
 * two share no cache. Where they share the last one, WINDOW is the faster, if buffers come again
 * only after both cores' own caches have lost them: a store to a line that the other core still
 * holds has to take it away first, which is 10 to 20 times slower. So operations go on in the ring
 * where the one before left off. Members that share a core share its own cache, and stay in it.
 *
 * Bytes, allreduce of n on k members, each: n read and n written of the caller's; of windows n
 * written and 2n (k - 1) / k read, in the cache or (STREAM) in memory.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "engine/window.h"

#include "engine/group_move.h"

#include <stdatomic.h>

#define LINE_BYTES 64
#define PAGE_BYTES 4096u
#define HEAD_BYTES PAGE_BYTES
#define RING_BYTES (2u << 20) /* two members' exceed a core's own cache */
#define WINDOW_BYTES (HEAD_BYTES + RING_BYTES)
#define CROWDED_BUFFERS 4 /* members that share cores */
#define AHEAD 2           /* windows filled before the first is combined */
#define PLACE_BITS 24     /* places in one operation */
#define SMALLEST_BYTES 32768
#define SLICED_BYTES (128u << 10) /* two members: from here on each combines half for both */
#define LARGEST_BYTES (256u << 10)

struct window_head {
    _Atomic uint64_t progress;
};

enum stage { STAGE_IN, STAGE_COMBINE, STAGE_OUT };

struct place {
    enum stage stage;
    uint64_t window;
};

/* What does not change during one operation. */
struct plan {
    struct shoal_comm *comm;
    const struct shoal_call *call;
    size_t elem_bytes;
    unsigned stages; /* 2: no copying out */
    uint64_t total;  /* elements that windows cut: of a block, or of the whole */
    uint64_t each;   /* elements of one window */
    uint64_t windows;
    uint64_t buffers;
    uint64_t buffer_bytes;
    uint64_t turn; /* of the ring, for the first window */
    uint64_t base;
    bool streaming;      /* results go past the cache */
    bool windows_stream; /* what is written into windows does */
};

/* ---- life cycle ----------------------------------------------------------------------------- */

enum shoal_status shl_window_reserve(struct shoal_comm *comm, uint64_t *heap_offset)
{
    struct shl_heap *heap = comm->engine->heap;
    SHL_TRY(shl_heap_alloc(heap, WINDOW_BYTES, &comm->window));
    *heap_offset = shl_heap_offset(heap, comm->window, WINDOW_BYTES);
    return SHOAL_OK;
}

enum shoal_status shl_window_map(struct shoal_comm *comm, const uint64_t *heap_offsets)
{
    for (uint32_t i = 0; i < comm->size; i++) {
        struct shl_group_buffer place = {.address = (uintptr_t)comm->window,
                                         .heap_offset = heap_offsets[i],
                                         .bytes = WINDOW_BYTES};
        comm->windows[i] = shl_group_map(comm->joined, i, &place);
        if (!comm->windows[i])
            return shl_fail(SHOAL_ERR_SYSTEM, "rank %u's window cannot be mapped", i);
    }
    return SHOAL_OK;
}

/* Has every member come to the end of the last operation that used the windows? */
static bool all_done(const struct shoal_comm *comm)
{
    for (uint32_t i = 0; i < comm->size && comm->window_last > 0; i++) {
        const struct window_head *head = comm->windows[i];
        if (atomic_load_explicit(&head->progress, memory_order_acquire) < comm->window_last)
            return false;
    }
    return true;
}

/* A slower member may still be reading: giving its pages back would make it read zeros. */
void shl_window_release(struct shoal_comm *comm)
{
    struct shl_heap *heap = comm->engine->heap;
    bool unread = !comm->window_cut && all_done(comm);
    if (comm->window)
        (void)(unread ? shl_heap_free(heap, comm->window) : shl_heap_abandon(heap, comm->window));
    comm->window = NULL;
}

/* ---- arithmetic ----------------------------------------------------------------------------- */

static struct plan make_plan(const struct shoal_request *request)
{
    struct shoal_comm *comm = request->comm;
    const struct shoal_call *call = &request->call;
    struct plan plan = {.comm = comm, .call = call, .elem_bytes = shoal_dtype_bytes(call->dtype)};
    bool reduces = call->collective == SHOAL_ALLREDUCE || call->collective == SHOAL_REDUCE;
    plan.total = call->count;
    uint64_t per_element = call->collective == SHOAL_REDUCE_SCATTER ? comm->size : 1;
    uint64_t bytes = plan.total * plan.elem_bytes * per_element;
    plan.stages = reduces && (comm->size > 2 || bytes >= SLICED_BYTES) ? 3 : 2;
    plan.windows_stream = request->group.mode == SHL_GROUP_STREAM;
    uint64_t window_bytes = bytes / 2 < SMALLEST_BYTES ? SMALLEST_BYTES : bytes / 2;
    window_bytes = window_bytes < LARGEST_BYTES ? window_bytes : LARGEST_BYTES;
    uint64_t line = LINE_BYTES / plan.elem_bytes;
    plan.each = window_bytes / per_element / plan.elem_bytes / line * line;
    plan.each = plan.each ? plan.each : line;
    plan.windows = (plan.total + plan.each - 1) / plan.each;
    plan.buffer_bytes = plan.each * per_element * plan.elem_bytes;
    plan.buffers = comm->window_crowded ? CROWDED_BUFFERS : RING_BYTES / plan.buffer_bytes;
    plan.turn = request->seq * plan.windows;
    plan.base = request->seq << PLACE_BITS;
    plan.streaming = shl_move_streams(comm, call);
    return plan;
}

/* The kernel's work on pages that nobody has used comes with the first operation, so that the next
 * ones show what this way costs. */
static void touch_ring(const struct plan *plan)
{
    struct shoal_comm *comm = plan->comm;
    uint64_t end = HEAD_BYTES + plan->buffers * plan->buffer_bytes;
    for (uint32_t i = 0; i < comm->size; i++) {
        volatile uint8_t *window = comm->windows[i];
        for (uint64_t at = comm->window_touched; at < end; at += PAGE_BYTES) {
            if (i == comm->rank)
                window[at] = 0;
            else
                (void)window[at];
        }
    }
    if (end > comm->window_touched)
        comm->window_touched = end;
}

/* Places of the windows before the first that is combined, then rounds of `stages` places: the
 * last ends with the last result. */
static uint64_t place_count(const struct plan *plan)
{
    uint64_t rounds = plan->stages == 3 ? plan->windows + 1 : plan->windows;
    return AHEAD + rounds * plan->stages - 1;
}

static struct place place_at(const struct plan *plan, uint64_t at)
{
    if (at < AHEAD)
        return (struct place){STAGE_IN, at};
    uint64_t round = (at - AHEAD) / plan->stages;
    switch ((at - AHEAD) % plan->stages) {
    case 0:
        return (struct place){STAGE_COMBINE, round};
    case 1:
        if (plan->stages == 3)
            return (struct place){STAGE_OUT, round - 1}; /* round 0: a window that is not */
        /* fall through */
    default:
        return (struct place){STAGE_IN, round + AHEAD};
    }
}

/* Progress of a member that has passed this stage of this window. */
static uint64_t passed(const struct plan *plan, enum stage stage, uint64_t window)
{
    uint64_t at = 0;
    if (stage == STAGE_IN)
        at = window < AHEAD ? window : AHEAD + (window - AHEAD + 1) * plan->stages - 1;
    else if (stage == STAGE_COMBINE)
        at = AHEAD + window * plan->stages;
    else
        at = AHEAD + (window + 1) * plan->stages + 1;
    return plan->base + at + 1;
}

/* What all members must have passed before this place. */
static uint64_t needed(const struct plan *plan, struct place place)
{
    if (place.stage == STAGE_COMBINE)
        return passed(plan, STAGE_IN, place.window);
    if (place.stage == STAGE_OUT)
        return passed(plan, STAGE_COMBINE, place.window);
    if (place.window < plan->buffers)
        return plan->comm->window_last;
    enum stage last = plan->stages == 3 ? STAGE_OUT : STAGE_COMBINE;
    return passed(plan, last, place.window - plan->buffers);
}

static bool all_passed(const struct plan *plan, uint64_t progress, uint32_t *cursor)
{
    struct shoal_comm *comm = plan->comm;
    for (; *cursor < comm->size; ++*cursor) {
        const struct window_head *head = comm->windows[*cursor];
        if (*cursor != comm->rank &&
            atomic_load_explicit(&head->progress, memory_order_acquire) < progress)
            return false;
    }
    return true;
}

static uint8_t *buffer_of(const struct plan *plan, uint32_t member, uint64_t window)
{
    uint64_t buffer = (plan->turn + window) % plan->buffers;
    return (uint8_t *)plan->comm->windows[member] + HEAD_BYTES + buffer * plan->buffer_bytes;
}

struct range {
    uint64_t first, count;
};

static struct range window_range(const struct plan *plan, uint64_t window)
{
    uint64_t first = window * plan->each, left = plan->total - first;
    return (struct range){first, left < plan->each ? left : plan->each};
}

/* The part of a window that a member combines for all, from the window's start. */
static struct range slice_of(const struct plan *plan, struct range window, uint32_t member)
{
    uint64_t line = LINE_BYTES / plan->elem_bytes;
    uint64_t each = (window.count / plan->comm->size + line) / line * line;
    uint64_t first = member * each < window.count ? member * each : window.count;
    uint64_t left = window.count - first;
    return (struct range){first, left < each ? left : each};
}

/* ---- the stages ----------------------------------------------------------------------------- */

/* What others combine. */
static void copy_others_slices(const struct plan *plan, struct range window, uint8_t *to,
                               const uint8_t *from)
{
    struct range own = slice_of(plan, window, plan->comm->rank);
    size_t before = own.first * plan->elem_bytes;
    size_t after = (own.first + own.count) * plan->elem_bytes;
    shl_copy(to, from, before, plan->windows_stream);
    shl_copy(to + after, from + after, window.count * plan->elem_bytes - after,
             plan->windows_stream);
}

static void copy_in(const struct plan *plan, uint64_t window)
{
    const struct shoal_call *call = plan->call;
    struct shoal_comm *comm = plan->comm;
    struct range range = window_range(plan, window);
    uint8_t *to = buffer_of(plan, comm->rank, window);
    size_t bytes = range.count * plan->elem_bytes;
    if (call->collective == SHOAL_BROADCAST && comm->rank != call->root)
        return;
    const uint8_t *from = (const uint8_t *)call->send + range.first * plan->elem_bytes;
    if (plan->stages == 3) {
        copy_others_slices(plan, range, to, from);
        return;
    }
    if (call->collective != SHOAL_REDUCE_SCATTER) {
        shl_copy(to, from, bytes, plan->windows_stream);
        return;
    }
    for (uint32_t i = 0; i < comm->size; i++)
        if (i != comm->rank)
            shl_copy(to + i * plan->each * plan->elem_bytes,
                     from + i * call->count * plan->elem_bytes, bytes, plan->windows_stream);
}

/* Where results go: what goes into the cache comes first. */
struct targets {
    void *at[2];
    size_t count, cached;
};

static struct targets targets_of(const struct plan *plan, void *out, void *shared)
{
    struct targets targets = {.count = 0};
    for (int streams = 0; streams < 2; streams++) {
        if (out && plan->streaming == streams)
            targets.at[targets.count++] = out;
        if (shared && plan->windows_stream == streams)
            targets.at[targets.count++] = shared;
        if (!streams)
            targets.cached = targets.count;
    }
    return targets;
}

/* Combine all members' elements into out, shared, or both; one may be NULL. Operands lie `offset`
 * bytes into the buffers, my own at `mine`. */
static void combine(const struct plan *plan, uint64_t window, size_t offset, const void *mine,
                    uint64_t count, void *out, void *shared)
{
    struct shoal_comm *comm = plan->comm;
    const struct shl_reducer *reducer =
        shl_reducer_get(plan->call->dtype, (enum shoal_op)plan->call->op);
    struct targets to = targets_of(plan, out, shared);
    for (uint32_t i = 0; i < comm->size; i++)
        comm->piece_inputs[i] = i == comm->rank ? mine : buffer_of(plan, i, window) + offset;
    if (plan->call->op != SHOAL_AVG) {
        reducer->push(to.at, to.count, comm->piece_inputs, comm->size, count, to.cached);
        return;
    }
    reducer->many(to.at[0], comm->piece_inputs, comm->size, count);
    shl_reduce_scale(to.at[0], to.at[0], count, plan->call->dtype, comm->size);
    if (to.count > 1)
        shl_copy(to.at[1], to.at[0], count * plan->elem_bytes, to.cached < to.count);
}

static void combine_slice(const struct plan *plan, uint64_t window)
{
    struct shoal_comm *comm = plan->comm;
    struct range range = window_range(plan, window);
    struct range slice =
        plan->stages == 3 ? slice_of(plan, range, comm->rank) : (struct range){0, range.count};
    size_t offset = slice.first * plan->elem_bytes;
    size_t at = (range.first + slice.first) * plan->elem_bytes;
    bool receives = plan->call->collective == SHOAL_ALLREDUCE || comm->rank == plan->call->root;
    uint8_t *shared = plan->stages == 3 ? buffer_of(plan, comm->rank, window) + offset : NULL;
    if (slice.count == 0 || (plan->stages == 2 && !receives))
        return;
    const uint8_t *mine = (const uint8_t *)plan->call->send + at;
    uint8_t *out = receives ? (uint8_t *)plan->call->recv + at : NULL;
    combine(plan, window, offset, mine, slice.count, out, shared);
}

static void combine_block(const struct plan *plan, uint64_t window)
{
    struct shoal_comm *comm = plan->comm;
    const struct shoal_call *call = plan->call;
    struct range range = window_range(plan, window);
    size_t at = range.first * plan->elem_bytes;
    const uint8_t *mine =
        (const uint8_t *)call->send + comm->rank * call->count * plan->elem_bytes + at;
    combine(plan, window, comm->rank * plan->each * plan->elem_bytes, mine, range.count,
            (uint8_t *)call->recv + at, NULL);
}

/* Broadcast and allgather: copy what is in others' buffers to where it belongs here. */
static void copy_whole(const struct plan *plan, uint64_t window)
{
    struct shoal_comm *comm = plan->comm;
    const struct shoal_call *call = plan->call;
    struct range range = window_range(plan, window);
    size_t bytes = range.count * plan->elem_bytes, at = range.first * plan->elem_bytes;
    bool gathers = call->collective == SHOAL_ALLGATHER;
    for (uint32_t n = 0; n < comm->size; n++) {
        uint32_t i = (comm->rank + n) % comm->size;
        if (!gathers && i != call->root)
            continue;
        uint8_t *to = (uint8_t *)call->recv + at;
        if (gathers)
            to += i * call->count * plan->elem_bytes;
        const uint8_t *from =
            i == comm->rank ? (const uint8_t *)call->send + at : buffer_of(plan, i, window);
        if (from != to)
            shl_copy(to, from, bytes, plan->streaming);
    }
}

static void copy_slices(const struct plan *plan, uint64_t window)
{
    struct shoal_comm *comm = plan->comm;
    struct range range = window_range(plan, window);
    if (plan->call->collective == SHOAL_REDUCE && comm->rank != plan->call->root)
        return;
    for (uint32_t n = 1; n < comm->size; n++) {
        uint32_t i = (comm->rank + n) % comm->size;
        struct range slice = slice_of(plan, range, i);
        size_t at = (range.first + slice.first) * plan->elem_bytes;
        shl_copy((uint8_t *)plan->call->recv + at,
                 buffer_of(plan, i, window) + slice.first * plan->elem_bytes,
                 slice.count * plan->elem_bytes, plan->streaming);
    }
}

static void work(const struct plan *plan, struct place place)
{
    if (place.stage == STAGE_IN) {
        copy_in(plan, place.window);
        return;
    }
    if (place.stage == STAGE_OUT) {
        copy_slices(plan, place.window);
        return;
    }
    switch (plan->call->collective) {
    case SHOAL_ALLREDUCE:
    case SHOAL_REDUCE:
        combine_slice(plan, place.window);
        break;
    case SHOAL_REDUCE_SCATTER:
        combine_block(plan, place.window);
        break;
    default:
        copy_whole(plan, place.window);
        break;
    }
}

bool shl_window_step(struct shoal_request *request, bool *done)
{
    struct shoal_comm *comm = request->comm;
    struct shl_group_run *run = &request->group;
    struct plan plan = make_plan(request);
    struct window_head *own = comm->windows[comm->rank];
    struct place place = place_at(&plan, run->at);
    if (run->at == 0)
        touch_ring(&plan);
    while (place.window >= plan.windows)
        place = place_at(&plan, ++run->at);
    *done = false;
    if (!all_passed(&plan, needed(&plan, place), &run->cursor))
        return false;
    work(&plan, place);
    run->cursor = 0;
    run->at++;
    atomic_store_explicit(&own->progress, plan.base + run->at, memory_order_release);
    shl_group_wake(comm->group);
    *done = run->at == place_count(&plan);
    if (*done)
        comm->window_last = plan.base + run->at;
    return true;
}
