/*
 * Sets of ranks as people write them: "2, 5-7".
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef SHL_CONTROL_RANGES_H
#define SHL_CONTROL_RANGES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* shl_ranges_format - the ranks below `size` for which `contains` says so; "..." ends a text that
 * did not fit. Returns how many ranks there are. */
uint32_t shl_ranges_format(bool (*contains)(const void *arg, uint32_t rank), const void *arg,
                           uint32_t size, char *text, size_t capacity);

#endif
