/*
 * The shareable heap of a context: one memfd, mapped once, from which shoal_mem_alloc and the
 * shared-memory transport take ranges. Peers map ranges of the same memfd by offset.
 *
 * The memfd is created sparse, as large as the machine's memory where address space allows; pages
 * exist once touched. Ranges are multiples of 4096 bytes (those of 2 MiB and more start at 2 MiB)
 * and are zero when handed out. Sealed, it cannot shrink, so a peer that maps it is safe from
 * SIGBUS whatever this process does.
 *
 * Threads  any; one mutex.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef SHL_CORE_HEAP_H
#define SHL_CORE_HEAP_H

#include "core/status.h"

#include <stddef.h>
#include <stdint.h>

struct shl_heap;

enum shoal_status shl_heap_create(struct shl_heap **heap);
void shl_heap_destroy(struct shl_heap *heap);

enum shoal_status shl_heap_alloc(struct shl_heap *heap, size_t bytes, void **pointer);
/* Returns pages to the kernel. SHOAL_ERR_INVALID when `pointer` did not come from alloc. NULL is
 * legal. */
enum shoal_status shl_heap_free(struct shl_heap *heap, void *pointer);
/* The same for a range that a peer may still be reading: its pages stay as they are, and are not
 * handed out again, until the heap is destroyed. */
enum shoal_status shl_heap_abandon(struct shl_heap *heap, void *pointer);

/* Whole pages of a part of a range go back to the kernel, where it takes them, and read as zero.
 * The range stays. */
void shl_heap_trim(struct shl_heap *heap, void *pointer, size_t bytes);

/* Offset in the memfd of a range that lies inside the heap; UINT64_MAX otherwise. Called for every
 * operation, so it takes no lock and compares bounds only: a range that was freed or never handed
 * out is still safe for peers to touch. */
uint64_t shl_heap_offset(const struct shl_heap *heap, const void *pointer, size_t bytes);
int shl_heap_fd(const struct shl_heap *heap);
uint64_t shl_heap_size(const struct shl_heap *heap); /* of the memfd */
size_t shl_heap_in_use(const struct shl_heap *heap); /* allocations not yet freed */

#endif
