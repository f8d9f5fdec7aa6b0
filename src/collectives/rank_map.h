/*
 * Rank arithmetic: teams of ranks, and which ranks share a host. Pure functions of their arguments.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef SHL_COLLECTIVES_RANK_MAP_H
#define SHL_COLLECTIVES_RANK_MAP_H

#include "collectives/schedule.h"

/* (rank + steps) mod count and (rank - steps) mod count, for rank and steps <= count. */
static inline uint32_t shl_rank_add(uint32_t rank, uint32_t steps, uint32_t count)
{
    uint32_t sum = rank + steps;
    return sum >= count ? sum - count : sum;
}

static inline uint32_t shl_rank_sub(uint32_t rank, uint32_t steps, uint32_t count)
{
    return rank >= steps ? rank - steps : rank + count - steps;
}

/* Smallest k with 2^k >= value. */
static inline uint32_t shl_log2_ceil(uint32_t value)
{
    return value <= 1 ? 0 : 32 - (uint32_t)__builtin_clz(value - 1);
}

/*
 * Ranks that run one phase together, numbered 0..count-1. Member i has the index
 * (first + i) mod count, so `first` is the index of member 0, or, with `starts`, starts[i] + first:
 * the same place in each of many groups. The index is the rank, or, with `ranks`, ranks[index] is.
 */
struct shl_team {
    uint32_t count, me;
    uint32_t first;
    const uint32_t *ranks, *starts;
};

static inline uint32_t shl_team_rank(const struct shl_team *team, uint32_t member)
{
    uint32_t index = team->starts ? team->starts[member] + team->first
                                  : shl_rank_add(team->first, member, team->count);
    return team->ranks ? team->ranks[index] : index;
}

/* All ranks, with `first` as member 0. */
struct shl_team shl_team_all(const struct shl_shape *shape, uint32_t first);

/* Ranks by host. Hosts keep their numbers; within a host ranks ascend. */
struct shl_host_index {
    uint32_t host_count;
    uint32_t local_min, local_max; /* ranks on the smallest and on the largest host */
    uint32_t *host_first;          /* host_count + 1 indices into by_host */
    uint32_t *by_host;             /* ranks, those of host 0 first */
    uint32_t *local_of;            /* index of a rank within its host */
};

/* shl_host_index_make - allocates; SHOAL_ERR_INVALID when the map is not well formed. */
enum shoal_status shl_host_index_make(const struct shl_host_map *hosts,
                                      struct shl_host_index **index);
void shl_host_index_free(struct shl_host_index *index);

/* shl_host_index_get - the map's own index, or one made for it, which the caller frees as *made
 * (else NULL). A NULL map has the index NULL. */
enum shoal_status shl_host_index_get(const struct shl_host_map *hosts,
                                     const struct shl_host_index **index,
                                     struct shl_host_index **made);

/* Ranks on a host. */
static inline uint32_t shl_host_size(const struct shl_host_index *index, uint32_t host)
{
    return index->host_first[host + 1] - index->host_first[host];
}

/* All ranks, host after host, with `first` as member 0, so that a ring leaves every host once, or
 * that of `first` twice; without an index in order of ranks. */
struct shl_team shl_team_ring(const struct shl_shape *shape, const struct shl_host_index *index,
                              uint32_t first);
/* The ranks of one host; `rank` is one of them and `me`. */
struct shl_team shl_team_local(const struct shl_host_map *hosts, const struct shl_host_index *index,
                               uint32_t rank);
/* The rank with number `local` on every host, by host; hosts smaller than that have none. */
struct shl_team shl_team_across(const struct shl_host_map *hosts,
                                const struct shl_host_index *index, uint32_t rank, uint32_t local);

/*
 * The neighbours of one rank in a tree. Children are in the order in which a broadcast serves them;
 * a reduction takes them in the opposite order.
 */
#define SHL_TREE_CHILDREN_MAX 64
struct shl_tree {
    uint32_t parent; /* UINT32_MAX at the root */
    uint32_t child_count;
    uint32_t children[SHL_TREE_CHILDREN_MAX];
};

/* Members are halved and halved again; every member's subtree is a run of neighbours, so that a
 * reduction can keep rank order. Depth ceil(log2 count) for any count and root. Appends to the
 * tree: the caller begins with {UINT32_MAX, 0}. */
void shl_tree_halving(const struct shl_team *team, uint32_t root, struct shl_tree *tree);
void shl_tree_chain(const struct shl_team *team, struct shl_tree *tree); /* 0, 1, 2, ... */
/* One of two binary trees over members 1..count-1, with member 0 above it. A member that has
 * children in one has none in the other. */
void shl_tree_double(const struct shl_team *team, unsigned which, struct shl_tree *tree);
/* Across hosts, then within each; the same tree whichever rank asks. */
void shl_tree_hosts(const struct shl_host_map *hosts, const struct shl_host_index *index,
                    uint32_t rank, uint32_t root, struct shl_tree *tree);

/*
 * The tree, or two that share the data, over all ranks of a shape with its root above them. Those
 * of a chain and of hosts have one; two binary ones carry a block each.
 */
struct shl_rooted_trees {
    uint32_t count;
    struct shl_tree tree[2];
};
enum shoal_status shl_rooted_chain(const struct shl_shape *shape, struct shl_rooted_trees *trees);
enum shoal_status shl_rooted_double(const struct shl_shape *shape, struct shl_rooted_trees *trees);
enum shoal_status shl_rooted_hosts(const struct shl_shape *shape, struct shl_rooted_trees *trees);

/*
 * Mixed-radix numbering for recursive multiplying: as many of `count` members as are a product of
 * factors up to radix_max; the others, at most as many, are paired with the first ones.
 */
struct shl_radices {
    uint32_t core; /* the product */
    uint32_t rounds;
    uint32_t radix[32];
};
void shl_radices_find(uint32_t count, uint32_t radix_max, struct shl_radices *radices);

#endif
