/*
 * Announcements: a rank that waits for a large message tells the sender which operation it is in.
 *
 * The sender needs no announcement to move a message; it offers by itself. But two ranks that wait
 * for each other, each in an operation of its own, would never learn of it.
 *
 * One announcement an operation is enough, since all its messages carry one signature. Those whose
 * send is not posted yet are kept, as long as there is room, for the operation's start.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "transport/shm/shm.h"

/* ---- the receiver's side ---------------------------------------------------------------- */

static bool is_told(const struct shl_shm_peer *peer, const struct shl_xfer *xfer)
{
    const struct shl_shm_heard *told = &peer->told;
    return told->used && told->tag.comm == xfer->tag.comm && told->tag.seq == xfer->tag.seq &&
           shl_signature_equal(&told->signature, &xfer->signature);
}

/* false: there is no room now. */
static bool tell(struct shl_transport *t, struct shl_shm_peer *peer, const struct shl_xfer *xfer)
{
    if (xfer->bytes <= SHL_SHM_EAGER_BYTES || is_told(peer, xfer))
        return true;
    struct shl_shm_record *record = shl_shm_ring_reserve(t, peer, 0);
    if (!record)
        return false;
    record->tag = xfer->tag;
    record->signature = xfer->signature;
    record->kind = SHL_SHM_ANNOUNCE;
    record->on_demand = 0;
    shl_shm_ring_publish(t, peer, record);
    peer->told = (struct shl_shm_heard){xfer->tag, xfer->signature, true};
    return true;
}

void shl_shm_announce(struct shl_transport *t, struct shl_shm_peer *peer,
                      const struct shl_xfer *xfer)
{
    if (!tell(t, peer, xfer))
        peer->tell_due = true;
}

/* There was no room for some. */
void shl_shm_announce_due(struct shl_transport *t, struct shl_shm_peer *peer)
{
    struct shl_list *node, *next;
    SHL_LIST_FOR_EACH(node, next, &peer->posted)
    {
        if (!tell(t, peer, SHL_CONTAINER_OF(node, struct shl_xfer, link)))
            return;
    }
    peer->tell_due = false;
}

/* ---- the sender's side ------------------------------------------------------------------ */

static const struct shl_xfer *find_in(const struct shl_list *list, const struct shl_tag *tag)
{
    for (const struct shl_list *node = list->next; node != list; node = node->next) {
        const struct shl_xfer *xfer = SHL_CONTAINER_OF(node, struct shl_xfer, link);
        if (shl_tag_equal(&xfer->tag, tag))
            return xfer;
    }
    return NULL;
}

static const struct shl_xfer *find_send(const struct shl_shm_peer *peer, const struct shl_tag *tag)
{
    const struct shl_xfer *xfer = find_in(&peer->offered, tag);
    if (!xfer)
        xfer = find_in(&peer->streaming, tag);
    return xfer ? xfer : find_in(&peer->pending, tag);
}

/* A place for one more: an idle one, or that of an operation which nobody wants any more, or of
 * the oldest; its operation has been reported already. */
static struct shl_shm_heard *place_for(const struct shl_transport *t, struct shl_shm_peer *peer)
{
    for (unsigned i = 0; i < SHL_SHM_HEARD; i++) {
        struct shl_shm_heard *heard = &peer->heard[i];
        if (!heard->used || !t->env->wanted(t->env->arg, &heard->tag)) {
            peer->heard_count -= heard->used;
            heard->used = false;
            return heard;
        }
    }
    peer->heard_count--;
    return &peer->heard[peer->heard_next++ % SHL_SHM_HEARD];
}

bool shl_shm_announce_heard(struct shl_transport *t, struct shl_shm_peer *peer,
                            const struct shl_tag *tag, const struct shl_signature *signature)
{
    if (!t->env->wanted(t->env->arg, tag))
        return false;
    const struct shl_xfer *xfer = find_send(peer, tag);
    if (xfer && shl_signature_equal(&xfer->signature, signature))
        return false;
    *place_for(t, peer) = (struct shl_shm_heard){*tag, *signature, true};
    peer->heard_count++;
    return true;
}

bool shl_shm_announce_fits(struct shl_shm_peer *peer, const struct shl_xfer *xfer,
                           struct shl_shm_heard *other)
{
    for (unsigned i = 0; i < SHL_SHM_HEARD; i++) {
        struct shl_shm_heard *heard = &peer->heard[i];
        if (!heard->used || !shl_tag_equal(&heard->tag, &xfer->tag))
            continue;
        if (!shl_signature_equal(&heard->signature, &xfer->signature)) {
            *other = *heard;
            return false;
        }
        heard->used = false;
        peer->heard_count--;
    }
    return true;
}

void shl_shm_announce_forget(struct shl_shm_peer *peer, uint32_t comm, uint64_t seq)
{
    for (unsigned i = 0; i < SHL_SHM_HEARD; i++) {
        struct shl_shm_heard *heard = &peer->heard[i];
        if (heard->used && heard->tag.comm == comm && heard->tag.seq == seq) {
            heard->used = false;
            peer->heard_count--;
        }
    }
    if (peer->told.tag.comm == comm && peer->told.tag.seq == seq)
        peer->told.used = false;
}
