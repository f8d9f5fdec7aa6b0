/*
 * Selection: forced algorithms, what is legal, and that predictions lead to good choices.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "collectives/select.h"

#include "collectives/cost.h"
#include "collectives/simulate.h"
#include "shapes.h"
#include "support/test.h"

/* A cluster with several cores a host, two cores behind a slow network, and a fast fabric. */
static const struct shl_costs fabrics[] = {{0.5e-6, 1e-10, 4e-6, 1e-9, 1e-10, 0, 0},
                                           {0.3e-6, 2e-10, 15e-6, 8e-9, 1.3e-10, 2, 0},
                                           {0.2e-6, 3e-11, 1.5e-6, 8e-11, 1e-10, 0, 0}};

static struct shl_select_query query_of(enum shoal_collective collective, uint32_t ranks,
                                        uint64_t bytes)
{
    struct shl_select_query query = {
        .collective = collective, .rank_count = ranks, .bytes = bytes, .commutes = true};
    return query;
}

static void forced_algorithms_are_taken(void **state)
{
    (void)state;
    struct shl_choice choice;
    struct shl_select_query query = query_of(SHOAL_ALLREDUCE, 4, 8);
    query.forced = " allreduce = ring ,, broadcast=binomial,";
    ASSERT_OK(shl_select(&query, &fabrics[0], &choice));
    assert_string_equal(choice.algorithm->name, "ring");
    query.collective = SHOAL_BROADCAST;
    query.bytes = 1 << 28;
    ASSERT_OK(shl_select(&query, &fabrics[0], &choice));
    assert_string_equal(choice.algorithm->name, "binomial");
    query.collective = SHOAL_ALLGATHER; /* not mentioned */
    ASSERT_OK(shl_select(&query, &fabrics[0], &choice));
    query.collective = SHOAL_ALLREDUCE;
    query.forced = "allreduce=ring,allreduce=flat"; /* the last one wins */
    ASSERT_OK(shl_select(&query, &fabrics[0], &choice));
    assert_string_equal(choice.algorithm->name, "flat");
}

static void bad_texts_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *forced, *detail;
    } cases[] = {
        {"allreduce=rimg", "did you mean \"ring\"?"},
        {"alreduce=ring", "did you mean \"allreduce\"?"},
        {"ring", "\"ring\" is not of the form collective=algorithm"},
        {"allreduce=", "\"\" is no algorithm of allreduce"},
        {"=ring", "\"\" is no collective"},
        {"broadcast=ring", "\"ring\" is no algorithm of broadcast"},
        {"allreduce=ring,barrier=quux", "\"quux\" is no algorithm of barrier"},
        {"allreduce=ring=ring", "is no algorithm of allreduce"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct shl_choice choice = {0};
        struct shl_select_query query = query_of(SHOAL_ALLREDUCE, 4, 8);
        query.forced = cases[i].forced;
        ASSERT_STATUS(SHOAL_ERR_CONFIG, shl_select(&query, &fabrics[0], &choice));
        ASSERT_DETAIL(cases[i].detail);
        assert_null(choice.algorithm);
    }
}

static void a_long_word_is_cut(void **state)
{
    (void)state;
    char forced[400];
    struct shl_choice choice;
    struct shl_select_query query = query_of(SHOAL_ALLREDUCE, 4, 8);
    memset(forced, 'x', sizeof(forced));
    memcpy(forced, "allreduce=", 10);
    forced[sizeof(forced) - 1] = '\0';
    query.forced = forced;
    ASSERT_STATUS(SHOAL_ERR_CONFIG, shl_select(&query, &fabrics[0], &choice));
    ASSERT_DETAIL("is no algorithm of allreduce");
}

static void illegal_algorithms_are_refused(void **state)
{
    (void)state;
    struct shl_choice choice;
    struct shl_select_query query = query_of(SHOAL_ALLREDUCE, 4, 8);
    query.forced = "allreduce=ring";
    query.commutes = false;
    ASSERT_STATUS(SHOAL_ERR_CONFIG, shl_select(&query, &fabrics[0], &choice));
    ASSERT_DETAIL("does not commute");
    query.forced = "allreduce=direct";
    ASSERT_OK(shl_select(&query, &fabrics[0], &choice));
    query.forced = "allreduce=hierarchical";
    query.commutes = true;
    ASSERT_STATUS(SHOAL_ERR_INVALID, shl_select(&query, &fabrics[0], &choice));
    ASSERT_DETAIL("needs several hosts");
    query.rank_count = 1; /* one rank copies, whatever is asked for */
    ASSERT_OK(shl_select(&query, &fabrics[0], &choice));
    assert_true(choice.predicted_s == 0);
}

static void operations_that_do_not_commute_keep_rank_order(void **state)
{
    (void)state;
    for (int collective = 0; collective < SHOAL_COLLECTIVE_COUNT; collective++) {
        for (uint32_t ranks = 1; ranks <= 80; ranks++) {
            for (uint64_t bytes = 0; bytes < UINT64_C(1) << 34; bytes = 1 + 100 * bytes) {
                struct shl_choice choice;
                struct shl_select_query query =
                    query_of((enum shoal_collective)collective, ranks, bytes);
                query.commutes = false;
                ASSERT_OK(shl_select(&query, &fabrics[ranks % 3], &choice));
                assert_true(choice.algorithm->in_rank_order);
                assert_true(shl_algorithm_suits(choice.algorithm, ranks, NULL));
                assert_true(choice.chunks >= 1);
            }
        }
    }
}

static void every_choice_can_be_built(void **state)
{
    (void)state;
    static struct shape_hosts hosts;
    for (int collective = 0; collective < SHOAL_COLLECTIVE_COUNT; collective++) {
        for (uint32_t ranks = 1; ranks <= 130; ranks += 1 + ranks / 9) {
            for (uint64_t bytes = 0; bytes < UINT64_C(1) << 34; bytes = 1 + 60 * bytes) {
                struct shl_schedule *schedule;
                struct shl_choice choice;
                struct shl_select_query query =
                    query_of((enum shoal_collective)collective, ranks, bytes);
                query.hosts = shape_hosts_make(
                    &hosts, (enum shape_layout)(ranks % SHAPE_LAYOUT_COUNT), ranks);
                ASSERT_OK(shl_select(&query, &fabrics[ranks % 3], &choice));
                struct shl_shape shape = {.rank_count = ranks,
                                          .rank = ranks / 2,
                                          .chunks = choice.chunks,
                                          .hosts = query.hosts};
                ASSERT_OK(shl_schedule_build(choice.algorithm, &shape, &schedule));
                shl_schedule_free(schedule);
            }
        }
    }
}

static void sizes_change_the_choice(void **state)
{
    (void)state;
    struct shl_choice choice;
    struct shl_select_query query = query_of(SHOAL_ALLREDUCE, 8, 8);
    ASSERT_OK(shl_select(&query, &fabrics[0], &choice));
    assert_true(choice.algorithm->in_rank_order); /* whole vectors in few rounds */
    assert_int_equal(choice.chunks, 1);
    query.bytes = UINT64_C(1) << 30;
    ASSERT_OK(shl_select(&query, &fabrics[0], &choice));
    assert_true(choice.chunks > 1); /* pipelined, and near the bound 2 (p - 1) / p n */
    double bound = 2.0 * 7 / 8 * (double)query.bytes * fabrics[0].beta_net_s_per_byte;
    assert_true(choice.predicted_s > bound && choice.predicted_s < 1.1 * bound);
}

/* Whatever the noise in measured costs: the model finds no difference that is worth a full queue,
 * or connections that begin slowly. */
static void large_messages_between_hosts_keep_their_partners(void **state)
{
    (void)state;
    static const enum shoal_collective collectives[] = {SHOAL_ALLREDUCE, SHOAL_REDUCE_SCATTER,
                                                        SHOAL_ALLGATHER};
    static const double alphas_s[] = {5e-6, 30e-6, 100e-6}, betas_s[] = {4e-10, 4e-9, 8e-8};
    for (uint32_t i = 0; i < 3 * 3 * 3; i++) {
        struct shl_costs costs = fabrics[0];
        costs.alpha_net_s = alphas_s[i % 3];
        costs.beta_net_s_per_byte = betas_s[i / 3 % 3];
        for (uint32_t ranks = 3; ranks <= 8; ranks++) {
            struct shl_choice choice;
            struct shl_select_query query = query_of(collectives[i / 9], ranks, 16 << 20);
            ASSERT_OK(shl_select(&query, &costs, &choice));
            if (choice.algorithm->fans_in || choice.algorithm->new_partners)
                fail_msg("%s %s for %u hosts, %.0f us and %.2f ns a byte",
                         shoal_collective_string(collectives[i / 9]), choice.algorithm->name, ranks,
                         costs.alpha_net_s * 1e6, costs.beta_net_s_per_byte * 1e9);
        }
    }
}

/* As long as the additions that this repeats are little beside what is sent. */
static void two_ranks_that_tell_places_send_all_at_once(void **state)
{
    (void)state;
    static const double betas_s[] = {2.5e-9, 1e-10};
    for (uint32_t i = 0; i < 4; i++) {
        struct shl_costs costs = fabrics[0];
        struct shl_choice choice;
        struct shl_select_query query = query_of(SHOAL_ALLREDUCE, 2, 4 << 20);
        costs.net_places = i & 1;
        costs.beta_net_s_per_byte = betas_s[i / 2];
        ASSERT_OK(shl_select(&query, &costs, &choice));
        assert_string_equal(choice.algorithm->name, i == 1 ? "flat" : "ring");
    }
}

/* Where each message leaves at once, rounds count and not who sends to whom. */
static void middle_messages_between_hosts_take_few_rounds(void **state)
{
    (void)state;
    for (uint32_t ranks = 3; ranks <= 16; ranks++) {
        struct shl_costs costs = fabrics[0];
        struct shl_choice choice;
        struct shl_select_query query = query_of(SHOAL_ALLREDUCE, ranks, 16384);
        costs.alpha_net_s = 10e-6;
        costs.beta_net_s_per_byte = 8e-9; /* 1 Gbit/s */
        ASSERT_OK(shl_select(&query, &costs, &choice));
        if (strcmp(choice.algorithm->name, "circulant") != 0)
            fail_msg("%s for %u hosts", choice.algorithm->name, ranks);
    }
}

/* ---- predictions against the simulator ------------------------------------------------------ */

static double simulate(const struct shl_algorithm *algorithm, uint32_t chunks,
                       const struct shl_select_query *query, const struct shl_costs *costs)
{
    struct shl_simulation result;
    struct shl_simulate_query simulated = {
        .algorithm = algorithm,
        .shape = {.rank_count = query->rank_count, .chunks = chunks, .hosts = query->hosts},
        .bytes = query->bytes,
        .elem_bytes = 4,
        .costs = costs};
    ASSERT_OK(shl_simulate(&simulated, &result));
    return result.seconds;
}

/* Closed forms may be off by the way rounds interlock, but not by more than this. */
static void predictions_are_near_simulations(void **state)
{
    (void)state;
    static struct shape_hosts hosts;
    static const uint32_t locals[] = {1, 4, 12};
    for (size_t i = 0; i < shl_algorithm_count(); i++) {
        const struct shl_algorithm *algorithm = shl_algorithm_at(i);
        for (size_t l = 0; l < 3; l++) {
            for (uint64_t bytes = 64; bytes <= 1 << 22; bytes *= 256) {
                struct shl_price price;
                struct shl_select_query query = query_of(algorithm->collective, 12, bytes);
                query.hosts = shape_hosts_even(&hosts, 12, locals[l]);
                if (!shl_algorithm_suits(algorithm, 12, query.hosts))
                    continue;
                shl_price_init(&price, &query, &fabrics[l]);
                double predicted = shl_time_seconds(&price, algorithm->cost(&price));
                double ratio = predicted / simulate(algorithm, 1, &query, &fabrics[l]);
                if (ratio < 0.4 || ratio > 2.5)
                    fail_msg("%s %s, hosts of %u, %llu bytes: predicted %.2f times the simulation",
                             shoal_collective_string(algorithm->collective), algorithm->name,
                             locals[l], (unsigned long long)bytes, ratio);
            }
        }
    }
}

/* Time of the best algorithm and chunk count that the simulator knows. */
static double best_time(const struct shl_select_query *query, const struct shl_costs *costs)
{
    double best = 0;
    for (size_t i = 0; i < shl_algorithm_count(); i++) {
        const struct shl_algorithm *algorithm = shl_algorithm_at(i);
        if (algorithm->collective != query->collective ||
            !shl_algorithm_suits(algorithm, query->rank_count, query->hosts))
            continue;
        for (uint32_t chunks = 1; chunks <= (algorithm->pipelined ? 64 : 1); chunks *= 4) {
            double seconds = simulate(algorithm, chunks, query, costs);
            best = best == 0 || seconds < best ? seconds : best;
        }
    }
    return best;
}

/* The measure of a cost model is what its choices cost. */
static void choices_are_near_the_best(void **state)
{
    (void)state;
    static struct shape_hosts hosts;
    static const uint32_t shapes[][2] = {{2, 1}, {3, 3}, {4, 2}, {5, 5}, {8, 1}, {8, 4}, {12, 4}};
    double product = 1, worst = 1;
    uint32_t count = 0;
    for (size_t s = 0; s < sizeof(shapes) / sizeof(shapes[0]); s++) {
        for (int collective = 0; collective < SHOAL_COLLECTIVE_COUNT; collective++) {
            for (uint64_t bytes = 16; bytes <= 1 << 24; bytes *= 1024) {
                struct shl_choice choice;
                struct shl_select_query query =
                    query_of((enum shoal_collective)collective, shapes[s][0], bytes);
                query.hosts = shape_hosts_even(&hosts, shapes[s][0], shapes[s][1]);
                const struct shl_costs *costs = &fabrics[s % 3];
                ASSERT_OK(shl_select(&query, costs, &choice));
                double taken = simulate(choice.algorithm, choice.chunks, &query, costs);
                double ratio = taken / best_time(&query, costs);
                worst = ratio > worst ? ratio : worst;
                product *= ratio;
                count++;
            }
        }
    }
    /* In the mean less than 5 % lost. */
    double allowed = 1;
    for (uint32_t i = 0; i < count; i++)
        allowed *= 1.05;
    if (worst > 1.7 || product > allowed)
        fail_msg("the worst choice takes %.2f times the best; product %.2f of %u choices", worst,
                 product, count);
}

static void predictions_grow_with_size_and_ranks_never_fail(void **state)
{
    (void)state;
    for (size_t i = 0; i < shl_algorithm_count(); i++) {
        const struct shl_algorithm *algorithm = shl_algorithm_at(i);
        for (uint32_t ranks = 2; ranks <= 100000; ranks = ranks * 3 + 1) {
            double before = 0;
            for (uint64_t bytes = 0; bytes <= UINT64_C(1) << 40; bytes = 1 + bytes * 1000) {
                struct shl_price price;
                struct shl_select_query query = query_of(algorithm->collective, ranks, bytes);
                shl_price_init(&price, &query, &fabrics[0]);
                double seconds = shl_time_seconds(&price, algorithm->cost(&price));
                assert_true(seconds > 0 && seconds < 1e12 && seconds >= before);
                before = seconds;
            }
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(forced_algorithms_are_taken),
        cmocka_unit_test(bad_texts_are_refused),
        cmocka_unit_test(a_long_word_is_cut),
        cmocka_unit_test(illegal_algorithms_are_refused),
        cmocka_unit_test(operations_that_do_not_commute_keep_rank_order),
        cmocka_unit_test(every_choice_can_be_built),
        cmocka_unit_test(sizes_change_the_choice),
        cmocka_unit_test(large_messages_between_hosts_keep_their_partners),
        cmocka_unit_test(two_ranks_that_tell_places_send_all_at_once),
        cmocka_unit_test(middle_messages_between_hosts_take_few_rounds),
        cmocka_unit_test(predictions_are_near_simulations),
        cmocka_unit_test(choices_are_near_the_best),
        cmocka_unit_test(predictions_grow_with_size_and_ranks_never_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
