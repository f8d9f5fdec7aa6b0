/*
 * The ring of records from one rank to one other: small messages, offers, demands.
 *
 * Invariant: the line behind the newest record has stamp zero, so a reader that has read all waits
 * on a line that cannot look like a record. Order of stores: shm_layout.h, items 1 and 2.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "transport/shm/shm.h"

#include <string.h>

static uint64_t record_bytes(uint64_t payload_bytes)
{
    return (SHL_SHM_RECORD_HEAD_BYTES + payload_bytes + SHL_SHM_LINE - 1) / SHL_SHM_LINE *
           SHL_SHM_LINE;
}

static struct shl_shm_record *record_at(const uint8_t *ring, uint64_t position)
{
    return (struct shl_shm_record *)(uintptr_t)(ring + position % SHL_SHM_RING_BYTES);
}

static bool has_room(const struct shl_shm_peer *peer, uint64_t bytes)
{
    return peer->tail + bytes - peer->moved_seen <= SHL_SHM_RING_BYTES;
}

/* Room for `bytes` from the tail on; asks the receiver's counter only when the last look is not
 * enough, since that costs a cache miss. */
static bool find_room(struct shl_transport *t, struct shl_shm_peer *peer, uint64_t bytes)
{
    if (SHL_LIKELY(has_room(peer, bytes)))
        return true;
    uint64_t moved = atomic_load_explicit(&peer->theirs->moved, memory_order_acquire);
    if (moved < peer->moved_seen || moved > peer->tail) {
        shl_shm_peer_spoil(t, peer, "it says it read %llu bytes of a ring with %llu",
                           (unsigned long long)moved, (unsigned long long)peer->tail);
        return false;
    }
    peer->moved_seen = moved;
    return has_room(peer, bytes);
}

/* What a record takes: itself, what is skipped at the end of the ring, and one line more for the
 * zero stamp behind it. */
static uint64_t footprint(uint64_t tail, uint64_t payload_bytes, uint64_t *skip)
{
    uint64_t need = record_bytes(payload_bytes);
    uint64_t to_end = SHL_SHM_RING_BYTES - tail % SHL_SHM_RING_BYTES;
    *skip = need > to_end ? to_end : 0;
    return *skip + need + SHL_SHM_LINE;
}

bool shl_shm_ring_would_fit(const struct shl_shm_peer *peer, uint64_t payload_bytes)
{
    uint64_t skip;
    uint64_t moved = atomic_load_explicit(&peer->theirs->moved, memory_order_acquire);
    return peer->tail + footprint(peer->tail, payload_bytes, &skip) - moved <= SHL_SHM_RING_BYTES;
}

struct shl_shm_record *shl_shm_ring_reserve(struct shl_transport *t, struct shl_shm_peer *peer,
                                            uint32_t payload_bytes)
{
    uint64_t skip;
    if (!find_room(t, peer, footprint(peer->tail, payload_bytes, &skip)))
        return NULL;
    struct shl_shm_record *record = record_at(peer->mine->ring, peer->tail);
    if (skip) {
        record->kind = SHL_SHM_PAD;
        record->bytes = (uint32_t)(skip - SHL_SHM_RECORD_HEAD_BYTES);
        shl_shm_ring_publish(t, peer, record);
        record = record_at(peer->mine->ring, peer->tail);
    }
    record->bytes = payload_bytes;
    return record;
}

void shl_shm_ring_publish(struct shl_transport *t, struct shl_shm_peer *peer,
                          struct shl_shm_record *record)
{
    uint64_t position = peer->tail;
    peer->tail += record_bytes(record->bytes);
    struct shl_shm_record *next = record_at(peer->mine->ring, peer->tail);
    atomic_store_explicit(&next->stamp, 0, memory_order_relaxed);
    /* The receiver polls this stamp, so everything else comes first. */
    atomic_store_explicit(&record->stamp, position + 1, memory_order_release);
    shl_shm_mark_dirty(t, peer, SHL_SHM_DIRTY_NEWS);
}

bool shl_shm_ring_has_news(const struct shl_shm_peer *peer)
{
    const struct shl_shm_record *record = record_at(peer->theirs->ring, peer->position);
    return atomic_load_explicit(&record->stamp, memory_order_acquire) == peer->position + 1;
}

/* The limits of each kind, so that no later reader has to ask. */
static bool head_is_sound(const struct shl_shm_record *head, uint64_t at)
{
    if (head->bytes > SHL_SHM_RING_BYTES || at + record_bytes(head->bytes) > SHL_SHM_RING_BYTES)
        return false;
    switch (head->kind) {
    case SHL_SHM_PAD:
        return at + record_bytes(head->bytes) == SHL_SHM_RING_BYTES;
    case SHL_SHM_DATA:
        return head->bytes <= SHL_SHM_EAGER_BYTES;
    case SHL_SHM_OFFER:
        return head->bytes == sizeof(struct shl_shm_offer) && head->offer < SHL_SHM_OFFERS &&
               (head->offer == SHL_SHM_OFFER_ON_DEMAND) == (head->on_demand != 0);
    case SHL_SHM_ANNOUNCE:
        return head->bytes == 0;
    case SHL_SHM_DEMAND:
        return head->bytes == sizeof(uint32_t);
    default:
        return false;
    }
}

enum shl_shm_peek shl_shm_ring_peek(struct shl_shm_peer *peer, struct shl_shm_record *head,
                                    const uint8_t **payload)
{
    if (!shl_shm_ring_has_news(peer))
        return SHL_SHM_EMPTY;
    const struct shl_shm_record *record = record_at(peer->theirs->ring, peer->position);
    /* Judge and use one copy: the peer may change the original at any time. The barrier keeps the
     * compiler from going back to it. */
    memcpy(head, record, sizeof(*head));
    __asm__ volatile("" ::: "memory");
    if (SHL_UNLIKELY(!head_is_sound(head, peer->position % SHL_SHM_RING_BYTES)))
        return SHL_SHM_CORRUPT;
    *payload = record->payload;
    return SHL_SHM_READY;
}

void shl_shm_ring_advance(struct shl_transport *t, struct shl_shm_peer *peer,
                          const struct shl_shm_record *head)
{
    peer->position += record_bytes(head->bytes);
    /* The payload was read before, so the sender may overwrite it. */
    atomic_store_explicit(&peer->mine->moved, peer->position, memory_order_release);
    shl_shm_mark_dirty(t, peer, SHL_SHM_DIRTY_ROOM);
}
