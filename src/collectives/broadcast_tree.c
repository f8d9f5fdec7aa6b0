/*
 * Broadcast in pieces along a chain, along two binary trees, or across hosts and then inside them.
 *
 * Tokens disseminated at the same time tell every rank that all have started.
 *
 *   chain        p - 1 hops of n / chunks, host after host; every rank sends n once, the least
 *                possible
 *   double_tree  each tree takes half of the data; inner ranks of one are leaves of the other, so
 *                every rank sends about n; about 2 log2 p hops
 *   hierarchical halving tree over hosts, then over the ranks of each; n once into each host
 *
 * Best    chain: large n, few ranks; double_tree: large n, many ranks; hierarchical: several ranks
 *         a host
 * Source  Sanders, Speck and Traeff, Two-tree algorithms for full bandwidth broadcast, reduction
 *         and scan, Parallel Computing 35(12), 2009; chain and halving tree are folklore
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "collectives/cost.h"
#include "collectives/phases.h"

/* Each tree carries one block. */
static void build(const struct shl_shape *shape, struct shl_builder *builder,
                  const struct shl_rooted_trees *trees)
{
    uint32_t count = trees->count;
    bool root = shape->rank == shape->root;
    struct shl_tree_phase phase = {.rank = shape->rank,
                                   .tree = trees->tree,
                                   .trees = count,
                                   .count = shape->chunks,
                                   .grain = 1,
                                   .from = SHL_INPUT};
    shl_phase_tree_broadcast(builder, &phase);
    if (root)
        shl_build_copy(builder, shl_span(SHL_OUTPUT, 0, count * shape->chunks),
                       shl_span(SHL_INPUT, 0, count * shape->chunks), 0);
    shl_phase_tokens(builder, shape);
}

enum shoal_status shl_build_broadcast_chain(const struct shl_shape *shape,
                                            struct shl_builder *builder)
{
    struct shl_rooted_trees trees;
    SHL_TRY(shl_rooted_chain(shape, &trees));
    build(shape, builder, &trees);
    return SHOAL_OK;
}

enum shoal_status shl_build_broadcast_double_tree(const struct shl_shape *shape,
                                                  struct shl_builder *builder)
{
    struct shl_rooted_trees trees;
    shl_build_blocks(builder, 2);
    SHL_TRY(shl_rooted_double(shape, &trees));
    build(shape, builder, &trees);
    return SHOAL_OK;
}

enum shoal_status shl_build_broadcast_hierarchical(const struct shl_shape *shape,
                                                   struct shl_builder *builder)
{
    struct shl_rooted_trees trees;
    SHL_TRY(shl_rooted_hosts(shape, &trees));
    build(shape, builder, &trees);
    return SHOAL_OK;
}

struct shl_time shl_cost_broadcast_chain(const struct shl_price *price)
{
    struct shl_time data = shl_price_chain(price, price->bytes, false);
    return shl_time_beside(data, shl_price_tokens(price));
}

struct shl_time shl_cost_broadcast_double_tree(const struct shl_price *price)
{
    struct shl_time data = shl_price_double_tree(price, price->bytes, false);
    return shl_time_beside(data, shl_price_tokens(price));
}

struct shl_time shl_cost_broadcast_hierarchical(const struct shl_price *price)
{
    uint32_t net = shl_log2_ceil(price->hosts), local = shl_log2_ceil(price->local_max);
    struct shl_time data = shl_price_levels(price, net, local, price->bytes, false);
    return shl_time_beside(data, shl_price_tokens(price));
}
