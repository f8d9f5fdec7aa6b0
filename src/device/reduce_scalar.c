/*
 * Reduction kernels in plain C: the reference for every other instruction set, and the fallback.
 *
 * Invariant: an element's result depends on the operands at its own index only, combined one by
 * one from left to right by the functions of scalar_ops.h.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "device/fpenv.h"
#include "device/reduce_isa.h"
#include "device/scalar_ops.h"

#define K_SAME(x) (x)
#define K_KERNEL "device/reduce_scalar.inc.h"

#define K_WIDEN K_SAME
#define K_NARROW K_SAME

#define K_DTYPE i8
#define K_FAMILY shl_i8
#define K_WORD uint8_t
#define K_ACC uint8_t
#include "device/reduce_ops.inc.h"
#define K_DTYPE u8
#define K_FAMILY shl_u8
#include "device/reduce_ops.inc.h"
#undef K_WORD
#undef K_ACC

#define K_DTYPE i32
#define K_FAMILY shl_i32
#define K_WORD uint32_t
#define K_ACC uint32_t
#include "device/reduce_ops.inc.h"
#define K_DTYPE u32
#define K_FAMILY shl_u32
#include "device/reduce_ops.inc.h"
#define K_DTYPE f32
#define K_FAMILY shl_f32
#include "device/reduce_ops.inc.h"
#undef K_WORD
#undef K_ACC

#define K_DTYPE i64
#define K_FAMILY shl_i64
#define K_WORD uint64_t
#define K_ACC uint64_t
#include "device/reduce_ops.inc.h"
#define K_DTYPE u64
#define K_FAMILY shl_u64
#include "device/reduce_ops.inc.h"
#define K_DTYPE f64
#define K_FAMILY shl_f64
#include "device/reduce_ops.inc.h"
#undef K_WORD
#undef K_ACC

#undef K_WIDEN
#undef K_NARROW
#define K_ACC uint32_t

#define K_DTYPE f16
#define K_FAMILY shl_f32
#define K_WORD uint16_t
#define K_WIDEN shl_f32_from_f16
#define K_NARROW shl_f16_from_f32
#include "device/reduce_ops.inc.h"
#undef K_WIDEN
#undef K_NARROW

#define K_DTYPE bf16
#define K_FAMILY shl_f32
#define K_WIDEN shl_f32_from_bf16
#define K_NARROW shl_bf16_from_f32
#include "device/reduce_ops.inc.h"
#undef K_WIDEN
#undef K_NARROW
#undef K_WORD

#define K_DTYPE f8e4m3
#define K_FAMILY shl_f32
#define K_WORD uint8_t
#define K_WIDEN shl_f32_from_f8e4m3
#define K_NARROW shl_f8e4m3_from_f32
#include "device/reduce_ops.inc.h"
#undef K_WIDEN
#undef K_NARROW

#define K_DTYPE f8e5m2
#define K_FAMILY shl_f32
#define K_WIDEN shl_f32_from_f8e5m2
#define K_NARROW shl_f8e5m2_from_f32
#include "device/reduce_ops.inc.h"

/* A quotient of float32 operands rounds the same from double: 53 bits are twice 24 and more. */
#define DEFINE_SCALE_LOW(dtype, word, widen, narrow)                                               \
    static void scale_##dtype(void *out, const void *in, size_t count, double divisor)             \
    {                                                                                              \
        uint64_t env = shl_fpenv_enter();                                                          \
                                                                                                   \
        for (size_t i = 0; i < count; i++) {                                                       \
            word w;                                                                                \
            memcpy(&w, (const char *)in + i * sizeof(w), sizeof(w));                               \
            uint32_t f = widen(w);                                                                 \
            if ((f & 0x7fffffffu) > SHL_F32_INF)                                                   \
                f |= SHL_F32_QUIET;                                                                \
            else                                                                                   \
                f = shl_f32_bits((float)(shl_f32_of_bits(f) / divisor));                           \
            w = narrow(f);                                                                         \
            memcpy((char *)out + i * sizeof(w), &w, sizeof(w));                                    \
        }                                                                                          \
        shl_fpenv_leave(env);                                                                      \
    }

DEFINE_SCALE_LOW(f32, uint32_t, K_SAME, K_SAME)
DEFINE_SCALE_LOW(f16, uint16_t, shl_f32_from_f16, shl_f16_from_f32)
DEFINE_SCALE_LOW(bf16, uint16_t, shl_f32_from_bf16, shl_bf16_from_f32)
DEFINE_SCALE_LOW(f8e4m3, uint8_t, shl_f32_from_f8e4m3, shl_f8e4m3_from_f32)
DEFINE_SCALE_LOW(f8e5m2, uint8_t, shl_f32_from_f8e5m2, shl_f8e5m2_from_f32)

static void scale_f64(void *out, const void *in, size_t count, double divisor)
{
    uint64_t env = shl_fpenv_enter();

    for (size_t i = 0; i < count; i++) {
        uint64_t w;
        memcpy(&w, (const char *)in + i * sizeof(w), sizeof(w));
        if ((w & 0x7fffffffffffffffu) > 0x7ff0000000000000u)
            w |= 0x0008000000000000u;
        else
            w = shl_f64_bits(shl_f64_of_bits(w) / divisor);
        memcpy((char *)out + i * sizeof(w), &w, sizeof(w));
    }
    shl_fpenv_leave(env);
}

#define REDUCER(dtype, op, bytes)                                                                  \
    {                                                                                              \
        two_##dtype##_##op, many_##dtype##_##op, push_##dtype##_##op, bytes, "scalar"              \
    }
#define REDUCERS(dtype, bytes)                                                                     \
    {                                                                                              \
        REDUCER(dtype, sum, bytes), REDUCER(dtype, prod, bytes), REDUCER(dtype, min, bytes),       \
            REDUCER(dtype, max, bytes)                                                             \
    }

const struct shl_reduce_isa shl_reduce_isa_scalar = {
    .name = "scalar",
    .reducers = {[SHOAL_I8] = REDUCERS(i8, 1),
                 [SHOAL_U8] = REDUCERS(u8, 1),
                 [SHOAL_I32] = REDUCERS(i32, 4),
                 [SHOAL_U32] = REDUCERS(u32, 4),
                 [SHOAL_I64] = REDUCERS(i64, 8),
                 [SHOAL_U64] = REDUCERS(u64, 8),
                 [SHOAL_F16] = REDUCERS(f16, 2),
                 [SHOAL_BF16] = REDUCERS(bf16, 2),
                 [SHOAL_F32] = REDUCERS(f32, 4),
                 [SHOAL_F64] = REDUCERS(f64, 8),
                 [SHOAL_F8E4M3] = REDUCERS(f8e4m3, 1),
                 [SHOAL_F8E5M2] = REDUCERS(f8e5m2, 1)},
    .scale = {[SHOAL_F16] = scale_f16,
              [SHOAL_BF16] = scale_bf16,
              [SHOAL_F32] = scale_f32,
              [SHOAL_F64] = scale_f64,
              [SHOAL_F8E4M3] = scale_f8e4m3,
              [SHOAL_F8E5M2] = scale_f8e5m2},
};
