/*
 * Forgetting an operation, and telling the engine what is kept of one that just started.
 *
 * Why cancel fences. Bytes are placed in local memory only by this process, inside poll(): once
 * its receives are off the lists nothing places any more. This process never stores into a peer's
 * memory. What a peer still reads of our buffers is void: the offer is withdrawn before cancel
 * returns, and the peer looks at that after its last read and before it completes.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "transport/shm/shm.h"

struct operation {
    uint32_t comm;
    uint64_t seq;
};

static bool matches(const struct shl_tag *tag, const struct operation *op)
{
    return tag->comm == op->comm && tag->seq == op->seq;
}

/* Unlinks matching transfers after calling `release` (may be NULL) for each. */
static void unlink_all(struct shl_transport *t, struct shl_shm_peer *peer, struct shl_list *list,
                       const struct operation *op,
                       void (*release)(struct shl_transport *t, struct shl_shm_peer *peer,
                                       struct shl_xfer *xfer))
{
    struct shl_list *node, *next;
    SHL_LIST_FOR_EACH(node, next, list)
    {
        struct shl_xfer *xfer = SHL_CONTAINER_OF(node, struct shl_xfer, link);
        if (!matches(&xfer->tag, op))
            continue;
        if (release)
            release(t, peer, xfer);
        shl_list_remove(&xfer->link);
    }
}

static void release_pending(struct shl_transport *t, struct shl_shm_peer *peer,
                            struct shl_xfer *xfer)
{
    (void)t;
    if (peer->demand.xfer == xfer)
        peer->demand.xfer = NULL; /* the answer will find nobody */
}

/* The index stays taken until the receiver answers. */
static void release_offered(struct shl_transport *t, struct shl_shm_peer *peer,
                            struct shl_xfer *xfer)
{
    (void)t;
    unsigned index = (unsigned)xfer->scratch[SHL_SHM_SEND_INDEX];
    peer->out[index].xfer = NULL;
    atomic_store_explicit(&peer->mine->valid[index], 0, memory_order_relaxed);
}

static void release_incoming(struct shl_transport *t, struct shl_shm_peer *peer,
                             struct shl_xfer *xfer)
{
    unsigned index = (unsigned)xfer->scratch[SHL_SHM_RECV_INDEX];
    uint32_t generation = (uint32_t)xfer->scratch[SHL_SHM_RECV_GENERATION];
    peer->in[index].xfer = NULL;
    shl_shm_reply(t, peer, index, shl_shm_reply_word(generation, 0, SHL_SHM_REFUSED), 0);
}

static void cancel_peer(struct shl_transport *t, struct shl_shm_peer *peer,
                        const struct operation *op)
{
    unlink_all(t, peer, &peer->pending, op, release_pending);
    unlink_all(t, peer, &peer->offered, op, release_offered);
    unlink_all(t, peer, &peer->streaming, op, release_offered);
    unlink_all(t, peer, &peer->posted, op, NULL);
    unlink_all(t, peer, &peer->pulling, op, release_incoming);
    unlink_all(t, peer, &peer->staged, op, release_incoming);
    unlink_all(t, peer, &peer->stranded, op, NULL);
    shl_shm_announce_forget(peer, op->comm, op->seq);
    for (uint64_t left = peer->kept_mask; left; left &= left - 1) {
        unsigned slot = (unsigned)__builtin_ctzll(left);
        if (matches(&peer->kept[slot].tag, op))
            shl_shm_kept_drop(t, peer, slot);
    }
}

void shl_shm_cancel(struct shl_transport *t, uint32_t comm, uint64_t seq)
{
    struct operation op = {.comm = comm, .seq = seq};
    for (uint32_t i = 0; i < t->locals; i++) {
        if (t->peers[i].reachable)
            cancel_peer(t, &t->peers[i], &op);
    }
    unlink_all(t, NULL, &t->finished, &op, NULL);
    /* Offers are withdrawn before the caller touches their buffers. */
    atomic_thread_fence(memory_order_seq_cst);
}

static void review_peer(struct shl_transport *t, const struct shl_shm_peer *peer,
                        const struct operation *started)
{
    for (uint64_t left = peer->kept_mask; left; left &= left - 1) {
        const struct shl_shm_kept *kept = &peer->kept[__builtin_ctzll(left)];
        if (matches(&kept->tag, started))
            t->env->seen(t->env->arg, peer->rank, &kept->tag, &kept->signature);
    }
    for (unsigned k = 0; k < SHL_SHM_HEARD; k++) {
        const struct shl_shm_heard *heard = &peer->heard[k];
        if (heard->used && matches(&heard->tag, started))
            t->env->seen(t->env->arg, peer->rank, &heard->tag, &heard->signature);
    }
}

/* Before every operation, so what has nothing to say costs a look. */
void shl_shm_review(struct shl_transport *t, uint32_t comm, uint64_t seq)
{
    const struct operation started = {.comm = comm, .seq = seq};
    for (uint32_t i = 0; i < t->locals; i++) {
        const struct shl_shm_peer *peer = &t->peers[i];
        if (SHL_UNLIKELY(peer->kept_mask || peer->heard_count))
            review_peer(t, peer, &started);
    }
}
