/*
 * Receiving the CHUNK frames of announced messages.
 *
 * Payload goes straight to its final place. With a sink it goes through the transport's bounce
 * buffer, which stays in the cache, and whole elements are handed on at once, while the kernel
 * collects what follows; the bytes of an element cut by a read are carried to the next one.
 *
 * A chunk whose flow broke comes again on another flow under the same number. What was placed, or
 * given to the sink, is counted in link->partial and skipped then, so no element is reduced twice.
 *
 * Invariant: at most one flow is in the middle of a given number. When it comes again while an old
 * connection still delivers it, the old one is broken first, so nothing writes to a message after
 * it completed.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "transport/tcp/tcp_link.h"

#include <inttypes.h>

/* The sender gave the old flow up, or it would not send the frame again. */
static void break_older(struct shl_tcp_flow *flow, uint32_t sequence)
{
    struct shl_tcp_link *link = flow->link;
    for (uint32_t i = 0; i < link->flow_count; i++) {
        struct shl_tcp_flow *other = &link->flows[i];
        if (other != flow && other->chunk.active && other->chunk.sequence == sequence)
            shl_tcp_flow_break(other, "its CHUNK frame %u came again on flow %u", sequence,
                               flow->index);
    }
}

static bool out_of_range(struct shl_tcp_link *link, const struct shl_xfer *xfer,
                         const struct shl_tcp_header *header, uint32_t elem_bytes)
{
    if (header->offset <= xfer->bytes && header->length <= xfer->bytes - header->offset &&
        header->offset % elem_bytes == 0 && header->length % elem_bytes == 0)
        return false;
    shl_tcp_link_fail(link, SHOAL_ERR_PEER,
                      "rank %u sent CHUNK frame %u with %u bytes at %" PRIu64
                      " for a message of %" PRIu64 " bytes in elements of %u",
                      link->peer, header->sequence, header->length, header->offset, xfer->bytes,
                      elem_bytes);
    return true;
}

/* Nothing is posted for a message that came unannounced: it lands in a slot. */
static bool place_in_slot(struct shl_tcp_flow *flow, const struct shl_tcp_header *header)
{
    struct shl_tcp_link *link = flow->link;
    struct shl_tcp_chunk *chunk = &flow->chunk;
    const struct shl_transport_env *env = link->t->env;
    chunk->slot = shl_tcp_slot_find(link, header->sequence);
    if (!chunk->slot && !env->wanted(env->arg, &header->tag))
        return true; /* discarded */
    if (!chunk->slot && shl_tcp_kept_find(link, &header->tag)) {
        shl_tcp_link_fail(link, SHOAL_ERR_PEER,
                          "rank %u sent message %u of operation %" PRIu64 " twice", link->peer,
                          header->tag.msg, header->tag.seq);
        return false;
    }
    if (!chunk->slot) {
        chunk->slot = shl_tcp_slot_take(link, header);
        link->partial[header->sequence % SHL_TCP_WINDOW] = 0;
    }
    if (!chunk->slot || chunk->slot->bytes != header->length) {
        shl_tcp_link_fail(link, SHOAL_ERR_PEER,
                          "rank %u sent CHUNK frame %u beyond its credit of %u messages",
                          link->peer, header->sequence, SHL_TCP_KEPT_SLOTS);
        return false;
    }
    chunk->discard = false;
    chunk->skip = link->partial[header->sequence % SHL_TCP_WINDOW];
    return true;
}

/* Find the place of a chunk; false: the link failed. */
static bool place(struct shl_tcp_flow *flow, const struct shl_tcp_header *header)
{
    struct shl_tcp_link *link = flow->link;
    struct shl_tcp_chunk *chunk = &flow->chunk;
    const struct shl_transport_env *env = link->t->env;
    struct shl_xfer *xfer = shl_tcp_find(link->recvs, &header->tag);
    chunk->discard = true;
    chunk->push = header->flags & SHL_TCP_PUSH;
    if (chunk->push && (!xfer || shl_tcp_slot_find(link, header->sequence)))
        return place_in_slot(flow, header);
    if (!xfer) {
        if (!env->wanted(env->arg, &header->tag))
            return true; /* it was aborted here meanwhile */
        shl_tcp_link_fail(link, SHOAL_ERR_PEER,
                          "rank %u sent CHUNK frame %u for message %u of operation %" PRIu64
                          " on communicator %u, which was not announced",
                          link->peer, header->sequence, header->tag.msg, header->tag.seq,
                          header->tag.comm);
        return false;
    }
    if (!shl_signature_equal(&xfer->signature, &header->signature)) {
        env->seen(env->arg, link->peer, &header->tag, &header->signature);
        return flow->fd >= 0;
    }
    if (chunk->push && header->length != xfer->bytes) {
        shl_tcp_length_differs(link, xfer, header->length);
        return flow->fd >= 0;
    }
    chunk->elem_bytes = xfer->elem_bytes ? xfer->elem_bytes : 1;
    if (out_of_range(link, xfer, header, chunk->elem_bytes))
        return false;
    chunk->xfer = xfer;
    chunk->discard = false;
    chunk->skip = link->partial[header->sequence % SHL_TCP_WINDOW];
    if (chunk->skip > chunk->length)
        chunk->skip = chunk->length;
    return true;
}

bool shl_tcp_chunk_begin(struct shl_tcp_flow *flow, const struct shl_tcp_header *header)
{
    struct shl_tcp_link *link = flow->link;
    struct shl_tcp_chunk *chunk = &flow->chunk;
    bool fresh = shl_tcp_sequence_kind(link, header->sequence) == SHL_TCP_FRESH;
    memset(chunk, 0, sizeof(*chunk));
    break_older(flow, header->sequence);
    if (flow->fd < 0)
        return false;
    if (header->flags & SHL_TCP_VOID) {
        struct shl_tcp_kept *slot = shl_tcp_slot_find(link, header->sequence);
        if (slot)
            shl_tcp_slot_drop(link, slot);
        if (fresh && header->flags & SHL_TCP_PUSH)
            shl_tcp_slot_return(link);
        if (fresh)
            shl_tcp_arrived(link, header->sequence);
        link->ack_due = true;
        return true;
    }
    chunk->sequence = header->sequence;
    chunk->length = header->length;
    chunk->offset = header->offset;
    chunk->duplicate = !fresh;
    chunk->discard = !fresh;
    chunk->active = true;
    if (fresh && !place(flow, header)) {
        chunk->active = false;
        return false;
    }
    return true;
}

size_t shl_tcp_chunk_target(struct shl_tcp_flow *flow, void **target)
{
    const struct shl_tcp_chunk *chunk = &flow->chunk;
    uint8_t *bounce = flow->link->t->bounce;
    size_t rest = chunk->length - chunk->at, room = SHL_TCP_BOUNCE_BYTES;
    *target = bounce;
    if (chunk->discard)
        return rest < room ? rest : room;
    if (chunk->at < chunk->skip) {
        rest = chunk->skip - chunk->at;
        return rest < room ? rest : room;
    }
    if (chunk->slot) {
        *target = chunk->slot->slot + chunk->at;
        return rest;
    }
    if (!chunk->xfer->sink) {
        *target = (uint8_t *)chunk->xfer->data + chunk->offset + chunk->at;
        return rest;
    }
    memcpy(bounce, chunk->carry, chunk->carry_bytes);
    *target = bounce + chunk->carry_bytes;
    room -= chunk->carry_bytes;
    return rest < room ? rest : room;
}

void shl_tcp_chunk_landed(struct shl_tcp_flow *flow, size_t bytes)
{
    struct shl_tcp_chunk *chunk = &flow->chunk;
    const uint8_t *bounce = flow->link->t->bounce;
    struct shl_xfer *xfer = chunk->xfer;
    if (xfer && chunk->at >= chunk->skip && xfer->sink) {
        size_t have = chunk->carry_bytes + bytes, whole = have - have % chunk->elem_bytes;
        if (whole)
            xfer->sink(xfer, chunk->offset + chunk->at - chunk->carry_bytes, bounce, whole);
        chunk->carry_bytes = (uint32_t)(have - whole);
        memcpy(chunk->carry, bounce + whole, chunk->carry_bytes);
    }
    chunk->at += (uint32_t)bytes;
}

void shl_tcp_chunk_feed(struct shl_tcp_flow *flow, const uint8_t *data, size_t bytes)
{
    while (bytes) {
        void *target;
        size_t step = shl_tcp_chunk_target(flow, &target);
        step = step < bytes ? step : bytes;
        if (!flow->chunk.discard)
            memcpy(target, data, step);
        shl_tcp_chunk_landed(flow, step);
        data += step;
        bytes -= step;
    }
}

/* A message that nobody had posted for when it began has come whole. */
static void slot_filled(struct shl_tcp_link *link, struct shl_tcp_kept *slot)
{
    const struct shl_transport_env *env = link->t->env;
    struct shl_tag tag = slot->tag;
    struct shl_signature signature = slot->signature;
    struct shl_xfer *xfer = shl_tcp_find(link->recvs, &tag);
    shl_tcp_slot_keep(link, slot);
    if (xfer && shl_signature_equal(&signature, &xfer->signature)) {
        shl_tcp_kept_deliver(link, slot, xfer);
        return;
    }
    if (xfer)
        shl_tcp_kept_free(link, slot);
    env->seen(env->arg, link->peer, &tag, &signature);
}

void shl_tcp_chunk_finish(struct shl_tcp_flow *flow, bool valid)
{
    struct shl_tcp_link *link = flow->link;
    struct shl_tcp_chunk *chunk = &flow->chunk;
    struct shl_xfer *xfer = chunk->xfer;
    struct shl_tcp_kept *slot = chunk->slot;
    bool ended = slot && valid;
    shl_tcp_flow_wake_at(flow, 1);
    chunk->active = false;
    chunk->xfer = NULL;
    chunk->slot = NULL;
    if (xfer && valid) {
        xfer->moved_bytes += chunk->length;
        ended = xfer->moved_bytes == xfer->bytes;
    }
    if (slot && !valid)
        shl_tcp_slot_drop(link, slot);
    if (chunk->push && !chunk->duplicate && !(slot && valid))
        shl_tcp_slot_return(link);
    if (!chunk->duplicate)
        shl_tcp_arrived(link, chunk->sequence);
    else
        link->ack_due = true;
    /* A discarded push is whole, too: its sender waits as well. */
    if (ended || chunk->push)
        shl_tcp_message_ended(link);
    if (slot && valid)
        slot_filled(link, slot);
    else if (ended)
        shl_tcp_recv_complete(link, xfer, SHOAL_OK);
}

void shl_tcp_chunk_suspend(struct shl_tcp_flow *flow)
{
    struct shl_tcp_chunk *chunk = &flow->chunk;
    if (chunk->active && !chunk->discard) {
        uint32_t *partial = &flow->link->partial[chunk->sequence % SHL_TCP_WINDOW];
        uint32_t placed = chunk->at - chunk->carry_bytes;
        if (placed > *partial)
            *partial = placed;
    }
    memset(chunk, 0, sizeof(*chunk));
}
