/*
 * An independent model of every dtype and operation, slow and plain.
 *
 * Invariant: shares no code with src/device/. Low-precision values are decoded with ldexp and
 * encoded by searching for the nearest; float32 results come from double, float64 results from
 * quad arithmetic, integers from 128 bits.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "device_support.h"

#include <float.h>
#include <math.h>
#include <string.h>

#if LDBL_MANT_DIG >= 113
typedef long double quad;
#else
typedef __float128 quad;
#endif

/* has_inf: the largest exponent means infinity and NaN; otherwise only magnitude `nan_from` and
 * above is NaN, and what is too large becomes `largest`. */
static const struct format {
    int mantissa_bits, bias;
    uint64_t sign, largest, infinity, nan_from, quiet;
    bool saturates;
} formats[SHOAL_DTYPE_COUNT] = {
    [SHOAL_F16] = {10, 15, 0x8000, 0x7bff, 0x7c00, 0x7c01, 0x0200, false},
    [SHOAL_BF16] = {7, 127, 0x8000, 0x7f7f, 0x7f80, 0x7f81, 0x0040, false},
    [SHOAL_F8E4M3] = {3, 7, 0x80, 0x7e, 0, 0x7f, 0, true},
    [SHOAL_F8E5M2] = {2, 15, 0x80, 0x7b, 0x7c, 0x7d, 0x02, true},
    [SHOAL_F32] = {23, 127, 0x80000000, 0x7f7fffff, 0x7f800000, 0x7f800001, 0x00400000, false},
    [SHOAL_F64] = {52, 1023, UINT64_C(1) << 63, UINT64_C(0x7fefffffffffffff),
                   UINT64_C(0x7ff0000000000000), UINT64_C(0x7ff0000000000001),
                   UINT64_C(0x0008000000000000), false},
};

static bool is_nan(uint64_t bits, const struct format *f)
{
    return (bits & (f->sign - 1)) >= f->nan_from;
}

/* A magnitude that is not NaN; the code after the largest gives the value that would follow. */
static double magnitude_value(uint64_t code, const struct format *f)
{
    uint64_t exponent = code >> f->mantissa_bits;
    uint64_t mantissa = code & (((uint64_t)1 << f->mantissa_bits) - 1);

    if (exponent == 0)
        return ldexp((double)mantissa, 1 - f->bias - f->mantissa_bits);
    return ldexp((double)(((uint64_t)1 << f->mantissa_bits) + mantissa),
                 (int)exponent - f->bias - f->mantissa_bits);
}

uint32_t device_model_widen(uint64_t bits, enum shoal_dtype dtype)
{
    const struct format *f = &formats[dtype];
    uint64_t magnitude = bits & (f->sign - 1);
    uint32_t out;

    if (is_nan(bits, f)) {
        uint64_t payload = magnitude & (((uint64_t)1 << f->mantissa_bits) - 1);
        out =
            0x7f800000u |
            (dtype == SHOAL_F8E4M3 ? 0x00400000u : (uint32_t)(payload << (23 - f->mantissa_bits)));
    } else if (f->infinity != 0 && magnitude == f->infinity) {
        out = 0x7f800000u;
    } else {
        float value = (float)magnitude_value(magnitude, f);
        memcpy(&out, &value, sizeof(out));
    }
    return out | ((bits & f->sign) != 0 ? 0x80000000u : 0);
}

/* The code of the nearest value, the even code when two are as near. */
static uint64_t nearest_code(double value, const struct format *f)
{
    uint64_t low = 0, high = f->largest + 1; /* low <= value < high */

    if (value >= magnitude_value(high, f))
        return high;
    while (high - low > 1) {
        uint64_t middle = low + (high - low) / 2;
        if (magnitude_value(middle, f) <= value)
            low = middle;
        else
            high = middle;
    }
    double below = value - magnitude_value(low, f), above = magnitude_value(high, f) - value;
    if (below != above)
        return below < above ? low : high;
    return low % 2 == 0 ? low : high;
}

uint64_t device_model_narrow(uint32_t f32, enum shoal_dtype dtype)
{
    const struct format *f = &formats[dtype];
    uint64_t sign = f32 >> 31 != 0 ? f->sign : 0;
    uint32_t magnitude = f32 & 0x7fffffffu;
    float value;

    if (magnitude > 0x7f800000u) {
        if (dtype == SHOAL_F8E4M3)
            return sign | 0x7f;
        uint64_t payload = (magnitude & 0x007fffffu) >> (23 - f->mantissa_bits);
        return sign | f->infinity | f->quiet | payload;
    }
    memcpy(&value, &magnitude, sizeof(value));
    uint64_t code = isinf(value) ? f->largest + 1 : nearest_code(value, f);
    return sign | (code > f->largest && f->saturates ? f->largest : code);
}

/* Sign and magnitude as one integer that rises with the value, -0 just below +0. */
static __int128 float_order(uint64_t bits, const struct format *f)
{
    __int128 magnitude = bits & (f->sign - 1);
    return (bits & f->sign) != 0 ? -1 - magnitude : magnitude;
}

static uint64_t combine_f32(uint32_t a, uint32_t b, unsigned op)
{
    float x, y, r;
    uint32_t out;

    memcpy(&x, &a, sizeof(x));
    memcpy(&y, &b, sizeof(y));
    r = (float)(op == SHOAL_SUM ? (double)x + (double)y : (double)x * (double)y);
    memcpy(&out, &r, sizeof(out));
    return out;
}

static uint64_t combine_f64(uint64_t a, uint64_t b, unsigned op)
{
    double x, y, r;
    uint64_t out;

    memcpy(&x, &a, sizeof(x));
    memcpy(&y, &b, sizeof(y));
    r = (double)(op == SHOAL_SUM ? (quad)x + (quad)y : (quad)x * (quad)y);
    memcpy(&out, &r, sizeof(out));
    return out;
}

static uint64_t combine_float(uint64_t a, uint64_t b, enum shoal_dtype dtype, unsigned op)
{
    const struct format *f = &formats[dtype];

    if (is_nan(a, f))
        return a | f->quiet;
    if (is_nan(b, f))
        return b | f->quiet;
    if (op == SHOAL_MIN)
        return float_order(b, f) < float_order(a, f) ? b : a;
    if (op == SHOAL_MAX)
        return float_order(b, f) > float_order(a, f) ? b : a;
    uint64_t r =
        dtype == SHOAL_F32 ? combine_f32((uint32_t)a, (uint32_t)b, op) : combine_f64(a, b, op);
    return is_nan(r, f) ? f->sign | f->infinity | f->quiet : r;
}

static bool is_signed(enum shoal_dtype dtype)
{
    return dtype == SHOAL_I8 || dtype == SHOAL_I32 || dtype == SHOAL_I64;
}

static __int128 int_value(uint64_t bits, enum shoal_dtype dtype)
{
    unsigned width = (unsigned)device_elem_bytes(dtype) * 8;
    bool negative = is_signed(dtype) && ((bits >> (width - 1)) & 1) != 0;
    return (__int128)bits - (negative ? (__int128)1 << width : 0);
}

static uint64_t int_bits(unsigned __int128 value, enum shoal_dtype dtype)
{
    unsigned width = (unsigned)device_elem_bytes(dtype) * 8;
    return (uint64_t)(value & (((unsigned __int128)1 << width) - 1));
}

static uint64_t combine_int(uint64_t a, uint64_t b, enum shoal_dtype dtype, unsigned op)
{
    __int128 x = int_value(a, dtype), y = int_value(b, dtype);

    switch (op) {
    case SHOAL_SUM:
        return int_bits((unsigned __int128)(x + y), dtype);
    case SHOAL_PROD:
        return int_bits((unsigned __int128)x * (unsigned __int128)y, dtype);
    case SHOAL_MIN:
        return x < y ? a : b;
    default:
        return x > y ? a : b;
    }
}

uint64_t device_model_reduce(const uint64_t *operands, size_t n, enum shoal_dtype dtype,
                             unsigned op)
{
    bool narrow = device_is_float(dtype) && dtype != SHOAL_F32 && dtype != SHOAL_F64;
    uint64_t acc = narrow ? device_model_widen(operands[0], dtype) : operands[0];

    for (size_t j = 1; j < n; j++) {
        if (narrow)
            acc = combine_float(acc, device_model_widen(operands[j], dtype), SHOAL_F32, op);
        else if (device_is_float(dtype))
            acc = combine_float(acc, operands[j], dtype, op);
        else
            acc = combine_int(acc, operands[j], dtype, op);
    }
    return narrow ? device_model_narrow((uint32_t)acc, dtype) : acc;
}

uint64_t device_model_scale(uint64_t bits, enum shoal_dtype dtype, uint64_t divisor)
{
    const struct format *f = &formats[dtype];

    divisor += divisor == 0;
    if (!device_is_float(dtype))
        return int_bits((unsigned __int128)(int_value(bits, dtype) / (__int128)divisor), dtype);
    if (is_nan(bits, f)) {
        bits |= f->quiet;
        return bits;
    }
    if (dtype == SHOAL_F64) {
        double x;
        memcpy(&x, &bits, sizeof(x));
        x = (double)((quad)x / (quad)(double)divisor);
        memcpy(&bits, &x, sizeof(x));
        return bits;
    }
    uint32_t wide = dtype == SHOAL_F32 ? (uint32_t)bits : device_model_widen(bits, dtype);
    float x;
    memcpy(&x, &wide, sizeof(x));
    /* The divisor is exact in float32 up to 2^24; beyond, the quotient is taken in double. */
    x = divisor <= 1u << 24 ? (float)((quad)x / (quad)divisor) : (float)(x / (double)divisor);
    memcpy(&wide, &x, sizeof(x));
    return dtype == SHOAL_F32 ? wide : device_model_narrow(wide, dtype);
}
