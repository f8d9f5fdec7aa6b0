/*
 * SplitMix64. Source: Steele, Lea, Flood, "Fast splittable pseudorandom number generators", 2014.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "support/random.h"

#include "core/sys.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#define STEP 0x9e3779b97f4a7c15u

static uint64_t scramble(uint64_t z)
{
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

uint64_t shl_test_random(uint64_t *state)
{
    return scramble(*state += STEP);
}

uint64_t shl_test_seed(void)
{
    uint64_t seed = 0;
    const char *given = getenv("SHOAL_TEST_SEED");
    if (given)
        seed = strtoull(given, NULL, 0);
    else
        shl_random_kernel.bytes(&seed, sizeof(seed));
    printf("seed: SHOAL_TEST_SEED=%llu\n", (unsigned long long)seed);
    return seed;
}

static _Atomic uint64_t installed_state;

static int seeded_bytes(void *out, size_t count)
{
    uint8_t *at = out;
    for (size_t i = 0; i < count; i++)
        at[i] = (uint8_t)scramble(atomic_fetch_add(&installed_state, STEP) + STEP);
    return 0;
}

static const struct shl_sys_random seeded_random = {.bytes = seeded_bytes};

void shl_test_random_install(uint64_t seed)
{
    atomic_store(&installed_state, seed);
    shl_random = &seeded_random;
}

void shl_test_random_remove(void)
{
    shl_random = &shl_random_kernel;
}
