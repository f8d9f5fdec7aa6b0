/*
 * Barrier by dissemination.
 *
 * Steps   ceil(log2 p) rounds, one message a rank in each
 * Bytes   none
 * Source  Hensgen, Finkel and Manber, Two algorithms for barrier synchronization, IJPP 17(1), 1988
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "collectives/cost.h"
#include "collectives/phases.h"

enum shoal_status shl_build_barrier_dissemination(const struct shl_shape *shape,
                                                  struct shl_builder *builder)
{
    shl_phase_tokens(builder, shape);
    return SHOAL_OK;
}

struct shl_time shl_cost_barrier_dissemination(const struct shl_price *price)
{
    return shl_price_tokens(price);
}
