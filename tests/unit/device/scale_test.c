/*
 * Averaging against the model: awkward divisors, every instruction set, in place.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "device_support.h"

#include "device/reduce_isa.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define CANARY 0x5a

/* The tables behind names, for kernels that have no selector of their own. */
static const struct shl_reduce_isa *isa_table(size_t i)
{
    if (shl_reducer_get_isa(SHOAL_F32, SHOAL_SUM, device_isas[i]) == NULL)
        return NULL;
#if defined(__x86_64__)
    if (strcmp(device_isas[i], "avx2") == 0)
        return &shl_reduce_isa_avx2;
    if (strcmp(device_isas[i], "avx512") == 0)
        return &shl_reduce_isa_avx512;
#elif defined(__aarch64__)
    if (strcmp(device_isas[i], "neon") == 0)
        return &shl_reduce_isa_neon;
#endif
    return &shl_reduce_isa_scalar;
}

static const uint64_t divisors[] = {0,
                                    1,
                                    2,
                                    3,
                                    5,
                                    7,
                                    10,
                                    16,
                                    127,
                                    128,
                                    129,
                                    255,
                                    256,
                                    1000,
                                    16777215,
                                    16777216,
                                    16777217,
                                    INT32_MAX,
                                    0x80000000,
                                    0xffffffff,
                                    0x100000000,
                                    (1ull << 53) + 1,
                                    INT64_MAX,
                                    1ull << 63,
                                    (1ull << 63) + 1,
                                    UINT64_MAX};

static void scale_against_model(void **state)
{
    enum { COUNT = 400 };
    static unsigned char in[COUNT * 8 + 8], out[COUNT * 8 + 8];
    uint64_t seed = device_seed();

    (void)state;
    for (size_t i = 0; i < sizeof(divisors) / sizeof(divisors[0]) + 40; i++) {
        uint64_t divisor = i < sizeof(divisors) / sizeof(divisors[0])
                               ? divisors[i]
                               : device_random(&seed) >> device_random(&seed) % 64;
        for (unsigned dtype = 0; dtype < SHOAL_DTYPE_COUNT; dtype++) {
            enum shoal_dtype d = (enum shoal_dtype)dtype;
            size_t skew = device_random(&seed) % 8;
            device_fill(in + skew, COUNT, d, &seed);
            shl_reduce_scale(out + 1, in + skew, COUNT, d, divisor);
            device_check_scaled(out + 1, in + skew, COUNT, d, divisor, "best");
            memcpy(out, in + skew, COUNT * device_elem_bytes(d));
            shl_reduce_scale(out, out, COUNT, d, divisor);
            device_check_scaled(out, in + skew, COUNT, d, divisor, "in place");
        }
    }
}

static void scale_on_every_isa(void **state)
{
    enum { COUNT = 150 };
    static unsigned char in[COUNT * 8], out[COUNT * 8 + 1];
    uint64_t seed = device_seed();

    (void)state;
    for (size_t i = 0; i < device_isa_count; i++) {
        const struct shl_reduce_isa *isa = isa_table(i);
        for (unsigned dtype = SHOAL_F16; isa != NULL && dtype < SHOAL_DTYPE_COUNT; dtype++)
            for (size_t count = 0; count <= COUNT; count++) {
                enum shoal_dtype d = (enum shoal_dtype)dtype;
                uint64_t divisor = 1 + device_random(&seed) % 100;
                size_t bytes = count * device_elem_bytes(d);
                device_fill(in, count, d, &seed);
                out[bytes] = CANARY;
                isa->scale[d](out, in, count, (double)divisor);
                device_check_scaled(out, in, count, d, divisor, isa->name);
                assert_int_equal(out[bytes], CANARY);
            }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(scale_against_model),
        cmocka_unit_test(scale_on_every_isa),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
