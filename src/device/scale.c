/*
 * Division by the number of contributors, for SHOAL_AVG.
 *
 * Integers divide exactly and truncate toward zero, whatever the divisor; floats take the quotient
 * in their own precision (low precision: float32) and round once more only to get back to f16,
 * bf16 or fp8. A divisor of 0 acts as 1: nobody contributed, nothing to divide.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "device/reduce_isa.h"

#include <string.h>

#define F32_EXACT_MAX (UINT64_C(1) << 24) /* every integer up to here is a float32 */

/*
 * Division by a constant as multiplication (Granlund and Montgomery, PLDI 1994): with
 * l = ceil(log2 d) and multiplier = floor(2^64 (2^l - d) / d) + 1, the quotient of any 64-bit x is
 * (h + ((x - h) >> first)) >> second, where h is the high half of multiplier * x.
 */
struct divider {
    uint64_t multiplier;
    unsigned first, second;
};

static struct divider divider_make(uint64_t divisor)
{
    unsigned l = divisor == 1 ? 0 : 64 - (unsigned)__builtin_clzll(divisor - 1);
    uint64_t excess = (l == 64 ? 0 : UINT64_C(1) << l) - divisor;

    return (struct divider){
        .multiplier = (uint64_t)(((unsigned __int128)excess << 64) / divisor) + 1,
        .first = l == 0 ? 0 : 1,
        .second = l == 0 ? 0 : l - 1,
    };
}

static inline uint64_t divide(const struct divider *d, uint64_t x)
{
    uint64_t high = (uint64_t)(((unsigned __int128)d->multiplier * x) >> 64);

    return (high + ((x - high) >> d->first)) >> d->second;
}

/* The sign is carried around an unsigned division, which makes it truncate; `sign` is 0 for
 * unsigned types. */
static inline uint64_t divide_signed(const struct divider *d, uint64_t x, uint64_t sign_bit)
{
    uint64_t flip = (x & sign_bit) != 0 ? UINT64_MAX : 0;

    return (divide(d, (x ^ flip) - flip) ^ flip) - flip;
}

static void scale_i64(char *out, const char *in, size_t count, const struct divider *d,
                      uint64_t sign_bit)
{
    for (size_t i = 0; i < count; i++) {
        uint64_t x;
        memcpy(&x, in + i * 8, 8);
        x = divide_signed(d, x, sign_bit);
        memcpy(out + i * 8, &x, 8);
    }
}

static void scale_i32(char *out, const char *in, size_t count, const struct divider *d)
{
    for (size_t i = 0; i < count; i++) {
        int32_t x;
        memcpy(&x, in + i * 4, 4);
        x = (int32_t)divide_signed(d, (uint64_t)(int64_t)x, UINT64_C(1) << 63);
        memcpy(out + i * 4, &x, 4);
    }
}

static void scale_u32(char *out, const char *in, size_t count, const struct divider *d)
{
    for (size_t i = 0; i < count; i++) {
        uint32_t x;
        memcpy(&x, in + i * 4, 4);
        x = (uint32_t)divide(d, x);
        memcpy(out + i * 4, &x, 4);
    }
}

static void scale_byte(uint8_t *out, const uint8_t *in, size_t count, const struct divider *d,
                       bool is_signed)
{
    uint8_t quotients[256];

    for (unsigned b = 0; b < 256; b++) {
        uint64_t x = is_signed ? (uint64_t)(int64_t)(int8_t)b : b;
        quotients[b] = (uint8_t)divide_signed(d, x, is_signed ? UINT64_C(1) << 63 : 0);
    }
    for (size_t i = 0; i < count; i++)
        out[i] = quotients[in[i]];
}

void shl_reduce_scale(void *out, const void *in, size_t count, enum shoal_dtype dtype,
                      uint64_t divisor)
{
    struct divider d = divider_make(divisor == 0 ? 1 : divisor);

    switch (dtype) {
    case SHOAL_I8:
    case SHOAL_U8:
        scale_byte(out, in, count, &d, dtype == SHOAL_I8);
        break;
    case SHOAL_I32:
        scale_i32(out, in, count, &d);
        break;
    case SHOAL_U32:
        scale_u32(out, in, count, &d);
        break;
    case SHOAL_I64:
    case SHOAL_U64:
        scale_i64(out, in, count, &d, dtype == SHOAL_I64 ? UINT64_C(1) << 63 : 0);
        break;
    case SHOAL_F16:
    case SHOAL_BF16:
    case SHOAL_F32:
    case SHOAL_F64:
    case SHOAL_F8E4M3:
    case SHOAL_F8E5M2:
        shl_reduce_scale_kernel(dtype, divisor <= F32_EXACT_MAX)(
            out, in, count, divisor == 0 ? 1.0 : (double)divisor);
        break;
    case SHOAL_DTYPE_COUNT:
        break;
    }
}
