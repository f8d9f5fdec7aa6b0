/*
 * See cell.h.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "unit/elastic/views/cell.h"

#include <string.h>

static enum shoal_status read_it(void *arg, uint32_t timeout_ms, void *value, size_t capacity,
                                 size_t *size)
{
    struct cell *cell = arg;
    (void)timeout_ms, (void)capacity;
    pthread_mutex_lock(&cell->lock);
    memcpy(value, cell->bytes, cell->size);
    *size = cell->size;
    pthread_mutex_unlock(&cell->lock);
    return SHOAL_OK;
}

static enum shoal_status swap_it(void *arg, uint32_t timeout_ms, const void *expected,
                                 size_t expected_size, const void *desired, size_t desired_size,
                                 int *done)
{
    struct cell *cell = arg;
    (void)timeout_ms;
    pthread_mutex_lock(&cell->lock);
    *done = cell->size == expected_size && memcmp(cell->bytes, expected, expected_size) == 0;
    if (*done) {
        memcpy(cell->bytes, desired, desired_size);
        cell->size = desired_size;
    }
    pthread_mutex_unlock(&cell->lock);
    return SHOAL_OK;
}

void cell_open(struct cell *cell)
{
    cell->size = 0;
    pthread_mutex_init(&cell->lock, NULL);
}

void cell_close(struct cell *cell)
{
    pthread_mutex_destroy(&cell->lock);
}

struct shoal_store cell_store(struct cell *cell)
{
    return (struct shoal_store){
        .struct_size = sizeof(struct shoal_store), .arg = cell, .read = read_it, .swap = swap_it};
}
