/*
 * The permutation of a data epoch. Path: samples.c asks it place by place.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "elastic/samples/permutation.h"

#define GOLDEN UINT64_C(0x9e3779b97f4a7c15)

void shl_permutation_init(struct shl_permutation *permutation, uint64_t seed, uint64_t data_epoch,
                          uint64_t count)
{
    /* Each half has a bit at least, also where one bit would do. */
    uint32_t bits = count > 4 ? 64 - (uint32_t)__builtin_clzll(count - 1) : 2;
    uint64_t state = shl_mix64(shl_mix64(seed + GOLDEN) ^ (data_epoch + GOLDEN));
    permutation->count = count;
    permutation->low_bits = bits / 2;
    permutation->high_bits = bits - bits / 2;
    for (int round = 0; round < SHL_PERMUTATION_ROUNDS; round++) {
        state += GOLDEN;
        permutation->keys[round] = shl_mix64(state);
    }
}

static uint64_t low_mask(uint32_t bits)
{
    return (UINT64_C(1) << bits) - 1;
}

/* Each pair of rounds changes the one half by the other, then the other by the one. */
static uint64_t encipher(const struct shl_permutation *permutation, uint64_t value)
{
    uint64_t low_bits = low_mask(permutation->low_bits);
    uint64_t high_bits = low_mask(permutation->high_bits);
    uint64_t low = value & low_bits, high = value >> permutation->low_bits;
    for (int round = 0; round < SHL_PERMUTATION_ROUNDS; round += 2) {
        low ^= shl_mix64(high + permutation->keys[round]) & low_bits;
        high ^= shl_mix64(low + permutation->keys[round + 1]) & high_bits;
    }
    return high << permutation->low_bits | low;
}

uint64_t shl_permutation_at(const struct shl_permutation *permutation, uint64_t at)
{
    /* The cycle that `at` lies on comes back to it, so the walk ends. */
    do
        at = encipher(permutation, at);
    while (at >= permutation->count);
    return at;
}
