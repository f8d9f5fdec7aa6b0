/*
 * Memory that the caller keeps: ranges of shoal_mem_alloc and of shoal_mem_register.
 *
 * Only such memory may stay registered with a device between operations, since only its end is
 * told: whoever registered something hears of it before the range goes away. Ranges do not overlap,
 * and the id of one is never used again, so memory at the same address later is another range.
 *
 * Threads  any; one mutex, which is held while users are told
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef SHL_CORE_MEMORY_H
#define SHL_CORE_MEMORY_H

#include "core/list.h"
#include "core/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct shl_memory;

/* Memory that a driver shares as a file, so that other devices can be given it (dmabuf). */
struct shl_memory_dmabuf {
    bool given; /* false: ordinary memory */
    int fd;     /* the caller's; open as long as the range is here */
    uint64_t offset;
};

struct shl_memory_range {
    uintptr_t start, end;
    uint64_t id;
    struct shl_memory_dmabuf dmabuf;
};

/* Somebody who registers ranges. `gone` is called in the thread that ends the range; it may not
 * call back. */
struct shl_memory_user {
    struct shl_list link;
    void (*gone)(struct shl_memory_user *user, const struct shl_memory_range *range);
};

enum shoal_status shl_memory_create(struct shl_memory **memory);
void shl_memory_destroy(struct shl_memory *memory);

/* SHOAL_ERR_INVALID: it overlaps another range. */
enum shoal_status shl_memory_add(struct shl_memory *memory, const void *start, size_t bytes);
/* The same for memory that is also a dmabuf, from `offset` on. SHOAL_ERR_INVALID also: no file. */
enum shoal_status shl_memory_add_dmabuf(struct shl_memory *memory, const void *start, size_t bytes,
                                        int fd, uint64_t offset);
/* SHOAL_ERR_INVALID: no range starts there. */
enum shoal_status shl_memory_remove(struct shl_memory *memory, const void *start);

/* The range that all of [start, start + bytes) lies in; false: there is none. */
bool shl_memory_find(struct shl_memory *memory, const void *start, size_t bytes,
                     struct shl_memory_range *range);

void shl_memory_watch(struct shl_memory *memory, struct shl_memory_user *user);
void shl_memory_unwatch(struct shl_memory *memory, struct shl_memory_user *user);

#endif
