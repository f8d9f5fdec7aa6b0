/*
 * Timing one size: warm up, loop, then single iterations for percentiles, then check.
 *
 * Buffers rotate through the pool, so that one iteration does not find the former's data in the
 * cache. Times are combined over ranks as --average says.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "bench.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#define TARGET_US 200000.0 /* of the timed loop, when --iters is 0 */
#define PERCENTILE_ITERATIONS 1000

double bench_now_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e6 + (double)now.tv_nsec * 1e-3;
}

static double bus_factor(enum shoal_collective collective, uint32_t size)
{
    double n = size;
    if (collective == SHOAL_ALLREDUCE)
        return 2 * (n - 1) / n;
    if (collective == SHOAL_ALLGATHER || collective == SHOAL_REDUCE_SCATTER)
        return (n - 1) / n;
    return 1;
}

static uint64_t send_count(const struct bench *bench, const struct bench_row *row)
{
    bool blocks = bench->options->collective == SHOAL_REDUCE_SCATTER;
    return blocks ? row->count * bench->size : row->count;
}

uint64_t bench_recv_count(const struct bench *bench, const struct bench_row *row)
{
    bool blocks = bench->options->collective == SHOAL_ALLGATHER;
    return blocks ? row->count * bench->size : row->count;
}

static int failed(const struct bench *bench, const char *what)
{
    fprintf(stderr, "allreduce_bench: rank %u: %s: %s\n", bench->rank, what, shoal_last_error());
    return 1;
}

struct buffers {
    uint8_t *send, *recv;
};

/* The buffers of one iteration. */
static struct buffers at(const struct bench *bench, const struct bench_row *row, bool in_place,
                         uint64_t iteration)
{
    const struct bench_options *o = bench->options;
    uint64_t stride = (row->bytes + 4095) / 4096 * 4096 + 4096;
    uint64_t sets = bench->pool_bytes / stride;
    uint64_t wanted = o->rotate_bytes / stride;
    sets = wanted < sets ? wanted : sets;
    uint64_t offset = sets > 1 ? iteration % sets * stride : 0;
    struct buffers b = {bench->pool[0] + offset + o->misalign_bytes,
                        bench->pool[1] + offset + o->misalign_bytes};
    if (!in_place)
        return b;
    uint64_t block = row->count * shoal_dtype_bytes(row->dtype) * bench->rank;
    if (o->collective == SHOAL_ALLGATHER)
        b.send = b.recv + block;
    else if (o->collective == SHOAL_REDUCE_SCATTER)
        b.recv = b.send + block;
    else
        b.send = b.recv;
    return b;
}

static struct shoal_call call_of(const struct bench *bench, const struct bench_row *row,
                                 struct buffers b)
{
    return (struct shoal_call){.struct_size = sizeof(struct shoal_call),
                               .collective = bench->options->collective,
                               .dtype = row->dtype,
                               .op = row->op,
                               .root = row->root < 0 ? 0 : (uint32_t)row->root,
                               .count = row->count,
                               .send = b.send,
                               .recv = b.recv};
}

static int once(const struct bench *bench, const struct bench_row *row, struct buffers b)
{
    const struct shoal_call call = call_of(bench, row, b);
    enum shoal_status status;
    if (!bench->options->blocking) {
        struct shoal_request *request;
        if (shoal_start(bench->comm, &call, &request) != SHOAL_OK)
            return failed(bench, "start");
        status = shoal_request_wait(request, bench->options->timeout_ms);
        if (status == SHOAL_IN_PROGRESS)
            fprintf(stderr, "allreduce_bench: rank %u: not done in time\n", bench->rank);
        shoal_request_destroy(request);
        return status == SHOAL_OK ? 0 : failed(bench, "wait");
    }
    switch (call.collective) {
    case SHOAL_ALLREDUCE:
        status = shoal_allreduce(bench->comm, b.send, b.recv, row->count, row->dtype, row->op);
        break;
    case SHOAL_BROADCAST:
        status = shoal_broadcast(bench->comm, b.send, b.recv, row->count, row->dtype, call.root);
        break;
    case SHOAL_REDUCE:
        status =
            shoal_reduce(bench->comm, b.send, b.recv, row->count, row->dtype, row->op, call.root);
        break;
    case SHOAL_REDUCE_SCATTER:
        status = shoal_reduce_scatter(bench->comm, b.send, b.recv, row->count, row->dtype, row->op);
        break;
    case SHOAL_ALLGATHER:
        status = shoal_allgather(bench->comm, b.send, b.recv, row->count, row->dtype);
        break;
    default:
        status = shoal_barrier(bench->comm);
        break;
    }
    return status == SHOAL_OK ? 0 : failed(bench, shoal_collective_string(call.collective));
}

/* One figure a rank becomes one figure. */
static int over_ranks(const struct bench *bench, double mine, double *out)
{
    static const uint32_t ops[] = {SHOAL_SUM, SHOAL_AVG, SHOAL_MIN, SHOAL_MAX};
    uint32_t mode = bench->options->average;
    double in = mode == 0 && bench->rank != 0 ? 0 : mine;
    if (shoal_allreduce(bench->comm, &in, out, 1, SHOAL_F64, ops[mode]) != SHOAL_OK)
        return failed(bench, "combine times");
    return 0;
}

static int loop(const struct bench *bench, const struct bench_row *row, bool in_place,
                uint64_t iterations, double *us)
{
    if (shoal_barrier(bench->comm) != SHOAL_OK)
        return failed(bench, "barrier");
    double start = bench_now_us();
    for (uint64_t i = 0; i < iterations; i++)
        if (once(bench, row, at(bench, row, in_place, i)))
            return 1;
    *us = (bench_now_us() - start) / (double)iterations;
    return 0;
}

/* As many as fit the target, the same on every rank. */
static int choose_iterations(const struct bench *bench, const struct bench_row *row, bool in_place,
                             uint64_t *iterations)
{
    double us, most;
    if (loop(bench, row, in_place, 3, &us))
        return 1;
    if (shoal_allreduce(bench->comm, &us, &most, 1, SHOAL_F64, SHOAL_MAX) != SHOAL_OK)
        return failed(bench, "combine times");
    double fit = TARGET_US / (most > 0.1 ? most : 0.1);
    *iterations = fit < 5 ? 5 : fit > 100000 ? 100000 : (uint64_t)fit;
    return 0;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static int percentiles(struct bench *bench, const struct bench_row *row, bool in_place,
                       uint64_t iterations, struct bench_side *side)
{
    if (iterations > PERCENTILE_ITERATIONS)
        iterations = PERCENTILE_ITERATIONS;
    if (shoal_barrier(bench->comm) != SHOAL_OK)
        return failed(bench, "barrier");
    for (uint64_t i = 0; i < iterations; i++) {
        double start = bench_now_us();
        if (once(bench, row, at(bench, row, in_place, i)))
            return 1;
        bench->times_us[i] = bench_now_us() - start;
    }
    qsort(bench->times_us, iterations, sizeof(double), compare);
    side->min_us = bench->times_us[0];
    side->max_us = bench->times_us[iterations - 1];
    double *const into[] = {&side->p50_us, &side->p95_us, &side->p99_us};
    const double share[] = {0.50, 0.95, 0.99};
    for (size_t i = 0; i < 3; i++) {
        double mine = bench->times_us[(uint64_t)(share[i] * (double)(iterations - 1) + 0.5)];
        if (over_ranks(bench, mine, into[i]))
            return 1;
    }
    return 0;
}

static int verify(const struct bench *bench, const struct bench_row *row, bool in_place,
                  struct bench_side *side)
{
    int64_t mine = 0, total;
    for (uint32_t i = 0; i < bench->options->check_every; i++) {
        struct buffers b = at(bench, row, in_place, i);
        uint64_t recv_bytes = bench_recv_count(bench, row) * shoal_dtype_bytes(row->dtype);
        if (b.recv != b.send)
            memset(b.recv, 0xa5, recv_bytes);
        bench_fill(bench, row, b.send, send_count(bench, row));
        if (once(bench, row, b))
            return 1;
        mine += bench_count_wrong(bench, row, b.recv);
    }
    if (shoal_allreduce(bench->comm, &mine, &total, 1, SHOAL_I64, SHOAL_SUM) != SHOAL_OK)
        return failed(bench, "combine checks");
    side->wrong = total;
    return 0;
}

static int measure_side(struct bench *bench, struct bench_row *row, bool in_place)
{
    struct bench_side *side = &row->side[in_place];
    uint64_t iterations = bench->options->iterations;
    double us;
    side->wrong = -1;
    if (bench->options->warmups > 0 && loop(bench, row, in_place, bench->options->warmups, &us))
        return 1;
    if (iterations == 0 && choose_iterations(bench, row, in_place, &iterations))
        return 1;
    if (loop(bench, row, in_place, iterations, &us) || over_ranks(bench, us, &side->time_us))
        return 1;
    if (bench->options->per_iteration && percentiles(bench, row, in_place, iterations, side))
        return 1;
    side->algbw = side->time_us > 0 ? (double)row->bytes / side->time_us * 1e-3 : 0;
    side->busbw = side->algbw * bus_factor(bench->options->collective, bench->size);
    bool checks = bench->options->check_every > 0 && bench->options->collective != SHOAL_BARRIER;
    return checks ? verify(bench, row, in_place, side) : 0;
}

/* Every rank copies this many bytes at the same time: what the memory allows. */
static int measure_copy(const struct bench *bench, struct bench_row *row)
{
    double best = 0;
    for (int round = 0; round < 3; round++) {
        uint64_t copies = row->bytes > (1 << 20) ? 3 : 50;
        if (shoal_barrier(bench->comm) != SHOAL_OK)
            return failed(bench, "barrier");
        double start = bench_now_us(), us;
        for (uint64_t i = 0; i < copies; i++) {
            struct buffers b = at(bench, row, false, i);
            memcpy(b.recv, b.send, row->bytes);
            __asm__ volatile("" ::: "memory");
        }
        if (over_ranks(bench, (bench_now_us() - start) / (double)copies, &us))
            return 1;
        if (best == 0 || us < best)
            best = us;
    }
    row->copy_us = best;
    return 0;
}

static int ask_plan(const struct bench *bench, struct bench_row *row)
{
    struct buffers b = at(bench, row, false, 0);
    struct shoal_plan_info info = {.struct_size = sizeof(info)};
    const struct shoal_call call = call_of(bench, row, b);
    if (shoal_plan(bench->comm, &call, &info) != SHOAL_OK)
        return failed(bench, "plan");
    snprintf(row->algorithm, sizeof(row->algorithm), "%s", info.algorithm);
    snprintf(row->transport, sizeof(row->transport), "%s", info.transport);
    row->predicted_us = info.predicted_us;
    return 0;
}

int bench_measure(struct bench *bench, struct bench_row *row)
{
    if (ask_plan(bench, row) || measure_copy(bench, row))
        return 1;
    return measure_side(bench, row, false) || measure_side(bench, row, true);
}
