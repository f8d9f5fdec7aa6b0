/*
 * Pieces of predicted times.
 *
 * Invariant: only +, *, / and comparisons of doubles, compiled without contraction, so that every
 * rank computes the same bits.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "collectives/cost.h"

#include "collectives/rank_map.h"
#include "collectives/simulate.h"

static struct shl_link make_link(double alpha_s, double beta_s, double slowdown)
{
    struct shl_link link = {(1 - SHL_MESSAGE_GAP) * alpha_s * slowdown,
                            SHL_MESSAGE_GAP * alpha_s * slowdown, beta_s * slowdown};
    return link;
}

/* One pass without memory: hosts are numbered by first appearance, so neighbours have one number.
 */
static void read_hosts(struct shl_price *price, const struct shl_host_map *hosts)
{
    uint32_t run = 0, run_max = 0, run_min = UINT32_MAX, seen = 0;
    for (uint32_t rank = 0; rank < hosts->rank_count; rank++) {
        bool last =
            rank + 1 == hosts->rank_count || hosts->host_of[rank + 1] != hosts->host_of[rank];
        run++;
        if (!last)
            continue;
        run_max = run > run_max ? run : run_max;
        run_min = run < run_min ? run : run_min;
        run = 0;
        seen++;
    }
    price->hosts = hosts->host_count;
    price->scattered = seen > hosts->host_count;
    price->local_max = run_max;
    price->local_min = run_min;
    if (price->scattered) { /* the counts are of runs; take hosts as equal */
        price->local_min = hosts->rank_count / hosts->host_count;
        price->local_max = (hosts->rank_count + hosts->host_count - 1) / hosts->host_count;
    }
}

void shl_price_init(struct shl_price *price, const struct shl_select_query *query,
                    const struct shl_costs *costs)
{
    *price = (struct shl_price){.bytes = (double)query->bytes,
                                .rank_count = query->rank_count,
                                .chunks = 1,
                                .net_places = costs->net_places != 0,
                                .hosts = query->rank_count,
                                .local_max = 1,
                                .local_min = 1};
    if (query->hosts)
        read_hosts(price, query->hosts);
    double slowdown = 1;
    if (costs->cores_per_host && price->local_max > costs->cores_per_host)
        slowdown = (double)price->local_max / costs->cores_per_host;
    price->local = make_link(costs->alpha_local_s, costs->beta_local_s_per_byte, slowdown);
    price->net = make_link(costs->alpha_net_s, costs->beta_net_s_per_byte, 1);
    price->gamma_s = costs->gamma_s_per_byte * slowdown;
}

/* ---- times -------------------------------------------------------------------------------- */

static double larger(double a, double b)
{
    return a > b ? a : b;
}

struct shl_time shl_time_then(struct shl_time a, struct shl_time b)
{
    struct shl_time sum = {a.path_s + b.path_s, a.local_s + b.local_s, a.net_s + b.net_s,
                           a.core_s + b.core_s};
    return sum;
}

struct shl_time shl_time_beside(struct shl_time a, struct shl_time b)
{
    struct shl_time sum = shl_time_then(a, b);
    sum.path_s = larger(a.path_s, b.path_s);
    return sum;
}

double shl_time_seconds(const struct shl_price *price, struct shl_time time)
{
    double seconds = larger(time.path_s, time.core_s);
    if (time.local_s > 0)
        seconds = larger(seconds, time.local_s + price->local.wire_s);
    if (time.net_s > 0)
        seconds = larger(seconds, time.net_s + price->net.wire_s);
    return seconds;
}

static double hold(const struct shl_link *link, double bytes)
{
    return link->gap_s + bytes * link->beta_s;
}

/* ---- rounds ------------------------------------------------------------------------------- */

/* Ranks of a host whose message to the rank `distance` further leaves the host. */
static uint32_t crossing(const struct shl_price *price, uint32_t distance)
{
    uint32_t around = price->rank_count - distance;
    distance = distance < around ? distance : around;
    if (price->hosts == 1)
        return 0;
    return price->scattered || distance > price->local_max ? price->local_max : distance;
}

struct shl_time shl_price_round(const struct shl_price *price, uint32_t distance, double bytes,
                                bool reduces)
{
    uint32_t out = crossing(price, distance);
    struct shl_time time = {0};
    if (out < price->local_max) {
        time.local_s = hold(&price->local, bytes);
        time.path_s = price->local.wire_s + time.local_s;
    }
    if (out > 0) {
        time.net_s = out * hold(&price->net, bytes);
        time.path_s = larger(time.path_s, price->net.wire_s + hold(&price->net, bytes));
    }
    time.core_s = reduces ? bytes * price->gamma_s : 0;
    time.path_s += time.core_s;
    return time;
}

struct shl_time shl_price_tokens(const struct shl_price *price)
{
    struct shl_time time = {0};
    for (uint32_t skip = 1; skip < price->rank_count; skip *= 2)
        time = shl_time_then(time, shl_price_round(price, skip, 0, false));
    return time;
}

struct shl_time shl_price_circulant(const struct shl_price *price, double bytes, bool reduces)
{
    struct shl_time time = {0};
    for (uint32_t have = price->rank_count, half; have > 1; have = half) {
        half = (have + 1) / 2;
        time = shl_time_then(time, shl_price_round(price, half, (have - half) * bytes, reduces));
    }
    return time;
}

struct shl_time shl_price_all_to_all(const struct shl_price *price, uint32_t stride, uint32_t size,
                                     double bytes, bool reduces)
{
    double together = size; /* of a group on one host */
    double piece = bytes / price->chunks, pieces = price->chunks, first = 0;
    if (price->hosts > 1)
        together = (double)(price->scattered ? size / price->hosts : price->local_max / stride);
    together = together < 1 ? 1 : together > size ? size : together;
    struct shl_time time = {0};
    if (together > 1) {
        time.local_s = (together - 1) * pieces * hold(&price->local, piece);
        time.path_s = price->local.wire_s + time.local_s;
        first = price->local.wire_s + hold(&price->local, piece);
    }
    if (together < size) {
        double own = (size - together) * pieces * hold(&price->net, piece);
        time.net_s = price->local_max * own;
        time.path_s = larger(time.path_s, price->net.wire_s + own);
        first = larger(first, price->net.wire_s + hold(&price->net, piece));
    }
    if (reduces) { /* beside receiving: the last piece is left, or everything after the first */
        time.core_s = (size - 1.0) * bytes * price->gamma_s;
        time.path_s = larger(time.path_s + piece * price->gamma_s, first + time.core_s);
    }
    return time;
}

struct shl_time shl_price_ring(const struct shl_price *price, double bytes, uint32_t rings,
                               bool reduces)
{
    double rounds = price->rank_count - 1.0, pieces = (double)rings * price->chunks;
    double piece = bytes / price->chunks, combine = reduces ? piece * price->gamma_s : 0;
    double net_hops = price->hosts > 1 ? price->hosts : 0;
    double local_hops = price->rank_count - net_hops;
    struct shl_time time = {0};
    if (local_hops > 0) {
        time.path_s = local_hops * (price->local.wire_s + hold(&price->local, piece) * rings);
        time.local_s = rounds * pieces * hold(&price->local, piece);
    }
    if (net_hops > 0) {
        time.path_s += net_hops * (price->net.wire_s + hold(&price->net, piece) * rings);
        time.net_s = rounds * pieces * hold(&price->net, piece);
    }
    time.path_s = rounds * (time.path_s / price->rank_count + combine * rings);
    time.core_s = rounds * pieces * combine;
    return time;
}

/* ---- trees -------------------------------------------------------------------------------- */

void shl_price_split_levels(const struct shl_price *price, uint32_t *net, uint32_t *local)
{
    uint32_t all = shl_log2_ceil(price->rank_count);
    *local = price->hosts > 1 && price->scattered ? 0 : shl_log2_ceil(price->local_max);
    *local = *local < all ? *local : all;
    *net = all - *local;
}

/* The first piece takes `first`, and each later one follows as fast as the busiest resource, which
 * spends these times on a piece, allows. */
static struct shl_time pipeline(const struct shl_price *price, double first, double local,
                                double net, double core)
{
    double pieces = price->chunks;
    struct shl_time time = {first, pieces * local, pieces * net, pieces * core};
    time.path_s += (pieces - 1) * larger(larger(local, net), core);
    return time;
}

struct shl_time shl_price_levels(const struct shl_price *price, uint32_t net, uint32_t local,
                                 double bytes, bool reduces)
{
    double piece = bytes / price->chunks, combine = reduces ? piece * price->gamma_s : 0;
    double net_port = net * hold(&price->net, piece);
    double local_port = local * hold(&price->local, piece), core = (net + local) * combine;
    double wire = net * price->net.wire_s + local * price->local.wire_s;
    return pipeline(price, wire + net_port + local_port + core, local_port, net_port, core);
}

struct shl_time shl_price_chain(const struct shl_price *price, double bytes, bool reduces)
{
    double piece = bytes / price->chunks, combine = reduces ? piece * price->gamma_s : 0;
    double net_hops = price->hosts - 1.0, local_hops = price->rank_count - 1.0 - net_hops;
    double net = hold(&price->net, piece), local = hold(&price->local, piece);
    double first = net_hops * (price->net.wire_s + net) +
                   local_hops * (price->local.wire_s + local) + (price->rank_count - 1.0) * combine;
    return pipeline(price, first, local_hops > 0 ? local : 0, net_hops > 0 ? net : 0, combine);
}

struct shl_time shl_price_double_tree(const struct shl_price *price, double bytes, bool reduces)
{
    uint32_t depth = shl_log2_ceil(price->rank_count + 1), net, local;
    double piece = bytes / 2 / price->chunks, combine = reduces ? piece * price->gamma_s : 0;
    shl_price_split_levels(price, &net, &local);
    local = local < depth ? local : depth;
    net = price->hosts == 1 ? 0 : depth > local ? depth - local : 1;
    /* Subtrees over a host's run of ranks leave it on about two edges of each tree. */
    double flows = price->scattered ? 2.0 * price->local_max : price->local_max > 1 ? 4 : 2;
    double net_piece = hold(&price->net, piece), local_piece = hold(&price->local, piece);
    double first = net * (price->net.wire_s + 2 * net_piece) +
                   local * (price->local.wire_s + 2 * local_piece) + (net + local) * 2 * combine;
    return pipeline(price, first, local ? 2 * local_piece : 0, net ? flows * net_piece : 0,
                    2 * combine);
}

struct shl_time shl_price_scatter(const struct shl_price *price, double bytes)
{
    struct shl_time time = {0};
    double share = bytes / price->rank_count;
    for (uint32_t have = price->rank_count, upper; have > 1; have -= upper) {
        upper = have / 2;
        bool inside = price->hosts == 1 || (!price->scattered && have <= price->local_max);
        const struct shl_link *link = inside ? &price->local : &price->net;
        time.path_s += link->wire_s + hold(link, upper * share);
        *(inside ? &time.local_s : &time.net_s) += hold(link, upper * share);
    }
    return time;
}
