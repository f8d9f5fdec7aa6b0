/*
 * The scalar kernels and averaging, against the model.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "device_support.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#define BASE_OPS 4
#define MOST_OPERANDS 9

static void check(const void *got, const void *const *x, size_t n, size_t count,
                  enum shoal_dtype dtype, unsigned op)
{
    for (size_t i = 0; i < count; i++) {
        uint64_t operands[MOST_OPERANDS] = {0};
        for (size_t j = 0; j < n; j++)
            operands[j] = device_load(x[j], i, dtype);
        uint64_t have = device_load(got, i, dtype);
        uint64_t want = device_model_reduce(operands, n, dtype, op);
        if (have != want)
            fail_msg("%s %s of %zu operands (%llx, %llx, ...): %llx, not %llx; seed %llu",
                     device_dtype_name(dtype), device_op_name(op), n,
                     (unsigned long long)operands[0], (unsigned long long)operands[1],
                     (unsigned long long)have, (unsigned long long)want,
                     (unsigned long long)device_seed());
    }
}

/* Every pair of 8-bit values, for every op and 8-bit dtype. */
static void every_pair_of_bytes(void **state)
{
    static const enum shoal_dtype dtypes[] = {SHOAL_I8, SHOAL_U8, SHOAL_F8E4M3, SHOAL_F8E5M2};
    static unsigned char a[65536], b[65536], out[65536];
    const void *const x[2] = {a, b};

    (void)state;
    for (unsigned i = 0; i < 65536; i++) {
        a[i] = (unsigned char)(i >> 8);
        b[i] = (unsigned char)i;
    }
    for (size_t d = 0; d < 4; d++)
        for (unsigned op = 0; op < BASE_OPS; op++) {
            shl_reducer_get_isa(dtypes[d], (enum shoal_op)op, "scalar")->two(out, a, b, 65536);
            check(out, x, 2, 65536, dtypes[d], op);
        }
}

/* Every 16-bit value against special ones and random ones, both ways round. */
static void every_half_with_some(void **state)
{
    static const enum shoal_dtype dtypes[] = {SHOAL_F16, SHOAL_BF16};
    static uint16_t a[65536], b[65536], out[65536];
    const void *const forward[2] = {a, b}, *const backward[2] = {b, a};
    uint64_t seed = device_seed();

    (void)state;
    for (unsigned i = 0; i < 65536; i++)
        a[i] = (uint16_t)i;
    for (size_t d = 0; d < 2; d++)
        for (unsigned op = 0; op < BASE_OPS; op++) {
            const struct shl_reducer *r =
                shl_reducer_get_isa(dtypes[d], (enum shoal_op)op, "scalar");
            device_fill(b, 65536, dtypes[d], &seed);
            r->two(out, a, b, 65536);
            check(out, forward, 2, 65536, dtypes[d], op);
            r->two(out, b, a, 65536);
            check(out, backward, 2, 65536, dtypes[d], op);
        }
}

static void random_operands(void **state)
{
    enum { COUNT = 3000 };
    static uint64_t inputs[MOST_OPERANDS][COUNT], out[COUNT];
    const void *x[MOST_OPERANDS];
    uint64_t seed = device_seed();

    (void)state;
    for (unsigned dtype = 0; dtype < SHOAL_DTYPE_COUNT; dtype++)
        for (unsigned op = 0; op < BASE_OPS; op++) {
            const struct shl_reducer *r =
                shl_reducer_get_isa((enum shoal_dtype)dtype, (enum shoal_op)op, "scalar");
            for (size_t n = 2; n <= MOST_OPERANDS; n++) {
                for (size_t j = 0; j < n; j++) {
                    device_fill(inputs[j], COUNT, (enum shoal_dtype)dtype, &seed);
                    x[j] = inputs[j];
                }
                r->many(out, x, n, COUNT);
                check(out, x, n, COUNT, (enum shoal_dtype)dtype, op);
            }
        }
}

/* Accumulation is in float32: partial sums beyond the format's range and precision survive. */
static void low_precision_rounds_once(void **state)
{
    const uint16_t big = 0x7bff, minus_big = 0xfbff, one = 0x3c00; /* f16: 65504, 1 */
    const void *const overflow[3] = {&big, &big, &minus_big};
    const uint8_t e4m3[4] = {0x7e, 0x7e, 0xfe, 0x38}; /* 448, 448, -448, 1 */
    const void *const saturate[4] = {&e4m3[0], &e4m3[1], &e4m3[2], &e4m3[3]};
    uint16_t half = 0;
    uint8_t byte = 0;

    (void)state;
    shl_reducer_get(SHOAL_F16, SHOAL_SUM)->many(&half, overflow, 3, 1);
    assert_int_equal(half, big);
    shl_reducer_get(SHOAL_F16, SHOAL_SUM)->two(&half, &big, &big, 1);
    assert_int_equal(half, 0x7c00);
    shl_reducer_get(SHOAL_F8E4M3, SHOAL_SUM)->many(&byte, saturate, 4, 1);
    assert_int_equal(byte, 0x7e);
    shl_reducer_get(SHOAL_F16, SHOAL_MAX)->two(&half, &one, &big, 1);
    assert_int_equal(half, big);
}

static void dispatch(void **state)
{
    (void)state;
    for (unsigned dtype = 0; dtype < SHOAL_DTYPE_COUNT; dtype++) {
        enum shoal_dtype d = (enum shoal_dtype)dtype;
        for (unsigned op = 0; op < SHOAL_OP_COUNT; op++) {
            const struct shl_reducer *r = shl_reducer_get(d, (enum shoal_op)op);
            assert_non_null(r);
            assert_int_equal(r->elem_bytes, device_elem_bytes(d));
            assert_ptr_equal(r, shl_reducer_get_isa(d, (enum shoal_op)op, r->isa));
        }
        assert_ptr_equal(shl_reducer_get(d, SHOAL_AVG), shl_reducer_get(d, SHOAL_SUM));
        assert_null(shl_reducer_get(d, SHOAL_OP_COUNT));
        assert_null(shl_reducer_get_isa(d, SHOAL_SUM, "mmx"));
    }
    assert_null(shl_reducer_get(SHOAL_DTYPE_COUNT, SHOAL_SUM));
    print_message("best instruction set here: %s\n", shl_reducer_get(SHOAL_F32, SHOAL_SUM)->isa);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_pair_of_bytes),
        cmocka_unit_test(every_half_with_some),
        cmocka_unit_test(random_operands),
        cmocka_unit_test(low_precision_rounds_once),
        cmocka_unit_test(dispatch),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
