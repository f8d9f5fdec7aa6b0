/*
 * Reduction kernels for aarch64: the 16-byte vectors that simd_generic.inc.h and the kernel
 * templates are written over.
 *
 * Invariant: same bits as reduce_scalar.c. This hardware prefers a signalling NaN to a quiet one
 * that came first, and makes positive NaNs, so a vector with a NaN in it is put right afterwards.
 * There are no streaming stores worth the name: these cores stop allocating lines by themselves
 * when they see a long run of stores.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "device/simd.h"

#include <arm_neon.h>

#define VEC_BYTES 16
#define VEC_STREAMS 0
#define ISA_NAME "neon"
#define ISA_TABLE shl_reduce_isa_neon
#define ISA_UNROLL 4

typedef uint32_t vec __attribute__((vector_size(VEC_BYTES)));

SIMD_INLINE vec vec_load(const char *p)
{
    return (vec)vld1q_u8((const uint8_t *)p);
}

SIMD_INLINE void vec_store(char *p, vec v)
{
    vst1q_u8((uint8_t *)p, (uint8x16_t)v);
}

/* Reached only by code that VEC_STREAMS switches off. */
SIMD_INLINE void vec_stream(char *p, vec v)
{
    vec_store(p, v);
}

static void vec_fence(void)
{
}

SIMD_INLINE vec vec_load_part(const char *p, size_t bytes)
{
    typedef uint64_t words __attribute__((vector_size(VEC_BYTES)));
    return (vec)(words){simd_load_word_at(p, bytes, 0), simd_load_word_at(p, bytes, 8)};
}

SIMD_INLINE void vec_store_part(char *p, vec v, size_t bytes)
{
    simd_copy_small(p, (const char *)&v, bytes);
}

/* a > b ? x : y, in signed 32-bit lanes */
SIMD_INLINE vec if_gt_i32(vec a, vec b, vec x, vec y)
{
    uint32x4_t gt = vcgtq_s32((int32x4_t)a, (int32x4_t)b);
    return (vec)vbslq_u32(gt, (uint32x4_t)x, (uint32x4_t)y);
}

SIMD_INLINE vec if_nan_f32(vec f, vec x, vec y)
{
    uint32x4_t number = vceqq_f32((float32x4_t)f, (float32x4_t)f);
    return (vec)vbslq_u32(number, (uint32x4_t)y, (uint32x4_t)x);
}

#define DEFINE_BINARY(name, intrinsic, type)                                                       \
    SIMD_INLINE vec name(vec a, vec b)                                                             \
    {                                                                                              \
        return (vec)intrinsic((type)a, (type)b);                                                   \
    }

DEFINE_BINARY(i8_min, vminq_s8, int8x16_t)
DEFINE_BINARY(i8_max, vmaxq_s8, int8x16_t)
DEFINE_BINARY(u8_min, vminq_u8, uint8x16_t)
DEFINE_BINARY(u8_max, vmaxq_u8, uint8x16_t)
DEFINE_BINARY(i32_min, vminq_s32, int32x4_t)
DEFINE_BINARY(i32_max, vmaxq_s32, int32x4_t)
DEFINE_BINARY(u32_min, vminq_u32, uint32x4_t)
DEFINE_BINARY(u32_max, vmaxq_u32, uint32x4_t)

#define DEFINE_EXTREME_64(name, which, greater, type, x, y)                                        \
    SIMD_INLINE vec name##_##which(vec a, vec b)                                                   \
    {                                                                                              \
        return (vec)vbslq_u64(greater((type)a, (type)b), (uint64x2_t)x, (uint64x2_t)y);            \
    }

DEFINE_EXTREME_64(i64, min, vcgtq_s64, int64x2_t, b, a)
DEFINE_EXTREME_64(i64, max, vcgtq_s64, int64x2_t, a, b)
DEFINE_EXTREME_64(u64, min, vcgtq_u64, uint64x2_t, b, a)
DEFINE_EXTREME_64(u64, max, vcgtq_u64, uint64x2_t, a, b)

/*
 * The instruction, then, if any lane is NaN, the rule of scalar_ops.h lane by lane: the first NaN
 * operand quieted, or the negative NaN where the operation made one. The hardware's minimum and
 * maximum order -0 below +0 as we do.
 */
#define DEFINE_FLOAT(name, op, intrinsic, lanes, ulanes, suffix, quiet, made)                      \
    SIMD_INLINE vec name##_##op(vec a, vec b)                                                      \
    {                                                                                              \
        lanes x = (lanes)a, y = (lanes)b, r = intrinsic(x, y);                                     \
        ulanes number = vceqq_f##suffix(r, r);                                                     \
                                                                                                   \
        if (SHL_LIKELY(vminvq_u32((uint32x4_t)number) != 0))                                       \
            return (vec)r;                                                                         \
        ulanes q = vdupq_n_u##suffix(quiet);                                                       \
        ulanes z = vbslq_u##suffix(number, (ulanes)r, vdupq_n_u##suffix(made));                    \
        z = vbslq_u##suffix(vceqq_f##suffix(y, y), z, vorrq_u##suffix((ulanes)b, q));              \
        return (vec)vbslq_u##suffix(vceqq_f##suffix(x, x), z, vorrq_u##suffix((ulanes)a, q));      \
    }

#define DEFINE_FLOATS(name, lanes, ulanes, suffix, quiet, made)                                    \
    DEFINE_FLOAT(name, sum, vaddq_f##suffix, lanes, ulanes, suffix, quiet, made)                   \
    DEFINE_FLOAT(name, prod, vmulq_f##suffix, lanes, ulanes, suffix, quiet, made)                  \
    DEFINE_FLOAT(name, min, vminq_f##suffix, lanes, ulanes, suffix, quiet, made)                   \
    DEFINE_FLOAT(name, max, vmaxq_f##suffix, lanes, ulanes, suffix, quiet, made)

DEFINE_FLOATS(f32, float32x4_t, uint32x4_t, 32, 0x00400000u, 0xffc00000u)
DEFINE_FLOATS(f64, float64x2_t, uint64x2_t, 64, UINT64_C(0x0008000000000000),
              UINT64_C(0xfff8000000000000))

SIMD_INLINE vec f32_of_f16_half(vec v, int upper)
{
    float16x8_t h = (float16x8_t)v;
    return (vec)(upper ? vcvt_high_f32_f16(h) : vcvt_f32_f16(vget_low_f16(h)));
}

SIMD_INLINE vec f16_of_f32_halves(vec lower, vec upper)
{
    return (vec)vcvt_high_f16_f32(vcvt_f16_f32((float32x4_t)lower), (float32x4_t)upper);
}

/* Lanes of 32 bits cut to 16, in the order of f16_of_f32_halves. */
SIMD_INLINE vec u16_of_u32_halves(vec lower, vec upper)
{
    return (vec)vmovn_high_u32(vmovn_u32((uint32x4_t)lower), (uint32x4_t)upper);
}

#include "device/simd_generic.inc.h"

#include "device/reduce_dtypes.inc.h"
