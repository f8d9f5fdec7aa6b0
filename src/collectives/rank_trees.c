/*
 * Trees over teams and over whole shapes, and radices for recursive multiplying.
 *
 * Invariant: every member computes its own place alone, and all places fit together.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "collectives/rank_map.h"

static void add_child(struct shl_tree *tree, uint32_t rank)
{
    SHL_ASSERT(tree->child_count < SHL_TREE_CHILDREN_MAX);
    tree->children[tree->child_count++] = rank;
}

void shl_tree_halving(const struct shl_team *team, uint32_t root, struct shl_tree *tree)
{
    uint32_t low = 0, high = team->count, owner = root;
    while (high - low > 1) {
        uint32_t middle = low + (high - low + 1) / 2;
        bool owner_low = owner < middle;
        uint32_t other = owner_low ? middle : low; /* who owns the half without the owner */
        if (team->me == owner)
            add_child(tree, shl_team_rank(team, other));
        if (team->me == other)
            tree->parent = shl_team_rank(team, owner);
        bool me_low = team->me < middle;
        owner = me_low == owner_low ? owner : other;
        low = me_low ? low : middle;
        high = me_low ? middle : high;
    }
}

void shl_tree_chain(const struct shl_team *team, struct shl_tree *tree)
{
    if (team->me > 0)
        tree->parent = shl_team_rank(team, team->me - 1);
    if (team->me + 1 < team->count)
        add_child(tree, shl_team_rank(team, team->me + 1));
}

/*
 * The in-order binary tree over nodes 1..count: the lowest set bit of a node is its height, so odd
 * nodes are leaves. Tree 1 is its mirror image, or for odd counts the tree moved on by one node;
 * either way even nodes become odd ones.
 */
static uint32_t to_node(uint32_t member, uint32_t count, unsigned which)
{
    if (which == 0)
        return member;
    return count % 2 == 0 ? count + 1 - member : member % count + 1;
}

static uint32_t to_member(uint32_t node, uint32_t count, unsigned which)
{
    if (which == 0)
        return node;
    return count % 2 == 0 ? count + 1 - node : (node + count - 2) % count + 1;
}

void shl_tree_double(const struct shl_team *team, unsigned which, struct shl_tree *tree)
{
    uint32_t count = team->count - 1, top = 1;
    while (2 * top <= count)
        top *= 2;
    if (team->me == 0) {
        add_child(tree, shl_team_rank(team, to_member(top, count, which)));
        return;
    }
    uint32_t node = to_node(team->me, count, which), height = node & -node;
    uint32_t above = (node ^ height) | height << 1;
    if (above > count)
        above = node ^ height;
    tree->parent = shl_team_rank(team, node == top ? 0 : to_member(above, count, which));
    if (height == 1)
        return;
    add_child(tree, shl_team_rank(team, to_member(node - height / 2, count, which)));
    uint32_t right = height / 2;
    while (right > 0 && node + right > count)
        right /= 2;
    if (right > 0)
        add_child(tree, shl_team_rank(team, to_member(node + right, count, which)));
}

void shl_tree_hosts(const struct shl_host_map *hosts, const struct shl_host_index *index,
                    uint32_t rank, uint32_t root, struct shl_tree *tree)
{
    uint32_t root_host = hosts->host_of[root];
    struct shl_team local = shl_team_local(hosts, index, rank);
    uint32_t leader = hosts->host_of[rank] == root_host ? index->local_of[root] : 0;
    if (local.me == leader) {
        struct shl_team across = shl_team_across(hosts, index, rank, 0);
        shl_tree_halving(&across, root_host, tree);
        /* The team has rank 0 of every host, but on its own host the root leads. */
        uint32_t stand_in = shl_team_rank(&across, root_host);
        tree->parent = tree->parent == stand_in ? root : tree->parent;
    }
    shl_tree_halving(&local, leader, tree);
}

/* ---- over all ranks of a shape -------------------------------------------------------------- */

static const struct shl_tree no_tree = {.parent = UINT32_MAX};

enum shoal_status shl_rooted_chain(const struct shl_shape *shape, struct shl_rooted_trees *trees)
{
    struct shl_host_index *made;
    const struct shl_host_index *index;
    SHL_TRY(shl_host_index_get(shape->hosts, &index, &made));
    struct shl_team team = shl_team_ring(shape, index, shape->root);
    trees->count = 1;
    trees->tree[0] = no_tree;
    shl_tree_chain(&team, &trees->tree[0]);
    shl_host_index_free(made);
    return SHOAL_OK;
}

enum shoal_status shl_rooted_double(const struct shl_shape *shape, struct shl_rooted_trees *trees)
{
    struct shl_team team = shl_team_all(shape, shape->root);
    trees->count = 2;
    for (unsigned which = 0; which < 2; which++) {
        trees->tree[which] = no_tree;
        shl_tree_double(&team, which, &trees->tree[which]);
    }
    return SHOAL_OK;
}

enum shoal_status shl_rooted_hosts(const struct shl_shape *shape, struct shl_rooted_trees *trees)
{
    struct shl_host_index *made;
    const struct shl_host_index *index;
    SHL_TRY(shl_host_index_get(shape->hosts, &index, &made));
    trees->count = 1;
    trees->tree[0] = no_tree;
    shl_tree_hosts(shape->hosts, index, shape->rank, shape->root, &trees->tree[0]);
    shl_host_index_free(made);
    return SHOAL_OK;
}

/* ---- radices ------------------------------------------------------------------------------ */

struct search {
    uint32_t count;
    uint32_t rounds, messages; /* of the best so far, with those for the paired members */
    uint32_t radix[32];
    struct shl_radices *best;
};

static void consider(struct search *search, uint32_t core, uint32_t depth, uint32_t messages)
{
    uint32_t rounds = depth + (core < search->count ? 2 : 0);
    if (rounds > search->rounds || (rounds == search->rounds && messages > search->messages) ||
        (rounds == search->rounds && messages == search->messages && core < search->best->core))
        return;
    search->rounds = rounds;
    search->messages = messages;
    search->best->core = core;
    search->best->rounds = depth;
    for (uint32_t i = 0; i < depth; i++)
        search->best->radix[i] = search->radix[i];
}

/* Products of factors that do not increase, so each set of factors is met once. */
static void extend(struct search *search, uint32_t core, uint32_t radix_max, uint32_t depth,
                   uint32_t messages)
{
    if (core >= search->count - core)
        consider(search, core, depth, messages);
    for (uint32_t radix = radix_max; radix >= 2; radix--) {
        if ((uint64_t)core * radix > search->count || depth >= 32)
            continue;
        search->radix[depth] = radix;
        extend(search, core * radix, radix, depth + 1, messages + radix - 1);
    }
}

void shl_radices_find(uint32_t count, uint32_t radix_max, struct shl_radices *radices)
{
    struct search search = {.count = count, .rounds = UINT32_MAX, .best = radices};
    *radices = (struct shl_radices){.core = 1};
    extend(&search, 1, radix_max, 0, 0);
}
