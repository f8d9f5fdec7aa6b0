/*
 * Receiving: matching records with posted receives, and keeping what came too early.
 *
 * Invariant: a record leaves the ring as soon as it is seen: delivered, kept, or dropped. So no
 * message waits behind another. The sender's credits bound what is kept.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "transport/shm/shm.h"

#include <string.h>

#define RECORDS_PER_POLL 32

/* ---- answers ---------------------------------------------------------------------------- */

void shl_shm_reply(struct shl_transport *t, struct shl_shm_peer *peer, unsigned index,
                   uint64_t word, uint64_t start)
{
    struct shl_shm_reply *reply = &peer->mine->replies[index];
    atomic_store_explicit(&reply->start, start, memory_order_relaxed);
    /* Also orders our reads of the sender's memory before DONE. */
    atomic_store_explicit(&reply->word, word, memory_order_release);
    if (index < SHL_SHM_OFFERS && (word & 0xff) != SHL_SHM_GRANTED)
        peer->offers_known &= ~(1ull << index);
    shl_shm_mark_dirty(t, peer, SHL_SHM_DIRTY_ROOM);
}

/* One message of the peer is no longer kept. */
static void give_credit(struct shl_transport *t, struct shl_shm_peer *peer)
{
    uint64_t credits = atomic_load_explicit(&peer->mine->credits, memory_order_relaxed);
    atomic_store_explicit(&peer->mine->credits, credits + 1, memory_order_release);
    shl_shm_mark_dirty(t, peer, SHL_SHM_DIRTY_ROOM);
}

static void refuse(struct shl_transport *t, struct shl_shm_peer *peer, unsigned index,
                   uint32_t generation)
{
    shl_shm_reply(t, peer, index, shl_shm_reply_word(generation, 0, SHL_SHM_REFUSED), 0);
}

/* ---- matching --------------------------------------------------------------------------- */

static struct shl_xfer *find_posted(struct shl_shm_peer *peer, const struct shl_tag *tag)
{
    struct shl_list *node, *next;
    SHL_LIST_FOR_EACH(node, next, &peer->posted)
    {
        struct shl_xfer *xfer = SHL_CONTAINER_OF(node, struct shl_xfer, link);
        if (shl_tag_equal(&xfer->tag, tag))
            return xfer;
    }
    return NULL;
}

static uint64_t kept_bytes(const struct shl_shm_kept *kept)
{
    return kept->kind == SHL_SHM_OFFER ? kept->offer.bytes : kept->bytes;
}

/*
 * Hands a message to its receive, which leaves `posted`. false: they do not fit together, and both
 * stay until the engine, which has been told, cancels.
 */
static bool deliver(struct shl_transport *t, struct shl_shm_peer *peer, struct shl_xfer *xfer,
                    const struct shl_shm_kept *message, const void *payload)
{
    if (!shl_signature_equal(&xfer->signature, &message->signature))
        return false;
    uint64_t bytes = kept_bytes(message);
    if (xfer->bytes != bytes || bytes % shl_shm_elem_bytes(xfer)) {
        shl_shm_peer_spoil(t, peer, "it sends %llu bytes where %llu are expected",
                           (unsigned long long)bytes, (unsigned long long)xfer->bytes);
        return false;
    }
    shl_list_remove(&xfer->link);
    if (message->kind == SHL_SHM_OFFER) {
        shl_shm_pull_begin(t, peer, xfer, message->index, &message->offer);
    } else {
        if (bytes)
            shl_shm_place(t, xfer, payload, bytes);
        shl_shm_complete(t, xfer);
    }
    return true;
}

/* ---- messages before their receive ------------------------------------------------------ */

static bool keep(struct shl_shm_peer *peer, const struct shl_shm_kept *message,
                 const uint8_t *payload)
{
    uint64_t idle = ~peer->kept_mask;
    if (!idle)
        return false;
    unsigned slot = (unsigned)__builtin_ctzll(idle);
    peer->kept_mask |= 1ull << slot;
    peer->kept[slot] = *message;
    if (message->kind == SHL_SHM_DATA && message->bytes)
        memcpy(peer->kept_payload + (size_t)slot * SHL_SHM_EAGER_BYTES, payload, message->bytes);
    return true;
}

_Static_assert(SHL_SHM_CREDITS == 64, "kept_mask has one bit a message");

static void forget(struct shl_transport *t, struct shl_shm_peer *peer, unsigned slot)
{
    peer->kept_mask &= ~(1ull << slot);
    give_credit(t, peer);
}

void shl_shm_kept_drop(struct shl_transport *t, struct shl_shm_peer *peer, unsigned slot)
{
    const struct shl_shm_kept *kept = &peer->kept[slot];
    if (kept->kind == SHL_SHM_OFFER)
        refuse(t, peer, kept->index, kept->offer.generation);
    forget(t, peer, slot);
}

enum shoal_status shl_shm_recv(struct shl_transport *t, struct shl_xfer *xfer)
{
    struct shl_shm_peer *peer = shl_shm_peer_of(t, xfer->peer);
    if (!peer)
        return shl_fail(SHOAL_ERR_PEER, "rank %u is not reached through shared memory", xfer->peer);
    xfer->status = SHOAL_IN_PROGRESS;
    xfer->moved_bytes = 0;
    memset(xfer->scratch, 0, sizeof(xfer->scratch));
    shl_list_append(&peer->posted, &xfer->link);
    for (uint64_t left = peer->kept_mask; left; left &= left - 1) {
        unsigned slot = (unsigned)__builtin_ctzll(left);
        struct shl_shm_kept *kept = &peer->kept[slot];
        if (!shl_tag_equal(&kept->tag, &xfer->tag))
            continue;
        const uint8_t *payload = peer->kept_payload + (size_t)slot * SHL_SHM_EAGER_BYTES;
        if (deliver(t, peer, xfer, kept, payload))
            forget(t, peer, slot);
        else
            t->env->seen(t->env->arg, peer->rank, &kept->tag, &kept->signature);
        return SHOAL_OK;
    }
    shl_shm_announce(t, peer, xfer);
    if (peer->demanded) {
        uint64_t posts = atomic_load_explicit(&peer->mine->posts, memory_order_relaxed);
        atomic_store_explicit(&peer->mine->posts, posts + 1, memory_order_release);
        shl_shm_mark_dirty(t, peer, SHL_SHM_DIRTY_ROOM);
    }
    return SHOAL_OK;
}

/* ---- records ---------------------------------------------------------------------------- */

/* The sender is short of room: messages that nobody will ask for any more make some. */
static void sweep_kept(struct shl_transport *t, struct shl_shm_peer *peer)
{
    for (uint64_t left = peer->kept_mask; left; left &= left - 1) {
        unsigned slot = (unsigned)__builtin_ctzll(left);
        if (!t->env->wanted(t->env->arg, &peer->kept[slot].tag))
            shl_shm_kept_drop(t, peer, slot);
    }
}

static void on_demand(struct shl_transport *t, struct shl_shm_peer *peer,
                      const struct shl_shm_record *head, const uint8_t *payload)
{
    uint32_t generation;
    memcpy(&generation, payload, sizeof(generation));
    const struct shl_xfer *xfer = find_posted(peer, &head->tag);
    bool fits = xfer && shl_signature_equal(&xfer->signature, &head->signature);
    peer->demanded = true;
    sweep_kept(t, peer);
    shl_shm_reply(t, peer, SHL_SHM_REPLY_TO_DEMAND,
                  shl_shm_reply_word(generation, 0, fits ? SHL_SHM_DONE : SHL_SHM_REFUSED), 0);
    if (!fits && t->env->wanted(t->env->arg, &head->tag))
        t->env->seen(t->env->arg, peer->rank, &head->tag, &head->signature);
}

/* Takes the offer out of the record. false: it reuses the index of one that is not answered. */
static bool read_offer(struct shl_transport *t, struct shl_shm_peer *peer,
                       struct shl_shm_kept *message, const struct shl_shm_record *head,
                       const uint8_t *payload)
{
    memcpy(&message->offer, payload, sizeof(message->offer));
    __asm__ volatile("" ::: "memory");
    message->index = head->offer;
    if (peer->offers_known >> head->offer & 1 || message->offer.generation == 0) {
        shl_shm_peer_spoil(t, peer, "it offers two messages under number %u", head->offer);
        return false;
    }
    peer->offers_known |= 1ull << head->offer;
    return true;
}

/* A message of no interest, or one that answers a demand and whose receive is gone. */
static void drop(struct shl_transport *t, struct shl_shm_peer *peer,
                 const struct shl_shm_kept *message, bool counted)
{
    if (message->kind == SHL_SHM_OFFER)
        refuse(t, peer, message->index, message->offer.generation);
    if (counted)
        give_credit(t, peer);
}

/* true: the engine must hear of it, since it is not what was posted. */
static bool on_message(struct shl_transport *t, struct shl_shm_peer *peer,
                       const struct shl_shm_record *head, const uint8_t *payload)
{
    struct shl_shm_kept message = {
        .tag = head->tag, .signature = head->signature, .bytes = head->bytes, .kind = head->kind};
    if (head->kind == SHL_SHM_OFFER && !read_offer(t, peer, &message, head, payload))
        return false;
    struct shl_xfer *xfer = find_posted(peer, &head->tag);
    if (xfer && deliver(t, peer, xfer, &message, payload)) {
        if (!head->on_demand)
            give_credit(t, peer);
        return false;
    }
    if (head->on_demand || !t->env->wanted(t->env->arg, &head->tag)) {
        drop(t, peer, &message, !head->on_demand);
        return false;
    }
    if (!keep(peer, &message, payload))
        shl_shm_peer_spoil(t, peer, "it sent more than the %u messages that are kept",
                           SHL_SHM_CREDITS);
    return true;
}

static unsigned next_record(struct shl_transport *t, struct shl_shm_peer *peer)
{
    struct shl_shm_record head;
    const uint8_t *payload;
    enum shl_shm_peek peek = shl_shm_ring_peek(peer, &head, &payload);
    if (SHL_LIKELY(peek == SHL_SHM_EMPTY))
        return 0;
    if (peek == SHL_SHM_CORRUPT) {
        shl_shm_peer_spoil(t, peer, "its ring holds a record of kind %u with %u bytes", head.kind,
                           head.bytes);
        return 0;
    }
    bool tell = false;
    if (head.kind == SHL_SHM_DEMAND)
        on_demand(t, peer, &head, payload);
    else if (head.kind == SHL_SHM_ANNOUNCE)
        tell = shl_shm_announce_heard(t, peer, &head.tag, &head.signature);
    else if (head.kind != SHL_SHM_PAD)
        tell = on_message(t, peer, &head, payload);
    shl_shm_ring_advance(t, peer, &head);
    if (tell && !peer->dead)
        t->env->seen(t->env->arg, peer->rank, &head.tag, &head.signature);
    return 1;
}

unsigned shl_shm_recv_progress(struct shl_transport *t, struct shl_shm_peer *peer)
{
    unsigned events = 0;
    while (events < RECORDS_PER_POLL && !peer->dead && next_record(t, peer))
        events++;
    if (SHL_UNLIKELY(peer->tell_due) && !peer->dead)
        shl_shm_announce_due(t, peer);
    if (!peer->dead)
        events += shl_shm_pull_progress(t, peer);
    return events;
}
