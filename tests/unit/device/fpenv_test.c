/*
 * What a caller's thread has set for floating point changes no result, and is left as it was.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "device_support.h"

#include <fenv.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include <cmocka.h>

#define COUNT 300

static unsigned char inputs[3][COUNT * 8], outputs[2][COUNT * 8], want[COUNT * 8];

/* Settings that a caller's thread may have, one at a time: each must be noticed by itself. */
enum odd_setting { ODD_ROUNDING, ODD_FLUSHING, ODD_TRAPS, ODD_SETTINGS };

static void set_odd(enum odd_setting which)
{
    if (which == ODD_ROUNDING)
        fesetround(FE_UPWARD);
    if (which == ODD_TRAPS)
        feenableexcept(FE_INVALID | FE_OVERFLOW | FE_DIVBYZERO);
    if (which != ODD_FLUSHING)
        return;
#if defined(__x86_64__)
    _mm_setcsr(_mm_getcsr() | 0x8040); /* subnormal results and operands become zero */
#elif defined(__aarch64__)
    uint64_t fpcr;
    __asm__ volatile("mrs %0, fpcr" : "=r"(fpcr));
    __asm__ volatile("msr fpcr, %0" : : "r"(fpcr | (3u << 24))); /* the same, and default NaN */
#endif
}

static uint64_t floating_point_control(void)
{
    uint64_t control = 0;
#if defined(__x86_64__)
    control = _mm_getcsr() & 0xffc0u; /* without the flags */
#elif defined(__aarch64__)
    __asm__ volatile("mrs %0, fpcr" : "=r"(control));
#endif
    return control;
}

static void under_odd_setting(const struct shl_reducer *r, enum shoal_dtype dtype, unsigned op,
                              enum odd_setting which, uint64_t *seed)
{
    const void *const x[3] = {inputs[0], inputs[1], inputs[2]};
    void *const outs[1] = {outputs[0]};
    fenv_t saved;

    for (int j = 0; j < 3; j++)
        device_fill(inputs[j], COUNT, dtype, seed);
    shl_reducer_get_isa(dtype, (enum shoal_op)op, "scalar")->many(want, x, 3, COUNT);
    fegetenv(&saved);
    set_odd(which);
    uint64_t before = floating_point_control();
    r->push(outs, 1, x, 3, COUNT, 0);
    uint64_t between = floating_point_control();
    shl_reduce_scale(outputs[1], inputs[0], COUNT, dtype, 3);
    uint64_t after = floating_point_control();
    fesetenv(&saved);
    assert_true(before == between && before == after);
    if (memcmp(outs[0], want, COUNT * device_elem_bytes(dtype)) != 0)
        fail_msg("%s %s %s differs under setting %d; seed %llu", r->isa, device_dtype_name(dtype),
                 device_op_name(op), which, (unsigned long long)device_seed());
    device_check_scaled(outputs[1], inputs[0], COUNT, dtype, 3, "odd settings");
}

/* The caller's rounding, flushing and traps change nothing, and are still there afterwards. */
static void thread_settings_do_not_matter(void **state)
{
    uint64_t seed = device_seed();

    (void)state;
    for (size_t i = 0; i < device_isa_count; i++)
        for (unsigned dtype = SHOAL_F16; dtype < SHOAL_DTYPE_COUNT; dtype++)
            for (unsigned op = 0; op < 4; op++)
                for (unsigned odd = 0; odd < ODD_SETTINGS; odd++) {
                    enum shoal_dtype d = (enum shoal_dtype)dtype;
                    const struct shl_reducer *r =
                        shl_reducer_get_isa(d, (enum shoal_op)op, device_isas[i]);
                    if (r != NULL)
                        under_odd_setting(r, d, op, (enum odd_setting)odd, &seed);
                }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(thread_settings_do_not_matter),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
