/*
 * Shared by the device tests: seeded values with many special ones, an independent model of every
 * dtype, and buffers that end where memory ends.
 *
 * The model knows a float format by its field widths and works in wider arithmetic (double, quad)
 * or by search, so it has no code in common with what it checks.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef TEST_DEVICE_SUPPORT_H
#define TEST_DEVICE_SUPPORT_H

#include "device/reduce.h"

#include <shoal/types.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The seed of this run: SHOAL_TEST_SEED, or fixed. Failures print it. */
uint64_t device_seed(void);
uint64_t device_random(uint64_t *state);

const char *device_dtype_name(enum shoal_dtype dtype);
const char *device_op_name(unsigned op);
size_t device_elem_bytes(enum shoal_dtype dtype);
bool device_is_float(enum shoal_dtype dtype);

/* device_fill - random elements; about one in three is special: zeros, NaNs with payloads,
 * infinities, subnormals, extremes, values near one. */
void device_fill(void *out, size_t count, enum shoal_dtype dtype, uint64_t *state);

/* Elements as bits in a uint64_t. */
uint64_t device_load(const void *base, size_t i, enum shoal_dtype dtype);
void device_store(void *base, size_t i, enum shoal_dtype dtype, uint64_t bits);

/* device_model_widen - bits of a low-precision element as float32 bits. */
uint32_t device_model_widen(uint64_t bits, enum shoal_dtype dtype);
/* device_model_narrow - float32 bits rounded to the dtype. */
uint64_t device_model_narrow(uint32_t f32, enum shoal_dtype dtype);
/* device_model_reduce - what n >= 2 operands, combined left to right, must give. */
uint64_t device_model_reduce(const uint64_t *operands, size_t n, enum shoal_dtype dtype,
                             unsigned op);
/* device_model_scale - what averaging one element must give. */
uint64_t device_model_scale(uint64_t bits, enum shoal_dtype dtype, uint64_t divisor);

/* device_check_scaled - fail unless `got` is the average that the model makes of `in`. */
void device_check_scaled(const void *got, const void *in, size_t count, enum shoal_dtype dtype,
                         uint64_t divisor, const char *who);

/* The vector sets that may exist; filter with shl_reducer_get_isa. */
extern const char *const device_isas[];
extern const size_t device_isa_count;

/* A mapping of at least `bytes` bytes between two inaccessible pages. */
struct device_fence {
    char *base;
    size_t map_bytes;
    char *start; /* first accessible byte */
    char *end;   /* one past the last */
};
void device_fence_make(struct device_fence *fence, size_t bytes);
void device_fence_free(struct device_fence *fence);

#endif
