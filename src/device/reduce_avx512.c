/*
 * Reduction kernels for x86 with AVX-512 F, BW, DQ and VL: the 64-byte vectors that
 * simd_generic.inc.h and the kernel templates are written over.
 *
 * Invariant: same bits as reduce_scalar.c. Sums and products are written in assembly for the
 * reason given in reduce_avx2.c. The native bf16 conversion (AVX512_BF16) is not used: it flushes
 * subnormals to zero.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "device/simd.h"

#include <immintrin.h>

#define VEC_BYTES 64
#define VEC_STREAMS 1
#define ISA_NAME "avx512"
#define ISA_TABLE shl_reduce_isa_avx512
#define ISA_UNROLL 4

typedef uint32_t vec __attribute__((vector_size(VEC_BYTES)));

SIMD_INLINE vec vec_load(const char *p)
{
    return (vec)_mm512_loadu_si512(p);
}

SIMD_INLINE void vec_store(char *p, vec v)
{
    _mm512_storeu_si512(p, (__m512i)v);
}

/* p is aligned. */
SIMD_INLINE void vec_stream(char *p, vec v)
{
    _mm512_stream_si512((void *)p, (__m512i)v);
}

static void vec_fence(void)
{
    _mm_sfence();
}

/* 0 < bytes < VEC_BYTES */
SIMD_INLINE vec vec_load_part(const char *p, size_t bytes)
{
    return (vec)_mm512_maskz_loadu_epi8(~UINT64_C(0) >> (VEC_BYTES - bytes), p);
}

SIMD_INLINE void vec_store_part(char *p, vec v, size_t bytes)
{
    _mm512_mask_storeu_epi8(p, ~UINT64_C(0) >> (VEC_BYTES - bytes), (__m512i)v);
}

/* a > b ? x : y, in signed 32-bit lanes */
SIMD_INLINE vec if_gt_i32(vec a, vec b, vec x, vec y)
{
    __mmask16 gt = _mm512_cmpgt_epi32_mask((__m512i)a, (__m512i)b);
    return (vec)_mm512_mask_blend_epi32(gt, (__m512i)y, (__m512i)x);
}

SIMD_INLINE vec if_nan_f32(vec f, vec x, vec y)
{
    __mmask16 nan = _mm512_cmp_ps_mask((__m512)f, (__m512)f, _CMP_UNORD_Q);
    return (vec)_mm512_mask_blend_epi32(nan, (__m512i)y, (__m512i)x);
}

#define DEFINE_BINARY(name, intrinsic)                                                             \
    SIMD_INLINE vec name(vec a, vec b)                                                             \
    {                                                                                              \
        return (vec)intrinsic((__m512i)a, (__m512i)b);                                             \
    }

DEFINE_BINARY(i8_min, _mm512_min_epi8)
DEFINE_BINARY(i8_max, _mm512_max_epi8)
DEFINE_BINARY(u8_min, _mm512_min_epu8)
DEFINE_BINARY(u8_max, _mm512_max_epu8)
DEFINE_BINARY(i32_min, _mm512_min_epi32)
DEFINE_BINARY(i32_max, _mm512_max_epi32)
DEFINE_BINARY(u32_min, _mm512_min_epu32)
DEFINE_BINARY(u32_max, _mm512_max_epu32)
DEFINE_BINARY(i64_min, _mm512_min_epi64)
DEFINE_BINARY(i64_max, _mm512_max_epi64)
DEFINE_BINARY(u64_min, _mm512_min_epu64)
DEFINE_BINARY(u64_max, _mm512_max_epu64)

#define DEFINE_ORDERED(name, instruction)                                                          \
    SIMD_INLINE vec name(vec a, vec b)                                                             \
    {                                                                                              \
        vec r;                                                                                     \
        __asm__(instruction " %2, %1, %0" : "=v"(r) : "v"(a), "v"(b));                             \
        return r;                                                                                  \
    }

DEFINE_ORDERED(f32_sum, "vaddps")
DEFINE_ORDERED(f32_prod, "vmulps")
DEFINE_ORDERED(f64_sum, "vaddpd")
DEFINE_ORDERED(f64_prod, "vmulpd")

/* The range instruction orders -0 below +0; where an operand is NaN, the sum is the NaN wanted. */
#define DEFINE_EXTREME(name, which, control, lane, mask, ps)                                       \
    SIMD_INLINE vec name##_##which(vec a, vec b)                                                   \
    {                                                                                              \
        lane r = _mm512_range_##ps((lane)a, (lane)b, control);                                     \
        mask nan = _mm512_cmp_##ps##_mask((lane)a, (lane)b, _CMP_UNORD_Q);                         \
        __asm__("vadd" #ps " %3, %2, %0 %{%1%}" : "+v"(r) : "Yk"(nan), "v"(a), "v"(b));            \
        return (vec)r;                                                                             \
    }

/* Control: sign from the comparison (4), the smaller (0) or the larger (1). */
DEFINE_EXTREME(f32, min, 4, __m512, __mmask16, ps)
DEFINE_EXTREME(f32, max, 5, __m512, __mmask16, ps)
DEFINE_EXTREME(f64, min, 4, __m512d, __mmask8, pd)
DEFINE_EXTREME(f64, max, 5, __m512d, __mmask8, pd)

SIMD_INLINE vec f32_of_f16_half(vec v, int upper)
{
    __m256i half =
        upper ? _mm512_extracti64x4_epi64((__m512i)v, 1) : _mm512_castsi512_si256((__m512i)v);
    return (vec)_mm512_cvtph_ps(half);
}

SIMD_INLINE vec f16_of_f32_halves(vec lower, vec upper)
{
    __m256i l = _mm512_cvtps_ph((__m512)lower, _MM_FROUND_TO_NEAREST_INT);
    __m256i u = _mm512_cvtps_ph((__m512)upper, _MM_FROUND_TO_NEAREST_INT);
    return (vec)_mm512_inserti64x4(_mm512_castsi256_si512(l), u, 1);
}

/* Lanes of 32 bits cut to 16, in the order of f16_of_f32_halves. */
SIMD_INLINE vec u16_of_u32_halves(vec lower, vec upper)
{
    __m256i l = _mm512_cvtepi32_epi16((__m512i)lower), u = _mm512_cvtepi32_epi16((__m512i)upper);
    return (vec)_mm512_inserti64x4(_mm512_castsi256_si512(l), u, 1);
}

#include "device/simd_generic.inc.h"

#include "device/reduce_dtypes.inc.h"
