/*
 * Random numbers that a seed repeats: a generator for tests, and one in place of the kernel's.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef SUPPORT_RANDOM_H
#define SUPPORT_RANDOM_H

#include <stdint.h>

/* shl_test_seed - SHOAL_TEST_SEED, else one drawn from the kernel; printed so that a failure can be
 * repeated. */
uint64_t shl_test_seed(void);

/* shl_test_random - the next number; `state` starts as the seed. */
uint64_t shl_test_random(uint64_t *state);

/* shl_test_random_install - shl_random gives bytes that follow from the seed. Not for concurrent
 * threads that must repeat exactly. */
void shl_test_random_install(uint64_t seed);
void shl_test_random_remove(void);

#endif
