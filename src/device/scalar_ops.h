/*
 * One element combined with another: the definition of every built-in reduction.
 *
 * Operands and results are bits. The first operand is the one that came first in rank order.
 *   integers  wrap (two's complement).
 *   NaN       a NaN operand is the result, quieted; the first one if both are. An operation that
 *             makes a NaN of numbers (inf - inf, 0 * inf) gives the negative quiet NaN without
 *             payload, as x86 does, on every machine.
 *   MIN, MAX  order -0 below +0, whichever comes first.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef SHL_DEVICE_SCALAR_OPS_H
#define SHL_DEVICE_SCALAR_OPS_H

#include "device/convert.h"

/* Unsigned arithmetic wraps; the type is widened so that u8 and u16 products stay unsigned too. */
#define SHL_DEFINE_INT_OPS(name, utype, stype)                                                     \
    static inline utype shl_##name##_sum(utype a, utype b)                                         \
    {                                                                                              \
        return (utype)((uint64_t)a + b);                                                           \
    }                                                                                              \
    static inline utype shl_##name##_prod(utype a, utype b)                                        \
    {                                                                                              \
        return (utype)((uint64_t)a * b);                                                           \
    }                                                                                              \
    static inline utype shl_##name##_min(utype a, utype b)                                         \
    {                                                                                              \
        return (stype)b < (stype)a ? b : a;                                                        \
    }                                                                                              \
    static inline utype shl_##name##_max(utype a, utype b)                                         \
    {                                                                                              \
        return (stype)b > (stype)a ? b : a;                                                        \
    }

SHL_DEFINE_INT_OPS(i8, uint8_t, int8_t)
SHL_DEFINE_INT_OPS(u8, uint8_t, uint8_t)
SHL_DEFINE_INT_OPS(i32, uint32_t, int32_t)
SHL_DEFINE_INT_OPS(u32, uint32_t, uint32_t)
SHL_DEFINE_INT_OPS(i64, uint64_t, int64_t)
SHL_DEFINE_INT_OPS(u64, uint64_t, uint64_t)

/* The operator in `computed` sees NaN-free operands only, so its operand order is immaterial. */
#define SHL_DEFINE_FLOAT_OP(name, op, bits_t, inf, quiet, computed)                                \
    static inline bits_t shl_##name##_##op(bits_t a, bits_t b)                                     \
    {                                                                                              \
        const bits_t magnitude = (bits_t)-1 >> 1;                                                  \
                                                                                                   \
        if ((a & magnitude) > (inf))                                                               \
            return a | (quiet);                                                                    \
        if ((b & magnitude) > (inf))                                                               \
            return b | (quiet);                                                                    \
        bits_t r = (computed);                                                                     \
        return (r & magnitude) > (inf) ? ~magnitude | (inf) | (quiet) : r;                         \
    }

#define SHL_DEFINE_FLOAT_OPS(name, bits_t, inf, quiet)                                             \
    SHL_DEFINE_FLOAT_OP(name, sum, bits_t, inf, quiet,                                             \
                        shl_##name##_bits(shl_##name##_of_bits(a) + shl_##name##_of_bits(b)))      \
    SHL_DEFINE_FLOAT_OP(name, prod, bits_t, inf, quiet,                                            \
                        shl_##name##_bits(shl_##name##_of_bits(a) * shl_##name##_of_bits(b)))      \
    /* Equal numbers have equal bits except for zeros, whose signs or-ed and and-ed give the       \
     * smaller and the larger. */                                                                  \
    SHL_DEFINE_FLOAT_OP(name, min, bits_t, inf, quiet,                                             \
                        shl_##name##_of_bits(a) < shl_##name##_of_bits(b)   ? a                    \
                        : shl_##name##_of_bits(b) < shl_##name##_of_bits(a) ? b                    \
                                                                            : (a | b))             \
    SHL_DEFINE_FLOAT_OP(name, max, bits_t, inf, quiet,                                             \
                        shl_##name##_of_bits(a) > shl_##name##_of_bits(b)   ? a                    \
                        : shl_##name##_of_bits(b) > shl_##name##_of_bits(a) ? b                    \
                                                                            : (a & b))

SHL_DEFINE_FLOAT_OPS(f32, uint32_t, SHL_F32_INF, SHL_F32_QUIET)
SHL_DEFINE_FLOAT_OPS(f64, uint64_t, 0x7ff0000000000000u, 0x0008000000000000u)

#endif
