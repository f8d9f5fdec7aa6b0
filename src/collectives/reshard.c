/*
 * Planning a reshard: find the runs that concern this rank, then lay out steps peer by peer.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "collectives/reshard.h"

#include "collectives/rank_map.h"
#include "collectives/schedule_builder.h"
#include "core/array.h"
#include "core/sys.h"

#include <inttypes.h>

/* Runs of this rank, and for each peer which of them go there and come from there. */
struct plan {
    uint32_t size, rank;
    uint64_t pack_below;
    struct shl_reshard_run *runs; /* of this rank, ascending */
    uint32_t run_count;
    size_t run_capacity;
    bool has_lots;
    uint32_t *order;  /* runs by bucket, ascending within */
    uint32_t *bucket; /* 2 * size + 1: bucket b is order[bucket[b]] .. order[bucket[b + 1]] */
    uint64_t *moved;  /* elements of a bucket */
    struct shl_schedule *schedule;
    uint64_t scratch_used;
    uint32_t *messages; /* 2 * size, by direction and peer */
};

/* Bucket of what goes to `peer`, of what comes from it. What stays goes to this rank itself. */
static uint32_t bucket_to(uint32_t peer)
{
    return 2 * peer;
}

static uint32_t bucket_from(uint32_t peer)
{
    return 2 * peer + 1;
}

/* ---- runs ----------------------------------------------------------------------------------- */

static enum shoal_status keep_run(struct plan *plan, const struct shl_reshard_run *run)
{
    if (run->from != plan->rank && run->to != plan->rank)
        return SHOAL_OK;
    SHL_TRY(shl_array_reserve(&plan->runs, &plan->run_capacity, plan->run_count,
                              sizeof(*plan->runs), "runs of a reshard"));
    plan->runs[plan->run_count++] = *run;
    plan->has_lots |= run->lot != 0;
    return SHOAL_OK;
}

static bool continues(const struct shl_reshard_run *last, const struct shl_reshard_run *run)
{
    return last->count > 0 && last->from == run->from && last->to == run->to &&
           last->src + last->count == run->src && last->dst + last->count == run->dst;
}

static enum shoal_status find_runs(struct plan *plan, const struct shl_reshard_shape *shape)
{
    const struct shl_spread *from = shape->from, *to = shape->to;
    struct shl_spread_walk from_walk = {0}, to_walk = {0};
    struct shl_reshard_run last = {.count = 0};
    uint32_t found = 0;
    for (uint64_t at = 0; at < from->total;) {
        struct shl_spread_part source = shl_spread_run(from, &from_walk, at);
        struct shl_spread_part target = shl_spread_run(to, &to_walk, at);
        uint64_t count = source.count < target.count ? source.count : target.count;
        if (++found > SHL_RESHARD_RUNS_MAX)
            return shl_fail(SHOAL_ERR_UNSUPPORTED,
                            "the two layouts have more than %u runs in common; use larger blocks, "
                            "or reshard in parts",
                            SHL_RESHARD_RUNS_MAX);
        if (source.rank == SHL_NOBODY && target.rank != SHL_NOBODY)
            return shl_fail(SHOAL_ERR_INVALID,
                            "element %" PRIu64 " is to go to rank %u, but nobody has it", at,
                            target.rank);
        struct shl_reshard_run run = {source.offset, target.offset, count,
                                      source.rank,   target.rank,   0};
        at += count;
        if (target.rank == SHL_NOBODY)
            continue;
        if (continues(&last, &run)) {
            last.count += run.count;
            continue;
        }
        if (last.count > 0)
            SHL_TRY(keep_run(plan, &last));
        last = run;
    }
    return last.count > 0 ? keep_run(plan, &last) : SHOAL_OK;
}

static uint32_t bucket_of(const struct plan *plan, const struct shl_reshard_run *run)
{
    return run->from == plan->rank ? bucket_to(run->to) : bucket_from(run->from);
}

static enum shoal_status sort_runs(struct plan *plan)
{
    size_t buckets = 2 * (size_t)plan->size;
    plan->order = shl_mem->alloc(((size_t)plan->run_count + 1) * sizeof(uint32_t));
    plan->bucket = shl_mem->alloc((buckets + 2) * sizeof(uint32_t));
    plan->moved = shl_mem->alloc(buckets * sizeof(uint64_t));
    plan->messages = shl_mem->alloc(buckets * sizeof(uint32_t));
    if (!plan->order || !plan->bucket || !plan->moved || !plan->messages)
        return shl_fail(SHOAL_ERR_NOMEM, "no memory for a reshard over %u ranks", plan->size);
    /* Counted two places further, summed up, and moved back by one as they are filled. */
    for (uint32_t i = 0; i < plan->run_count; i++) {
        uint32_t bucket = bucket_of(plan, &plan->runs[i]);
        plan->bucket[bucket + 2]++;
        plan->moved[bucket] += plan->runs[i].count;
    }
    for (size_t b = 2; b < buckets + 2; b++)
        plan->bucket[b] += plan->bucket[b - 1];
    for (uint32_t i = 0; i < plan->run_count; i++)
        plan->order[plan->bucket[bucket_of(plan, &plan->runs[i]) + 1]++] = i;
    return SHOAL_OK;
}

static uint32_t runs_in(const struct plan *plan, uint32_t bucket)
{
    return plan->bucket[bucket + 1] - plan->bucket[bucket];
}

static bool is_packed(const struct plan *plan, uint32_t bucket)
{
    uint32_t count = runs_in(plan, bucket);
    return bucket != bucket_to(plan->rank) && count > 1 &&
           plan->moved[bucket] / count < plan->pack_below;
}

/* ---- steps ---------------------------------------------------------------------------------- */

static enum shoal_status make_schedule(struct plan *plan)
{
    uint32_t rounds = shl_log2_ceil(plan->size);
    uint64_t steps = 2 * (uint64_t)rounds, deps = (uint64_t)rounds * rounds;
    for (uint32_t b = 0; b < 2 * plan->size; b++) {
        uint32_t runs = runs_in(plan, b);
        steps += runs + (plan->has_lots ? runs : is_packed(plan, b) ? 1 : 0);
        deps += plan->has_lots || is_packed(plan, b) ? runs : 0;
    }
    struct shl_schedule *made = shl_mem->alloc(sizeof(*made));
    if (!made)
        return shl_fail(SHOAL_ERR_NOMEM, "no memory for a schedule");
    plan->schedule = made;
    *made = (struct shl_schedule){.rank_count = plan->size,
                                  .rank = plan->rank,
                                  .collective = SHL_RESHARD,
                                  .blocks = 1,
                                  .chunks = 1};
    made->steps = shl_mem->alloc((steps + 1) * sizeof(*made->steps));
    made->extents = shl_mem->alloc((steps + 1) * sizeof(*made->extents));
    made->deps = shl_mem->alloc((deps + 1) * sizeof(*made->deps));
    if (!made->steps || !made->extents || !made->deps)
        return shl_fail(SHOAL_ERR_NOMEM, "no memory for a schedule of %" PRIu64 " steps", steps);
    return SHOAL_OK;
}

static uint32_t append(struct plan *plan, struct shl_step step, struct shl_extent extent)
{
    struct shl_schedule *schedule = plan->schedule;
    uint32_t index = schedule->step_count++;
    bool sends = step.kind == SHL_STEP_SEND;
    if (sends || step.kind == SHL_STEP_RECV)
        step.msg = plan->messages[sends ? bucket_to(step.peer) : bucket_from(step.peer)]++;
    step.first_dep = schedule->dep_count;
    schedule->steps[index] = step;
    schedule->extents[index] = extent;
    return index;
}

/* The step last appended waits for another. */
static void wait_for(struct plan *plan, uint32_t step)
{
    struct shl_schedule *schedule = plan->schedule;
    schedule->deps[schedule->dep_count++] = step;
    schedule->steps[schedule->step_count - 1].dep_count++;
}

static struct shl_span in(enum shl_buffer buffer)
{
    return (struct shl_span){.buffer = (uint8_t)buffer};
}

static uint32_t add_copy(struct plan *plan, enum shl_buffer to, enum shl_buffer from,
                         struct shl_extent extent)
{
    struct shl_step step = {.kind = SHL_STEP_COPY, .dst = in(to), .src = in(from)};
    return append(plan, step, extent);
}

static uint32_t add_send(struct plan *plan, uint32_t peer, enum shl_buffer from,
                         struct shl_extent extent)
{
    struct shl_step step = {.kind = SHL_STEP_SEND, .peer = peer, .src = in(from)};
    return append(plan, step, extent);
}

static uint32_t add_recv(struct plan *plan, uint32_t peer, enum shl_buffer to,
                         struct shl_extent extent)
{
    struct shl_step step = {.kind = SHL_STEP_RECV, .peer = peer, .dst = in(to)};
    return append(plan, step, extent);
}

static const struct shl_reshard_run *run_at(const struct plan *plan, uint32_t bucket, uint32_t i)
{
    return &plan->runs[plan->order[plan->bucket[bucket] + i]];
}

/* Runs of a bucket that travel as one message, as both its ends see it. */
struct message {
    uint32_t first, end;
    uint64_t count; /* elements */
};

static struct message message_at(const struct plan *plan, uint32_t bucket, uint32_t first)
{
    const struct shl_reshard_run *head = run_at(plan, bucket, first);
    struct message message = {first, first + 1, head->count};
    bool packed = is_packed(plan, bucket);
    for (; message.end < runs_in(plan, bucket); message.end++) {
        const struct shl_reshard_run *run = run_at(plan, bucket, message.end);
        bool joins =
            head->lot && run->lot == head->lot && message.count + run->count <= SHL_RESHARD_LOT_MAX;
        if (!packed && !joins)
            break;
        message.count += run->count;
    }
    return message;
}

/* Is it one piece of memory here? What was short enough to be packed is not looked at. */
static bool lies_together(const struct plan *plan, uint32_t bucket, const struct message *message,
                          bool sends)
{
    for (uint32_t i = message->first + 1; i < message->end; i++) {
        const struct shl_reshard_run *before = run_at(plan, bucket, i - 1);
        const struct shl_reshard_run *run = run_at(plan, bucket, i);
        uint64_t end = (sends ? before->src : before->dst) + before->count;
        if ((sends ? run->src : run->dst) != end)
            return false;
    }
    return message->end == message->first + 1 || !is_packed(plan, bucket);
}

static void send_message(struct plan *plan, uint32_t peer, const struct message *message)
{
    uint32_t bucket = bucket_to(peer), copies = plan->schedule->step_count;
    uint64_t slot = plan->scratch_used, at = slot;
    if (lies_together(plan, bucket, message, true)) {
        add_send(plan, peer, SHL_INPUT,
                 (struct shl_extent){.src = run_at(plan, bucket, message->first)->src,
                                     .count = message->count});
        return;
    }
    for (uint32_t i = message->first; i < message->end; i++) {
        const struct shl_reshard_run *run = run_at(plan, bucket, i);
        add_copy(plan, SHL_SCRATCH, SHL_INPUT, (struct shl_extent){at, run->src, run->count});
        at += run->count;
    }
    plan->scratch_used = at;
    add_send(plan, peer, SHL_SCRATCH, (struct shl_extent){.src = slot, .count = at - slot});
    for (uint32_t i = message->first; i < message->end; i++)
        wait_for(plan, copies + i - message->first);
}

static void receive_message(struct plan *plan, uint32_t peer, const struct message *message)
{
    uint32_t bucket = bucket_from(peer);
    uint64_t slot = plan->scratch_used;
    if (lies_together(plan, bucket, message, false)) {
        add_recv(plan, peer, SHL_OUTPUT,
                 (struct shl_extent){.dst = run_at(plan, bucket, message->first)->dst,
                                     .count = message->count});
        return;
    }
    plan->scratch_used += message->count;
    uint32_t arrival = add_recv(plan, peer, SHL_SCRATCH,
                                (struct shl_extent){.dst = slot, .count = message->count});
    for (uint32_t i = message->first; i < message->end; i++) {
        const struct shl_reshard_run *run = run_at(plan, bucket, i);
        add_copy(plan, SHL_OUTPUT, SHL_SCRATCH, (struct shl_extent){run->dst, slot, run->count});
        wait_for(plan, arrival);
        slot += run->count;
    }
}

static void send_to(struct plan *plan, uint32_t peer)
{
    uint32_t bucket = bucket_to(peer);
    for (uint32_t i = 0; i < runs_in(plan, bucket);) {
        struct message message = message_at(plan, bucket, i);
        send_message(plan, peer, &message);
        i = message.end;
    }
}

static void receive_from(struct plan *plan, uint32_t peer)
{
    uint32_t bucket = bucket_from(peer);
    for (uint32_t i = 0; i < runs_in(plan, bucket);) {
        struct message message = message_at(plan, bucket, i);
        receive_message(plan, peer, &message);
        i = message.end;
    }
}

static void keep_own(struct plan *plan)
{
    uint32_t bucket = bucket_to(plan->rank);
    for (uint32_t i = 0; i < runs_in(plan, bucket); i++) {
        const struct shl_reshard_run *run = run_at(plan, bucket, i);
        add_copy(plan, SHL_OUTPUT, SHL_INPUT, (struct shl_extent){run->dst, run->src, run->count});
    }
}

/* Dissemination, as shl_phase_tokens: whoever ends has heard, through others, of all. */
static void pass_tokens(struct plan *plan)
{
    uint32_t heard[32], round = 0;
    for (uint32_t skip = 1; skip < plan->size; skip *= 2, round++) {
        add_send(plan, shl_rank_add(plan->rank, skip, plan->size), SHL_OUTPUT,
                 (struct shl_extent){0});
        for (uint32_t i = 0; i < round; i++)
            wait_for(plan, heard[i]);
        heard[round] = add_recv(plan, shl_rank_sub(plan->rank, skip, plan->size), SHL_OUTPUT,
                                (struct shl_extent){0});
    }
}

static enum shoal_status lay_out(struct plan *plan)
{
    SHL_TRY(sort_runs(plan));
    SHL_TRY(make_schedule(plan));
    pass_tokens(plan);
    /* Each begins with another peer, so that nobody is everybody's first. */
    for (uint32_t turn = 1; turn < plan->size; turn++) {
        send_to(plan, shl_rank_add(plan->rank, turn, plan->size));
        receive_from(plan, shl_rank_sub(plan->rank, turn, plan->size));
    }
    keep_own(plan);
    plan->schedule->scratch_elems = plan->scratch_used;
    return shl_build_successors(plan->schedule);
}

/* `found`: what became of looking for the runs. */
static enum shoal_status finish(struct plan *plan, enum shoal_status found,
                                struct shl_schedule **schedule)
{
    enum shoal_status status = found == SHOAL_OK ? lay_out(plan) : found;
    shl_mem->free(plan->messages);
    shl_mem->free(plan->moved);
    shl_mem->free(plan->bucket);
    shl_mem->free(plan->order);
    shl_mem->free(plan->runs);
    if (status != SHOAL_OK) {
        shl_schedule_free(plan->schedule);
        return status;
    }
    *schedule = plan->schedule;
    return SHOAL_OK;
}

enum shoal_status shl_reshard_build(const struct shl_reshard_shape *shape,
                                    struct shl_schedule **schedule)
{
    struct plan plan = {
        .size = shape->from->size, .rank = shape->rank, .pack_below = shape->pack_below};
    SHL_ASSERT(shape->from->total == shape->to->total && shape->from->size == shape->to->size);
    return finish(&plan, find_runs(&plan, shape), schedule);
}

enum shoal_status shl_runs_build(const struct shl_reshard_run *runs, size_t run_count,
                                 uint32_t size, uint32_t rank, uint64_t pack_below,
                                 struct shl_schedule **schedule)
{
    struct plan plan = {.size = size, .rank = rank, .pack_below = pack_below};
    enum shoal_status status = SHOAL_OK;
    if (run_count > SHL_RESHARD_RUNS_MAX)
        status = shl_fail(SHOAL_ERR_UNSUPPORTED, "%zu runs are more than %u", run_count,
                          SHL_RESHARD_RUNS_MAX);
    for (size_t i = 0; i < run_count && status == SHOAL_OK; i++)
        if (runs[i].count > 0)
            status = keep_run(&plan, &runs[i]);
    return finish(&plan, status, schedule);
}
