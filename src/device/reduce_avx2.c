/*
 * Reduction kernels for x86 with AVX2 and F16C: the 32-byte vectors that simd_generic.inc.h and
 * the kernel templates are written over.
 *
 * Invariant: same bits as reduce_scalar.c. The hardware's rule for NaN operands is the one we
 * want, first operand first, so sums and products are written in assembly: a compiler takes
 * addition for commutative and may swap its operands.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "device/simd.h"

#include <immintrin.h>

#define VEC_BYTES 32
#define VEC_STREAMS 1
#define ISA_NAME "avx2"
#define ISA_TABLE shl_reduce_isa_avx2
#define ISA_UNROLL 4

typedef uint32_t vec __attribute__((vector_size(VEC_BYTES)));

SIMD_INLINE vec vec_load(const char *p)
{
    return (vec)_mm256_loadu_si256((const __m256i *)p);
}

SIMD_INLINE void vec_store(char *p, vec v)
{
    _mm256_storeu_si256((__m256i *)p, (__m256i)v);
}

/* p is aligned. */
SIMD_INLINE void vec_stream(char *p, vec v)
{
    _mm256_stream_si256((__m256i *)p, (__m256i)v);
}

static void vec_fence(void)
{
    _mm_sfence();
}

SIMD_INLINE vec vec_load_part(const char *p, size_t bytes)
{
    typedef uint64_t words __attribute__((vector_size(VEC_BYTES)));
    return (vec)(words){simd_load_word_at(p, bytes, 0), simd_load_word_at(p, bytes, 8),
                        simd_load_word_at(p, bytes, 16), simd_load_word_at(p, bytes, 24)};
}

SIMD_INLINE void vec_store_part(char *p, vec v, size_t bytes)
{
    simd_copy_small(p, (const char *)&v, bytes);
}

/* a > b ? x : y, in signed 32-bit lanes */
SIMD_INLINE vec if_gt_i32(vec a, vec b, vec x, vec y)
{
    __m256i gt = _mm256_cmpgt_epi32((__m256i)a, (__m256i)b);
    return (vec)_mm256_blendv_epi8((__m256i)y, (__m256i)x, gt);
}

SIMD_INLINE vec if_nan_f32(vec f, vec x, vec y)
{
    __m256 nan = _mm256_cmp_ps((__m256)f, (__m256)f, _CMP_UNORD_Q);
    return (vec)_mm256_blendv_ps((__m256)y, (__m256)x, nan);
}

#define DEFINE_BINARY(name, intrinsic)                                                             \
    SIMD_INLINE vec name(vec a, vec b)                                                             \
    {                                                                                              \
        return (vec)intrinsic((__m256i)a, (__m256i)b);                                             \
    }

DEFINE_BINARY(i8_min, _mm256_min_epi8)
DEFINE_BINARY(i8_max, _mm256_max_epi8)
DEFINE_BINARY(u8_min, _mm256_min_epu8)
DEFINE_BINARY(u8_max, _mm256_max_epu8)
DEFINE_BINARY(i32_min, _mm256_min_epi32)
DEFINE_BINARY(i32_max, _mm256_max_epi32)
DEFINE_BINARY(u32_min, _mm256_min_epu32)
DEFINE_BINARY(u32_max, _mm256_max_epu32)

/* There is a signed comparison only; flipping the sign bits of both sides makes it unsigned. */
SIMD_INLINE vec if_gt_64(vec a, vec b, uint64_t flip, vec x, vec y)
{
    __m256i f = _mm256_set1_epi64x((long long)flip);
    __m256i gt =
        _mm256_cmpgt_epi64(_mm256_xor_si256((__m256i)a, f), _mm256_xor_si256((__m256i)b, f));
    return (vec)_mm256_blendv_epi8((__m256i)y, (__m256i)x, gt);
}

SIMD_INLINE vec i64_min(vec a, vec b)
{
    return if_gt_64(a, b, 0, b, a);
}

SIMD_INLINE vec i64_max(vec a, vec b)
{
    return if_gt_64(a, b, 0, a, b);
}

SIMD_INLINE vec u64_min(vec a, vec b)
{
    return if_gt_64(a, b, UINT64_C(1) << 63, b, a);
}

SIMD_INLINE vec u64_max(vec a, vec b)
{
    return if_gt_64(a, b, UINT64_C(1) << 63, a, b);
}

#define DEFINE_ORDERED(name, instruction)                                                          \
    SIMD_INLINE vec name(vec a, vec b)                                                             \
    {                                                                                              \
        vec r;                                                                                     \
        __asm__(instruction " %2, %1, %0" : "=x"(r) : "x"(a), "x"(b));                             \
        return r;                                                                                  \
    }

DEFINE_ORDERED(f32_sum, "vaddps")
DEFINE_ORDERED(f32_prod, "vmulps")
DEFINE_ORDERED(f64_sum, "vaddpd")
DEFINE_ORDERED(f64_prod, "vmulpd")
DEFINE_ORDERED(f32_min_second, "vminps") /* the second operand when equal or unordered */
DEFINE_ORDERED(f32_max_second, "vmaxps")
DEFINE_ORDERED(f64_min_second, "vminpd")
DEFINE_ORDERED(f64_max_second, "vmaxpd")

/* The two orders differ for zeros, whose signs `|` and `&` settle, and for NaN, where the sum of
 * the operands is the NaN wanted. */
#define DEFINE_EXTREME(name, which, join, lane, ps)                                                \
    SIMD_INLINE vec name##_##which(vec a, vec b)                                                   \
    {                                                                                              \
        vec r = name##_##which##_second(a, b) join name##_##which##_second(b, a);                  \
        lane nan = _mm256_cmp_##ps((lane)a, (lane)b, _CMP_UNORD_Q);                                \
        return (vec)_mm256_blendv_##ps((lane)r, (lane)name##_sum(a, b), nan);                      \
    }

DEFINE_EXTREME(f32, min, |, __m256, ps)
DEFINE_EXTREME(f32, max, &, __m256, ps)
DEFINE_EXTREME(f64, min, |, __m256d, pd)
DEFINE_EXTREME(f64, max, &, __m256d, pd)

SIMD_INLINE vec f32_of_f16_half(vec v, int upper)
{
    __m128i half =
        upper ? _mm256_extracti128_si256((__m256i)v, 1) : _mm256_castsi256_si128((__m256i)v);
    return (vec)_mm256_cvtph_ps(half);
}

SIMD_INLINE vec f16_of_f32_halves(vec lower, vec upper)
{
    __m128i l = _mm256_cvtps_ph((__m256)lower, _MM_FROUND_TO_NEAREST_INT);
    __m128i u = _mm256_cvtps_ph((__m256)upper, _MM_FROUND_TO_NEAREST_INT);
    return (vec)_mm256_inserti128_si256(_mm256_castsi128_si256(l), u, 1);
}

/* Lanes of 32 bits whose values fit 16, in the order of f16_of_f32_halves. */
SIMD_INLINE vec u16_of_u32_halves(vec lower, vec upper)
{
    __m256i mixed = _mm256_packus_epi32((__m256i)lower, (__m256i)upper);
    return (vec)_mm256_permute4x64_epi64(mixed, 0xd8);
}

#include "device/simd_generic.inc.h"

#include "device/reduce_dtypes.inc.h"
