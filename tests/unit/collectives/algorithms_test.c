/*
 * Every algorithm is proved for every rank count from 1 to 64, several roots, chunk counts and host
 * maps; with the argument "sample", for some rank counts up to 1,024.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "collectives/schedule_check.h"

#include "shapes.h"
#include "support/test.h"

static void prove(const struct shl_algorithm *algorithm, const struct shl_shape *shape,
                  const char *hosts)
{
    if (shl_algorithm_prove(algorithm, shape) < 0)
        fail_msg("root %u, %u chunks, hosts %s: %s", shape->root, shape->chunks, hosts,
                 shl_error_text());
}

/* First, last and one in between are enough: builders only add the root to ranks. */
static void prove_roots(const struct shl_algorithm *algorithm, struct shl_shape shape,
                        const char *hosts)
{
    uint32_t roots[] = {0, shape.rank_count - 1, shape.rank_count / 3};
    uint32_t count = shape_rooted(algorithm->collective) ? 3 : 1;
    for (uint32_t i = 0; i < count; i++) {
        if (i > 0 && roots[i] == 0)
            continue;
        shape.root = roots[i];
        prove(algorithm, &shape, hosts);
    }
}

/* Algorithms that do not need hosts at most order their ranks by them, so one odd map will do. */
static void prove_hosts(const struct shl_algorithm *algorithm, struct shl_shape shape)
{
    static struct shape_hosts hosts;
    if (!algorithm->needs_hosts)
        prove_roots(algorithm, shape, "none");
    for (int layout = 0; layout < SHAPE_LAYOUT_COUNT; layout++) {
        if (!algorithm->needs_hosts && (layout != SHAPE_ROUND_ROBIN || shape.chunks > 1))
            continue;
        shape.hosts = shape_hosts_make(&hosts, (enum shape_layout)layout, shape.rank_count);
        if (shl_algorithm_suits(algorithm, shape.rank_count, shape.hosts))
            prove_roots(algorithm, shape, shape_layout_string((enum shape_layout)layout));
    }
}

static void all_rank_counts_to_64(void **state)
{
    (void)state;
    for (size_t i = 0; i < shl_algorithm_count(); i++) {
        const struct shl_algorithm *algorithm = shl_algorithm_at(i);
        for (uint32_t ranks = 1; ranks <= 64; ranks++) {
            if (!algorithm->needs_hosts && !shl_algorithm_suits(algorithm, ranks, NULL))
                continue;
            for (uint32_t chunks = 1; chunks <= 3; chunks++) {
                struct shl_shape shape = {.rank_count = ranks, .chunks = chunks};
                prove_hosts(algorithm, shape);
            }
        }
    }
}

/* Powers of two and their neighbours, products, primes. */
static void samples_to_1024(void **state)
{
    (void)state;
    static const uint32_t samples[] = {65, 96, 127, 128, 129, 210, 257, 509, 1024};
    for (size_t i = 0; i < shl_algorithm_count(); i++) {
        const struct shl_algorithm *algorithm = shl_algorithm_at(i);
        for (size_t s = 0; s < sizeof(samples) / sizeof(samples[0]); s++) {
            static struct shape_hosts hosts;
            struct shl_shape shape = {.rank_count = samples[s],
                                      .chunks = samples[s] < 250 ? 1 + s % 2 : 1,
                                      .root =
                                          shape_rooted(algorithm->collective) ? samples[s] / 3 : 0};
            if (algorithm->needs_hosts)
                shape.hosts = shape_hosts_make(&hosts, (enum shape_layout)(s % SHAPE_LAYOUT_COUNT),
                                               samples[s]);
            if (shl_algorithm_suits(algorithm, samples[s], shape.hosts))
                prove(algorithm, &shape, algorithm->needs_hosts ? "some" : "none");
        }
    }
}

/* What non-commuting operations rely on. */
static void every_reduction_has_an_algorithm_in_rank_order(void **state)
{
    (void)state;
    for (int collective = 0; collective < SHOAL_COLLECTIVE_COUNT; collective++) {
        bool found = false;
        for (size_t i = 0; i < shl_algorithm_count(); i++) {
            const struct shl_algorithm *algorithm = shl_algorithm_at(i);
            found |= algorithm->collective == (enum shoal_collective)collective &&
                     algorithm->in_rank_order && !algorithm->needs_hosts &&
                     algorithm->ranks_max == 0 && algorithm->ranks_min <= 1;
        }
        assert_true(found);
    }
}

static void names_are_unique(void **state)
{
    (void)state;
    for (size_t i = 0; i < shl_algorithm_count(); i++) {
        const struct shl_algorithm *algorithm = shl_algorithm_at(i);
        assert_ptr_equal(shl_algorithm_find(algorithm->collective, algorithm->name), algorithm);
        assert_true(strlen(algorithm->source) > 0);
    }
    assert_null(shl_algorithm_at(shl_algorithm_count()));
    assert_null(shl_algorithm_find(SHOAL_BARRIER, "ring"));
}

int main(int argc, char **argv)
{
    const struct CMUnitTest sample[] = {cmocka_unit_test(samples_to_1024)};
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_rank_counts_to_64),
        cmocka_unit_test(every_reduction_has_an_algorithm_in_rank_order),
        cmocka_unit_test(names_are_unique),
    };
    if (argc > 1 && strcmp(argv[1], "sample") == 0)
        return cmocka_run_group_tests(sample, NULL, NULL);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
