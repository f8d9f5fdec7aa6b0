/*
 * Reduction in pieces up a halving tree, a chain, two binary trees, or by hosts.
 *
 * Tokens disseminated at the same time tell every rank that all have started.
 *
 *   halving      every subtree is a run of neighbouring ranks, whatever the root: rank order;
 *                ceil(log2 p) hops of n
 *   chain        p - 1 hops, host after host; every rank sends and receives n once, the least
 *                possible
 *   double_tree  each tree takes half of the data; inner ranks of one are leaves of the other
 *   hierarchical halving tree over the ranks of each host, then over hosts
 *
 * Best    halving: operations that do not commute; chain: large n, few ranks; double_tree: large
 *         n, many ranks; hierarchical: several ranks a host
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
    shl_build_scratch(builder, count * shape->chunks);
    struct shl_tree_phase phase = {.rank = shape->rank,
                                   .tree = trees->tree,
                                   .trees = count,
                                   .count = shape->chunks,
                                   .grain = 1,
                                   .from = SHL_INPUT,
                                   .into = root ? SHL_OUTPUT : SHL_SCRATCH,
                                   .flags = SHL_STEP_FINAL};
    shl_phase_tree_reduce(builder, &phase);
    shl_phase_tokens(builder, shape);
}

enum shoal_status shl_build_reduce_halving(const struct shl_shape *shape,
                                           struct shl_builder *builder)
{
    struct shl_team team = shl_team_all(shape, 0);
    struct shl_rooted_trees trees = {.count = 1, .tree[0].parent = UINT32_MAX};
    shl_tree_halving(&team, shape->root, &trees.tree[0]);
    build(shape, builder, &trees);
    return SHOAL_OK;
}

enum shoal_status shl_build_reduce_chain(const struct shl_shape *shape, struct shl_builder *builder)
{
    struct shl_rooted_trees trees;
    SHL_TRY(shl_rooted_chain(shape, &trees));
    build(shape, builder, &trees);
    return SHOAL_OK;
}

enum shoal_status shl_build_reduce_double_tree(const struct shl_shape *shape,
                                               struct shl_builder *builder)
{
    struct shl_rooted_trees trees;
    shl_build_blocks(builder, 2);
    SHL_TRY(shl_rooted_double(shape, &trees));
    build(shape, builder, &trees);
    return SHOAL_OK;
}

enum shoal_status shl_build_reduce_hierarchical(const struct shl_shape *shape,
                                                struct shl_builder *builder)
{
    struct shl_rooted_trees trees;
    SHL_TRY(shl_rooted_hosts(shape, &trees));
    build(shape, builder, &trees);
    return SHOAL_OK;
}

struct shl_time shl_cost_reduce_halving(const struct shl_price *price)
{
    uint32_t net, local;
    shl_price_split_levels(price, &net, &local);
    struct shl_time data = shl_price_levels(price, net, local, price->bytes, true);
    return shl_time_beside(data, shl_price_tokens(price));
}

struct shl_time shl_cost_reduce_chain(const struct shl_price *price)
{
    struct shl_time data = shl_price_chain(price, price->bytes, true);
    return shl_time_beside(data, shl_price_tokens(price));
}

struct shl_time shl_cost_reduce_double_tree(const struct shl_price *price)
{
    struct shl_time data = shl_price_double_tree(price, price->bytes, true);
    return shl_time_beside(data, shl_price_tokens(price));
}

struct shl_time shl_cost_reduce_hierarchical(const struct shl_price *price)
{
    uint32_t net = shl_log2_ceil(price->hosts), local = shl_log2_ceil(price->local_max);
    struct shl_time data = shl_price_levels(price, net, local, price->bytes, true);
    return shl_time_beside(data, shl_price_tokens(price));
}
