/*
 * What a test must leave as it found it: descriptors and threads of the process.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef SUPPORT_LEAKS_H
#define SUPPORT_LEAKS_H

#include <stdbool.h>
#include <stdint.h>

uint32_t shl_test_open_fds(void);
uint32_t shl_test_threads(void);

/* shl_test_threads_at_first - the number of threads before any of the library's, one that a
 * sanitizer starts with the first of all included. */
uint32_t shl_test_threads_at_first(void);

/* shl_test_wait_for_threads - poll until so many threads are left, at most limit_ms. */
bool shl_test_wait_for_threads(uint32_t count, uint32_t limit_ms);

/* shl_test_wait_for - poll `condition` until it is true or limit_ms passed; says whether it became
 * true. For what the kernel does a moment later, such as a thread's end. */
bool shl_test_wait_for(bool (*condition)(void *arg), void *arg, uint32_t limit_ms);

#endif
