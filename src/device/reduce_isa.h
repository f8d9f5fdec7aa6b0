/*
 * What one instruction set provides; reduce.c picks one of these tables once a process.
 *
 * Invariant: whatever the table, the same operands give the same bits.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef SHL_DEVICE_REDUCE_ISA_H
#define SHL_DEVICE_REDUCE_ISA_H

#include "device/reduce.h"

#define SHL_REDUCE_OPS 4 /* SUM, PROD, MIN, MAX; AVG uses SUM's kernels */

/* Floats only. `divisor` is an integer that float32 (f64: double) holds exactly. */
typedef void (*shl_scale_fn)(void *out, const void *in, size_t count, double divisor);

struct shl_reduce_isa {
    const char *name;
    struct shl_reducer reducers[SHOAL_DTYPE_COUNT][SHL_REDUCE_OPS];
    shl_scale_fn scale[SHOAL_DTYPE_COUNT]; /* NULL for integers */
    /* Copies past the caches; the caller fences. NULL: memcpy is as good. */
    void (*copy_stream)(void *out, const void *in, size_t bytes);
    void (*fence)(void); /* orders streaming stores before later ones; NULL with copy_stream */
};

/* shl_reduce_scale_kernel - the best for this CPU, or, for a divisor that float32 cannot hold, the
 * one that divides in double. */
shl_scale_fn shl_reduce_scale_kernel(enum shoal_dtype dtype, bool exact_in_f32);

extern const struct shl_reduce_isa shl_reduce_isa_scalar;

#if defined(__x86_64__)
extern const struct shl_reduce_isa shl_reduce_isa_avx2;
extern const struct shl_reduce_isa shl_reduce_isa_avx512;
#endif
#if defined(__aarch64__)
extern const struct shl_reduce_isa shl_reduce_isa_neon;
#endif

#endif
