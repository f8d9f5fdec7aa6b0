/*
 * Error propagation. The first detector records the detail, everyone above only passes it on.
 *
 * Invariant: a negative status never travels without a detail line recorded by shl_fail.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef SHL_CORE_STATUS_H
#define SHL_CORE_STATUS_H

#include <shoal/status.h>

/*
 * shl_fail - record the calling thread's error detail and return `status`, so that detection is
 * one statement: `return shl_fail(SHOAL_ERR_INVALID, "root %u is not below size %u; ...", ...)`.
 * One line, no trailing newline, ends with what to do where that is known.
 */
enum shoal_status shl_fail(enum shoal_status status, const char *format, ...)
    __attribute__((format(printf, 2, 3), cold));

/* shl_fail_errno - the same with SHOAL_ERR_SYSTEM (ENOMEM: SHOAL_ERR_NOMEM); appends errno's text.
 * Preserves errno. */
enum shoal_status shl_fail_errno(const char *format, ...)
    __attribute__((format(printf, 1, 2), cold));

/* shl_error_set / shl_error_text - carry a detail line from one thread to another. */
void shl_error_set(const char *text);
const char *shl_error_text(void);

#define SHL_TRY(call)                                                                              \
    do {                                                                                           \
        enum shoal_status shl_try_status = (call);                                                 \
        if (shl_try_status < 0)                                                                    \
            return shl_try_status;                                                                 \
    } while (0)

/* SHL_ASSERT is for our own mistakes only; nothing a user or a peer sends may reach it. */
#ifdef NDEBUG
#define SHL_ASSERT(condition) ((void)sizeof(condition))
#else
void shl_assert_failed(const char *condition, const char *file, int line)
    __attribute__((noreturn, cold));
#define SHL_ASSERT(condition)                                                                      \
    ((condition) ? (void)0 : shl_assert_failed(#condition, __FILE__, __LINE__))
#endif

#define SHL_LIKELY(x) __builtin_expect(!!(x), 1)
#define SHL_UNLIKELY(x) __builtin_expect(!!(x), 0)

#endif
