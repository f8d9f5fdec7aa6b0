/*
 * Allreduce of whole vectors in few rounds: flat exchange, recursive doubling and multiplying.
 *
 * Steps   recursive: about log_k p rounds of k - 1 messages, 2 more when ranks are left over;
 *         flat: 1 round of p - 1 messages
 * Bytes   n a message
 * Order   rank order
 * Best    small n; the larger alpha is beside the cost of sending one more message, the larger k
 * Source  Thakur, Rabenseifner and Gropp, IJHPCA 19(1), 2005; Ruefenacht, Bull and Booth, Parallel
 *         Computing 69, 2017
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "collectives/phases.h"

static enum shoal_status build(const struct shl_shape *shape, struct shl_builder *builder,
                               uint32_t radix_max)
{
    struct shl_team team = shl_team_all(shape, 0);
    shl_build_scratch(builder, 2 * shape->chunks);
    shl_phase_exchange(builder, &team, radix_max, SHL_INPUT, shape->chunks, SHL_STEP_FINAL);
    return SHOAL_OK;
}

enum shoal_status shl_build_allreduce_flat(const struct shl_shape *shape,
                                           struct shl_builder *builder)
{
    return build(shape, builder, shape->rank_count);
}

enum shoal_status shl_build_allreduce_recursive_doubling(const struct shl_shape *shape,
                                                         struct shl_builder *builder)
{
    return build(shape, builder, 2);
}

enum shoal_status shl_build_allreduce_recursive_multiplying(const struct shl_shape *shape,
                                                            struct shl_builder *builder)
{
    return build(shape, builder, 4);
}

enum shoal_status shl_build_allreduce_recursive_multiplying_8(const struct shl_shape *shape,
                                                              struct shl_builder *builder)
{
    return build(shape, builder, 8);
}
