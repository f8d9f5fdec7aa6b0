/*
 * What the parts of the checker share. Path: schedule_check.c runs proof_match.c (form and
 * messages), proof_order.c (hazards), proof_values.c (symbolic execution) and
 * proof_agreement.c in this order; each relies on what those before it have proved.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef SHL_COLLECTIVES_PROOF_H
#define SHL_COLLECTIVES_PROOF_H

#include "collectives/schedule.h"

struct shl_proof {
    struct shl_schedule *const *schedules; /* by rank */
    uint32_t rank_count;
    /* Steps of all ranks are numbered together: step i of rank r is first_step[r] + i. */
    uint32_t *first_step;                     /* rank_count + 1 */
    uint32_t *rank_of;                        /* of every step */
    uint32_t *partner;                        /* other end of a message; SHL_NONE for local steps */
    uint32_t *sequence;                       /* all steps in an order in which they can run */
    uint32_t in_units, out_units, data_units; /* of INPUT, OUTPUT and the larger of them */
};

/* shl_proof_fail - record a finding about a step; `format` continues "rank R step I (TEXT): ". */
enum shoal_status shl_proof_fail(const struct shl_proof *proof, uint32_t rank, uint32_t step,
                                 const char *format, ...) __attribute__((format(printf, 4, 5)));

static inline const struct shl_step *shl_proof_step(const struct shl_proof *proof, uint32_t number)
{
    uint32_t rank = proof->rank_of[number];
    return &proof->schedules[rank]->steps[number - proof->first_step[rank]];
}

/* Memory is a row of cells: data and scratch; out of place INPUT, OUTPUT and scratch. */
static inline uint32_t shl_proof_cell(const struct shl_proof *proof, const struct shl_span *span,
                                      bool in_place)
{
    if (span->buffer == SHL_SCRATCH)
        return (in_place ? proof->data_units : proof->in_units + proof->out_units) + span->first;
    if (in_place)
        return span->like;
    return (span->buffer == SHL_OUTPUT ? proof->in_units : 0) + span->first;
}

static inline uint32_t shl_proof_cells(const struct shl_proof *proof, uint32_t rank, bool in_place)
{
    struct shl_span end = {proof->schedules[rank]->scratch_units, 0, 0, SHL_SCRATCH};
    return shl_proof_cell(proof, &end, in_place);
}

/* A copy onto itself moves nothing. */
static inline bool shl_proof_skipped(const struct shl_proof *proof, const struct shl_step *step,
                                     bool in_place)
{
    return step->kind == SHL_STEP_COPY && shl_proof_cell(proof, &step->dst, in_place) ==
                                              shl_proof_cell(proof, &step->src, in_place);
}

enum shoal_status shl_proof_form(const struct shl_proof *proof);
enum shoal_status shl_proof_match(struct shl_proof *proof);
enum shoal_status shl_proof_order(const struct shl_proof *proof, bool in_place);
enum shoal_status shl_proof_values(struct shl_proof *proof, bool in_place); /* fills sequence */
enum shoal_status shl_proof_agreement(const struct shl_proof *proof);

#endif
