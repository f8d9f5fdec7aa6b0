/*
 * Bytes leave: a flow pulls frames from its link's queue and hands them to the kernel.
 *
 * Frames without payload are batched into one call; one with payload ends the batch and goes with
 * it. Small and repeated frames go before new chunks, so a short message waits for at most the one
 * chunk its flow is in the middle of. Every header carries the newest acknowledgement and credit.
 *
 * Invariant: what a header promised is always sent: a frame whose memory goes away meanwhile is
 * finished with zeros (shl_tcp_orphan), so the framing of a flow is never broken by a cancel.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "transport/tcp/tcp_link.h"

#include "control/sock.h"

#include <errno.h>

/* One call sends at most this much, so that receiving gets its turn. */
#define SEND_BYTES 1048576
/* With several flows a message is cut so that all of them work on it, but not finer than this. */
#define SHARE_BYTES_MIN 65536

void shl_tcp_header_fill(struct shl_tcp_link *link, const struct shl_tcp_frame *frame,
                         uint8_t *bytes)
{
    struct shl_tcp_header header = {
        .type = frame ? frame->type : SHL_TCP_ACK,
        .epoch = (uint32_t)link->t->env->epoch,
        .ack = link->rx_next,
        .blocks = (uint16_t)(link->blocks_returned + SHL_TCP_KEPT_BLOCKS),
        .slots = (uint16_t)(link->slots_returned + SHL_TCP_KEPT_SLOTS),
    };
    if (frame) {
        header.flags = frame->flags;
        header.elem_bytes = frame->elem_bytes;
        header.length = frame->length;
        header.sequence = frame->sequence;
        header.tag = frame->tag;
        header.signature = frame->signature;
        header.offset = frame->offset;
    }
    shl_tcp_header_encode(&header, bytes);
    link->ack_told = header.ack;
    link->blocks_told = header.blocks;
    link->slots_told = header.slots;
    link->ack_due = false;
}

static uint32_t chunk_length(const struct shl_tcp_link *link, struct shl_xfer *xfer)
{
    const struct shl_tcp_send_state *state = shl_tcp_send_state(xfer);
    uint64_t rest = xfer->bytes - state->next, length = link->chunk_bytes;
    if (link->flows_up > 1) {
        uint64_t share = rest / link->flows_up;
        share = share < SHARE_BYTES_MIN ? SHARE_BYTES_MIN : share;
        length = length < share ? length : share;
    }
    if (length >= rest)
        return (uint32_t)rest;
    length -= length % state->elem_bytes;
    return (uint32_t)(length ? length : state->elem_bytes);
}

static struct shl_tcp_frame *next_chunk(struct shl_tcp_link *link)
{
    struct shl_list *list = shl_list_empty(&link->pushes) ? &link->streams : &link->pushes;
    if (shl_list_empty(list) || !shl_tcp_window_open(link))
        return NULL;
    struct shl_xfer *xfer = SHL_CONTAINER_OF(list->next, struct shl_xfer, link);
    struct shl_tcp_send_state *state = shl_tcp_send_state(xfer);
    struct shl_tcp_frame *frame = shl_tcp_frame_new(link, SHL_TCP_CHUNK, xfer);
    frame->xfer = xfer;
    frame->offset = state->next;
    frame->flags = state->push ? SHL_TCP_PUSH : 0;
    frame->length = state->push ? (uint32_t)xfer->bytes : chunk_length(link, xfer);
    state->next += frame->length;
    if (state->next == xfer->bytes) {
        shl_list_remove(&xfer->link);
        shl_list_append(&link->sending, &xfer->link);
    }
    return frame;
}

void shl_tcp_tx_payload(struct shl_tcp_flow *flow, struct shl_tcp_frame *frame)
{
    struct shl_tcp_tx *tx = &flow->tx;
    tx->frame = frame;
    tx->payload_bytes = frame->length;
    if (frame->type == SHL_TCP_EAGER) {
        tx->payload = flow->link->ring + frame->ring_at + SHL_TCP_HEADER_BYTES;
        return;
    }
    tx->payload = frame->xfer ? (const uint8_t *)frame->xfer->data + frame->offset : NULL;
    tx->trailer_bytes = SHL_TCP_TRAILER_BYTES;
    shl_tcp_trailer_encode(SHL_TCP_TRAILER_VALID, tx->trailer);
}

static bool has_payload(const struct shl_tcp_frame *frame)
{
    return frame->type == SHL_TCP_EAGER ||
           (frame->type == SHL_TCP_CHUNK && !(frame->flags & SHL_TCP_VOID));
}

/* Take what this flow sends next; false: nothing. */
static bool pull(struct shl_tcp_flow *flow)
{
    struct shl_tcp_link *link = flow->link;
    struct shl_tcp_tx *tx = &flow->tx;
    struct shl_tcp_frame *frame = NULL;
    memset(tx, 0, offsetof(struct shl_tcp_tx, headers));
    if (flow->hello_due) {
        shl_tcp_header_fill(link, NULL, tx->headers);
        tx->header_bytes = SHL_TCP_HEADER_BYTES;
        flow->hello_due = false;
    }
    while (!flow->held && tx->header_bytes < sizeof(tx->headers)) {
        struct shl_list *node = shl_list_pop(&link->ready);
        frame = node ? SHL_CONTAINER_OF(node, struct shl_tcp_frame, link) : next_chunk(link);
        if (!frame)
            break;
        frame->flow = (int8_t)flow->index;
        shl_tcp_header_fill(link, frame, tx->headers + tx->header_bytes);
        tx->header_bytes += SHL_TCP_HEADER_BYTES;
        link->frames_sent++;
        if (has_payload(frame)) {
            shl_tcp_tx_payload(flow, frame);
            break;
        }
    }
    if (tx->header_bytes == 0 && link->ack_due && !flow->held) {
        shl_tcp_header_fill(link, NULL, tx->headers);
        tx->header_bytes = SHL_TCP_HEADER_BYTES;
    }
    tx->busy = tx->header_bytes > 0;
    return tx->busy;
}

bool shl_tcp_tx_wanted(const struct shl_tcp_flow *flow)
{
    const struct shl_tcp_link *link = flow->link;
    if (flow->fd < 0 || flow->tx_errno)
        return false;
    if (flow->tx.busy || flow->hello_due || flow->held)
        return flow->tx.busy || flow->hello_due;
    return !shl_list_empty(&link->ready) || link->ack_due ||
           ((!shl_list_empty(&link->pushes) || !shl_list_empty(&link->streams)) &&
            shl_tcp_window_open(link));
}

static int gather(struct shl_tcp_flow *flow, struct iovec *parts)
{
    struct shl_tcp_tx *tx = &flow->tx;
    uint32_t rest = tx->payload_bytes - tx->payload_at, room = SEND_BYTES;
    int count = 0;
    if (tx->header_at < tx->header_bytes)
        parts[count++] =
            (struct iovec){tx->headers + tx->header_at, tx->header_bytes - tx->header_at};
    if (tx->orphaned && room > SHL_TCP_ZERO_BYTES)
        room = SHL_TCP_ZERO_BYTES;
    if (rest) {
        const uint8_t *from = tx->orphaned ? flow->link->t->zeros : tx->payload + tx->payload_at;
        parts[count++] = (struct iovec){(void *)from, rest < room ? rest : room};
    }
    if (rest <= room && tx->trailer_at < tx->trailer_bytes)
        parts[count++] =
            (struct iovec){tx->trailer + tx->trailer_at, tx->trailer_bytes - tx->trailer_at};
    return count;
}

static uint32_t advance(uint32_t *at, uint32_t end, uint32_t bytes)
{
    uint32_t step = end - *at < bytes ? end - *at : bytes;
    *at += step;
    return bytes - step;
}

/* All of it is with the kernel. A small message is complete now: the ring keeps a copy. */
static void finish(struct shl_tcp_flow *flow)
{
    struct shl_tcp_frame *frame = flow->tx.frame;
    flow->tx.busy = false;
    flow->tx.frame = NULL;
    if (!frame || frame->type != SHL_TCP_EAGER || !frame->xfer)
        return;
    struct shl_xfer *xfer = frame->xfer;
    frame->xfer = NULL;
    xfer->moved_bytes = xfer->bytes;
    shl_tcp_send_complete(flow->link, xfer, SHOAL_OK);
}

unsigned shl_tcp_tx_step(struct shl_tcp_flow *flow)
{
    struct shl_tcp_tx *tx = &flow->tx;
    struct iovec parts[3];
    if (flow->fd < 0 || flow->tx_errno || (!tx->busy && !pull(flow)))
        return 0;
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = (size_t)gather(flow, parts)};
    ssize_t sent = shl_sock->sendmsg(flow->fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent < 0) {
        /* What the peer sent before it closed may hold the end of a message and its reasons: that
         * is read first, then the flow breaks (tcp_parse.c). */
        if (errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR)
            flow->tx_errno = errno;
        return 0;
    }
    flow->link->bytes_sent += (uint64_t)sent;
    uint32_t left = advance(&tx->header_at, tx->header_bytes, (uint32_t)sent);
    left = advance(&tx->payload_at, tx->payload_bytes, left);
    advance(&tx->trailer_at, tx->trailer_bytes, left);
    if (tx->header_at == tx->header_bytes && tx->payload_at == tx->payload_bytes &&
        tx->trailer_at == tx->trailer_bytes)
        finish(flow);
    return 1;
}
