/*
 * See slots.h.
 *
 * Invariant: a slab exists while one of its slots does, or until the first is cut.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "elastic/state/slots.h"

#include "core/sys.h"

#define PAGE_BYTES 4096u
#define LINE_BYTES 64u

struct shl_slab {
    struct shl_heap *heap;
    uint8_t *base;
    size_t used;    /* bytes that were cut */
    uint32_t slots; /* that live */
};

size_t shl_slot_room(size_t bytes)
{
    size_t unit = bytes < PAGE_BYTES ? LINE_BYTES : PAGE_BYTES;
    return (bytes + unit - 1) / unit * unit;
}

enum shoal_status shl_slab_make(struct shl_heap *heap, size_t room, struct shl_slab **slab)
{
    void *base;
    struct shl_slab *made = shl_mem->alloc(sizeof(*made));
    if (!made)
        return shl_fail_errno("cannot allocate the record of copies of shards");
    enum shoal_status status = shl_heap_alloc(heap, room, &base);
    if (status != SHOAL_OK) {
        shl_mem->free(made);
        return status;
    }
    *made = (struct shl_slab){.heap = heap, .base = base};
    *slab = made;
    return SHOAL_OK;
}

struct shl_slot shl_slab_cut(struct shl_slab *slab, size_t bytes)
{
    struct shl_slot slot = {.at = slab->base + slab->used, .bytes = bytes, .slab = slab};
    slab->used += shl_slot_room(bytes);
    slab->slots++;
    return slot;
}

void shl_slot_free(struct shl_slot *slot)
{
    struct shl_slab *slab = slot->slab;
    if (!slab)
        return;
    if (--slab->slots) {
        shl_heap_trim(slab->heap, slot->at, slot->bytes);
    } else {
        (void)shl_heap_free(slab->heap, slab->base);
        shl_mem->free(slab);
    }
    *slot = (struct shl_slot){.at = NULL};
}
