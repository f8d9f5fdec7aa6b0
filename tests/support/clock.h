/*
 * A clock that only moves when told: no test waits for real time.
 *
 * Sleeping moves it by the time slept, yielding by a microsecond, so that loops with a deadline
 * end. Threads: any may read and move it; install and remove only while no other thread runs.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef SUPPORT_CLOCK_H
#define SUPPORT_CLOCK_H

#include <stdint.h>

void shl_test_clock_install(uint64_t start_ns);
void shl_test_clock_advance(uint64_t ns);
void shl_test_clock_remove(void);

#endif
