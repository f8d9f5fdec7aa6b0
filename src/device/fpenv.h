/*
 * Floating-point control while a kernel runs: nearest even, subnormals kept, exceptions masked.
 *
 * A caller may have set flush-to-zero, another rounding mode or trapping exceptions on its thread.
 * Results must have the same bits on every rank, and a NaN sent by a peer must not raise a signal,
 * so a kernel runs under the default and gives the caller's setting back.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef SHL_DEVICE_FPENV_H
#define SHL_DEVICE_FPENV_H

#include <stdint.h>

/*
 * shl_fpenv_enter - make the default control word current; returns what shl_fpenv_leave needs.
 * The memory clobbers keep loads of operands after it and stores of results before the leave, so
 * arithmetic between them cannot move out. Cost: one read of the control word when it is the
 * default.
 */
#if defined(__x86_64__)
#define SHL_FPENV_CONTROL 0xffc0u /* all of MXCSR but the sticky flags */
#define SHL_FPENV_DEFAULT 0x1f80u

static inline uint64_t shl_fpenv_enter(void)
{
    uint32_t saved;
    static const uint32_t wanted = SHL_FPENV_DEFAULT;

    __asm__ volatile("stmxcsr %0" : "=m"(saved) : : "memory");
    if (__builtin_expect((saved & SHL_FPENV_CONTROL) != SHL_FPENV_DEFAULT, 0))
        __asm__ volatile("ldmxcsr %0" : : "m"(wanted) : "memory");
    return saved;
}

static inline void shl_fpenv_leave(uint64_t saved)
{
    const uint32_t control = (uint32_t)saved;

    __asm__ volatile("" : : : "memory");
    if (__builtin_expect((saved & SHL_FPENV_CONTROL) != SHL_FPENV_DEFAULT, 0))
        __asm__ volatile("ldmxcsr %0" : : "m"(control) : "memory");
}
#elif defined(__aarch64__)
static inline uint64_t shl_fpenv_enter(void)
{
    uint64_t saved;

    __asm__ volatile("mrs %0, fpcr" : "=r"(saved) : : "memory");
    if (__builtin_expect(saved != 0, 0))
        __asm__ volatile("msr fpcr, %0" : : "r"((uint64_t)0) : "memory");
    return saved;
}

static inline void shl_fpenv_leave(uint64_t saved)
{
    __asm__ volatile("" : : : "memory");
    if (__builtin_expect(saved != 0, 0))
        __asm__ volatile("msr fpcr, %0" : : "r"(saved) : "memory");
}
#else
static inline uint64_t shl_fpenv_enter(void)
{
    return 0;
}

static inline void shl_fpenv_leave(uint64_t saved)
{
    (void)saved;
}
#endif

#endif
