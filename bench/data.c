/*
 * Inputs and exact results. Values are small integers, chosen so that every partial result is an
 * integer that the dtype holds exactly; so results are compared bit for bit, without a tolerance.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "bench.h"

#include <string.h>

/* Integers up to this, and all below, are exact. */
static uint32_t exact_max(enum shoal_dtype dtype)
{
    switch (dtype) {
    case SHOAL_F8E5M2:
        return 8;
    case SHOAL_F8E4M3:
        return 16;
    case SHOAL_I8:
        return 127;
    case SHOAL_U8:
        return 255;
    case SHOAL_BF16:
        return 256;
    case SHOAL_F16:
        return 2048;
    default:
        return 1 << 20;
    }
}

static uint32_t mix(uint64_t i)
{
    i *= 0x9e3779b97f4a7c15ull;
    return (uint32_t)(i >> 40);
}

/* What rank contributes at element i. */
static uint32_t value(enum shoal_dtype dtype, uint32_t op, uint32_t size, uint32_t rank, uint64_t i)
{
    uint32_t exact = exact_max(dtype), each = exact / size;
    switch (op) {
    case SHOAL_PROD:
        return rank == i % size || rank == (i * 7 + 3) % size ? 2 : 1;
    case SHOAL_MIN:
    case SHOAL_MAX:
        return mix(i * 31 + rank) % (exact < 100 ? exact : 100);
    case SHOAL_AVG: {
        /* Pairs of ranks lie as far above the mean as below it. */
        uint32_t mean = each ? mix(i) % (each < 100 ? each + 1 : 100) : 0;
        uint32_t away = mean ? mix(i + rank / 2) % (mean + 1) : 0;
        if (rank == size - 1 && size % 2 == 1)
            return mean;
        return rank % 2 ? mean - away : mean + away;
    }
    default:
        if (each == 0)
            return (rank + i) % ((size + exact - 1) / exact) == 0;
        return mix(i * 31 + rank) % (each < 100 ? each + 1 : 100);
    }
}

static uint32_t combined(enum shoal_dtype dtype, uint32_t op, uint32_t size, uint64_t i)
{
    uint32_t result = value(dtype, op, size, 0, i);
    for (uint32_t r = 1; r < size; r++) {
        uint32_t v = value(dtype, op, size, r, i);
        if (op == SHOAL_PROD)
            result *= v;
        else if (op == SHOAL_MIN)
            result = v < result ? v : result;
        else if (op == SHOAL_MAX)
            result = v > result ? v : result;
        else
            result += v;
    }
    return op == SHOAL_AVG ? result / size : result;
}

static uint32_t small_float(uint32_t v, uint32_t mantissa_bits, uint32_t bias)
{
    if (v == 0)
        return 0;
    uint32_t exponent = 31 - (uint32_t)__builtin_clz(v);
    uint64_t mantissa = ((uint64_t)(v - (1u << exponent)) << mantissa_bits) >> exponent;
    return (exponent + bias) << mantissa_bits | (uint32_t)mantissa;
}

static void store(enum shoal_dtype dtype, uint32_t v, void *out)
{
    size_t bytes = shoal_dtype_bytes(dtype);
    uint64_t bits = v;
    float f = (float)v;
    double d = v;
    if (dtype == SHOAL_F16)
        bits = small_float(v, 10, 15);
    if (dtype == SHOAL_BF16)
        bits = small_float(v, 7, 127);
    if (dtype == SHOAL_F8E4M3)
        bits = small_float(v, 3, 7);
    if (dtype == SHOAL_F8E5M2)
        bits = small_float(v, 2, 15);
    if (dtype == SHOAL_F32)
        memcpy(&bits, &f, sizeof(f));
    if (dtype == SHOAL_F64)
        memcpy(&bits, &d, sizeof(d));
    memcpy(out, &bits, bytes); /* little endian, as all machines this runs on */
}

void bench_fill(const struct bench *bench, const struct bench_row *row, void *send, uint64_t count)
{
    size_t bytes = shoal_dtype_bytes(row->dtype);
    for (uint64_t i = 0; i < count; i++)
        store(row->dtype, value(row->dtype, row->op, bench->size, bench->rank, i),
              (uint8_t *)send + i * bytes);
}

static uint32_t wanted(const struct bench *bench, const struct bench_row *row, uint64_t i)
{
    switch (bench->options->collective) {
    case SHOAL_BROADCAST:
        return value(row->dtype, row->op, bench->size, (uint32_t)row->root, i);
    case SHOAL_ALLGATHER:
        return value(row->dtype, row->op, bench->size, (uint32_t)(i / row->count), i % row->count);
    case SHOAL_REDUCE_SCATTER:
        return combined(row->dtype, row->op, bench->size, bench->rank * row->count + i);
    default:
        return combined(row->dtype, row->op, bench->size, i);
    }
}

int64_t bench_count_wrong(const struct bench *bench, const struct bench_row *row, const void *recv)
{
    size_t bytes = shoal_dtype_bytes(row->dtype);
    int64_t wrong = 0;
    if (bench->options->collective == SHOAL_REDUCE && (int)bench->rank != row->root)
        return 0;
    for (uint64_t i = 0; i < bench_recv_count(bench, row); i++) {
        uint8_t right[8];
        store(row->dtype, wanted(bench, row, i), right);
        wrong += memcmp(right, (const uint8_t *)recv + i * bytes, bytes) != 0;
    }
    return wrong;
}
