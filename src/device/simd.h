/*
 * What every vector file needs before its own definitions.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef SHL_DEVICE_SIMD_H
#define SHL_DEVICE_SIMD_H

#include "device/fpenv.h"
#include "device/reduce_isa.h"

#include <string.h>

/* Kernels are built from small functions that must melt into one loop. */
#define SIMD_INLINE static inline __attribute__((always_inline))

#if defined(__clang__)
#define SIMD_UNROLL _Pragma("clang loop unroll(full)")
#else
#define SIMD_UNROLL _Pragma("GCC unroll 8")
#endif

#define SIMD_LINE 64        /* cache line */
#define SIMD_ALIGN_FROM 512 /* bytes from which aligning the stores pays */
#define SIMD_BLOCK_BYTES 4096
#define SIMD_COPY_AHEAD 512 /* bytes a copy prefetches ahead; past the end it is harmless */

/* simd_copy_small - memcpy of less than 32 bytes in at most two moves of each end. */
SIMD_INLINE void simd_copy_small(char *out, const char *in, size_t bytes)
{
    if (bytes >= 16) {
        char head[16], tail[16];
        memcpy(head, in, 16);
        memcpy(tail, in + bytes - 16, 16);
        memcpy(out, head, 16);
        memcpy(out + bytes - 16, tail, 16);
    } else if (bytes >= 8) {
        uint64_t head, tail;
        memcpy(&head, in, 8);
        memcpy(&tail, in + bytes - 8, 8);
        memcpy(out, &head, 8);
        memcpy(out + bytes - 8, &tail, 8);
    } else if (bytes >= 4) {
        uint32_t head, tail;
        memcpy(&head, in, 4);
        memcpy(&tail, in + bytes - 4, 4);
        memcpy(out, &head, 4);
        memcpy(out + bytes - 4, &tail, 4);
    } else {
        for (size_t i = 0; i < bytes; i++)
            out[i] = in[i];
    }
}

/* simd_load_word - up to eight bytes as a little-endian word, zeros above; through registers, since
 * a vector load of bytes just stored would wait for the store buffer. */
SIMD_INLINE uint64_t simd_load_word(const char *p, size_t bytes)
{
    uint64_t word = 0;
    uint32_t low, high;

    if (bytes >= 8) {
        memcpy(&word, p, 8);
    } else if (bytes >= 4) {
        memcpy(&low, p, 4);
        memcpy(&high, p + bytes - 4, 4);
        word = low | (uint64_t)high << (8 * (bytes - 4));
    } else {
        for (size_t i = 0; i < bytes; i++)
            word |= (uint64_t)(unsigned char)p[i] << (8 * i);
    }
    return word;
}

/* simd_load_word_at - the same for the word at byte `at` of a run of `bytes`. */
SIMD_INLINE uint64_t simd_load_word_at(const char *p, size_t bytes, size_t at)
{
    return bytes > at ? simd_load_word(p + at, bytes - at) : 0;
}

/* simd_peel - bytes from `out` to the next multiple of `align`; 0 when that lies inside an
 * element. */
SIMD_INLINE size_t simd_peel(const char *out, size_t align, size_t elem_bytes)
{
    size_t peel = (size_t)(-(uintptr_t)out & (align - 1));
    return peel % elem_bytes == 0 ? peel : 0;
}

#endif
