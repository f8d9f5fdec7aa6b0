/*
 * Predicted times in closed form: cheap enough to compare every algorithm for every new size. They
 * follow the model of simulate.h, and a test holds them against it.
 *
 * Every algorithm has a function of struct shl_price beside its builder. It puts a struct shl_time
 * together from the pieces below, one a phase, with shl_time_then and shl_time_beside.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef SHL_COLLECTIVES_COST_H
#define SHL_COLLECTIVES_COST_H

#include "collectives/schedule.h"

/* One kind of link: a message of b bytes holds its ports for gap + b * beta, and arrives `wire`
 * after that. */
struct shl_link {
    double wire_s, gap_s, beta_s;
};

struct shl_price {
    double bytes; /* of the larger buffer */
    uint32_t rank_count, chunks;
    uint32_t hosts;                /* 1: all ranks share one */
    uint32_t local_max, local_min; /* ranks on the largest and the smallest host */
    bool scattered;                /* ranks of a host are not neighbours */
    bool net_places;               /* see struct shl_costs */
    struct shl_link local, net;
    double gamma_s; /* to combine one byte */
};

/* What bounds a time: the longest chain of steps that wait for each other, and how long the busiest
 * port inside a host, port between hosts and core have work. */
struct shl_time {
    double path_s, local_s, net_s, core_s;
};

/* shl_price_init - everything but chunks. `hosts` may be NULL; its index is not needed. */
void shl_price_init(struct shl_price *price, const struct shl_select_query *query,
                    const struct shl_costs *costs);

/* One phase after another: ports and cores go on as soon as they can. */
struct shl_time shl_time_then(struct shl_time a, struct shl_time b);
/* Two phases at the same time. */
struct shl_time shl_time_beside(struct shl_time a, struct shl_time b);
double shl_time_seconds(const struct shl_price *price, struct shl_time time);

/* ---- phases -----------------------------------------------------------------------------------
 */

/* Every rank sends `bytes` to the rank `distance` further, which combines them when `reduces`. */
struct shl_time shl_price_round(const struct shl_price *price, uint32_t distance, double bytes,
                                bool reduces);

/* In groups of `size` ranks, `stride` apart, every one sends `bytes` in price->chunks messages to
 * every other, which combines them as they arrive when `reduces`. */
struct shl_time shl_price_all_to_all(const struct shl_price *price, uint32_t stride, uint32_t size,
                                     double bytes, bool reduces);

/* The circulant phases with parts of `bytes`, over all ranks. */
struct shl_time shl_price_circulant(const struct shl_price *price, double bytes, bool reduces);

/* A ring phase with parts of `bytes` in price->chunks pieces; `rings` rings at once. */
struct shl_time shl_price_ring(const struct shl_price *price, double bytes, uint32_t rings,
                               bool reduces);

/* A pipelined tree: `net` levels across hosts, then `local` levels inside, in which every rank may
 * serve a child on each level below it. */
struct shl_time shl_price_levels(const struct shl_price *price, uint32_t net, uint32_t local,
                                 double bytes, bool reduces);
struct shl_time shl_price_chain(const struct shl_price *price, double bytes, bool reduces);
struct shl_time shl_price_double_tree(const struct shl_price *price, double bytes, bool reduces);

/* Halving scatter or gather of `bytes` in all. */
struct shl_time shl_price_scatter(const struct shl_price *price, double bytes);

/* Tokens over all ranks. */
struct shl_time shl_price_tokens(const struct shl_price *price);

/* Levels of a halving tree over all ranks: those that cross hosts, and those inside. */
void shl_price_split_levels(const struct shl_price *price, uint32_t *net, uint32_t *local);

/* The functions, one a line of the registry: shl_cost_<collective>_<name>. */
#define SHL_ALGORITHM(which, algorithm_name, ...)                                                  \
    struct shl_time shl_cost_##which##_##algorithm_name(const struct shl_price *price);
#include "collectives/algorithms.def"
#undef SHL_ALGORITHM

#endif
