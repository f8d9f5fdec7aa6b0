/*
 * Element types, reduction operations and the opaque handles of the C ABI.
 *
 * Values are part of the ABI and of the wire format: never renumber, only append.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef SHOAL_TYPES_H
#define SHOAL_TYPES_H

#include <stddef.h>
#include <stdint.h>

#if defined(__GNUC__)
#define SHOAL_API __attribute__((visibility("default")))
#else
#define SHOAL_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

struct shoal_context; /* settings, memory and threads of one process */
struct shoal_comm;    /* an ordered set of ranks that call collectives together */
struct shoal_request; /* one operation in flight */

enum shoal_dtype {
    SHOAL_I8 = 0,
    SHOAL_U8 = 1,
    SHOAL_I32 = 2,
    SHOAL_U32 = 3,
    SHOAL_I64 = 4,
    SHOAL_U64 = 5,
    SHOAL_F16 = 6,  /* IEEE 754 binary16 */
    SHOAL_BF16 = 7, /* bfloat16 */
    SHOAL_F32 = 8,
    SHOAL_F64 = 9,
    SHOAL_F8E4M3 = 10, /* OCP FP8 E4M3; what is too large rounds to +-448, as CUDA converts */
    SHOAL_F8E5M2 = 11, /* OCP FP8 E5M2; what is too large rounds to +-57344 */
    SHOAL_DTYPE_COUNT = 12
};

/*
 * Reduction operations. Operands combine in an order fixed by rank, so the result has the same
 * bits on every rank. Integer overflow wraps. NaN propagates through every operation, MIN and MAX
 * too. AVG divides by the number of contributors; for integers it truncates toward zero. f16, bf16
 * and fp8 are combined in float32 and rounded to nearest even, at least once a hop.
 */
enum shoal_op {
    SHOAL_SUM = 0,
    SHOAL_PROD = 1,
    SHOAL_MIN = 2,
    SHOAL_MAX = 3,
    SHOAL_AVG = 4,
    SHOAL_OP_COUNT = 5,
    SHOAL_OP_USER_FIRST = 64 /* ids from shoal_op_create start here */
};

enum shoal_collective {
    SHOAL_ALLREDUCE = 0,
    SHOAL_BROADCAST = 1,
    SHOAL_REDUCE = 2,
    SHOAL_REDUCE_SCATTER = 3,
    SHOAL_ALLGATHER = 4,
    SHOAL_BARRIER = 5,
    SHOAL_COLLECTIVE_COUNT = 6
};

/* shoal_dtype_bytes - size of one element in bytes, 0 for a value that is no dtype. Threads: any */
SHOAL_API size_t shoal_dtype_bytes(enum shoal_dtype dtype);

/* shoal_*_string - constant names; "unknown" for a value that has none. Threads: any */
SHOAL_API const char *shoal_dtype_string(enum shoal_dtype dtype);           /* "f32", ... */
SHOAL_API const char *shoal_op_string(uint32_t op);                         /* "sum", ... */
SHOAL_API const char *shoal_collective_string(enum shoal_collective which); /* "allreduce", ... */

#ifdef __cplusplus
}
#endif
#endif
