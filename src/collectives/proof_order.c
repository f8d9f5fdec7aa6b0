/*
 * Proof, part 2: steps of a rank that touch the same cell, one of them writing, are ordered.
 *
 * It is enough to look at neighbours in array order: each access against the last write before it,
 * and each write against the reads since then; order between others follows from these.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "collectives/proof.h"
#include "core/sys.h"

#include <string.h>

/* A proof needs steps^2 bits; beyond this it would take more than 128 MiB. */
#define ORDERED_STEPS_MAX 32768u

struct order {
    const struct shl_proof *proof;
    uint32_t rank;
    bool in_place;
    uint64_t *before; /* row i: bit j is set when step j ends before step i starts */
    uint32_t words;
    uint32_t *writer;  /* of a cell: step + 1 */
    uint32_t *readers; /* of a cell, since then: cell of `list` + 1 */
    struct reader *list;
    uint32_t list_count;
};

struct reader {
    uint32_t step, next;
};

static bool ordered(const struct order *order, uint32_t earlier, uint32_t later)
{
    return order->before[(size_t)later * order->words + earlier / 64] >> (earlier % 64) & 1;
}

static void close_row(const struct order *order, uint32_t index)
{
    const struct shl_schedule *schedule = order->proof->schedules[order->rank];
    const struct shl_step *step = &schedule->steps[index];
    uint64_t *row = &order->before[(size_t)index * order->words];
    memset(row, 0, order->words * sizeof(*row));
    for (uint32_t d = 0; d < step->dep_count; d++) {
        uint32_t dep = schedule->deps[step->first_dep + d];
        if (row[dep / 64] >> (dep % 64) & 1)
            continue;
        const uint64_t *earlier = &order->before[(size_t)dep * order->words];
        for (uint32_t word = 0; word <= dep / 64; word++)
            row[word] |= earlier[word];
        row[dep / 64] |= UINT64_C(1) << (dep % 64);
    }
}

static enum shoal_status conflict(const struct order *order, uint32_t earlier, uint32_t later,
                                  const char *what)
{
    return shl_proof_fail(
        order->proof, order->rank, later, "%s%s step %u, but does not wait for it", what,
        order->in_place ? " in place what is used by" : " what is used by", earlier);
}

static enum shoal_status read_span(struct order *order, uint32_t index, const struct shl_span *span)
{
    uint32_t cell = shl_proof_cell(order->proof, span, order->in_place);
    for (uint32_t end = cell + span->count; cell < end; cell++) {
        uint32_t writer = order->writer[cell];
        if (writer && !ordered(order, writer - 1, index))
            return conflict(order, writer - 1, index, "reads");
        order->list[order->list_count] = (struct reader){index, order->readers[cell]};
        order->readers[cell] = ++order->list_count;
    }
    return SHOAL_OK;
}

static enum shoal_status write_span(struct order *order, uint32_t index,
                                    const struct shl_span *span)
{
    uint32_t cell = shl_proof_cell(order->proof, span, order->in_place);
    for (uint32_t end = cell + span->count; cell < end; cell++) {
        for (uint32_t at = order->readers[cell]; at; at = order->list[at - 1].next) {
            uint32_t reader = order->list[at - 1].step;
            if (reader != index && !ordered(order, reader, index))
                return conflict(order, reader, index, "writes");
        }
        if (order->writer[cell] && !ordered(order, order->writer[cell] - 1, index))
            return conflict(order, order->writer[cell] - 1, index, "writes");
        order->writer[cell] = index + 1;
        order->readers[cell] = 0;
    }
    return SHOAL_OK;
}

static enum shoal_status walk(struct order *order)
{
    const struct shl_schedule *schedule = order->proof->schedules[order->rank];
    for (uint32_t i = 0; i < schedule->step_count; i++) {
        const struct shl_step *step = &schedule->steps[i];
        close_row(order, i);
        if (shl_proof_skipped(order->proof, step, order->in_place))
            continue;
        SHL_TRY(read_span(order, i, &step->src));
        SHL_TRY(read_span(order, i, &step->src2));
        SHL_TRY(write_span(order, i, &step->dst));
    }
    return SHOAL_OK;
}

static enum shoal_status order_rank(const struct shl_proof *proof, uint32_t rank, bool in_place)
{
    const struct shl_schedule *schedule = proof->schedules[rank];
    struct order order = {.proof = proof,
                          .rank = rank,
                          .in_place = in_place,
                          .words = (schedule->step_count + 63) / 64};
    if (schedule->step_count > ORDERED_STEPS_MAX)
        return shl_fail(SHOAL_ERR_UNSUPPORTED,
                        "rank %u has %u steps, more than the %u that can "
                        "be proved; use fewer ranks or chunks",
                        rank, schedule->step_count, ORDERED_STEPS_MAX);
    uint64_t reads = 1;
    for (uint32_t i = 0; i < schedule->step_count; i++)
        reads += schedule->steps[i].src.count + schedule->steps[i].src2.count;
    size_t cells = (size_t)shl_proof_cells(proof, rank, in_place) + 1;
    order.before = shl_mem->alloc((size_t)order.words * schedule->step_count * 8 + 8);
    order.writer = shl_mem->alloc(cells * sizeof(uint32_t));
    order.readers = shl_mem->alloc(cells * sizeof(uint32_t));
    order.list = shl_mem->alloc(reads * sizeof(struct reader));
    enum shoal_status status = SHOAL_OK;
    if (!order.before || !order.writer || !order.readers || !order.list)
        status = shl_fail(SHOAL_ERR_NOMEM, "no memory to prove the order of %u steps",
                          schedule->step_count);
    else
        status = walk(&order);
    shl_mem->free(order.before);
    shl_mem->free(order.writer);
    shl_mem->free(order.readers);
    shl_mem->free(order.list);
    return status;
}

enum shoal_status shl_proof_order(const struct shl_proof *proof, bool in_place)
{
    for (uint32_t rank = 0; rank < proof->rank_count; rank++)
        SHL_TRY(order_rank(proof, rank, in_place));
    return SHOAL_OK;
}
