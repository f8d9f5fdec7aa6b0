/*
 * The checker: sets the proof up and runs its parts.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "collectives/schedule_check.h"

#include "collectives/proof.h"
#include "core/sys.h"

static void free_proof(struct shl_proof *proof)
{
    shl_mem->free(proof->first_step);
    shl_mem->free(proof->rank_of);
    shl_mem->free(proof->partner);
    shl_mem->free(proof->sequence);
}

static enum shoal_status number_steps(struct shl_proof *proof)
{
    uint64_t total = 0;
    for (uint32_t rank = 0; rank < proof->rank_count; rank++)
        total += proof->schedules[rank]->step_count;
    if (total > UINT32_MAX / 2)
        return shl_fail(SHOAL_ERR_UNSUPPORTED, "%llu steps are too many to be proved",
                        (unsigned long long)total);
    proof->first_step = shl_mem->alloc(((size_t)proof->rank_count + 1) * sizeof(uint32_t));
    proof->rank_of = shl_mem->alloc((total + 1) * sizeof(uint32_t));
    proof->partner = shl_mem->alloc((total + 1) * sizeof(uint32_t));
    proof->sequence = shl_mem->alloc((total + 1) * sizeof(uint32_t));
    if (!proof->first_step || !proof->rank_of || !proof->partner || !proof->sequence)
        return shl_fail(SHOAL_ERR_NOMEM, "no memory to prove %llu steps",
                        (unsigned long long)total);
    for (uint32_t rank = 0; rank < proof->rank_count; rank++) {
        uint32_t first = proof->first_step[rank], count = proof->schedules[rank]->step_count;
        proof->first_step[rank + 1] = first + count;
        for (uint32_t i = 0; i < count; i++)
            proof->rank_of[first + i] = rank;
    }
    return SHOAL_OK;
}

static void size_buffers(struct shl_proof *proof)
{
    const struct shl_schedule *any = proof->schedules[0];
    proof->data_units = proof->in_units = proof->out_units = any->blocks * any->chunks;
    if (any->collective == SHOAL_ALLGATHER)
        proof->in_units = any->chunks;
    if (any->collective == SHOAL_REDUCE_SCATTER)
        proof->out_units = any->chunks;
}

static enum shoal_status prove(struct shl_proof *proof)
{
    SHL_TRY(number_steps(proof));
    SHL_TRY(shl_proof_form(proof));
    SHL_TRY(shl_proof_match(proof));
    for (int in_place = 0; in_place < 2; in_place++) {
        SHL_TRY(shl_proof_order(proof, in_place));
        SHL_TRY(shl_proof_values(proof, in_place));
    }
    return shl_proof_agreement(proof);
}

enum shoal_status shl_schedule_check(struct shl_schedule *const *schedules, uint32_t rank_count)
{
    if (rank_count == 0)
        return shl_fail(SHOAL_ERR_INVALID, "there is no schedule to check");
    struct shl_proof proof = {.schedules = schedules, .rank_count = rank_count};
    size_buffers(&proof);
    enum shoal_status status = prove(&proof);
    free_proof(&proof);
    return status;
}

void shl_schedule_free_all(struct shl_schedule **schedules, uint32_t rank_count)
{
    for (uint32_t rank = 0; schedules && rank < rank_count; rank++)
        shl_schedule_free(schedules[rank]);
    shl_mem->free(schedules);
}

enum shoal_status shl_algorithm_build_all(const struct shl_algorithm *algorithm,
                                          const struct shl_shape *shape,
                                          struct shl_schedule ***schedules)
{
    struct shl_schedule **made = shl_mem->alloc((size_t)shape->rank_count * sizeof(*made));
    if (!made)
        return shl_fail(SHOAL_ERR_NOMEM, "no memory for %u schedules", shape->rank_count);
    struct shl_shape one = *shape;
    for (one.rank = 0; one.rank < shape->rank_count; one.rank++) {
        enum shoal_status status = shl_schedule_build(algorithm, &one, &made[one.rank]);
        if (status < 0) {
            shl_schedule_free_all(made, shape->rank_count);
            return status;
        }
    }
    *schedules = made;
    return SHOAL_OK;
}

enum shoal_status shl_algorithm_prove(const struct shl_algorithm *algorithm,
                                      const struct shl_shape *shape)
{
    struct shl_schedule **schedules;
    SHL_TRY(shl_algorithm_build_all(algorithm, shape, &schedules));
    enum shoal_status status = shl_schedule_check(schedules, shape->rank_count);
    shl_schedule_free_all(schedules, shape->rank_count);
    return status;
}
