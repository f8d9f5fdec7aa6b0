/*
 * Memory of slots (shards.h). It is of the shareable heap, so that a member of the same host copies
 * what it is to have straight from the slot in which the owner keeps it, without the kernel.
 *
 * All slots that a change of the view asks for in one array are cut from one range, a slab, since
 * the heap is made for few ranges. Pages of a slot that is freed go back at once, the range when
 * the last of its slots is.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef SHL_ELASTIC_STATE_SLOTS_H
#define SHL_ELASTIC_STATE_SLOTS_H

#include "core/heap.h"
#include "elastic/state/shards.h"

/* What a slot of `bytes` takes of a slab. */
size_t shl_slot_room(size_t bytes);

/* shl_slab_make - room for slots that together take `room` bytes, above 0. */
enum shoal_status shl_slab_make(struct shl_heap *heap, size_t room, struct shl_slab **slab);
/* The next slot, which reads as zero; its room is left. */
struct shl_slot shl_slab_cut(struct shl_slab *slab, size_t bytes);
/* Nothing where it has no memory. It has none afterwards. */
void shl_slot_free(struct shl_slot *slot);

#endif
