/*
 * Reduction kernels: out = a op b, and out = x0 op x1 op ... for direct forms.
 *
 * Operands combine left to right (a first), elements one by one, so the same operands give the
 * same bits whichever instruction set runs: every variant is tested bit for bit against the
 * scalar one. f16, bf16 and fp8 widen to float32, combine, and round once, to nearest even; fp8
 * saturates, infinity included (convert.h). SHOAL_AVG reduces like SUM here; shl_reduce_scale
 * divides afterwards. NaN: any NaN operand gives a NaN result (MIN and MAX too); the first NaN
 * operand's payload, quieted. MIN and MAX order -0 below +0 (scalar_ops.h). The calling thread's
 * rounding mode, flushing and traps do not matter and are left as they are (fpenv.h).
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef SHL_DEVICE_REDUCE_H
#define SHL_DEVICE_REDUCE_H

#include "core/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* out may equal a or b exactly; other overlap is not allowed. Any byte alignment. */
typedef void (*shl_reduce_fn)(void *out, const void *a, const void *b, size_t count);

/* out = x[0] op ... op x[n-1], n >= 1, rounding once at the end; out may equal any x[i]. A single
 * operand is copied bit for bit. */
typedef void (*shl_reduce_many_fn)(void *out, const void *const *x, size_t n, size_t count);

/* The same, writing `out_count` copies of the result: the first `cached` with ordinary stores, the
 * others with streaming stores, fenced before return; best when all outputs have the same address
 * modulo 64. Any output may equal any x[i]. */
typedef void (*shl_reduce_push_fn)(void *const *outs, size_t out_count, const void *const *x,
                                   size_t n, size_t count, size_t cached);

struct shl_reducer {
    shl_reduce_fn two;
    shl_reduce_many_fn many;
    shl_reduce_push_fn push;
    size_t elem_bytes;
    const char *isa; /* "scalar", "avx2", "avx512", "neon" */
};

/* shl_reducer_get - kernels for a built-in op of this dtype on this CPU; never NULL for valid
 * arguments. Dispatch happens once a process. Threads: any */
const struct shl_reducer *shl_reducer_get(enum shoal_dtype dtype, enum shoal_op op);

/* shl_reducer_get_isa - a named instruction set, NULL when this CPU or build lacks it. */
const struct shl_reducer *shl_reducer_get_isa(enum shoal_dtype dtype, enum shoal_op op,
                                              const char *isa);

/* shl_reduce_scale - out[i] = in[i] / divisor, for AVG. Integers truncate toward zero, floats
 * divide in at least float32 and round once. Divisor 0 acts as 1. out may equal in. */
void shl_reduce_scale(void *out, const void *in, size_t count, enum shoal_dtype dtype,
                      uint64_t divisor);

/* shl_copy - memcpy, with streaming stores when `nontemporal` (fenced before return). */
void shl_copy(void *out, const void *in, size_t bytes, bool nontemporal);

#endif
