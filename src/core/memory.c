/*
 * Memory that the caller keeps: an array of ranges, sorted by address.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "core/memory.h"
#include "core/array.h"

#include "core/sys.h"

#include <pthread.h>
#include <string.h>

struct shl_memory {
    pthread_mutex_t lock;
    struct shl_memory_range *ranges;
    uint32_t count;
    size_t capacity;
    uint64_t next_id;
    struct shl_list users;
};

enum shoal_status shl_memory_create(struct shl_memory **out)
{
    struct shl_memory *memory = shl_mem->alloc(sizeof(*memory));
    if (!memory)
        return shl_fail(SHOAL_ERR_NOMEM, "no memory for the record of allocations");
    pthread_mutex_init(&memory->lock, NULL);
    shl_list_init(&memory->users);
    memory->next_id = 1;
    *out = memory;
    return SHOAL_OK;
}

void shl_memory_destroy(struct shl_memory *memory)
{
    if (!memory)
        return;
    pthread_mutex_destroy(&memory->lock);
    shl_mem->free(memory->ranges);
    shl_mem->free(memory);
}

/* Ranges that end at or before `start`: the place of one that begins there. */
static uint32_t place_of(const struct shl_memory *memory, uintptr_t start)
{
    uint32_t low = 0, high = memory->count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (memory->ranges[middle].end <= start)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static enum shoal_status add(struct shl_memory *memory, uintptr_t start, uintptr_t end,
                             const struct shl_memory_dmabuf *dmabuf)
{
    uint32_t at = place_of(memory, start);
    if (at < memory->count && memory->ranges[at].start < end)
        return shl_fail(SHOAL_ERR_INVALID,
                        "[%#zx, %#zx) overlaps memory that is allocated or registered already; "
                        "deregister that first",
                        (size_t)start, (size_t)end);
    SHL_TRY(shl_array_reserve(&memory->ranges, &memory->capacity, memory->count,
                              sizeof(*memory->ranges), "ranges of memory"));
    memmove(&memory->ranges[at + 1], &memory->ranges[at],
            (memory->count - at) * sizeof(*memory->ranges));
    memory->ranges[at] = (struct shl_memory_range){start, end, memory->next_id++, *dmabuf};
    memory->count++;
    return SHOAL_OK;
}

static enum shoal_status check_and_add(struct shl_memory *memory, const void *start, size_t bytes,
                                       const struct shl_memory_dmabuf *dmabuf)
{
    uintptr_t from = (uintptr_t)start;
    if (from == 0 || bytes == 0 || from + bytes < from)
        return shl_fail(SHOAL_ERR_INVALID, "cannot register %zu bytes at %p", bytes, start);
    pthread_mutex_lock(&memory->lock);
    enum shoal_status status = add(memory, from, from + bytes, dmabuf);
    pthread_mutex_unlock(&memory->lock);
    return status;
}

enum shoal_status shl_memory_add(struct shl_memory *memory, const void *start, size_t bytes)
{
    return check_and_add(memory, start, bytes, &(struct shl_memory_dmabuf){0});
}

enum shoal_status shl_memory_add_dmabuf(struct shl_memory *memory, const void *start, size_t bytes,
                                        int fd, uint64_t offset)
{
    if (fd < 0 || offset + bytes < offset)
        return shl_fail(SHOAL_ERR_INVALID, "cannot register %zu bytes at %zu of the dmabuf %d",
                        bytes, (size_t)offset, fd);
    return check_and_add(memory, start, bytes, &(struct shl_memory_dmabuf){true, fd, offset});
}

static void tell(struct shl_memory *memory, const struct shl_memory_range *range)
{
    struct shl_list *node, *after;
    SHL_LIST_FOR_EACH(node, after, &memory->users)
    {
        struct shl_memory_user *user = SHL_CONTAINER_OF(node, struct shl_memory_user, link);
        user->gone(user, range);
    }
}

enum shoal_status shl_memory_remove(struct shl_memory *memory, const void *start)
{
    pthread_mutex_lock(&memory->lock);
    uint32_t at = place_of(memory, (uintptr_t)start);
    bool found = at < memory->count && memory->ranges[at].start == (uintptr_t)start;
    if (found) {
        tell(memory, &memory->ranges[at]);
        memory->count--;
        memmove(&memory->ranges[at], &memory->ranges[at + 1],
                (memory->count - at) * sizeof(*memory->ranges));
    }
    pthread_mutex_unlock(&memory->lock);
    return found ? SHOAL_OK
                 : shl_fail(SHOAL_ERR_INVALID, "%p is not the start of registered memory", start);
}

bool shl_memory_find(struct shl_memory *memory, const void *start, size_t bytes,
                     struct shl_memory_range *range)
{
    uintptr_t from = (uintptr_t)start;
    pthread_mutex_lock(&memory->lock);
    uint32_t at = place_of(memory, from);
    bool found = at < memory->count && memory->ranges[at].start <= from &&
                 bytes <= memory->ranges[at].end - from;
    if (found)
        *range = memory->ranges[at];
    pthread_mutex_unlock(&memory->lock);
    return found;
}

void shl_memory_watch(struct shl_memory *memory, struct shl_memory_user *user)
{
    pthread_mutex_lock(&memory->lock);
    shl_list_append(&memory->users, &user->link);
    pthread_mutex_unlock(&memory->lock);
}

void shl_memory_unwatch(struct shl_memory *memory, struct shl_memory_user *user)
{
    pthread_mutex_lock(&memory->lock);
    shl_list_remove(&user->link);
    pthread_mutex_unlock(&memory->lock);
}
