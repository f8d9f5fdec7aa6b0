/*
 * The caller's own store, through the C ABI.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "core/sys.h"
#include "elastic/store/blocking.h"
#include "elastic/store/client.h"

#define MS 1000000ull

static uint32_t left_ms(uint64_t deadline_ns)
{
    uint64_t now = shl_now_ns();
    return now < deadline_ns ? (uint32_t)((deadline_ns - now + MS - 1) / MS) : 0;
}

static enum shoal_status read_it(void *arg, uint64_t deadline_ns, struct shl_cell *cell)
{
    const struct shoal_store *store = arg;
    size_t size = 0;
    enum shoal_status status =
        store->read(store->arg, left_ms(deadline_ns), cell->bytes, sizeof(cell->bytes), &size);
    if (status != SHOAL_OK)
        return shl_fail(SHOAL_ERR_STORE, "read of the caller's store returned %d (%s)", status,
                        shoal_status_string(status));
    if (size > sizeof(cell->bytes))
        return shl_fail(SHOAL_ERR_STORE, "the caller's store gave %zu bytes; %zu is the most", size,
                        sizeof(cell->bytes));
    cell->size = size;
    return SHOAL_OK;
}

static enum shoal_status swap_it(void *arg, uint64_t deadline_ns, const struct shl_cell *expected,
                                 const struct shl_cell *desired, bool *done)
{
    const struct shoal_store *store = arg;
    int swapped = 0;
    enum shoal_status status = store->swap(store->arg, left_ms(deadline_ns), expected->bytes,
                                           expected->size, desired->bytes, desired->size, &swapped);
    if (status != SHOAL_OK)
        return shl_fail(SHOAL_ERR_STORE, "swap of the caller's store returned %d (%s)", status,
                        shoal_status_string(status));
    *done = swapped != 0;
    return SHOAL_OK;
}

static void close_it(void *store)
{
    shl_mem->free(store);
}

static const struct shl_blocking_ops ops = {.read = read_it, .swap = swap_it, .close = close_it};

enum shoal_status shl_store_open_custom(const struct shl_store_options *options,
                                        struct shl_store **opened)
{
    const struct shoal_store *given = options->custom;
    if (given->struct_size < sizeof(*given) || !given->read || !given->swap)
        return shl_fail(SHOAL_ERR_INVALID, "a store needs its struct_size, read and swap");
    struct shoal_store *store = shl_mem->alloc(sizeof(*store));
    if (!store)
        return shl_fail(SHOAL_ERR_NOMEM, "no memory for a client of the store");
    *store = *given;
    return shl_blocking_open(options, &ops, store, opened);
}
