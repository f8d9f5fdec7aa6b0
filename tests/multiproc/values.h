/*
 * Operands that every type, fp8 included, holds exactly, and so do their reductions.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef TESTS_MULTIPROC_VALUES_H
#define TESTS_MULTIPROC_VALUES_H

#include <shoal/shoal.h>

/* value_put - element `at` of `data` becomes `value`, 0 to 8. */
void value_put(enum shoal_dtype dtype, void *data, size_t at, unsigned value);

/* value_operand - what the rank contributes at `at`. At most one rank contributes 2 or more to a
 * sum or a product, so that these stay at 8 or below. */
unsigned value_operand(uint32_t rank, uint32_t size, size_t at, uint32_t op);

/* value_reduced - what all ranks' operands give. */
unsigned value_reduced(uint32_t size, size_t at, uint32_t op);

#endif
