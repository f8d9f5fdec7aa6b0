/*
 * Proof, part 3: all ranks are executed together on symbolic values.
 *
 * A message moves when both its ends are ready, so what runs to the end here needs no buffering.
 * Part 2 has shown that the order of steps does not matter, so one order stands for all.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "collectives/proof.h"
#include "collectives/proof_terms.h"
#include "collectives/schedule_builder.h"
#include "collectives/schedule_print.h"
#include "core/sys.h"

struct run {
    struct shl_proof *proof;
    bool in_place, reduces;
    struct shl_terms terms;
    uint32_t *cells;            /* values; those of rank r begin at first_cell[r] */
    uint64_t *first_cell;       /* rank_count + 1 */
    uint32_t *waits;            /* steps that a step still waits for */
    bool *ready;                /* waits only for the other end of its message */
    uint32_t started, finished; /* proof->sequence: finished steps, then a queue up to started */
    uint32_t *queue;
};

/* ---- values ------------------------------------------------------------------------------- */

static uint32_t *cells_of(const struct run *run, uint32_t rank, const struct shl_span *span)
{
    return &run->cells[run->first_cell[rank] + shl_proof_cell(run->proof, span, run->in_place)];
}

static enum shoal_status fail_at(const struct run *run, uint32_t number, const char *what,
                                 uint32_t unit)
{
    uint32_t rank = run->proof->rank_of[number];
    return shl_proof_fail(run->proof, rank, number - run->proof->first_step[rank], "%s unit %u%s",
                          what, unit, run->in_place ? " (in place)" : "");
}

static enum shoal_status load(const struct run *run, uint32_t number, const uint32_t *cell,
                              uint32_t unit, uint32_t *value)
{
    *value = *cell;
    if (*value == 0)
        return fail_at(run, number, "reads undefined memory for", unit);
    if (run->terms.items[*value].unit != unit)
        return fail_at(run, number, "reads data of another unit where it expects", unit);
    return SHOAL_OK;
}

static enum shoal_status combine(struct run *run, uint32_t number, uint32_t a, uint32_t b,
                                 uint32_t *value)
{
    const struct shl_term *items = run->terms.items;
    if (items[a].kind == SHL_TERM_FINAL || items[b].kind == SHL_TERM_FINAL)
        return fail_at(run, number, "combines a value after FINAL for", items[a].unit);
    *value = shl_term_combined(&run->terms, a, b);
    return SHOAL_OK;
}

static enum shoal_status finalize(struct run *run, uint32_t number, uint32_t *value)
{
    const struct shl_term *item = &run->terms.items[*value];
    if (!run->reduces)
        return fail_at(run, number, "marks FINAL where nothing is reduced:", item->unit);
    if (item->kind == SHL_TERM_FINAL)
        return fail_at(run, number, "marks FINAL twice:", item->unit);
    if (item->count != run->proof->rank_count)
        return fail_at(run, number,
                       "marks FINAL what does not hold each contribution once:", item->unit);
    *value = shl_term_final(&run->terms, *value);
    return SHOAL_OK;
}

/* Runs a step that writes; `message` is where a RECV's values are. */
static enum shoal_status write_step(struct run *run, uint32_t number, const uint32_t *message)
{
    const struct shl_step *step = shl_proof_step(run->proof, number);
    uint32_t rank = run->proof->rank_of[number];
    const uint32_t *src = cells_of(run, rank, &step->src), *src2 = message;
    if (step->kind == SHL_STEP_REDUCE)
        src2 = cells_of(run, rank, &step->src2);
    uint32_t *dst = cells_of(run, rank, &step->dst);
    for (uint32_t i = 0; i < step->dst.count; i++) {
        uint32_t unit = step->dst.like + i, a = 0, b = 0, value;
        bool swap = step->flags & SHL_STEP_SWAP;
        if (step->kind != SHL_STEP_RECV)
            SHL_TRY(load(run, number, src + i, unit, &a));
        if (step->kind != SHL_STEP_COPY)
            SHL_TRY(load(run, number, src2 + i, unit, &b));
        value = a ? a : b;
        if (a && b)
            SHL_TRY(combine(run, number, swap ? b : a, swap ? a : b, &value));
        if (step->flags & SHL_STEP_FINAL)
            SHL_TRY(finalize(run, number, &value));
        dst[i] = value;
    }
    return run->terms.failed ? shl_fail(SHOAL_ERR_NOMEM, "no memory for symbolic values")
                             : SHOAL_OK;
}

/* ---- running ------------------------------------------------------------------------------ */

static void enqueue(struct run *run, uint32_t number)
{
    run->queue[run->started++] = number;
}

static void finish(struct run *run, uint32_t number)
{
    const struct shl_proof *proof = run->proof;
    uint32_t rank = proof->rank_of[number];
    const struct shl_schedule *schedule = proof->schedules[rank];
    const struct shl_step *step = shl_proof_step(proof, number);
    proof->sequence[run->finished++] = number;
    for (uint32_t i = 0; i < step->next_count; i++) {
        uint32_t next = proof->first_step[rank] + schedule->nexts[step->first_next + i];
        if (--run->waits[next] == 0)
            enqueue(run, next);
    }
}

static enum shoal_status run_step(struct run *run, uint32_t number)
{
    uint32_t partner = run->proof->partner[number];
    if (partner == SHL_NONE) {
        SHL_TRY(write_step(run, number, NULL));
        finish(run, number);
        return SHOAL_OK;
    }
    run->ready[number] = true;
    if (!run->ready[partner])
        return SHOAL_OK;
    bool sends = shl_proof_step(run->proof, number)->kind == SHL_STEP_SEND;
    uint32_t sender = sends ? number : partner, receiver = sends ? partner : number;
    const struct shl_span *sent = &shl_proof_step(run->proof, sender)->src;
    SHL_TRY(write_step(run, receiver, cells_of(run, run->proof->rank_of[sender], sent)));
    finish(run, sender);
    finish(run, receiver);
    return SHOAL_OK;
}

static enum shoal_status name_deadlock(const struct run *run)
{
    const struct shl_proof *proof = run->proof;
    char text[SHL_STEP_TEXT_BYTES];
    for (uint32_t i = 0; i < proof->first_step[proof->rank_count]; i++) {
        if (!run->ready[i] || run->ready[proof->partner[i]])
            continue;
        uint32_t rank = proof->rank_of[i], other = proof->rank_of[proof->partner[i]];
        shl_step_text(shl_proof_step(proof, proof->partner[i]), text);
        return shl_proof_fail(proof, rank, i - proof->first_step[rank],
                              "deadlock: the other end, rank %u step %u (%s), never gets ready",
                              other, proof->partner[i] - proof->first_step[other], text);
    }
    return shl_fail(SHOAL_ERR_INTERNAL, "deadlock without a waiting message");
}

static void fill_inputs(struct run *run)
{
    const struct shl_proof *proof = run->proof;
    for (uint32_t rank = 0; rank < proof->rank_count; rank++) {
        const struct shl_schedule *schedule = proof->schedules[rank];
        if (schedule->collective == SHOAL_BROADCAST && rank != schedule->root)
            continue;
        uint32_t shift = proof->in_units < proof->data_units ? rank * schedule->chunks : 0;
        for (uint32_t unit = 0; unit < proof->in_units; unit++) {
            struct shl_span span = {unit, 1, unit + shift, SHL_INPUT};
            *cells_of(run, rank, &span) = shl_term_input(&run->terms, rank, unit + shift);
        }
    }
}

static enum shoal_status execute(struct run *run)
{
    const struct shl_proof *proof = run->proof;
    uint32_t total = proof->first_step[proof->rank_count];
    fill_inputs(run);
    for (uint32_t i = 0; i < total; i++) {
        run->waits[i] = shl_proof_step(proof, i)->dep_count;
        if (run->waits[i] == 0)
            enqueue(run, i);
    }
    for (uint32_t at = 0; at < run->started; at++)
        SHL_TRY(run_step(run, run->queue[at]));
    return run->finished == total ? SHOAL_OK : name_deadlock(run);
}

/* ---- results ------------------------------------------------------------------------------ */

static enum shoal_status bad_result(const struct run *run, uint32_t rank, uint32_t unit,
                                    const char *what)
{
    const struct shl_schedule *schedule = run->proof->schedules[rank];
    return shl_fail(SHOAL_ERR_INTERNAL, "%s %s on %u ranks: rank %u output unit %u%s %s",
                    shoal_collective_string((enum shoal_collective)schedule->collective),
                    schedule->algorithm->name, run->proof->rank_count, rank, unit,
                    run->in_place ? " (in place)" : "", what);
}

static enum shoal_status check_reduced(struct run *run, uint32_t rank, uint32_t unit,
                                       uint32_t value)
{
    const struct shl_algorithm *algorithm = run->proof->schedules[rank]->algorithm;
    const struct shl_term *item = &run->terms.items[value];
    uint32_t wrong, times;
    char text[96];
    if (item->kind != SHL_TERM_FINAL)
        return bad_result(run, rank, unit, "was never marked FINAL");
    if (!shl_term_complete(&run->terms, item->a, run->proof->rank_count, &wrong, &times)) {
        snprintf(text, sizeof(text), "holds rank %u's contribution %u times", wrong, times);
        return bad_result(run, rank, unit, text);
    }
    if (algorithm->in_rank_order && !item->ordered)
        return bad_result(run, rank, unit, "is not combined in rank order");
    return SHOAL_OK;
}

/* `first` is what a rank before this one holds for the unit, 0 for none. */
static enum shoal_status check_unit(struct run *run, uint32_t rank, struct shl_span span,
                                    uint32_t *first)
{
    const struct shl_schedule *schedule = run->proof->schedules[rank];
    uint32_t value = *cells_of(run, rank, &span);
    const struct shl_term *item = &run->terms.items[value];
    if (value == 0)
        return bad_result(run, rank, span.first, "is undefined");
    if (item->unit != span.like)
        return bad_result(run, rank, span.first, "holds data of another unit");
    if (run->reduces && *first == 0)
        SHL_TRY(check_reduced(run, rank, span.first, value));
    if (*first != 0 && value != *first)
        return bad_result(run, rank, span.first,
                          "is combined by another expression than on a lower rank");
    uint32_t owner =
        schedule->collective == SHOAL_ALLGATHER ? span.like / schedule->chunks : schedule->root;
    if (!run->reduces && (item->kind != SHL_TERM_INPUT || item->a != owner))
        return bad_result(run, rank, span.first, "is not its owner's input");
    *first = value;
    return SHOAL_OK;
}

static enum shoal_status check_results(struct run *run)
{
    const struct shl_proof *proof = run->proof;
    const struct shl_schedule *any = proof->schedules[0];
    bool scattered = proof->out_units < proof->data_units;
    for (uint32_t unit = 0; unit < proof->out_units; unit++) {
        uint32_t first = 0;
        for (uint32_t rank = 0; rank < proof->rank_count; rank++) {
            uint32_t like = unit + (scattered ? rank * any->chunks : 0);
            struct shl_span span = {unit, 1, like, SHL_OUTPUT};
            if (any->collective == SHOAL_REDUCE && rank != any->root)
                continue;
            first = scattered ? 0 : first;
            SHL_TRY(check_unit(run, rank, span, &first));
        }
    }
    return SHOAL_OK;
}

static bool allocate(struct run *run)
{
    const struct shl_proof *proof = run->proof;
    size_t steps = proof->first_step[proof->rank_count];
    run->first_cell = shl_mem->alloc(((size_t)proof->rank_count + 1) * sizeof(uint64_t));
    if (!run->first_cell)
        return false;
    for (uint32_t rank = 0; rank < proof->rank_count; rank++)
        run->first_cell[rank + 1] =
            run->first_cell[rank] + shl_proof_cells(proof, rank, run->in_place);
    run->cells = shl_mem->alloc((run->first_cell[proof->rank_count] + 1) * sizeof(uint32_t));
    run->waits = shl_mem->alloc((steps + 1) * sizeof(uint32_t));
    run->queue = shl_mem->alloc((steps + 1) * sizeof(uint32_t));
    run->ready = shl_mem->alloc(steps + 1);
    return run->cells && run->waits && run->queue && run->ready;
}

enum shoal_status shl_proof_values(struct shl_proof *proof, bool in_place)
{
    uint32_t collective = proof->schedules[0]->collective;
    struct run run = {.proof = proof,
                      .in_place = in_place,
                      .reduces = collective == SHOAL_ALLREDUCE || collective == SHOAL_REDUCE ||
                                 collective == SHOAL_REDUCE_SCATTER};
    SHL_TRY(shl_terms_init(&run.terms));
    enum shoal_status status;
    if (!allocate(&run))
        status = shl_fail(SHOAL_ERR_NOMEM, "no memory to execute schedules symbolically");
    else
        status = execute(&run);
    if (status == SHOAL_OK && collective != SHOAL_BARRIER)
        status = check_results(&run);
    shl_mem->free(run.first_cell);
    shl_mem->free(run.cells);
    shl_mem->free(run.waits);
    shl_mem->free(run.queue);
    shl_mem->free(run.ready);
    shl_terms_fini(&run.terms);
    return status;
}
