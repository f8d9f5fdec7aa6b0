/*
 * shm_bound: rounds that alternate between the methods, checked results, and the table.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "shm_bound.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define ROUND_NS 2000000        /* a round repeats short operations for about so long */
#define LARGE_BYTES (16u << 20) /* from here on fewer rounds */
#define LARGE_ROUNDS 5

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* ---- measuring ------------------------------------------------------------------------------ */

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Mean of `count` operations, in microseconds. */
static double time_round(enum bound_method method, uint64_t bytes, uint64_t count)
{
    uint64_t copies = bound.arena_bytes / bytes;
    bound_barrier();
    uint64_t start_ns = now_ns();
    for (uint64_t i = 0; i < count; i++)
        bound_run(method, i % copies * bytes, bytes);
    bound_barrier();
    return (double)(now_ns() - start_ns) / (double)count / 1000;
}

/* Rank 0 says how often, so that all do the same. */
static uint64_t agree_count(double one_us)
{
    if (bound.rank == 0) {
        double count = ROUND_NS / 1000.0 / (one_us > 0.01 ? one_us : 0.01);
        atomic_store(&bound.shared->count, count < 1 ? 1 : (uint64_t)count);
    }
    bound_barrier();
    uint64_t count = atomic_load(&bound.shared->count);
    bound_barrier();
    return count;
}

static void check(enum bound_method method, uint64_t bytes)
{
    bool mapped = method == MAPPED || method == MAPPED_NT;
    uint8_t *in = mapped ? bound.mapped_in[bound.rank] : bound.private_in;
    const float *out =
        (const float *)(void *)(mapped ? bound.mapped_out[bound.rank] : bound.private_out);
    uint64_t elements = bytes / sizeof(float);
    for (uint64_t i = 0; i < elements; i++)
        ((float *)(void *)in)[i] = (float)(bound.rank + i % 1000);
    memset(mapped ? bound.mapped_out[bound.rank] : bound.private_out, 0xff, bytes);
    bound_barrier();
    bound_run(method, 0, bytes);
    bound_barrier();
    float ranks = (float)bound.options.ranks;
    for (uint64_t i = 0; i < elements; i++) {
        if (out[i] != ranks * (float)(i % 1000) + ranks * (ranks - 1) / 2) {
            fprintf(stderr, "shm_bound: %s, %llu bytes: element %llu is %g\n",
                    bound_method_names[method], (unsigned long long)bytes, (unsigned long long)i,
                    (double)out[i]);
            exit(1);
        }
    }
    bound_barrier();
}

struct result {
    double least_us, median_us;
};

static void measure_size(uint64_t bytes, struct result results[METHODS])
{
    static double times[METHODS][BOUND_ROUNDS_MAX];
    uint64_t counts[METHODS];
    uint32_t rounds = bound.options.rounds;
    if (bytes >= LARGE_BYTES && rounds > LARGE_ROUNDS)
        rounds = LARGE_ROUNDS;
    for (int m = 0; m < METHODS; m++) {
        if (!bound_applies(m, bytes))
            continue;
        check(m, bytes);
        counts[m] = agree_count(time_round(m, bytes, bytes < 65536 ? 20 : 2));
    }
    for (uint32_t round = 0; round < rounds; round++) {
        for (int m = 0; m < METHODS; m++) {
            if (bound_applies(m, bytes))
                times[m][round] = time_round(m, bytes, counts[m]);
        }
    }
    for (int m = 0; m < METHODS; m++) {
        qsort(times[m], rounds, sizeof(double), by_value);
        results[m].least_us = times[m][0];
        results[m].median_us = times[m][rounds / 2];
    }
}

static void print_size(uint64_t bytes, const struct result results[METHODS])
{
    if (!bound.options.csv)
        printf("%11llu", (unsigned long long)bytes);
    for (int m = 0; m < METHODS; m++) {
        if (bound.options.csv && bound_applies(m, bytes))
            printf("%u,%llu,%s,%.3f,%.3f\n", bound.options.ranks, (unsigned long long)bytes,
                   bound_method_names[m], results[m].least_us, results[m].median_us);
        else if (!bound.options.csv && bound_applies(m, bytes))
            printf(" %10.2f/%-10.2f", results[m].least_us, results[m].median_us);
        else if (!bound.options.csv)
            printf(" %21s", "-     ");
    }
    if (!bound.options.csv)
        printf("\n");
    fflush(stdout);
}

static void print_head(void)
{
    if (bound.options.csv) {
        printf("ranks,bytes,method,min_us,median_us\n");
        return;
    }
    printf("# allreduce by hand, float32 sum, %u ranks, %u rounds, kernels %s, buffers rotate "
           "through %llu bytes\n# min/median of the rounds, us\n#     bytes",
           bound.options.ranks, bound.options.rounds, bound.sum->isa,
           (unsigned long long)bound.options.rotate_bytes);
    for (int m = 0; m < METHODS; m++)
        printf(" %21s", bound_method_names[m]);
    printf("\n");
}

void bound_measure(void)
{
    if (bound.rank == 0)
        print_head();
    for (uint64_t bytes = bound.options.first_bytes; bytes <= bound.options.last_bytes;
         bytes *= bound.options.factor) {
        struct result results[METHODS];
        measure_size(bytes, results);
        if (bound.rank == 0)
            print_size(bytes, results);
    }
}
