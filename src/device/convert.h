/*
 * Scalar conversions between float32 and f16, bf16, fp8: the reference that SIMD code must match.
 *
 * Floats travel as their bits, so no compiler or calling convention can quieten a NaN on the way.
 * Widening is exact. Narrowing rounds once, to nearest even:
 *   f16, bf16   too large becomes infinity.
 *   fp8         too large, and infinity, becomes the largest finite value with the same sign (448
 *               for E4M3, 57344 for E5M2): the rule of CUDA's "satfinite" conversions.
 *   NaN         keeps its sign and the top bits of its payload and is quiet. E4M3 has only the
 *               magnitude 0x7f. Widening keeps a signalling NaN as it is.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef SHL_DEVICE_CONVERT_H
#define SHL_DEVICE_CONVERT_H

#include <stdint.h>
#include <string.h>

#define SHL_F32_INF 0x7f800000u
#define SHL_F32_QUIET 0x00400000u

static inline float shl_f32_of_bits(uint32_t bits)
{
    float f;
    memcpy(&f, &bits, sizeof(f));
    return f;
}

static inline uint32_t shl_f32_bits(float f)
{
    uint32_t bits;
    memcpy(&bits, &f, sizeof(bits));
    return bits;
}

static inline double shl_f64_of_bits(uint64_t bits)
{
    double f;
    memcpy(&f, &bits, sizeof(f));
    return f;
}

static inline uint64_t shl_f64_bits(double f)
{
    uint64_t bits;
    memcpy(&bits, &f, sizeof(bits));
    return bits;
}

/* Drop the low `shift` bits, rounding to nearest even; the carry may run into the exponent. */
static inline uint32_t shl_round_shift(uint32_t value, unsigned shift)
{
    return (value + (1u << (shift - 1)) - 1 + ((value >> shift) & 1)) >> shift;
}

static inline uint32_t shl_f32_from_bf16(uint16_t h)
{
    return (uint32_t)h << 16;
}

static inline uint16_t shl_bf16_from_f32(uint32_t f)
{
    if ((f & 0x7fffffffu) > SHL_F32_INF)
        return (uint16_t)((f | SHL_F32_QUIET) >> 16);
    return (uint16_t)shl_round_shift(f, 16);
}

static inline uint32_t shl_f32_from_f16(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000u) << 16, magnitude = (uint32_t)(h & 0x7fffu) << 13;

    if (magnitude >= 0x7c00u << 13) /* infinity or NaN */
        return sign | (magnitude + (112u << 23) + (112u << 23));
    if (magnitude < 0x0400u << 13) /* zero or subnormal: the integer h times 2^-24 */
        return sign | shl_f32_bits((float)(h & 0x7fffu) * 0x1p-24f);
    return sign | (magnitude + (112u << 23));
}

static inline uint16_t shl_f16_from_f32(uint32_t f)
{
    uint32_t sign = (f >> 16) & 0x8000u, magnitude = f & 0x7fffffffu;

    if (magnitude > SHL_F32_INF)
        return (uint16_t)(sign | 0x7e00u | ((magnitude >> 13) & 0x3ffu));
    if (magnitude >= 0x477ff000u) /* 65520: half way to the first value that does not fit */
        return (uint16_t)(sign | 0x7c00u);
    if (magnitude < 0x38800000u) /* below 2^-14: adding 2^-1 leaves a unit of 2^-24 */
        return (uint16_t)(sign | (shl_f32_bits(shl_f32_of_bits(magnitude) + 0.5f) - 0x3f000000u));
    return (uint16_t)(sign | (shl_round_shift(magnitude, 13) - (112u << 10)));
}

static inline uint32_t shl_f32_from_f8e4m3(uint8_t b)
{
    uint32_t sign = (uint32_t)(b & 0x80u) << 24, magnitude = b & 0x7fu;

    if (magnitude == 0x7f)
        return sign | SHL_F32_INF | SHL_F32_QUIET;
    if (magnitude < 8) /* zero or subnormal */
        return sign | shl_f32_bits((float)magnitude * 0x1p-9f);
    return sign | ((magnitude << 20) + (120u << 23));
}

static inline uint8_t shl_f8e4m3_from_f32(uint32_t f)
{
    uint32_t sign = (f >> 24) & 0x80u, magnitude = f & 0x7fffffffu;

    if (magnitude > SHL_F32_INF)
        return (uint8_t)(sign | 0x7fu);
    if (magnitude >= 0x43e00000u) /* 448 */
        return (uint8_t)(sign | 0x7eu);
    if (magnitude < 0x3c800000u) /* below 2^-6: adding 2^14 leaves a unit of 2^-9 */
        return (uint8_t)(sign | (shl_f32_bits(shl_f32_of_bits(magnitude) + 0x1p14f) - 0x46800000u));
    return (uint8_t)(sign | (shl_round_shift(magnitude, 20) - (120u << 3)));
}

static inline uint32_t shl_f32_from_f8e5m2(uint8_t b)
{
    return shl_f32_from_f16((uint16_t)((uint32_t)b << 8)); /* E5M2 is the upper half of an f16 */
}

static inline uint8_t shl_f8e5m2_from_f32(uint32_t f)
{
    uint32_t sign = (f >> 24) & 0x80u, magnitude = f & 0x7fffffffu;

    if (magnitude > SHL_F32_INF)
        return (uint8_t)(sign | 0x7eu | ((magnitude >> 21) & 3u));
    if (magnitude >= 0x47600000u) /* 57344 */
        return (uint8_t)(sign | 0x7bu);
    if (magnitude < 0x38800000u) /* below 2^-14: adding 2^7 leaves a unit of 2^-16 */
        return (uint8_t)(sign | (shl_f32_bits(shl_f32_of_bits(magnitude) + 0x1p7f) - 0x43000000u));
    return (uint8_t)(sign | (shl_round_shift(magnitude, 21) - (112u << 2)));
}

#endif
