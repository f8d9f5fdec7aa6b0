/*
 * Proof, part 1: every step is well formed, and every message has two ends that agree.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "collectives/proof.h"
#include "collectives/schedule_builder.h"
#include "collectives/schedule_print.h"
#include "core/sys.h"

#include <stdarg.h>

enum shoal_status shl_proof_fail(const struct shl_proof *proof, uint32_t rank, uint32_t step,
                                 const char *format, ...)
{
    char text[SHL_STEP_TEXT_BYTES], what[256];
    const struct shl_schedule *schedule = proof->schedules[rank];
    shl_step_text(&schedule->steps[step], text);
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(what, sizeof(what), format, arguments);
    va_end(arguments);
    return shl_fail(SHOAL_ERR_INTERNAL, "%s %s on %u ranks: rank %u step %u (%s): %s",
                    shoal_collective_string((enum shoal_collective)schedule->collective),
                    schedule->algorithm->name, proof->rank_count, rank, step, text, what);
}

/* ---- form --------------------------------------------------------------------------------- */

static bool may_touch(const struct shl_schedule *schedule, const struct shl_span *span, bool writes)
{
    bool root = schedule->rank == schedule->root;
    if (span->buffer == SHL_INPUT)
        return !writes && (schedule->collective != SHOAL_BROADCAST || root);
    if (span->buffer == SHL_OUTPUT)
        return schedule->collective != SHOAL_REDUCE || root;
    return span->buffer == SHL_SCRATCH;
}

/* Is `like` what the place of the span in its buffer says, or for scratch, of the same chunk? */
static bool like_fits(const struct shl_proof *proof, const struct shl_schedule *schedule,
                      const struct shl_span *span)
{
    uint32_t units = span->buffer == SHL_INPUT ? proof->in_units : proof->out_units;
    uint32_t shift = units < proof->data_units ? schedule->rank * schedule->chunks : 0;
    if (span->buffer != SHL_SCRATCH)
        return span->like == span->first + shift;
    return span->count <= proof->data_units && span->like <= proof->data_units - span->count &&
           span->like % schedule->chunks == span->first % schedule->chunks;
}

static bool inside(const struct shl_proof *proof, const struct shl_schedule *schedule,
                   const struct shl_span *span)
{
    uint32_t units = span->buffer == SHL_SCRATCH ? schedule->scratch_units
                     : span->buffer == SHL_INPUT ? proof->in_units
                                                 : proof->out_units;
    return span->count <= units && span->first <= units - span->count;
}

/* Spans of one step may be the same cells or none in common. */
static bool half_overlap(const struct shl_proof *proof, const struct shl_span *a,
                         const struct shl_span *b)
{
    for (int in_place = 0; in_place < 2; in_place++) {
        uint32_t x = shl_proof_cell(proof, a, in_place), y = shl_proof_cell(proof, b, in_place);
        if (x != y && x < y + b->count && y < x + a->count)
            return true;
    }
    return false;
}

static enum shoal_status check_spans(const struct shl_proof *proof, uint32_t rank, uint32_t index)
{
    const struct shl_schedule *schedule = proof->schedules[rank];
    const struct shl_step *step = &schedule->steps[index];
    bool has_dst = step->kind != SHL_STEP_SEND, has_src = step->kind != SHL_STEP_RECV;
    const struct shl_span *spans[3] = {&step->dst, &step->src, &step->src2};
    const struct shl_span *main = has_dst ? &step->dst : &step->src;
    bool used[3] = {has_dst, has_src, step->kind == SHL_STEP_REDUCE};
    for (int i = 0; i < 3; i++) {
        if (spans[i]->count == 0 && (!used[i] || main->count == 0))
            continue;
        if (!used[i])
            return shl_proof_fail(proof, rank, index, "this kind of step does not use span %d", i);
        if (!inside(proof, schedule, spans[i]))
            return shl_proof_fail(proof, rank, index, "%s units %u to %u are beyond the buffer",
                                  shl_buffer_string(spans[i]->buffer), spans[i]->first,
                                  spans[i]->first + spans[i]->count - 1);
        if (!like_fits(proof, schedule, spans[i]))
            return shl_proof_fail(proof, rank, index, "%s unit %u cannot hold data of unit %u",
                                  shl_buffer_string(spans[i]->buffer), spans[i]->first,
                                  spans[i]->like);
        if (!may_touch(schedule, spans[i], i == 0))
            return shl_proof_fail(proof, rank, index, "%s must not be %s here",
                                  shl_buffer_string(spans[i]->buffer), i ? "read" : "written");
        if (spans[i]->count != main->count || spans[i]->like != main->like)
            return shl_proof_fail(proof, rank, index, "operands are of units %u+%u and %u+%u",
                                  main->like, main->count, spans[i]->like, spans[i]->count);
        if (i > 0 && has_dst && half_overlap(proof, main, spans[i]))
            return shl_proof_fail(proof, rank, index, "operands overlap partly");
    }
    return SHOAL_OK;
}

static bool combines(const struct shl_step *step)
{
    return step->kind == SHL_STEP_RECV_REDUCE || step->kind == SHL_STEP_REDUCE;
}

static bool communicates(const struct shl_step *step)
{
    return step->kind != SHL_STEP_REDUCE && step->kind != SHL_STEP_COPY;
}

/* The engine starts successors from `nexts`; they ascend, as they were filled in array order. */
static bool is_next(const struct shl_schedule *schedule, uint32_t earlier, uint32_t index)
{
    const struct shl_step *step = &schedule->steps[earlier];
    uint32_t low = step->first_next, high = low + step->next_count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (schedule->nexts[middle] == index)
            return true;
        if (schedule->nexts[middle] < index)
            low = middle + 1;
        else
            high = middle;
    }
    return false;
}

static enum shoal_status check_step(const struct shl_proof *proof, uint32_t rank, uint32_t index)
{
    const struct shl_schedule *schedule = proof->schedules[rank];
    const struct shl_step *step = &schedule->steps[index];
    if (step->kind >= SHL_STEP_KIND_COUNT)
        return shl_proof_fail(proof, rank, index, "kind %u is unknown", step->kind);
    if ((step->flags & ~(SHL_STEP_SWAP | SHL_STEP_FINAL)) ||
        ((step->flags & SHL_STEP_SWAP) && !combines(step)) ||
        ((step->flags & SHL_STEP_FINAL) && !combines(step) && step->kind != SHL_STEP_COPY))
        return shl_proof_fail(proof, rank, index, "flags %u do not suit the kind", step->flags);
    if (communicates(step) && (step->peer >= proof->rank_count || step->peer == rank))
        return shl_proof_fail(proof, rank, index, "peer %u is not another rank", step->peer);
    for (uint32_t d = 0; d < step->dep_count; d++) {
        uint32_t dep = schedule->deps[step->first_dep + d];
        if (dep >= index || !is_next(schedule, dep, index))
            return shl_proof_fail(proof, rank, index,
                                  "dependency %u is not an earlier step that "
                                  "knows this one as its successor",
                                  dep);
    }
    return check_spans(proof, rank, index);
}

enum shoal_status shl_proof_form(const struct shl_proof *proof)
{
    const struct shl_schedule *first = proof->schedules[0];
    for (uint32_t rank = 0; rank < proof->rank_count; rank++) {
        const struct shl_schedule *schedule = proof->schedules[rank];
        if (schedule->rank != rank || schedule->rank_count != proof->rank_count ||
            schedule->root != first->root || schedule->collective != first->collective ||
            schedule->blocks != first->blocks || schedule->chunks != first->chunks)
            return shl_fail(SHOAL_ERR_INTERNAL,
                            "schedule %u is of another rank, root, collective or division", rank);
        for (uint32_t i = 0; i < schedule->step_count; i++)
            SHL_TRY(check_step(proof, rank, i));
    }
    return SHOAL_OK;
}

/* ---- messages ----------------------------------------------------------------------------- */

/* Open-addressing table of steps by (sender, receiver, message number). */
struct message_table {
    uint32_t *steps; /* number + 1; 0: empty */
    uint32_t mask;
};

static uint64_t message_key(const struct shl_proof *proof, uint32_t number, uint32_t *msg)
{
    const struct shl_step *step = shl_proof_step(proof, number);
    uint64_t rank = proof->rank_of[number], peer = step->peer;
    *msg = step->msg;
    return step->kind == SHL_STEP_SEND ? rank << 32 | peer : peer << 32 | rank;
}

static uint32_t *find_slot(const struct shl_proof *proof, const struct message_table *table,
                           uint32_t number)
{
    uint32_t msg, other_msg;
    uint64_t key = message_key(proof, number, &msg);
    uint64_t hash = (key ^ (uint64_t)msg << 17) * UINT64_C(0x9e3779b97f4a7c15);
    for (uint32_t slot = (uint32_t)(hash >> 32) & table->mask;; slot = (slot + 1) & table->mask) {
        if (table->steps[slot] == 0 ||
            (message_key(proof, table->steps[slot] - 1, &other_msg) == key && other_msg == msg))
            return &table->steps[slot];
    }
}

static enum shoal_status pair_up(struct shl_proof *proof, uint32_t number, uint32_t *slot)
{
    uint32_t rank = proof->rank_of[number], index = number - proof->first_step[rank];
    if (*slot == 0) {
        *slot = number + 1;
        return SHOAL_OK;
    }
    const struct shl_step *a = shl_proof_step(proof, number);
    const struct shl_step *b = shl_proof_step(proof, *slot - 1);
    if ((a->kind == SHL_STEP_SEND) == (b->kind == SHL_STEP_SEND) ||
        proof->partner[*slot - 1] != SHL_NONE)
        return shl_proof_fail(proof, rank, index, "message number %u is used twice", a->msg);
    const struct shl_span *sent = a->kind == SHL_STEP_SEND ? &a->src : &b->src;
    const struct shl_span *expected = a->kind == SHL_STEP_SEND ? &b->dst : &a->dst;
    if (sent->count != expected->count || (sent->count && sent->like != expected->like))
        return shl_proof_fail(proof, rank, index,
                              "message %u has units %u+%u at the sender, %u+%u at the receiver",
                              a->msg, sent->like, sent->count, expected->like, expected->count);
    proof->partner[number] = *slot - 1;
    proof->partner[*slot - 1] = number;
    return SHOAL_OK;
}

enum shoal_status shl_proof_match(struct shl_proof *proof)
{
    uint32_t total = proof->first_step[proof->rank_count];
    struct message_table table = {.mask = 15};
    while (table.mask / 2 < total)
        table.mask = table.mask * 2 + 1;
    table.steps = shl_mem->alloc(((size_t)table.mask + 1) * sizeof(uint32_t));
    if (!table.steps)
        return shl_fail(SHOAL_ERR_NOMEM, "no memory to match the messages of %u steps", total);
    enum shoal_status status = SHOAL_OK;
    for (uint32_t i = 0; i < total && status == SHOAL_OK; i++) {
        proof->partner[i] = SHL_NONE;
        if (communicates(shl_proof_step(proof, i)))
            status = pair_up(proof, i, find_slot(proof, &table, i));
    }
    shl_mem->free(table.steps);
    for (uint32_t i = 0; i < total && status == SHOAL_OK; i++) {
        uint32_t rank = proof->rank_of[i];
        if (communicates(shl_proof_step(proof, i)) && proof->partner[i] == SHL_NONE)
            status = shl_proof_fail(proof, rank, i - proof->first_step[rank],
                                    "message %u has no other end", shl_proof_step(proof, i)->msg);
    }
    return status;
}
