/*
 * Arrays that grow by one item at a time, twice as large whenever they are full.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef SHL_CORE_ARRAY_H
#define SHL_CORE_ARRAY_H

#include "core/status.h"

#include <stddef.h>

/*
 * shl_array_reserve - room for one item behind the `count` that are there; contents stay.
 *
 * array     the address of the pointer to the items, which may be NULL while *capacity is 0; moved
 * what      the items in an error: "moves of state"
 * Owns      the caller, who releases the items with shl_mem->free
 * Errors    SHOAL_ERR_NOMEM; nothing has changed then
 */
enum shoal_status shl_array_reserve(void *array, size_t *capacity, size_t count, size_t item_bytes,
                                    const char *what);

#endif
