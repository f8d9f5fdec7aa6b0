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
#include "collectives/cost.h"
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

static struct shl_time cost(const struct shl_price *price, uint32_t radix_max)
{
    struct shl_radices radices;
    shl_radices_find(price->rank_count, radix_max, &radices);
    struct shl_time time = {0};
    if (radices.core < price->rank_count)
        time = shl_time_then(shl_price_round(price, 1, price->bytes, true),
                             shl_price_round(price, 1, price->bytes, false));
    for (uint32_t round = 0, stride = 1; round < radices.rounds; round++) {
        uint32_t radix = radices.radix[round];
        time = shl_time_then(time, shl_price_all_to_all(price, stride, radix, price->bytes, true));
        stride *= radix;
    }
    return time;
}

struct shl_time shl_cost_allreduce_flat(const struct shl_price *price)
{
    return cost(price, price->rank_count);
}

struct shl_time shl_cost_allreduce_recursive_doubling(const struct shl_price *price)
{
    return cost(price, 2);
}

struct shl_time shl_cost_allreduce_recursive_multiplying(const struct shl_price *price)
{
    return cost(price, 4);
}

struct shl_time shl_cost_allreduce_recursive_multiplying_8(const struct shl_price *price)
{
    return cost(price, 8);
}
