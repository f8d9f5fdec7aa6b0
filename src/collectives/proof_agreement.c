/*
 * Proof, part 4: a rank's completion depends on every rank's start.
 *
 * What a step knows is who has started: its own rank, what the steps that it waits for know, and,
 * for a receiver, what the sender knew. A sender learns nothing from being received, as a small
 * message may be sent before its receiver has started.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "collectives/proof.h"
#include "collectives/schedule_builder.h"
#include "core/sys.h"

/* Starts of ranks base .. base + 63 that each step knows of. */
static void spread(const struct shl_proof *proof, uint32_t base, uint64_t *known)
{
    for (uint32_t i = 0; i < proof->first_step[proof->rank_count]; i++) {
        uint32_t number = proof->sequence[i], rank = proof->rank_of[number];
        const struct shl_schedule *schedule = proof->schedules[rank];
        const struct shl_step *step = shl_proof_step(proof, number);
        uint64_t mask = rank - base < 64 ? UINT64_C(1) << (rank - base) : 0;
        for (uint32_t d = 0; d < step->dep_count; d++)
            mask |= known[proof->first_step[rank] + schedule->deps[step->first_dep + d]];
        if (step->kind == SHL_STEP_RECV || step->kind == SHL_STEP_RECV_REDUCE)
            mask |= known[proof->partner[number]];
        known[number] = mask;
    }
}

enum shoal_status shl_proof_agreement(const struct shl_proof *proof)
{
    const struct shl_schedule *any = proof->schedules[0];
    uint32_t total = proof->first_step[proof->rank_count];
    uint64_t *known = shl_mem->alloc(((size_t)total + 1) * sizeof(*known));
    if (!known)
        return shl_fail(SHOAL_ERR_NOMEM, "no memory to prove agreement of %u steps", total);
    enum shoal_status status = SHOAL_OK;
    for (uint32_t base = 0; base < proof->rank_count && status == SHOAL_OK; base += 64) {
        spread(proof, base, known);
        for (uint32_t rank = 0; rank < proof->rank_count && status == SHOAL_OK; rank++) {
            uint64_t mask = rank - base < 64 ? UINT64_C(1) << (rank - base) : 0;
            for (uint32_t i = proof->first_step[rank]; i < proof->first_step[rank + 1]; i++)
                mask |= known[i];
            if (mask == UINT64_MAX)
                continue;
            uint32_t unknown = base + (uint32_t)__builtin_ctzll(~mask);
            if (unknown < proof->rank_count)
                status = shl_fail(SHOAL_ERR_INTERNAL,
                                  "%s %s on %u ranks: rank %u may complete before rank %u starts",
                                  shoal_collective_string((enum shoal_collective)any->collective),
                                  any->algorithm->name, proof->rank_count, rank, unknown);
        }
    }
    shl_mem->free(known);
    return status;
}
