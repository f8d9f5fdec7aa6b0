/*
 * What the files of shm_bound share.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef BENCH_SHM_BOUND_H
#define BENCH_SHM_BOUND_H

#include "device/reduce.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define BOUND_RANKS_MAX 16
#define BOUND_ROUNDS_MAX 101
#define BOUND_LINE_PAIR 128
#define BOUND_EXCHANGE_BYTES 65536
#define BOUND_EXCHANGE_SLOTS 4
#define BOUND_WINDOW_BYTES (256u << 10) /* of the message, staged at a time */
#define BOUND_PULL_BYTES (64u << 10)    /* pulled at a time: stays in the cache until reduced */

enum bound_method { EXCHANGE, MAPPED, MAPPED_NT, PULL, STAGED, STAGED_NT, STREAM, METHODS };

/* One writer each, a pair of lines apart. */
struct bound_flag {
    _Alignas(BOUND_LINE_PAIR) _Atomic uint64_t value;
    uint8_t payload[BOUND_LINE_PAIR - 8]; /* small inputs share the line of the flag */
};

struct bound_shared {
    struct bound_flag barrier[BOUND_RANKS_MAX];
    struct bound_flag exchange[BOUND_RANKS_MAX][BOUND_EXCHANGE_SLOTS];
    pid_t pids[BOUND_RANKS_MAX];
    uint64_t private_in[BOUND_RANKS_MAX], private_out[BOUND_RANKS_MAX]; /* addresses there */
    _Atomic uint64_t count; /* operations of the next round */
    _Alignas(4096) uint8_t slots[BOUND_RANKS_MAX][BOUND_EXCHANGE_SLOTS][BOUND_EXCHANGE_BYTES];
    uint8_t window[BOUND_RANKS_MAX][2][BOUND_WINDOW_BYTES]; /* inputs, by owner of the copy */
    uint8_t result[BOUND_RANKS_MAX][2][BOUND_WINDOW_BYTES]; /* sums, by owner of the slice */
};

struct bound_options {
    uint32_t ranks, rounds, factor;
    uint64_t first_bytes, last_bytes, rotate_bytes;
    bool csv;
};

/* Of this process. */
struct bound {
    struct bound_options options;
    struct bound_shared *shared;
    uint32_t rank;
    bool crowded; /* more ranks than processors: a waiter yields at once */
    const struct shl_reducer *sum;
    uint64_t arena_bytes;
    uint8_t *mapped_in[BOUND_RANKS_MAX], *mapped_out[BOUND_RANKS_MAX]; /* shared */
    uint8_t *private_in, *private_out;
    float *bounce[BOUND_RANKS_MAX];
};

extern struct bound bound;
extern const char *const bound_method_names[METHODS];

void bound_die(const char *what);
void bound_barrier(void);
/* One allreduce of `bytes` at offset `at` of the arenas. */
void bound_run(enum bound_method method, uint64_t at, uint64_t bytes);
bool bound_applies(enum bound_method method, uint64_t bytes);
/* Every size and method; rank 0 prints. */
void bound_measure(void);

#endif
