/*
 * Values and buffers for the device tests. See device_support.h; the model is in device_model.c.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "device_support.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

const char *const device_isas[] = {"scalar", "avx2", "avx512", "neon"};
const size_t device_isa_count = sizeof(device_isas) / sizeof(device_isas[0]);

uint64_t device_seed(void)
{
    static uint64_t seed;

    if (seed == 0) {
        const char *text = getenv("SHOAL_TEST_SEED");
        seed = text != NULL ? strtoull(text, NULL, 0) : UINT64_C(0x5eed0d0d);
        seed += seed == 0;
        print_message("SHOAL_TEST_SEED=%llu\n", (unsigned long long)seed);
    }
    return seed;
}

/* splitmix64 */
uint64_t device_random(uint64_t *state)
{
    uint64_t z = (*state += UINT64_C(0x9e3779b97f4a7c15));
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

const char *device_dtype_name(enum shoal_dtype dtype)
{
    static const char *const names[SHOAL_DTYPE_COUNT] = {
        "i8", "u8", "i32", "u32", "i64", "u64", "f16", "bf16", "f32", "f64", "f8e4m3", "f8e5m2"};
    return names[dtype];
}

const char *device_op_name(unsigned op)
{
    static const char *const names[] = {"sum", "prod", "min", "max", "avg"};
    return names[op];
}

size_t device_elem_bytes(enum shoal_dtype dtype)
{
    static const size_t bytes[SHOAL_DTYPE_COUNT] = {1, 1, 4, 4, 8, 8, 2, 2, 4, 8, 1, 1};
    return bytes[dtype];
}

bool device_is_float(enum shoal_dtype dtype)
{
    return dtype >= SHOAL_F16;
}

uint64_t device_load(const void *base, size_t i, enum shoal_dtype dtype)
{
    size_t bytes = device_elem_bytes(dtype);
    const unsigned char *p = (const unsigned char *)base + i * bytes;
    uint64_t bits = 0;

    for (size_t k = 0; k < bytes; k++)
        bits |= (uint64_t)p[k] << (8 * k);
    return bits;
}

void device_store(void *base, size_t i, enum shoal_dtype dtype, uint64_t bits)
{
    size_t bytes = device_elem_bytes(dtype);
    unsigned char *p = (unsigned char *)base + i * bytes;

    for (size_t k = 0; k < bytes; k++)
        p[k] = (unsigned char)(bits >> (8 * k));
}

/* Bits that tend to be special for floats and integers alike: a sign, an exponent field that is
 * all zeros, all ones or in the middle, and a mantissa that is empty, full, one bit, or random. */
static uint64_t special_bits(enum shoal_dtype dtype, uint64_t *state)
{
    static const unsigned exponents[SHOAL_DTYPE_COUNT] = {
        [SHOAL_F16] = 5,  [SHOAL_BF16] = 8,   [SHOAL_F32] = 8,
        [SHOAL_F64] = 11, [SHOAL_F8E4M3] = 4, [SHOAL_F8E5M2] = 5};
    unsigned width = (unsigned)device_elem_bytes(dtype) * 8;
    unsigned exponent_bits = device_is_float(dtype) ? exponents[dtype] : width / 4;
    unsigned mantissa_bits = width - 1 - exponent_bits;
    uint64_t r = device_random(state), all = ((uint64_t)1 << exponent_bits) - 1, exponent, mantissa;
    uint64_t full = ((uint64_t)1 << mantissa_bits) - 1;

    switch (r % 6) {
    case 0:
    case 1:
        exponent = 0;
        break;
    case 2:
    case 3:
        exponent = all;
        break;
    case 4:
        exponent = all - 1;
        break;
    default:
        exponent = all / 2 + (r >> 8) % 3;
        break;
    }
    switch ((r >> 16) % 5) {
    case 0:
    case 1:
        mantissa = 0;
        break;
    case 2:
        mantissa = full;
        break;
    case 3:
        mantissa = (uint64_t)1 << (r >> 24) % mantissa_bits;
        break;
    default:
        mantissa = device_random(state) & full;
        break;
    }
    return (r >> 63) << (width - 1) | exponent << mantissa_bits | mantissa;
}

void device_fill(void *out, size_t count, enum shoal_dtype dtype, uint64_t *state)
{
    for (size_t i = 0; i < count; i++) {
        uint64_t bits = device_random(state);
        device_store(out, i, dtype, bits % 3 == 0 ? special_bits(dtype, state) : bits >> 2);
    }
}

void device_check_scaled(const void *got, const void *in, size_t count, enum shoal_dtype dtype,
                         uint64_t divisor, const char *who)
{
    for (size_t i = 0; i < count; i++) {
        uint64_t bits = device_load(in, i, dtype);
        uint64_t have = device_load(got, i, dtype);
        uint64_t expect = device_model_scale(bits, dtype, divisor);
        if (have != expect)
            fail_msg("%s %s: %llx / %llu is %llx, not %llx; seed %llu", who,
                     device_dtype_name(dtype), (unsigned long long)bits,
                     (unsigned long long)divisor, (unsigned long long)have,
                     (unsigned long long)expect, (unsigned long long)device_seed());
    }
}

void device_fence_make(struct device_fence *fence, size_t bytes)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t inner = (bytes + page - 1) / page * page;

    fence->map_bytes = inner + 2 * page;
    fence->base = mmap(NULL, fence->map_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(fence->base != MAP_FAILED);
    fence->start = fence->base + page;
    fence->end = fence->start + inner;
    assert_int_equal(mprotect(fence->start, inner, PROT_READ | PROT_WRITE), 0);
}

void device_fence_free(struct device_fence *fence)
{
    munmap(fence->base, fence->map_bytes);
}
