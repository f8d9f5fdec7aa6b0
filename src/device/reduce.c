/*
 * Chooses the kernels for this CPU, and copies.
 *
 * Invariant: the choice depends on the CPU and the build only, so it is the same at every call and
 * may be made by several threads at once.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "device/reduce.h"

#include "device/reduce_isa.h"

#include <stdatomic.h>
#include <string.h>
#if defined(__x86_64__)
#include <cpuid.h>
#endif

#if defined(__x86_64__)
/* The compilers' feature test includes whether the system saves the registers; the F16C bit, which
 * not every compiler knows by name, needs nothing beyond what AVX2 needs. */
static bool cpu_has_avx2(void)
{
    unsigned eax, ebx, ecx, edx;

    __builtin_cpu_init();
    return __builtin_cpu_supports("avx2") && __get_cpuid(1, &eax, &ebx, &ecx, &edx) != 0 &&
           (ecx & bit_F16C) != 0;
}

static bool cpu_has_avx512(void)
{
    __builtin_cpu_init();
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
}
#endif

static bool cpu_has_baseline(void)
{
    return true;
}

static const struct {
    const struct shl_reduce_isa *isa;
    bool (*usable)(void);
} isas[] = {
/* Best first. */
#if defined(__x86_64__)
    {&shl_reduce_isa_avx512, cpu_has_avx512},
    {&shl_reduce_isa_avx2, cpu_has_avx2},
#endif
#if defined(__aarch64__)
    {&shl_reduce_isa_neon, cpu_has_baseline}, /* part of the base architecture */
#endif
    {&shl_reduce_isa_scalar, cpu_has_baseline},
};

static const struct shl_reduce_isa *isa_best(void)
{
    static _Atomic(const struct shl_reduce_isa *) chosen;
    const struct shl_reduce_isa *isa = atomic_load_explicit(&chosen, memory_order_relaxed);

    if (SHL_UNLIKELY(isa == NULL)) {
        size_t i = 0;
        while (!isas[i].usable())
            i++;
        isa = isas[i].isa;
        atomic_store_explicit(&chosen, isa, memory_order_relaxed);
    }
    return isa;
}

static const struct shl_reducer *isa_reducer(const struct shl_reduce_isa *isa,
                                             enum shoal_dtype dtype, enum shoal_op op)
{
    unsigned row = op == SHOAL_AVG ? SHOAL_SUM : (unsigned)op;

    if ((unsigned)dtype >= SHOAL_DTYPE_COUNT || row >= SHL_REDUCE_OPS)
        return NULL;
    return &isa->reducers[dtype][row];
}

const struct shl_reducer *shl_reducer_get(enum shoal_dtype dtype, enum shoal_op op)
{
    return isa_reducer(isa_best(), dtype, op);
}

const struct shl_reducer *shl_reducer_get_isa(enum shoal_dtype dtype, enum shoal_op op,
                                              const char *isa)
{
    for (size_t i = 0; i < sizeof(isas) / sizeof(isas[0]); i++)
        if (strcmp(isas[i].isa->name, isa) == 0 && isas[i].usable())
            return isa_reducer(isas[i].isa, dtype, op);
    return NULL;
}

shl_scale_fn shl_reduce_scale_kernel(enum shoal_dtype dtype, bool exact_in_f32)
{
    return exact_in_f32 ? isa_best()->scale[dtype] : shl_reduce_isa_scalar.scale[dtype];
}

void shl_copy(void *out, const void *in, size_t bytes, bool nontemporal)
{
    const struct shl_reduce_isa *isa = isa_best();

    if (out == in || bytes == 0)
        return;
    if (!nontemporal || isa->copy_stream == NULL) {
        memcpy(out, in, bytes);
        return;
    }
    isa->copy_stream(out, in, bytes);
    isa->fence();
}
