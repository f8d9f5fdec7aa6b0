/*
 * The shareable heap: first fit over an address-ordered list of ranges of one memfd.
 *
 * Invariant: the ranges cover the memfd without gaps, no two neighbours are both free, and the
 * pages of a free range read as zero.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "core/heap.h"

#include "core/list.h"
#include "core/sys.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#define PAGE_BYTES 4096u
#define LARGE_BYTES (2u << 20) /* from here on ranges are aligned to huge pages */
#define HEAP_MIN_BYTES (64ull << 20)
#define HEAP_MAX_BYTES (256ull << 30) /* 256 local ranks still fit into 47 bits of addresses */

struct range {
    struct shl_list link; /* in shl_heap.ranges, by offset */
    uint64_t offset, bytes;
    bool used;
};

struct shl_heap {
    pthread_mutex_t lock; /* guards ranges and in_use */
    uint8_t *base;        /* constant after create, like size and fd */
    uint64_t size;
    int fd;
    struct shl_list ranges;
    size_t in_use;
};

static struct range *range_of(struct shl_list *link)
{
    return SHL_CONTAINER_OF(link, struct range, link);
}

static uint64_t round_up(uint64_t value, uint64_t align)
{
    return (value + align - 1) / align * align;
}

/* ---- creation --------------------------------------------------------------------------- */

/* As much as could ever be resident; RLIMIT_FSIZE counts for memfds too and kills by signal. */
static uint64_t wanted_bytes(void)
{
    long pages = sysconf(_SC_PHYS_PAGES);
    long page = sysconf(_SC_PAGESIZE);
    uint64_t bytes = pages > 0 && page > 0 ? (uint64_t)pages * (uint64_t)page : HEAP_MIN_BYTES;
    bytes = round_up(bytes, LARGE_BYTES);
    struct rlimit limit;
    if (getrlimit(RLIMIT_FSIZE, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY &&
        bytes > limit.rlim_cur)
        bytes = limit.rlim_cur / PAGE_BYTES * PAGE_BYTES;
    return bytes < HEAP_MAX_BYTES ? bytes : HEAP_MAX_BYTES;
}

/* Halves the size until both the file and the mapping are granted. */
static enum shoal_status reserve(struct shl_heap *heap)
{
    for (uint64_t size = wanted_bytes();; size = size / 2 / PAGE_BYTES * PAGE_BYTES) {
        if (size < PAGE_BYTES)
            return shl_fail(SHOAL_ERR_NOMEM,
                            "no file may be created for shared memory: RLIMIT_FSIZE is 0; raise "
                            "it with ulimit -f");
        bool last = size <= HEAP_MIN_BYTES;
        if (shl_mem->truncate(heap->fd, (off_t)size) != 0) {
            if (last)
                return shl_fail_errno("ftruncate of a memfd to %llu bytes; raise ulimit -f",
                                      (unsigned long long)size);
            continue;
        }
        void *base = shl_mem->map(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE,
                                  heap->fd, 0);
        if (base != MAP_FAILED) {
            heap->base = base;
            heap->size = size;
            return SHOAL_OK;
        }
        if (last)
            return shl_fail_errno("mmap of %llu bytes of shared memory; raise ulimit -v",
                                  (unsigned long long)size);
    }
}

static enum shoal_status open_memfd(struct shl_heap *heap)
{
    heap->fd = shl_mem->memfd("shoal-heap", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (heap->fd < 0)
        return shl_fail_errno("memfd_create of the shared heap");
    enum shoal_status status = reserve(heap);
    if (status != SHOAL_OK)
        goto close_memfd;
    if (shl_mem->seal(heap->fd, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0) {
        status = shl_fail_errno("sealing the memfd of the shared heap");
        goto unmap;
    }
    return SHOAL_OK;

unmap:
    shl_mem->unmap(heap->base, heap->size);
close_memfd:
    shl_fd->close(heap->fd);
    return status;
}

enum shoal_status shl_heap_create(struct shl_heap **heap)
{
    struct shl_heap *created = shl_mem->alloc(sizeof(*created));
    struct range *all = shl_mem->alloc(sizeof(*all));
    enum shoal_status status;
    if (!created || !all) {
        status = shl_fail(SHOAL_ERR_NOMEM, "no memory for the records of the shared heap");
        goto free_records;
    }
    status = open_memfd(created);
    if (status != SHOAL_OK)
        goto free_records;
    pthread_mutex_init(&created->lock, NULL);
    shl_list_init(&created->ranges);
    all->bytes = created->size;
    shl_list_append(&created->ranges, &all->link);
    *heap = created;
    return SHOAL_OK;

free_records:
    shl_mem->free(all);
    shl_mem->free(created);
    return status;
}

void shl_heap_destroy(struct shl_heap *heap)
{
    if (!heap)
        return;
    struct shl_list *node;
    while ((node = shl_list_pop(&heap->ranges)) != NULL)
        shl_mem->free(range_of(node));
    shl_mem->unmap(heap->base, heap->size);
    shl_fd->close(heap->fd);
    pthread_mutex_destroy(&heap->lock);
    shl_mem->free(heap);
}

/* ---- ranges ----------------------------------------------------------------------------- */

/* Cuts `range` so that it keeps its first `bytes`; the rest becomes a free range behind it. */
static bool split(struct range *range, uint64_t bytes)
{
    if (bytes == range->bytes)
        return true;
    struct range *rest = shl_mem->alloc(sizeof(*rest));
    if (!rest)
        return false;
    rest->offset = range->offset + bytes;
    rest->bytes = range->bytes - bytes;
    range->bytes = bytes;
    shl_list_append(range->link.next, &rest->link); /* before the successor: behind `range` */
    return true;
}

/* Joins `range`, which is free, with the free range behind it. */
static void join_next(struct shl_heap *heap, struct range *range)
{
    if (range->link.next == &heap->ranges)
        return;
    struct range *next = range_of(range->link.next);
    if (next->used)
        return;
    range->bytes += next->bytes;
    shl_list_remove(&next->link);
    shl_mem->free(next);
}

static void join_neighbours(struct shl_heap *heap, struct range *range)
{
    join_next(heap, range);
    if (range->link.prev == &heap->ranges)
        return;
    struct range *previous = range_of(range->link.prev);
    if (!previous->used)
        join_next(heap, previous);
}

static struct range *first_fit(struct shl_heap *heap, uint64_t bytes, uint64_t align)
{
    struct shl_list *node, *next;
    SHL_LIST_FOR_EACH(node, next, &heap->ranges)
    {
        struct range *range = range_of(node);
        uint64_t gap = round_up(range->offset, align) - range->offset;
        if (!range->used && gap <= range->bytes && bytes <= range->bytes - gap)
            return range;
    }
    return NULL;
}

/* Cuts an aligned part of `bytes` out of `range`. NULL, with all as before, when there is no memory
 * for the record of what is left over. */
static struct range *carve(struct shl_heap *heap, struct range *range, uint64_t bytes,
                           uint64_t align)
{
    uint64_t gap = round_up(range->offset, align) - range->offset;
    struct range *part = range;
    if (gap) {
        if (!split(range, gap))
            return NULL;
        part = range_of(range->link.next);
    }
    if (!split(part, bytes)) {
        join_neighbours(heap, part);
        return NULL;
    }
    part->used = true;
    return part;
}

enum shoal_status shl_heap_alloc(struct shl_heap *heap, size_t bytes, void **pointer)
{
    if (bytes > heap->size)
        return shl_fail(SHOAL_ERR_NOMEM, "%zu bytes exceed the shared heap of %llu bytes", bytes,
                        (unsigned long long)heap->size);
    uint64_t need = bytes ? round_up(bytes, PAGE_BYTES) : PAGE_BYTES;
    uint64_t align = need >= LARGE_BYTES ? LARGE_BYTES : PAGE_BYTES;
    struct range *part = NULL;
    pthread_mutex_lock(&heap->lock);
    struct range *range = first_fit(heap, need, align);
    if (range)
        part = carve(heap, range, need, align);
    if (part)
        heap->in_use++;
    pthread_mutex_unlock(&heap->lock);
    if (!range)
        return shl_fail(SHOAL_ERR_NOMEM,
                        "no free range of %llu bytes in the shared heap of %llu bytes; free "
                        "buffers that are no longer used",
                        (unsigned long long)need, (unsigned long long)heap->size);
    if (!part)
        return shl_fail(SHOAL_ERR_NOMEM, "no memory for the record of a shared range");
    *pointer = heap->base + part->offset;
    return SHOAL_OK;
}

static struct range *find_used(struct shl_heap *heap, uint64_t offset)
{
    struct shl_list *node, *next;
    SHL_LIST_FOR_EACH(node, next, &heap->ranges)
    {
        struct range *range = range_of(node);
        if (range->offset == offset && range->used)
            return range;
    }
    return NULL;
}

/* Gives the pages back, which also makes them read as zero. */
static void discard(struct shl_heap *heap, const struct range *range)
{
    int result;
    do
        result = shl_mem->punch(heap->fd, (off_t)range->offset, (off_t)range->bytes);
    while (result != 0 && errno == EINTR);
    if (result != 0)
        memset(heap->base + range->offset, 0, range->bytes);
}

static enum shoal_status release(struct shl_heap *heap, void *pointer, bool reuse)
{
    if (!pointer)
        return SHOAL_OK;
    uint64_t offset = shl_heap_offset(heap, pointer, 0);
    pthread_mutex_lock(&heap->lock);
    struct range *range = offset == UINT64_MAX ? NULL : find_used(heap, offset);
    if (range) {
        heap->in_use--;
        if (reuse) {
            discard(heap, range);
            range->used = false;
            join_neighbours(heap, range);
        }
    }
    pthread_mutex_unlock(&heap->lock);
    if (!range)
        return shl_fail(SHOAL_ERR_INVALID,
                        "%p is not the start of an allocation of this context, or is already free",
                        pointer);
    return SHOAL_OK;
}

enum shoal_status shl_heap_free(struct shl_heap *heap, void *pointer)
{
    return release(heap, pointer, true);
}

enum shoal_status shl_heap_abandon(struct shl_heap *heap, void *pointer)
{
    return release(heap, pointer, false);
}

void shl_heap_trim(struct shl_heap *heap, void *pointer, size_t bytes)
{
    uint64_t offset = shl_heap_offset(heap, pointer, bytes);
    if (offset == UINT64_MAX)
        return;
    uint64_t first = round_up(offset, PAGE_BYTES), end = (offset + bytes) / PAGE_BYTES * PAGE_BYTES;
    int result = 0;
    do
        if (first < end)
            result = shl_mem->punch(heap->fd, (off_t)first, (off_t)(end - first));
    while (result != 0 && errno == EINTR);
}

/* ---- lookups ---------------------------------------------------------------------------- */

uint64_t shl_heap_offset(const struct shl_heap *heap, const void *pointer, size_t bytes)
{
    uint64_t offset = (uint64_t)((uintptr_t)pointer - (uintptr_t)heap->base);
    return SHL_LIKELY(offset < heap->size && bytes <= heap->size - offset) ? offset : UINT64_MAX;
}

int shl_heap_fd(const struct shl_heap *heap)
{
    return heap->fd;
}

uint64_t shl_heap_size(const struct shl_heap *heap)
{
    return heap->size;
}

size_t shl_heap_in_use(const struct shl_heap *heap)
{
    struct shl_heap *locked = (struct shl_heap *)(uintptr_t)heap;
    pthread_mutex_lock(&locked->lock);
    size_t in_use = locked->in_use;
    pthread_mutex_unlock(&locked->lock);
    return in_use;
}
