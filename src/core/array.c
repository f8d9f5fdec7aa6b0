/*
 * Growing arrays.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "core/array.h"

#include "core/sys.h"

#include <string.h>

#define CAPACITY_FIRST 32

enum shoal_status shl_array_reserve(void *array, size_t *capacity, size_t count, size_t item_bytes,
                                    const char *what)
{
    if (count < *capacity)
        return SHOAL_OK;
    size_t larger = *capacity ? 2 * *capacity : CAPACITY_FIRST;
    void *items;
    memcpy(&items, array, sizeof(items)); /* Whatever type the pointer has. */
    items = shl_mem->resize(items, larger * item_bytes);
    if (!items)
        return shl_fail(SHOAL_ERR_NOMEM, "no memory for %zu %s", larger, what);
    memcpy(array, &items, sizeof(items));
    *capacity = larger;
    return SHOAL_OK;
}
