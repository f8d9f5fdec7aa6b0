/*
 * Conversions between float32 and the low-precision formats, against the model: every code of
 * every format, and every neighbourhood where rounding changes its mind.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "device/convert.h"

#include "device_support.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static const enum shoal_dtype low_dtypes[] = {SHOAL_F16, SHOAL_BF16, SHOAL_F8E4M3, SHOAL_F8E5M2};

static uint32_t widen(uint64_t bits, enum shoal_dtype dtype)
{
    switch (dtype) {
    case SHOAL_F16:
        return shl_f32_from_f16((uint16_t)bits);
    case SHOAL_BF16:
        return shl_f32_from_bf16((uint16_t)bits);
    case SHOAL_F8E4M3:
        return shl_f32_from_f8e4m3((uint8_t)bits);
    default:
        return shl_f32_from_f8e5m2((uint8_t)bits);
    }
}

static uint64_t narrow(uint32_t f32, enum shoal_dtype dtype)
{
    switch (dtype) {
    case SHOAL_F16:
        return shl_f16_from_f32(f32);
    case SHOAL_BF16:
        return shl_bf16_from_f32(f32);
    case SHOAL_F8E4M3:
        return shl_f8e4m3_from_f32(f32);
    default:
        return shl_f8e5m2_from_f32(f32);
    }
}

static void check_narrow(uint32_t f32, enum shoal_dtype dtype)
{
    uint64_t got = narrow(f32, dtype), want = device_model_narrow(f32, dtype);

    if (got != want)
        fail_msg("%s: float32 %08x narrows to %llx, not %llx", device_dtype_name(dtype), f32,
                 (unsigned long long)got, (unsigned long long)want);
}

static void widening_every_code(void **state)
{
    (void)state;
    for (size_t d = 0; d < 4; d++) {
        enum shoal_dtype dtype = low_dtypes[d];
        uint64_t codes = (uint64_t)1 << (8 * device_elem_bytes(dtype));

        for (uint64_t code = 0; code < codes; code++) {
            uint32_t got = widen(code, dtype), want = device_model_widen(code, dtype);
            if (got != want)
                fail_msg("%s: %llx widens to %08x, not %08x", device_dtype_name(dtype),
                         (unsigned long long)code, got, want);
        }
    }
}

/* Back to the same code, except that NaN comes back quiet and E5M2's infinity saturates. */
static void round_trip_every_code(void **state)
{
    (void)state;
    for (size_t d = 0; d < 4; d++) {
        enum shoal_dtype dtype = low_dtypes[d];
        uint64_t codes = (uint64_t)1 << (8 * device_elem_bytes(dtype));

        for (uint64_t code = 0; code < codes; code++) {
            uint64_t back = narrow(widen(code, dtype), dtype), want = code;
            if (isnan(shl_f32_of_bits(widen(code, dtype))))
                want = dtype == SHOAL_F16      ? code | 0x200
                       : dtype == SHOAL_BF16   ? code | 0x40
                       : dtype == SHOAL_F8E5M2 ? code | 0x02
                                               : code;
            else if (dtype == SHOAL_F8E5M2 && (code & 0x7f) == 0x7c)
                want = code - 1;
            assert_int_equal(back, want);
        }
    }
}

/* Each value and each midpoint between neighbours, exactly and one float32 to either side. */
static void narrowing_where_it_rounds(void **state)
{
    (void)state;
    for (size_t d = 0; d < 4; d++) {
        enum shoal_dtype dtype = low_dtypes[d];
        uint64_t sign = (uint64_t)1 << (8 * device_elem_bytes(dtype) - 1);

        for (uint64_t code = 0; code + 1 < sign; code++) {
            double low = shl_f32_of_bits(device_model_widen(code, dtype));
            double high = shl_f32_of_bits(device_model_widen(code + 1, dtype));
            if (!isfinite(low))
                continue;
            uint32_t points[2] = {shl_f32_bits((float)low), 0};
            points[1] = isfinite(high) ? shl_f32_bits((float)((low + high) / 2)) : points[0];
            for (int p = 0; p < 2; p++)
                for (uint32_t step = 0; step < 3; step++) {
                    check_narrow((points[p] + step - 1) & 0x7fffffffu, dtype);
                    check_narrow((points[p] + step - 1) | 0x80000000u, dtype);
                }
        }
    }
}

static void narrowing_overflow(void **state)
{
    (void)state;
    assert_int_equal(shl_f16_from_f32(shl_f32_bits(65519.0f)), 0x7bff);
    assert_int_equal(shl_f16_from_f32(shl_f32_bits(65520.0f)), 0x7c00);
    assert_int_equal(shl_bf16_from_f32(0x7f7fffffu), 0x7f80);
    assert_int_equal(shl_f8e4m3_from_f32(shl_f32_bits(464.0f)), 0x7e);
    assert_int_equal(shl_f8e4m3_from_f32(shl_f32_bits(1e30f)), 0x7e);
    assert_int_equal(shl_f8e4m3_from_f32(shl_f32_bits(-INFINITY)), 0xfe);
    assert_int_equal(shl_f8e4m3_from_f32(0x7f800001u), 0x7f);
    assert_int_equal(shl_f8e5m2_from_f32(shl_f32_bits(61440.0f)), 0x7b);
    assert_int_equal(shl_f8e5m2_from_f32(shl_f32_bits(INFINITY)), 0x7b);
    assert_int_equal(shl_f8e5m2_from_f32(shl_f32_bits(-INFINITY)), 0xfb);
    assert_int_equal(shl_f8e5m2_from_f32(0x7f800001u), 0x7e);
}

static void narrowing_random(void **state)
{
    uint64_t seed = device_seed();

    (void)state;
    for (unsigned i = 0; i < 200000; i++) {
        uint32_t f32;
        device_fill(&f32, 1, SHOAL_F32, &seed);
        for (size_t d = 0; d < 4; d++)
            check_narrow(f32, low_dtypes[d]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(widening_every_code),       cmocka_unit_test(round_trip_every_code),
        cmocka_unit_test(narrowing_where_it_rounds), cmocka_unit_test(narrowing_overflow),
        cmocka_unit_test(narrowing_random),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
