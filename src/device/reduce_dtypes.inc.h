/*
 * Instantiates all kernels of one vector set and fills its table; included last by an ISA file.
 *
 * Signed types share the kernels of sums and products with their unsigned twins: the bits are the
 * same.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#define VEC_SAME(x) (x)
#define K_KERNEL "device/reduce_kernel.inc.h"
#define K_SCALE_NAME_(dtype) scale_##dtype
#define K_SCALE_NAME(dtype) K_SCALE_NAME_(dtype)

/* Integers. */
#define K_FLOAT 0
#define K_ACC vec
#define K_WIDEN VEC_SAME
#define K_NARROW VEC_SAME
#define K_UNROLL ISA_UNROLL
#define K_FEW 1

#define K_ELEM_BYTES 1
#define K_DTYPE u8
#define K_FAMILY u8
#include "device/reduce_ops.inc.h"
#define K_DTYPE i8
#define K_FAMILY i8
#define K_EXTREMES_ONLY
#include "device/reduce_ops.inc.h"
#undef K_ELEM_BYTES

#define K_ELEM_BYTES 4
#define K_DTYPE u32
#define K_FAMILY u32
#include "device/reduce_ops.inc.h"
#define K_DTYPE i32
#define K_FAMILY i32
#define K_EXTREMES_ONLY
#include "device/reduce_ops.inc.h"
#undef K_ELEM_BYTES

#define K_ELEM_BYTES 8
#define K_DTYPE u64
#define K_FAMILY u64
#include "device/reduce_ops.inc.h"
#define K_DTYPE i64
#define K_FAMILY i64
#define K_EXTREMES_ONLY
#include "device/reduce_ops.inc.h"
#undef K_ELEM_BYTES

/* float32 and float64, combined as they are. */
#undef K_FLOAT
#define K_FLOAT 1

#define K_ELEM_BYTES 4
#define K_DTYPE f32
#define K_DIVIDE f32_div
#define K_SPLAT splat_f32
#include "device/scale_kernel.inc.h"
#define K_FAMILY f32
#include "device/reduce_ops.inc.h"
#undef K_ELEM_BYTES

#define K_ELEM_BYTES 8
#define K_DTYPE f64
#define K_DIVIDE f64_div
#define K_SPLAT splat_f64
#include "device/scale_kernel.inc.h"
#define K_FAMILY f64
#include "device/reduce_ops.inc.h"
#undef K_ELEM_BYTES

#undef K_WIDEN
#undef K_NARROW
#undef K_ACC
#undef K_UNROLL

/* Low precision, two or four vectors of float32 for each vector loaded. */
#undef K_FEW
#define K_FEW 0
#define K_UNROLL 2
#define K_ELEM_BYTES 2
#define K_ACC struct f32x2

#define K_DTYPE f16
#define K_WIDEN widen_f16
#define K_NARROW narrow_f16
#define K_DIVIDE f32x2_div
#define K_SPLAT splat_f32x2
#include "device/scale_kernel.inc.h"
#define K_FAMILY f32x2
#include "device/reduce_ops.inc.h"
#undef K_WIDEN
#undef K_NARROW

#define K_DTYPE bf16
#define K_WIDEN widen_bf16
#define K_NARROW narrow_bf16
#define K_DIVIDE f32x2_div
#define K_SPLAT splat_f32x2
#include "device/scale_kernel.inc.h"
#define K_FAMILY f32x2
#include "device/reduce_ops.inc.h"
#undef K_WIDEN
#undef K_NARROW

#undef K_ELEM_BYTES
#undef K_ACC
#undef K_UNROLL
#define K_UNROLL 1
#define K_ELEM_BYTES 1
#define K_ACC struct f32x4

#define K_DTYPE f8e4m3
#define K_WIDEN widen_f8e4m3
#define K_NARROW narrow_f8e4m3
#define K_DIVIDE f32x4_div
#define K_SPLAT splat_f32x4
#include "device/scale_kernel.inc.h"
#define K_FAMILY f32x4
#include "device/reduce_ops.inc.h"
#undef K_WIDEN
#undef K_NARROW

#define K_DTYPE f8e5m2
#define K_WIDEN widen_f8e5m2
#define K_NARROW narrow_f8e5m2
#define K_DIVIDE f32x4_div
#define K_SPLAT splat_f32x4
#include "device/scale_kernel.inc.h"
#define K_FAMILY f32x4
#include "device/reduce_ops.inc.h"
#undef K_WIDEN
#undef K_NARROW

#define REDUCER(dtype, op, bytes)                                                                  \
    {                                                                                              \
        two_##dtype##_##op, many_##dtype##_##op, push_##dtype##_##op, bytes, ISA_NAME              \
    }
#define REDUCERS(dtype, twin, bytes)                                                               \
    {                                                                                              \
        REDUCER(twin, sum, bytes), REDUCER(twin, prod, bytes), REDUCER(dtype, min, bytes),         \
            REDUCER(dtype, max, bytes)                                                             \
    }

const struct shl_reduce_isa ISA_TABLE = {
    .name = ISA_NAME,
    .reducers = {[SHOAL_I8] = REDUCERS(i8, u8, 1),
                 [SHOAL_U8] = REDUCERS(u8, u8, 1),
                 [SHOAL_I32] = REDUCERS(i32, u32, 4),
                 [SHOAL_U32] = REDUCERS(u32, u32, 4),
                 [SHOAL_I64] = REDUCERS(i64, u64, 8),
                 [SHOAL_U64] = REDUCERS(u64, u64, 8),
                 [SHOAL_F16] = REDUCERS(f16, f16, 2),
                 [SHOAL_BF16] = REDUCERS(bf16, bf16, 2),
                 [SHOAL_F32] = REDUCERS(f32, f32, 4),
                 [SHOAL_F64] = REDUCERS(f64, f64, 8),
                 [SHOAL_F8E4M3] = REDUCERS(f8e4m3, f8e4m3, 1),
                 [SHOAL_F8E5M2] = REDUCERS(f8e5m2, f8e5m2, 1)},
    .scale = {[SHOAL_F16] = scale_f16,
              [SHOAL_BF16] = scale_bf16,
              [SHOAL_F32] = scale_f32,
              [SHOAL_F64] = scale_f64,
              [SHOAL_F8E4M3] = scale_f8e4m3,
              [SHOAL_F8E5M2] = scale_f8e5m2},
    .copy_stream = VEC_STREAMS ? copy_stream : NULL,
    .fence = VEC_STREAMS ? vec_fence : NULL,
};
