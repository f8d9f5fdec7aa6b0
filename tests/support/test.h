/*
 * What every test file includes: cmocka, and checks of statuses that print the detail.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef SUPPORT_TEST_H
#define SUPPORT_TEST_H

#include "core/status.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define ASSERT_STATUS(expected, call)                                                              \
    do {                                                                                           \
        int assert_status = (call);                                                                \
        if (assert_status != (expected))                                                           \
            fail_msg("%s: status %d (%s), expected %d; detail: %s", #call, assert_status,          \
                     shoal_status_string(assert_status), (int)(expected), shl_error_text());       \
    } while (0)

#define ASSERT_OK(call) ASSERT_STATUS(SHOAL_OK, call)

/* Skips the rest of a test. tools/test.sh prints the reason. */
#define TEST_SKIP(reason)                                                                          \
    do {                                                                                           \
        print_message("%s\n", (reason));                                                           \
        skip();                                                                                    \
    } while (0)

/* The detail of the last error contains `part`. */
#define ASSERT_DETAIL(part)                                                                        \
    do {                                                                                           \
        if (!strstr(shl_error_text(), (part)))                                                     \
            fail_msg("\"%s\" is not in the detail \"%s\"", (part), shl_error_text());              \
    } while (0)

#endif
