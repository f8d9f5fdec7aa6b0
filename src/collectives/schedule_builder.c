/*
 * Appending steps and finishing a schedule. Path: collectives/<algorithm>.c calls it, the engine
 * executes the result.
 *
 * Invariant: the deps of a step are a run of the deps array, and only the last step's run may still
 * grow. The first error sticks; later calls do nothing.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "collectives/schedule_builder.h"

#include "collectives/hazards.h"
#include "core/array.h"
#include "core/sys.h"

struct shl_builder {
    struct shl_schedule *schedule;
    size_t step_capacity, dep_capacity;
    uint32_t *named_by; /* named_by[s]: the last step (+ 1) that waits for s, against duplicates */
    struct shl_hazards hazards;
    bool tracking; /* hazards is initialised */
    enum shoal_status status;
};

static void fail(struct shl_builder *builder, enum shoal_status status)
{
    if (builder->status == SHOAL_OK)
        builder->status = status;
}

/* ---- buffers ------------------------------------------------------------------------------ */

void shl_build_blocks(struct shl_builder *builder, uint32_t blocks)
{
    SHL_ASSERT(builder->schedule->step_count == 0);
    builder->schedule->blocks = blocks;
}

void shl_build_scratch(struct shl_builder *builder, uint32_t units)
{
    SHL_ASSERT(builder->schedule->step_count == 0);
    builder->schedule->scratch_units = units;
}

static uint32_t units_of(const struct shl_schedule *schedule, enum shl_buffer buffer)
{
    bool one_block = (schedule->collective == SHOAL_ALLGATHER && buffer == SHL_INPUT) ||
                     (schedule->collective == SHOAL_REDUCE_SCATTER && buffer == SHL_OUTPUT);
    if (buffer == SHL_SCRATCH)
        return schedule->scratch_units;
    return one_block ? schedule->chunks : schedule->blocks * schedule->chunks;
}

/* Where unit 0 of a buffer lies in the larger buffer. */
static uint32_t shift_of(const struct shl_schedule *schedule, enum shl_buffer buffer)
{
    bool whole = units_of(schedule, buffer) == schedule->blocks * schedule->chunks;
    return whole ? 0 : schedule->rank * schedule->chunks;
}

/* Scratch is known only once the first step comes, so tracking starts there. */
static enum shoal_status start_tracking(struct shl_builder *builder)
{
    const struct shl_schedule *schedule = builder->schedule;
    uint32_t units[3];
    for (int i = 0; i < 3; i++)
        units[i] = units_of(schedule, (enum shl_buffer)i);
    SHL_TRY(shl_hazards_init(&builder->hazards, units));
    builder->hazards.input_shift = shift_of(schedule, SHL_INPUT);
    builder->hazards.output_shift = shift_of(schedule, SHL_OUTPUT);
    builder->tracking = true;
    return SHOAL_OK;
}

/* ---- steps -------------------------------------------------------------------------------- */

void shl_build_after(struct shl_builder *builder, uint32_t dep)
{
    struct shl_schedule *schedule = builder->schedule;
    if (dep == SHL_NONE || builder->status != SHOAL_OK || schedule->step_count == 0)
        return;
    uint32_t last = schedule->step_count - 1;
    SHL_ASSERT(dep < last);
    if (builder->named_by[dep] == last + 1)
        return;
    builder->named_by[dep] = last + 1;
    enum shoal_status status =
        shl_array_reserve(&schedule->deps, &builder->dep_capacity, schedule->dep_count,
                          sizeof(uint32_t), "dependencies of a schedule");
    if (status < 0) {
        fail(builder, status);
        return;
    }
    schedule->deps[schedule->dep_count++] = dep;
    schedule->steps[last].dep_count++;
}

static void wait_for(void *arg, uint32_t earlier)
{
    shl_build_after(arg, earlier);
}

static enum shoal_status complete_span(const struct shl_builder *builder, struct shl_span *span)
{
    const struct shl_schedule *schedule = builder->schedule;
    uint32_t units = units_of(schedule, (enum shl_buffer)span->buffer);
    if (span->count > units || span->first > units - span->count)
        return shl_fail(SHOAL_ERR_INTERNAL,
                        "algorithm %s, rank %u of %u: units %u..+%u of buffer %u are beyond its %u",
                        schedule->algorithm->name, schedule->rank, schedule->rank_count,
                        span->first, span->count, span->buffer, units);
    if (span->buffer != SHL_SCRATCH)
        span->like = span->first + shift_of(schedule, (enum shl_buffer)span->buffer);
    if (span->count == 0)
        *span = shl_token();
    return SHOAL_OK;
}

static enum shoal_status track(struct shl_builder *builder, uint32_t index)
{
    struct shl_step *step = &builder->schedule->steps[index];
    SHL_TRY(complete_span(builder, &step->src));
    SHL_TRY(complete_span(builder, &step->src2));
    SHL_TRY(complete_span(builder, &step->dst));
    bool own_input = step->kind == SHL_STEP_COPY && step->src.buffer == SHL_INPUT &&
                     step->dst.buffer == SHL_OUTPUT && step->src.like == step->dst.like;
    if (step->src.count)
        SHL_TRY(shl_hazards_read(&builder->hazards, index, step->src, wait_for, builder));
    if (step->src2.count)
        SHL_TRY(shl_hazards_read(&builder->hazards, index, step->src2, wait_for, builder));
    if (step->dst.count)
        SHL_TRY(
            shl_hazards_write(&builder->hazards, index, step->dst, own_input, wait_for, builder));
    return builder->status;
}

static uint32_t append(struct shl_builder *builder, const struct shl_step *step)
{
    struct shl_schedule *schedule = builder->schedule;
    uint32_t index = schedule->step_count;
    if (builder->status == SHOAL_OK && index >= SHL_STEPS_MAX)
        fail(builder, shl_fail(SHOAL_ERR_INVALID,
                               "algorithm %s needs more than %u steps for %u ranks and %u chunks",
                               schedule->algorithm->name, SHL_STEPS_MAX, schedule->rank_count,
                               schedule->chunks));
    if (builder->status == SHOAL_OK && !builder->tracking)
        fail(builder, start_tracking(builder));
    if (builder->status != SHOAL_OK)
        return SHL_NONE;
    size_t named_capacity = builder->step_capacity; /* Both arrays grow together. */
    enum shoal_status status = shl_array_reserve(&schedule->steps, &builder->step_capacity, index,
                                                 sizeof(*step), "steps of a schedule");
    if (status == SHOAL_OK)
        status = shl_array_reserve(&builder->named_by, &named_capacity, index, sizeof(uint32_t),
                                   "steps of a schedule");
    if (status < 0) {
        fail(builder, status);
        return SHL_NONE;
    }
    schedule->steps[index] = *step;
    schedule->steps[index].first_dep = schedule->dep_count;
    builder->named_by[index] = 0;
    schedule->step_count++;
    fail(builder, track(builder, index));
    return index;
}

uint32_t shl_build_send(struct shl_builder *builder, uint32_t peer, struct shl_span src)
{
    struct shl_step step = {.kind = SHL_STEP_SEND, .peer = peer, .src = src};
    return append(builder, &step);
}

uint32_t shl_build_recv(struct shl_builder *builder, uint32_t peer, struct shl_span dst)
{
    struct shl_step step = {.kind = SHL_STEP_RECV, .peer = peer, .dst = dst};
    return append(builder, &step);
}

uint32_t shl_build_recv_reduce(struct shl_builder *builder, uint32_t peer, struct shl_span dst,
                               struct shl_span src, unsigned flags)
{
    struct shl_step step = {.kind = SHL_STEP_RECV_REDUCE,
                            .flags = (uint8_t)flags,
                            .peer = peer,
                            .dst = dst,
                            .src = src};
    return append(builder, &step);
}

uint32_t shl_build_reduce(struct shl_builder *builder, struct shl_span dst, struct shl_span src,
                          struct shl_span src2, unsigned flags)
{
    struct shl_step step = {
        .kind = SHL_STEP_REDUCE, .flags = (uint8_t)flags, .dst = dst, .src = src, .src2 = src2};
    return append(builder, &step);
}

uint32_t shl_build_copy(struct shl_builder *builder, struct shl_span dst, struct shl_span src,
                        unsigned flags)
{
    struct shl_step step = {.kind = SHL_STEP_COPY, .flags = (uint8_t)flags, .dst = dst, .src = src};
    return append(builder, &step);
}

/* ---- finishing ---------------------------------------------------------------------------- */

/* One slot of an open-addressing table: messages seen so far in one direction with one peer. */
struct message_count {
    uint32_t key; /* peer * 2 + direction + 1; 0: empty slot */
    uint32_t count;
};

static enum shoal_status number_messages(struct shl_schedule *schedule)
{
    uint32_t slots = 16;
    while (slots < 2 * schedule->step_count)
        slots *= 2;
    struct message_count *table = shl_mem->alloc(slots * sizeof(*table));
    if (!table)
        return shl_fail(SHOAL_ERR_NOMEM, "no memory to number the messages of %u steps",
                        schedule->step_count);
    for (uint32_t i = 0; i < schedule->step_count; i++) {
        struct shl_step *step = &schedule->steps[i];
        if (step->kind == SHL_STEP_REDUCE || step->kind == SHL_STEP_COPY)
            continue;
        uint32_t key = step->peer * 2 + (step->kind == SHL_STEP_SEND) + 1;
        uint32_t slot = key * 2654435761u & (slots - 1);
        while (table[slot].key != 0 && table[slot].key != key)
            slot = (slot + 1) & (slots - 1);
        table[slot].key = key;
        step->msg = table[slot].count++;
    }
    shl_mem->free(table);
    return SHOAL_OK;
}

enum shoal_status shl_build_successors(struct shl_schedule *schedule)
{
    uint32_t *nexts = shl_mem->alloc(((size_t)schedule->dep_count + 1) * sizeof(uint32_t));
    if (!nexts)
        return shl_fail(SHOAL_ERR_NOMEM, "no memory for the %u dependencies of a schedule",
                        schedule->dep_count);
    for (uint32_t i = 0; i < schedule->step_count; i++)
        schedule->steps[i].next_count = 0;
    for (uint32_t i = 0; i < schedule->dep_count; i++)
        schedule->steps[schedule->deps[i]].next_count++;
    uint32_t first = 0;
    for (uint32_t i = 0; i < schedule->step_count; i++) {
        schedule->steps[i].first_next = first;
        first += schedule->steps[i].next_count;
        schedule->steps[i].next_count = 0;
    }
    for (uint32_t i = 0; i < schedule->step_count; i++) {
        const struct shl_step *step = &schedule->steps[i];
        for (uint32_t d = 0; d < step->dep_count; d++) {
            struct shl_step *earlier = &schedule->steps[schedule->deps[step->first_dep + d]];
            nexts[earlier->first_next + earlier->next_count++] = i;
        }
    }
    shl_mem->free(schedule->nexts);
    schedule->nexts = nexts;
    return SHOAL_OK;
}

static enum shoal_status check_shape(const struct shl_algorithm *algorithm,
                                     const struct shl_shape *shape)
{
    if (shape->rank_count == 0 || shape->rank >= shape->rank_count)
        return shl_fail(SHOAL_ERR_INVALID, "rank %u is not below the rank count %u", shape->rank,
                        shape->rank_count);
    if (shape->root >= shape->rank_count)
        return shl_fail(SHOAL_ERR_INVALID, "root %u is not below the rank count %u", shape->root,
                        shape->rank_count);
    if (shape->chunks == 0)
        return shl_fail(SHOAL_ERR_INVALID, "a block needs at least one chunk");
    if (shape->rank_count > SHL_RANKS_MAX)
        return shl_fail(SHOAL_ERR_INVALID, "%u ranks are more than the %u that schedules allow",
                        shape->rank_count, SHL_RANKS_MAX);
    if (shape->chunks > SHL_UNITS_MAX / shape->rank_count)
        return shl_fail(SHOAL_ERR_INVALID, "%u chunks are too many for %u ranks", shape->chunks,
                        shape->rank_count);
    if (shape->rank_count == 1)
        return SHOAL_OK; /* then no algorithm runs */
    return shl_algorithm_legal(algorithm, shape->rank_count, shape->hosts);
}

/* One rank: no algorithm has anything to do but to put the input where the result belongs. */
static enum shoal_status build_alone(const struct shl_algorithm *algorithm,
                                     const struct shl_shape *shape, struct shl_builder *builder)
{
    bool reduces = algorithm->collective == SHOAL_ALLREDUCE ||
                   algorithm->collective == SHOAL_REDUCE ||
                   algorithm->collective == SHOAL_REDUCE_SCATTER;
    if (algorithm->collective != SHOAL_BARRIER)
        shl_build_copy(builder, shl_span(SHL_OUTPUT, 0, shape->chunks),
                       shl_span(SHL_INPUT, 0, shape->chunks), reduces ? SHL_STEP_FINAL : 0);
    return SHOAL_OK;
}

enum shoal_status shl_schedule_build(const struct shl_algorithm *algorithm,
                                     const struct shl_shape *shape, struct shl_schedule **schedule)
{
    SHL_TRY(check_shape(algorithm, shape));
    struct shl_schedule *made = shl_mem->alloc(sizeof(*made));
    if (!made)
        return shl_fail(SHOAL_ERR_NOMEM, "no memory for a schedule");
    *made = (struct shl_schedule){.rank_count = shape->rank_count,
                                  .rank = shape->rank,
                                  .root = shape->root,
                                  .collective = (uint32_t)algorithm->collective,
                                  .blocks = 1,
                                  .chunks = shape->chunks,
                                  .algorithm = algorithm};
    struct shl_builder builder = {.schedule = made, .status = SHOAL_OK};
    fail(&builder, shape->rank_count == 1 ? build_alone(algorithm, shape, &builder)
                                          : algorithm->build(shape, &builder));
    if (builder.status == SHOAL_OK)
        fail(&builder, number_messages(made));
    if (builder.status == SHOAL_OK)
        fail(&builder, shl_build_successors(made));
    shl_mem->free(builder.named_by);
    if (builder.tracking)
        shl_hazards_fini(&builder.hazards);
    if (builder.status != SHOAL_OK) {
        shl_schedule_free(made);
        return builder.status;
    }
    *schedule = made;
    return SHOAL_OK;
}
