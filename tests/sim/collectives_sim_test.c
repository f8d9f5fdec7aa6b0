/*
 * Random collectives on many virtual ranks in one thread: right, the same bits everywhere, in any
 * timing; every algorithm at every rank count.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "sim/script.h"

#define SECOND (1000ull * MILLI)
#define OPS_MAX 16

static void verify_all(struct cluster *cluster, struct script_call *calls)
{
    for (uint32_t i = 0; i < cluster->size; i++) {
        if (calls[i].status != SHOAL_OK)
            print_error("rank %u: %d %s\n", i, calls[i].status, calls[i].text);
        CHECK(cluster, calls[i].status == SHOAL_OK);
        script_verify(cluster, i, &calls[i]);
        script_verify_equal(cluster, &calls[0], &calls[i]);
    }
}

static void free_all(struct cluster *cluster, struct script_call *calls)
{
    for (uint32_t i = 0; i < cluster->size; i++)
        script_free(&calls[i]);
}

/* All ranks call the same. */
static void run_same(struct cluster *cluster, const struct script_op *op, uint64_t spread_ns)
{
    struct script_op ops[CLUSTER_RANKS_MAX];
    static struct script_call calls[CLUSTER_RANKS_MAX];
    for (uint32_t i = 0; i < cluster->size; i++)
        ops[i] = *op;
    script_run(cluster, ops, spread_ns, 60 * SECOND, 120 * SECOND, calls);
    verify_all(cluster, calls);
    free_all(cluster, calls);
}

static void random_hosts(uint32_t size, uint64_t seed, uint32_t *host_of)
{
    uint32_t hosts = 0;
    for (uint32_t i = 0; i < size; i++) {
        uint64_t drawn = (seed * 31 + i) * 0x9e3779b97f4a7c15u >> 33;
        host_of[i] = (uint32_t)(drawn % (hosts + 1 + (seed % 3 == 0)));
        if (host_of[i] >= hosts)
            host_of[i] = hosts++;
    }
}

static void random_collectives(uint32_t size, uint64_t seed, unsigned count, size_t count_max)
{
    uint32_t host_of[CLUSTER_RANKS_MAX];
    random_hosts(size, seed, host_of);
    struct cluster_options options = {.size = size,
                                      .seed = seed,
                                      .bad_network = seed % 2 == 0,
                                      .host_of = seed % 3 == 0 ? NULL : host_of,
                                      .bytes_per_second = seed % 5 == 0 ? 1000000000 : 0};
    struct cluster *cluster = cluster_open(&options);
    script_make_op(cluster);
    for (unsigned i = 0; i < count; i++) {
        struct script_op op = script_random(cluster, count_max);
        run_same(cluster, &op, seed % 4 == 0 ? 2 * MILLI : 50 * MICRO);
    }
    cluster_close(cluster);
}

static void every_rank_count(void **state)
{
    (void)state;
    for (uint32_t size = 1; size <= 17; size++) {
        for (uint64_t seed = 1; seed <= 4; seed++)
            random_collectives(size, seed * 100 + size, 12, 3000);
    }
}

static void large_counts(void **state)
{
    (void)state;
    for (uint32_t size = 2; size <= 9; size += 3)
        random_collectives(size, 7000 + size, 5, 200000);
}

static void sixty_four_ranks(void **state)
{
    (void)state;
    random_collectives(64, 64, 6, 2000);
    random_collectives(64, 65, 6, 200);
}

/* ---- many in flight ------------------------------------------------------------------------- */

/* Each rank starts its operations at moments of its own, without waiting for earlier ones. */
static void overlapped(uint32_t size, uint64_t seed)
{
    struct cluster_options options = {.size = size, .seed = seed, .bad_network = seed % 2};
    struct cluster *cluster = cluster_open(&options);
    script_make_op(cluster);
    struct script_op ops[OPS_MAX];
    static struct script_call calls[OPS_MAX][CLUSTER_RANKS_MAX];
    unsigned next[CLUSTER_RANKS_MAX] = {0};
    uint64_t next_ns[CLUSTER_RANKS_MAX] = {0};
    for (unsigned k = 0; k < OPS_MAX; k++)
        ops[k] = script_random(cluster, 1500);
    uint64_t end_ns = cluster_now_ns(cluster) + 120 * SECOND;
    for (bool waiting = true; waiting;) {
        waiting = false;
        for (uint32_t i = 0; i < size; i++) {
            if (next[i] < OPS_MAX && cluster_now_ns(cluster) >= next_ns[i]) {
                script_start(cluster, i, &ops[next[i]], 60 * SECOND, &calls[next[i]][i]);
                next[i]++;
                next_ns[i] = cluster_now_ns(cluster) + cluster_random(cluster, 200 * MICRO);
                (void)shl_sim_network_wake(cluster->network, next_ns[i]);
            }
            waiting |= next[i] < OPS_MAX;
            for (unsigned k = 0; k < next[i]; k++)
                waiting |= !script_settled(cluster, i, &calls[k][i]);
        }
        CHECK(cluster, cluster_now_ns(cluster) < end_ns);
        cluster_turn(cluster, end_ns);
    }
    for (unsigned k = 0; k < OPS_MAX; k++) {
        verify_all(cluster, calls[k]);
        free_all(cluster, calls[k]);
    }
    cluster_close(cluster);
}

static void many_in_flight(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 6; seed++)
        overlapped(2 + (uint32_t)seed, seed);
}

/* ---- every algorithm ------------------------------------------------------------------------ */

/* The forced algorithm was the one that ran. */
static void check_plans(struct cluster *cluster, const struct shl_algorithm *algorithm)
{
    unsigned plans = 0;
    for (size_t i = 0; i < SHL_COMM_PLANS; i++) {
        const struct shl_plan *plan = cluster->members[0].comm->plans[i];
        if (plan == NULL)
            continue;
        CHECK(cluster, plan->choice.algorithm == algorithm);
        plans++;
    }
    CHECK(cluster, plans > 0);
}

static void run_algorithm(const struct shl_algorithm *algorithm, uint32_t size,
                          const uint32_t *host_of)
{
    char forced[96];
    snprintf(forced, sizeof(forced), "%s=%s", shoal_collective_string(algorithm->collective),
             algorithm->name);
    struct cluster_options options = {.size = size,
                                      .seed = size * 17,
                                      .algorithm = forced,
                                      .host_of = host_of,
                                      .bad_network = size % 2};
    struct cluster *cluster = cluster_open(&options);
    script_make_op(cluster);
    static const size_t counts[] = {0, 1, 17, 1000};
    for (unsigned i = 0; i < 8; i++) {
        struct script_op op = {.collective = algorithm->collective,
                               .dtype = i % 2 ? SHOAL_F32 : SHOAL_I32,
                               .root = (i * 5) % size,
                               .count = counts[i / 2],
                               .in_place = i % 2,
                               .salt = i};
        if (algorithm->collective != SHOAL_BROADCAST && algorithm->collective != SHOAL_REDUCE)
            op.root = 0;
        if (algorithm->collective == SHOAL_BARRIER)
            op.count = 0;
        bool reduces = algorithm->collective == SHOAL_ALLREDUCE ||
                       algorithm->collective == SHOAL_REDUCE ||
                       algorithm->collective == SHOAL_REDUCE_SCATTER;
        if (reduces && algorithm->in_rank_order && i >= 6) {
            op.op = SCRIPT_AFFINE;
            op.dtype = SHOAL_U64;
        }
        run_same(cluster, &op, 50 * MICRO);
    }
    check_plans(cluster, algorithm);
    cluster_close(cluster);
}

static void every_algorithm(void **state)
{
    (void)state;
    unsigned runs = 0;
    for (size_t a = 0; a < shl_algorithm_count(); a++) {
        const struct shl_algorithm *algorithm = shl_algorithm_at(a);
        for (uint32_t size = 2; size <= 17; size++) {
            uint32_t host_of[CLUSTER_RANKS_MAX];
            random_hosts(size, a * 3 + 1 + size, host_of);
            struct shl_host_map hosts = {.rank_count = size, .host_of = host_of};
            for (uint32_t i = 0; i < size; i++)
                hosts.host_count =
                    host_of[i] >= hosts.host_count ? host_of[i] + 1 : hosts.host_count;
            if (shl_algorithm_legal(algorithm, size, &hosts) < 0)
                continue;
            run_algorithm(algorithm, size, host_of);
            runs++;
        }
    }
    assert_true(runs > 100);
}

static uint64_t trace_of(uint64_t seed)
{
    struct cluster_options options = {.size = 5, .seed = seed, .bad_network = true};
    struct cluster *cluster = cluster_open(&options);
    script_make_op(cluster);
    for (unsigned i = 0; i < 5; i++) {
        struct script_op op = script_random(cluster, 3000);
        run_same(cluster, &op, 100 * MICRO);
    }
    uint64_t hash = shl_sim_network_trace_hash(cluster->network);
    cluster_close(cluster);
    return hash;
}

static void same_seed_same_trace(void **state)
{
    (void)state;
    uint64_t hash = trace_of(5);
    assert_int_equal(trace_of(5), hash);
    assert_int_not_equal(trace_of(6), hash);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_rank_count), cmocka_unit_test(large_counts),
        cmocka_unit_test(sixty_four_ranks), cmocka_unit_test(many_in_flight),
        cmocka_unit_test(every_algorithm),  cmocka_unit_test(same_seed_same_trace),
    };
    return cmocka_run_group_tests_name("collectives_sim", tests, NULL, NULL);
}
