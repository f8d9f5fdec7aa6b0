/*
 * A permutation of 0..count-1 that takes no memory: a keyed cipher on exactly that domain.
 *
 * An alternating Feistel network permutes the smallest power of two that holds `count`; a value
 * that falls outside is enciphered again until it falls inside, in fewer than two rounds on average
 * (cycle walking).
 *
 * Source: Black and Rogaway, "Ciphers with Arbitrary Finite Domains", CT-RSA 2002; Luby and
 * Rackoff, SIAM J. Computing 17(2), 1988. Not for secrets: the round function is a fast mixer.
 *
 * Invariant: orders are part of what a checkpoint means, so they never change between releases.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef SHL_ELASTIC_SAMPLES_PERMUTATION_H
#define SHL_ELASTIC_SAMPLES_PERMUTATION_H

#include <stdint.h>

#define SHL_PERMUTATION_ROUNDS 12 /* even; small domains have halves of one bit and need many */

struct shl_permutation {
    uint64_t count;
    uint32_t low_bits, high_bits;
    uint64_t keys[SHL_PERMUTATION_ROUNDS];
};

/* count 1..2^62; another order for every pair of seed and data epoch. */
void shl_permutation_init(struct shl_permutation *permutation, uint64_t seed, uint64_t data_epoch,
                          uint64_t count);

/* What stands at place `at`, which is below count. */
uint64_t shl_permutation_at(const struct shl_permutation *permutation, uint64_t at);

/* Bits that depend on all bits of the value. Stafford's mix 13, as in Steele, Lea and Flood,
 * "Fast Splittable Pseudorandom Number Generators", OOPSLA 2014. */
static inline uint64_t shl_mix64(uint64_t value)
{
    value = (value ^ (value >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    value = (value ^ (value >> 27)) * UINT64_C(0x94d049bb133111eb);
    return value ^ (value >> 31);
}

#endif
