/*
 * Sending: small messages are written into the ring at once; large ones are offered, and then
 * either read by the receiver from where they lie or streamed through cells.
 *
 * Invariant: an offer's index is taken from its record until the receiver's final reply, whatever
 * becomes of the transfer, so a late reply can never meet another message. A send that was offered
 * completes only when the receiver has all of it, or when all of it is in cells.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "transport/shm/shm.h"

#include <string.h>

#define NORMAL_OFFERS (UINT64_MAX >> 1) /* all but SHL_SHM_OFFER_ON_DEMAND */

_Static_assert(SHL_SHM_OFFERS == 64 && SHL_SHM_OFFER_ON_DEMAND == 63, "masks are 64 bits");

static bool has_credit(struct shl_transport *t, struct shl_shm_peer *peer)
{
    if (SHL_LIKELY(peer->sent - peer->credits_seen < SHL_SHM_CREDITS))
        return true;
    uint64_t credits = atomic_load_explicit(&peer->theirs->credits, memory_order_acquire);
    if (credits < peer->credits_seen || credits > peer->sent) {
        shl_shm_peer_spoil(t, peer, "it says it took %llu messages of %llu",
                           (unsigned long long)credits, (unsigned long long)peer->sent);
        return false;
    }
    peer->credits_seen = credits;
    return peer->sent - credits < SHL_SHM_CREDITS;
}

static void fill_head(struct shl_shm_record *record, const struct shl_xfer *xfer, uint8_t kind,
                      bool on_demand)
{
    record->tag = xfer->tag;
    record->signature = xfer->signature;
    record->kind = kind;
    record->on_demand = on_demand;
}

static bool start_eager(struct shl_transport *t, struct shl_shm_peer *peer, struct shl_xfer *xfer,
                        bool on_demand)
{
    struct shl_shm_record *record = shl_shm_ring_reserve(t, peer, (uint32_t)xfer->bytes);
    if (!record)
        return false;
    fill_head(record, xfer, SHL_SHM_DATA, on_demand);
    if (xfer->bytes)
        memcpy(record->payload, xfer->data, xfer->bytes);
    shl_shm_ring_publish(t, peer, record);
    shl_list_remove(&xfer->link);
    shl_shm_complete(t, xfer);
    return true;
}

static bool start_offer(struct shl_transport *t, struct shl_shm_peer *peer, struct shl_xfer *xfer,
                        bool on_demand)
{
    unsigned index = SHL_SHM_OFFER_ON_DEMAND;
    if (!on_demand) {
        uint64_t idle = ~peer->offers_busy & NORMAL_OFFERS;
        if (!idle)
            return false;
        index = (unsigned)__builtin_ctzll(idle);
    } else if (peer->offers_busy >> index & 1) {
        return false;
    }
    struct shl_shm_record *record = shl_shm_ring_reserve(t, peer, sizeof(struct shl_shm_offer));
    if (!record)
        return false;
    struct shl_shm_outgoing *out = &peer->out[index];
    out->xfer = xfer;
    out->granted = false;
    if (++out->generation == 0)
        out->generation = 1; /* 0 means withdrawn */
    peer->offers_busy |= 1ull << index;
    xfer->scratch[SHL_SHM_SEND_INDEX] = index;
    struct shl_shm_offer offer = {
        .bytes = xfer->bytes,
        .address = (uint64_t)(uintptr_t)xfer->data,
        .heap_offset = shl_heap_offset(t->env->heap, xfer->data, xfer->bytes),
        .generation = out->generation,
    };
    fill_head(record, xfer, SHL_SHM_OFFER, on_demand);
    record->offer = (uint16_t)index;
    memcpy(record->payload, &offer, sizeof(offer));
    atomic_store_explicit(&peer->mine->valid[index], out->generation, memory_order_relaxed);
    shl_shm_ring_publish(t, peer, record);
    shl_list_remove(&xfer->link);
    shl_list_append(&peer->offered, &xfer->link);
    return true;
}

bool shl_shm_send_start(struct shl_transport *t, struct shl_shm_peer *peer, struct shl_xfer *xfer,
                        bool on_demand)
{
    if (!on_demand && !has_credit(t, peer))
        return false;
    if (xfer->bytes <= SHL_SHM_EAGER_BYTES ? !start_eager(t, peer, xfer, on_demand)
                                           : !start_offer(t, peer, xfer, on_demand))
        return false;
    if (!on_demand)
        peer->sent++;
    return true;
}

enum shoal_status shl_shm_send(struct shl_transport *t, struct shl_xfer *xfer)
{
    struct shl_shm_peer *peer = shl_shm_peer_of(t, xfer->peer);
    if (!peer)
        return shl_fail(SHOAL_ERR_PEER, "rank %u is not reached through shared memory", xfer->peer);
    xfer->status = SHOAL_IN_PROGRESS;
    xfer->moved_bytes = 0;
    memset(xfer->scratch, 0, sizeof(xfer->scratch));
    bool first = shl_list_empty(&peer->pending);
    shl_list_append(&peer->pending, &xfer->link);
    struct shl_shm_heard other;
    bool fits = SHL_LIKELY(!peer->heard_count) || shl_shm_announce_fits(peer, xfer, &other);
    if (first)
        shl_shm_send_start(t, peer, xfer, false);
    if (!fits)
        t->env->seen(t->env->arg, peer->rank, &other.tag, &other.signature);
    return SHOAL_OK;
}

/* ---- what the receiver answers ---------------------------------------------------------- */

static unsigned on_granted(struct shl_transport *t, struct shl_shm_peer *peer, unsigned index,
                           uint64_t start, uint32_t elem_bytes)
{
    struct shl_shm_outgoing *out = &peer->out[index];
    if (out->granted)
        return 0;
    out->granted = true;
    struct shl_xfer *xfer = out->xfer;
    if (!xfer) /* cancelled; the receiver will see that it was withdrawn */
        return 1;
    if (start >= xfer->bytes || elem_bytes == 0 || elem_bytes > 16 || start % elem_bytes) {
        shl_shm_peer_spoil(t, peer, "it asks for bytes from %llu of a message of %llu",
                           (unsigned long long)start, (unsigned long long)xfer->bytes);
        return 1;
    }
    xfer->scratch[SHL_SHM_SEND_STREAMED] = start;
    xfer->scratch[SHL_SHM_SEND_ELEM] = elem_bytes;
    shl_list_remove(&xfer->link);
    shl_list_append(&peer->streaming, &xfer->link);
    return 1;
}

static unsigned on_final(struct shl_transport *t, struct shl_shm_peer *peer, unsigned index,
                         enum shl_shm_reply_state state)
{
    struct shl_shm_outgoing *out = &peer->out[index];
    struct shl_xfer *xfer = out->xfer;
    out->xfer = NULL;
    peer->offers_busy &= ~(1ull << index);
    if (!xfer)
        return 1;
    if (state == SHL_SHM_DONE && out->granted) {
        shl_shm_peer_spoil(t, peer, "it has all of a message that was not sent yet");
        return 1;
    }
    shl_list_remove(&xfer->link);
    if (state == SHL_SHM_DONE) {
        xfer->moved_bytes = xfer->bytes;
        shl_shm_complete(t, xfer);
    } else {
        /* The receiver cancelled. It is not ours to say that this message arrived. */
        shl_list_append(&peer->stranded, &xfer->link);
    }
    return 1;
}

static unsigned read_replies(struct shl_transport *t, struct shl_shm_peer *peer)
{
    unsigned events = 0;
    for (uint64_t busy = peer->offers_busy; busy && !peer->dead; busy &= busy - 1) {
        unsigned index = (unsigned)__builtin_ctzll(busy);
        const struct shl_shm_reply *reply = &peer->theirs->replies[index];
        uint64_t word = atomic_load_explicit(&reply->word, memory_order_acquire);
        if (word >> 32 != peer->out[index].generation)
            continue;
        uint64_t start = atomic_load_explicit(&reply->start, memory_order_relaxed);
        switch (word & 0xff) {
        case SHL_SHM_GRANTED:
            events += on_granted(t, peer, index, start, (uint32_t)(word >> 8) & 0xffffffu);
            break;
        case SHL_SHM_DONE:
        case SHL_SHM_REFUSED:
            events += on_final(t, peer, index, (enum shl_shm_reply_state)(word & 0xff));
            break;
        default:
            shl_shm_peer_spoil(t, peer, "it answers an offer with %u", (unsigned)(word & 0xff));
        }
    }
    return events;
}

/* ---- streaming through cells ------------------------------------------------------------ */

static bool cell_is_free(struct shl_transport *t, struct shl_shm_peer *peer)
{
    if (peer->cell_tail - peer->cells_read_seen < SHL_SHM_CELLS)
        return true;
    uint64_t read = atomic_load_explicit(&peer->theirs->cells_read, memory_order_acquire);
    if (read < peer->cells_read_seen || read > peer->cell_tail) {
        shl_shm_peer_spoil(t, peer, "it says it read %llu cells of %llu", (unsigned long long)read,
                           (unsigned long long)peer->cell_tail);
        return false;
    }
    peer->cells_read_seen = read;
    return peer->cell_tail - read < SHL_SHM_CELLS;
}

static void write_cell(struct shl_transport *t, struct shl_shm_peer *peer, struct shl_xfer *xfer)
{
    uint64_t offset = xfer->scratch[SHL_SHM_SEND_STREAMED];
    uint64_t left = xfer->bytes - offset;
    uint32_t most =
        SHL_SHM_CELL_BYTES - SHL_SHM_CELL_BYTES % (uint32_t)xfer->scratch[SHL_SHM_SEND_ELEM];
    uint32_t bytes = left < most ? (uint32_t)left : most;
    unsigned index = (unsigned)xfer->scratch[SHL_SHM_SEND_INDEX];
    unsigned cell = (unsigned)(peer->cell_tail % SHL_SHM_CELLS);
    struct shl_shm_cell_head *head = &peer->mine->heads[cell];
    memcpy(peer->mine->cells[cell], (const uint8_t *)xfer->data + offset, bytes);
    head->offset = offset;
    head->generation = peer->out[index].generation;
    head->bytes = bytes;
    head->offer = (uint16_t)index;
    peer->cell_tail++;
    atomic_store_explicit(&head->stamp, peer->cell_tail, memory_order_release);
    shl_shm_mark_dirty(t, peer, SHL_SHM_DIRTY_NEWS);
    xfer->scratch[SHL_SHM_SEND_STREAMED] = offset + bytes;
    xfer->moved_bytes = offset + bytes;
}

static unsigned stream(struct shl_transport *t, struct shl_shm_peer *peer)
{
    unsigned events = 0;
    while (!shl_list_empty(&peer->streaming) && cell_is_free(t, peer)) {
        struct shl_xfer *xfer = SHL_CONTAINER_OF(peer->streaming.next, struct shl_xfer, link);
        write_cell(t, peer, xfer);
        events++;
        if (xfer->moved_bytes < xfer->bytes)
            continue;
        /* The index stays taken: the receiver answers when it has read the last cell. */
        peer->out[xfer->scratch[SHL_SHM_SEND_INDEX]].xfer = NULL;
        shl_list_remove(&xfer->link);
        shl_shm_complete(t, xfer);
    }
    return events;
}

unsigned shl_shm_send_progress(struct shl_transport *t, struct shl_shm_peer *peer)
{
    unsigned events = read_replies(t, peer);
    if (!peer->dead)
        events += stream(t, peer);
    struct shl_list *node, *next;
    SHL_LIST_FOR_EACH(node, next, &peer->pending)
    {
        struct shl_xfer *xfer = SHL_CONTAINER_OF(node, struct shl_xfer, link);
        if (xfer == peer->demand.xfer)
            continue; /* its own way is under way */
        if (peer->dead || !shl_shm_send_start(t, peer, xfer, false))
            break;
        events++;
    }
    if (!peer->dead)
        events += shl_shm_demand_progress(t, peer);
    return events;
}

bool shl_shm_send_waits(const struct shl_shm_peer *peer)
{
    return peer->offers_busy || !shl_list_empty(&peer->pending) ||
           peer->demand.state != SHL_SHM_DEMAND_IDLE;
}

/* Would the next pending send find room now? Looks at the receiver's words afresh. */
static bool can_start_pending(const struct shl_shm_peer *peer)
{
    struct shl_list *node, *next;
    SHL_LIST_FOR_EACH(node, next, &peer->pending)
    {
        const struct shl_xfer *xfer = SHL_CONTAINER_OF(node, struct shl_xfer, link);
        if (xfer == peer->demand.xfer)
            continue;
        bool small = xfer->bytes <= SHL_SHM_EAGER_BYTES;
        uint64_t credits = atomic_load_explicit(&peer->theirs->credits, memory_order_acquire);
        return peer->sent - credits < SHL_SHM_CREDITS &&
               (small || (~peer->offers_busy & NORMAL_OFFERS)) &&
               shl_shm_ring_would_fit(peer, small ? xfer->bytes : sizeof(struct shl_shm_offer));
    }
    return false;
}

bool shl_shm_send_has_work(const struct shl_shm_peer *peer)
{
    for (uint64_t busy = peer->offers_busy; busy; busy &= busy - 1) {
        unsigned index = (unsigned)__builtin_ctzll(busy);
        const struct shl_shm_reply *reply = &peer->theirs->replies[index];
        uint64_t word = atomic_load_explicit(&reply->word, memory_order_acquire);
        bool old = peer->out[index].granted && (word & 0xff) == SHL_SHM_GRANTED;
        if (word >> 32 == peer->out[index].generation && !old)
            return true;
    }
    if (!shl_list_empty(&peer->streaming) &&
        peer->cell_tail - atomic_load_explicit(&peer->theirs->cells_read, memory_order_acquire) <
            SHL_SHM_CELLS)
        return true;
    return can_start_pending(peer) || shl_shm_demand_has_work(peer);
}
