/*
 * allreduce_bench: what its files share. Options and table are those that users of nccl-tests know;
 * only the public headers are used.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef BENCH_BENCH_H
#define BENCH_BENCH_H

#include <shoal/shoal.h>
#include <stdbool.h>
#include <stdio.h>

#define BENCH_ROWS_MAX 4096

enum bench_memory { BENCH_ORDINARY, BENCH_SHARED };

struct bench_options {
    enum shoal_collective collective;
    uint32_t ranks; /* to fork; 0: from the launcher's environment */
    uint64_t min_bytes, max_bytes, step_bytes;
    double step_factor; /* 0: add step_bytes */
    uint32_t iterations, warmups;
    uint32_t dtype_mask, op_mask; /* bits by enum */
    uint32_t root;
    uint32_t check_every; /* verified iterations a size; 0: none */
    uint32_t average;     /* 0 rank 0, 1 mean, 2 min, 3 max over ranks */
    uint32_t timeout_ms;
    uint32_t misalign_bytes;
    uint64_t rotate_bytes; /* memory that the iterations of one size go through; 0: same buffers */
    enum bench_memory memory;
    bool blocking; /* false: start and wait */
    bool register_memory;
    bool per_iteration;
    bool csv;
    bool pin;
    const char *json_file, *plot_file;
    int argc;
    char **argv;
};

struct bench_side { /* out of place, or in place */
    double time_us, algbw, busbw;
    double p50_us, p95_us, p99_us, min_us, max_us;
    int64_t wrong; /* -1: not checked */
};

struct bench_row {
    uint64_t bytes, count;
    enum shoal_dtype dtype;
    uint32_t op;
    int root; /* -1: none */
    struct bench_side side[2];
    char algorithm[32], transport[16];
    double predicted_us, copy_us; /* copy_us: every rank copies as many bytes once, together */
};

struct bench {
    const struct bench_options *options;
    struct shoal_context *context;
    struct shoal_comm *comm;
    uint32_t rank, size;
    uint8_t *pool[2]; /* send and receive memory */
    uint64_t pool_bytes;
    double *times_us; /* one an iteration */
    double init_ms;
};

/* options.c: 0, or the exit status with the message printed; -1: help was printed. */
int bench_parse(int argc, char **argv, struct bench_options *options);
const char *bench_dtype_name(enum shoal_dtype dtype);

/* data.c: inputs whose result every dtype holds exactly, so that wrong elements can be counted. */
void bench_fill(const struct bench *bench, const struct bench_row *row, void *send, uint64_t count);
int64_t bench_count_wrong(const struct bench *bench, const struct bench_row *row, const void *recv);

/* measure.c: 0, or 1 with the error printed. */
int bench_measure(struct bench *bench, struct bench_row *row);
uint64_t bench_recv_count(const struct bench *bench, const struct bench_row *row);

/* report.c: rank 0 only. */
void bench_print_header(const struct bench *bench, FILE *out);
void bench_print_row(const struct bench *bench, const struct bench_row *row, FILE *out);
void bench_print_footer(const struct bench *bench, const struct bench_row *rows, size_t count,
                        FILE *out);
/* json.c, plot.c: 0, or 1 with the error printed. */
int bench_write_json(const struct bench *bench, const struct bench_row *rows, size_t count);
int bench_write_plot(const struct bench *bench, const struct bench_row *rows, size_t count);

double bench_now_us(void);

#endif
