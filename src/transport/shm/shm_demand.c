/*
 * Sends that found no room: the receiver keeps SHL_SHM_CREDITS messages whose receives are not
 * posted, and a receive posted for a later one must not wait for those.
 *
 * The sender asks, one message at a time, whether its receive is posted. If so it sends it outside
 * the credits, since it will not be kept. If not it asks about the next one, and about all again
 * when the receiver has posted something.
 *
 * Invariant: a message that is asked about takes no other way until the answer is there.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "transport/shm/shm.h"

#include <string.h>

static uint64_t posts_of(const struct shl_shm_peer *peer)
{
    return atomic_load_explicit(&peer->theirs->posts, memory_order_acquire);
}

/* The first pending send not asked about since the receiver posted something. */
static struct shl_xfer *candidate(const struct shl_shm_peer *peer, uint64_t posts)
{
    struct shl_list *node, *next;
    SHL_LIST_FOR_EACH(node, next, &peer->pending)
    {
        struct shl_xfer *xfer = SHL_CONTAINER_OF(node, struct shl_xfer, link);
        if (xfer->scratch[SHL_SHM_SEND_ASKED] != posts + 1)
            return xfer;
    }
    return NULL;
}

/* Only when what the receiver keeps may be the cause: lack of room in the ring passes by itself.
 * One demand at a time, its message included. */
static bool is_stuck(const struct shl_shm_peer *peer)
{
    if (shl_list_empty(&peer->pending) || peer->offers_busy >> SHL_SHM_OFFER_ON_DEMAND & 1)
        return false;
    uint64_t credits = atomic_load_explicit(&peer->theirs->credits, memory_order_acquire);
    uint64_t normal = (1ull << SHL_SHM_OFFER_ON_DEMAND) - 1;
    return peer->sent - credits >= SHL_SHM_CREDITS || (peer->offers_busy & normal) == normal;
}

static unsigned ask(struct shl_transport *t, struct shl_shm_peer *peer)
{
    if (!is_stuck(peer))
        return 0;
    uint64_t posts = posts_of(peer); /* before the question, so that no later post is missed */
    struct shl_xfer *xfer = candidate(peer, posts);
    if (!xfer)
        return 0;
    struct shl_shm_record *record = shl_shm_ring_reserve(t, peer, sizeof(uint32_t));
    if (!record)
        return 0;
    peer->demand.xfer = xfer;
    peer->demand.state = SHL_SHM_DEMAND_ASKED;
    if (++peer->demand.generation == 0)
        peer->demand.generation = 1;
    xfer->scratch[SHL_SHM_SEND_ASKED] = posts + 1;
    record->tag = xfer->tag;
    record->signature = xfer->signature;
    record->kind = SHL_SHM_DEMAND;
    record->on_demand = 0;
    memcpy(record->payload, &peer->demand.generation, sizeof(uint32_t));
    shl_shm_ring_publish(t, peer, record);
    return 1;
}

static unsigned read_answer(struct shl_shm_peer *peer)
{
    struct shl_shm_demand *demand = &peer->demand;
    const struct shl_shm_reply *reply = &peer->theirs->replies[SHL_SHM_REPLY_TO_DEMAND];
    uint64_t word = atomic_load_explicit(&reply->word, memory_order_acquire);
    if (word >> 32 != demand->generation)
        return 0;
    bool posted = (word & 0xff) == SHL_SHM_DONE && demand->xfer;
    demand->state = posted ? SHL_SHM_DEMAND_FOUND : SHL_SHM_DEMAND_IDLE;
    if (!posted)
        demand->xfer = NULL;
    return 1;
}

unsigned shl_shm_demand_progress(struct shl_transport *t, struct shl_shm_peer *peer)
{
    struct shl_shm_demand *demand = &peer->demand;
    unsigned events = 0;
    if (demand->state == SHL_SHM_DEMAND_ASKED)
        events += read_answer(peer);
    if (demand->state == SHL_SHM_DEMAND_FOUND) {
        if (!demand->xfer || shl_shm_send_start(t, peer, demand->xfer, true)) {
            demand->xfer = NULL;
            demand->state = SHL_SHM_DEMAND_IDLE;
            events++;
        }
    }
    if (demand->state == SHL_SHM_DEMAND_IDLE && !peer->dead)
        events += ask(t, peer);
    return events;
}

bool shl_shm_demand_has_work(const struct shl_shm_peer *peer)
{
    const struct shl_shm_demand *demand = &peer->demand;
    const struct shl_shm_reply *reply = &peer->theirs->replies[SHL_SHM_REPLY_TO_DEMAND];
    switch (demand->state) {
    case SHL_SHM_DEMAND_ASKED:
        return atomic_load_explicit(&reply->word, memory_order_acquire) >> 32 == demand->generation;
    case SHL_SHM_DEMAND_FOUND: /* it waits for room in the ring */
        return !demand->xfer || shl_shm_ring_would_fit(peer, SHL_SHM_EAGER_BYTES);
    default:
        return is_stuck(peer) && candidate(peer, posts_of(peer)) != NULL;
    }
}
