/*
 * Dissemination of tokens: in round k rank r tells rank r + 2^k what it has heard so far, so after
 * ceil(log2 p) rounds everyone has heard of everyone.
 *
 * Source: Hensgen, Finkel and Manber, Two algorithms for barrier synchronization, IJPP 17(1), 1988.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "collectives/phases.h"

void shl_phase_tokens(struct shl_builder *builder, const struct shl_shape *shape)
{
    uint32_t heard[32], round = 0;
    for (uint32_t skip = 1; skip < shape->rank_count; skip *= 2, round++) {
        uint32_t to = shl_rank_add(shape->rank, skip, shape->rank_count);
        uint32_t from = shl_rank_sub(shape->rank, skip, shape->rank_count);
        shl_build_send(builder, to, shl_token());
        for (uint32_t i = 0; i < round; i++)
            shl_build_after(builder, heard[i]);
        heard[round] = shl_build_recv(builder, from, shl_token());
    }
}
