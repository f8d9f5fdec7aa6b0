/*
 * A store in memory, for members in one process.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef ELASTIC_VIEWS_CELL_H
#define ELASTIC_VIEWS_CELL_H

#include <pthread.h>
#include <shoal/elastic.h>

struct cell {
    pthread_mutex_t lock;
    size_t size; /* 0: nothing was written */
    uint8_t bytes[SHOAL_STORE_BYTES_MAX];
};

void cell_open(struct cell *cell); /* empty */
void cell_close(struct cell *cell);
struct shoal_store cell_store(struct cell *cell);

#endif
