/*
 * Giving transfers up, and telling the engine what is kept.
 *
 * After a cancel no flow reads from or writes to a buffer of the operation: a chunk being received
 * is read to its end into the bounce buffer, one being sent is finished with zeros and a trailer
 * that says so. Frames of the operation keep their number, because the peer counts numbers, but go
 * out as void from now on.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "transport/tcp/tcp_link.h"

/* Which transfers: of one operation, or all. */
struct scope {
    bool all;
    uint32_t comm;
    uint64_t seq;
};

static bool covers(const struct scope *scope, const struct shl_tag *tag)
{
    return scope->all || (tag->comm == scope->comm && tag->seq == scope->seq);
}

static void forget_chunks_of(struct shl_tcp_link *link, const struct shl_xfer *xfer)
{
    for (uint32_t i = 0; i < link->flow_count; i++) {
        struct shl_tcp_chunk *chunk = &link->flows[i].chunk;
        if (!chunk->active || chunk->xfer != xfer)
            continue;
        chunk->discard = true;
        chunk->xfer = NULL;
        chunk->carry_bytes = 0;
    }
}

static void cancel_list(struct shl_tcp_link *link, const struct scope *scope, struct shl_list *list)
{
    struct shl_list *node, *after;
    SHL_LIST_FOR_EACH(node, after, list)
    {
        struct shl_xfer *xfer = SHL_CONTAINER_OF(node, struct shl_xfer, link);
        if (!covers(scope, &xfer->tag))
            continue;
        forget_chunks_of(link, xfer);
        shl_list_remove(node);
        link->posted--;
    }
}

static void cancel_buckets(struct shl_tcp_link *link, const struct scope *scope)
{
    struct shl_list *node, *after;
    for (int i = 0; i < SHL_TCP_BUCKETS; i++) {
        SHL_LIST_FOR_EACH(node, after, &link->waiting[i])
        {
            struct shl_xfer *xfer = SHL_CONTAINER_OF(node, struct shl_xfer, link);
            link->starved -= covers(scope, &xfer->tag) && shl_tcp_send_state(xfer)->small;
        }
        SHL_LIST_FOR_EACH(node, after, &link->recvs[i])
        {
            struct shl_xfer *xfer = SHL_CONTAINER_OF(node, struct shl_xfer, link);
            link->large_posted -= covers(scope, &xfer->tag) && shl_tcp_recv_state(xfer)->large;
        }
        cancel_list(link, scope, &link->waiting[i]);
        cancel_list(link, scope, &link->recvs[i]);
    }
}

static void cancel_frames(struct shl_tcp_link *link, const struct scope *scope)
{
    for (uint32_t i = link->tx_first; i != link->tx_next; i++) {
        struct shl_tcp_frame *frame = &link->frames[i % SHL_TCP_WINDOW];
        bool chunk = frame->type == SHL_TCP_CHUNK;
        /* A small message that is complete is the peer's, whatever happens to this rank. */
        bool small = frame->type == SHL_TCP_EAGER && (!scope->all || frame->xfer);
        if (!(chunk || small) || !covers(scope, &frame->tag))
            continue;
        frame->xfer = NULL;
        frame->flags |= SHL_TCP_VOID;
        if (!chunk)
            continue;
        shl_tcp_orphan(link, frame);
        frame->length = 0;
        frame->offset = 0;
    }
}

static void forget_kept(struct shl_tcp_link *link, const struct scope *scope)
{
    struct shl_list *node, *after;
    for (int i = 0; i < SHL_TCP_BUCKETS; i++) {
        SHL_LIST_FOR_EACH(node, after, &link->kept[i])
        {
            struct shl_tcp_kept *kept = SHL_CONTAINER_OF(node, struct shl_tcp_kept, link);
            if (covers(scope, &kept->tag))
                shl_tcp_kept_free(link, kept);
        }
        SHL_LIST_FOR_EACH(node, after, &link->notices[i])
        {
            struct shl_tcp_notice *notice = SHL_CONTAINER_OF(node, struct shl_tcp_notice, link);
            if (covers(scope, &notice->tag))
                shl_tcp_notice_free(link, notice);
        }
    }
}

/* A push that is in no frame yet gives its credit back: the peer will not hear of it. */
static void cancel_pushes(struct shl_tcp_link *link, const struct scope *scope)
{
    struct shl_list *node, *after;
    SHL_LIST_FOR_EACH(node, after, &link->pushes)
    {
        struct shl_xfer *xfer = SHL_CONTAINER_OF(node, struct shl_xfer, link);
        link->slots_used = (uint16_t)(link->slots_used - covers(scope, &xfer->tag));
    }
    cancel_list(link, scope, &link->pushes);
}

static void cancel_slots(struct shl_tcp_link *link, const struct scope *scope)
{
    for (uint32_t i = 0; i < link->flow_count; i++) {
        struct shl_tcp_chunk *chunk = &link->flows[i].chunk;
        if (!chunk->slot || !covers(scope, &chunk->slot->tag))
            continue;
        chunk->discard = true;
        chunk->slot = NULL;
    }
    for (int i = 0; i < SHL_TCP_KEPT_SLOTS; i++) {
        struct shl_tcp_kept *slot = &link->kept_slots[i];
        if (slot->filling && covers(scope, &slot->tag))
            shl_tcp_slot_drop(link, slot);
    }
}

static void cancel_link(struct shl_tcp_link *link, const struct scope *scope)
{
    cancel_buckets(link, scope);
    cancel_pushes(link, scope);
    cancel_list(link, scope, &link->streams);
    cancel_list(link, scope, &link->sending);
    cancel_frames(link, scope);
    cancel_slots(link, scope);
    forget_kept(link, scope);
}

void shl_tcp_cancel(struct shl_transport *t, uint32_t comm, uint64_t seq)
{
    struct scope scope = {false, comm, seq};
    for (struct shl_list *node = t->links.next; node != &t->links; node = node->next)
        cancel_link(SHL_CONTAINER_OF(node, struct shl_tcp_link, node), &scope);
    t->changes++;
}

void shl_tcp_cancel_all(struct shl_tcp_link *link)
{
    struct scope scope = {true, 0, 0};
    cancel_link(link, &scope);
}

/* false: the engine cancelled something meanwhile, the lists are no longer what they were. */
static bool review_link(struct shl_tcp_link *link, const struct scope *scope)
{
    struct shl_transport *t = link->t;
    const struct shl_transport_env *env = t->env;
    struct shl_list *node;
    uint64_t before = t->changes;
    for (int i = 0; i < SHL_TCP_BUCKETS; i++) {
        for (node = link->kept[i].next; node != &link->kept[i]; node = node->next) {
            struct shl_tcp_kept *kept = SHL_CONTAINER_OF(node, struct shl_tcp_kept, link);
            if (covers(scope, &kept->tag))
                env->seen(env->arg, link->peer, &kept->tag, &kept->signature);
            if (t->changes != before)
                return false;
        }
        for (node = link->notices[i].next; node != &link->notices[i]; node = node->next) {
            struct shl_tcp_notice *notice = SHL_CONTAINER_OF(node, struct shl_tcp_notice, link);
            if (covers(scope, &notice->tag))
                env->seen(env->arg, link->peer, &notice->tag, &notice->signature);
            if (t->changes != before)
                return false;
        }
    }
    return true;
}

void shl_tcp_review(struct shl_transport *t, uint32_t comm, uint64_t seq)
{
    struct scope scope = {false, comm, seq};
    for (struct shl_list *node = t->links.next; node != &t->links; node = node->next) {
        struct shl_tcp_link *link = SHL_CONTAINER_OF(node, struct shl_tcp_link, node);
        if ((link->kept_count || link->notice_count) && !review_link(link, &scope))
            return; /* the operation is over: nothing of it is kept any more */
    }
}
