/*
 * Posting sends, and the frames that ask the peer for something.
 *
 * Small: copied into the ring, sent at once in one call when a flow is idle; complete as soon as
 * the kernel has all of it. It must not be complete earlier: whoever has nothing left to wait for
 * stops polling, and a frame still queued here would stay. Without credit or room it waits, and
 * asks the receiver to announce it, which makes it travel like a large one.
 * Medium: sent whole, at once, straight from the user's memory; the receiver has a slot for each
 * that comes before its receive is posted. Complete when acknowledged. Without credit as above.
 * Large: waits for the announcement of the posted receive, then is cut into chunks by the flows
 * (tcp_pull.c), straight from the user's memory; complete when acknowledged. If the announcement is
 * not there yet the sender asks, so that the receiver sees the signature and can find a mismatch.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "transport/tcp/tcp_link.h"

#include "control/sock.h"

#include <errno.h>
#include <inttypes.h>

/* ---- questions and announcements ---------------------------------------------------------- */

void shl_tcp_announce(struct shl_tcp_link *link, struct shl_xfer *xfer, uint8_t flags)
{
    struct shl_tcp_recv_state *state = shl_tcp_recv_state(xfer);
    link->large_posted += !state->large;
    state->large = state->announce = true;
    state->announced = shl_tcp_window_open(link);
    if (!state->announced) {
        link->deferred = true;
        return;
    }
    struct shl_tcp_frame *frame = shl_tcp_frame_new(link, SHL_TCP_ANNOUNCE, xfer);
    frame->flags = flags;
    frame->elem_bytes = (uint8_t)(xfer->elem_bytes ? xfer->elem_bytes : 1);
    frame->offset = xfer->bytes;
    shl_list_append(&link->ready, &frame->link);
}

static void ask(struct shl_tcp_link *link, struct shl_xfer *xfer)
{
    struct shl_tcp_send_state *state = shl_tcp_send_state(xfer);
    state->asked = shl_tcp_window_open(link);
    if (!state->asked) {
        link->deferred = true;
        return;
    }
    struct shl_tcp_frame *frame = shl_tcp_frame_new(link, SHL_TCP_ASK, xfer);
    frame->flags = link->announces_lost ? SHL_TCP_AGAIN : 0;
    frame->offset = xfer->bytes;
    shl_list_append(&link->ready, &frame->link);
}

/* ---- small messages ----------------------------------------------------------------------- */

static bool small_fits(const struct shl_tcp_link *link, uint32_t bytes)
{
    uint16_t credit = (uint16_t)(link->blocks_limit - link->blocks_used);
    return shl_tcp_blocks(bytes) <= credit && shl_tcp_window_open(link) &&
           shl_tcp_ring_fits(link, bytes);
}

/* Copy a small message into a frame of its own. */
static struct shl_tcp_frame *small_frame(struct shl_tcp_link *link, struct shl_xfer *xfer)
{
    struct shl_tcp_frame *frame = shl_tcp_frame_new(link, SHL_TCP_EAGER, xfer);
    frame->length = (uint32_t)xfer->bytes;
    frame->xfer = xfer;
    shl_tcp_ring_take(link, frame);
    link->blocks_used = (uint16_t)(link->blocks_used + shl_tcp_blocks(frame->length));
    if (frame->length)
        memcpy(link->ring + frame->ring_at + SHL_TCP_HEADER_BYTES, xfer->data, frame->length);
    return frame;
}

static struct shl_tcp_flow *idle_flow(const struct shl_tcp_link *link)
{
    for (uint32_t i = 0; i < link->flow_count; i++) {
        struct shl_tcp_flow *flow = &link->flows[i];
        if (flow->fd >= 0 && !flow->tx.busy && !flow->hello_due && !flow->held && !flow->tx_errno)
            return flow;
    }
    return NULL;
}

/* The fast path: one send of header and payload, which lie together in the ring. true: the kernel
 * took all of it. */
static bool send_now(struct shl_tcp_flow *flow, struct shl_tcp_frame *frame)
{
    struct shl_tcp_link *link = flow->link;
    struct shl_tcp_tx *tx = &flow->tx;
    uint8_t *record = link->ring + frame->ring_at;
    uint32_t bytes = SHL_TCP_HEADER_BYTES + frame->length;
    shl_tcp_header_fill(link, frame, record);
    frame->flow = (int8_t)flow->index;
    link->frames_sent++;
    ssize_t sent = shl_sock->send(flow->fd, record, bytes, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent == (ssize_t)bytes) {
        link->bytes_sent += bytes;
        return true;
    }
    if (sent < 0 && errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR)
        flow->tx_errno = errno;
    /* The rest goes by the general path. */
    memset(tx, 0, offsetof(struct shl_tcp_tx, headers));
    memcpy(tx->headers, record, SHL_TCP_HEADER_BYTES);
    shl_tcp_tx_payload(flow, frame);
    uint32_t done = sent > 0 ? (uint32_t)sent : 0;
    tx->header_bytes = SHL_TCP_HEADER_BYTES;
    tx->header_at = done < SHL_TCP_HEADER_BYTES ? done : SHL_TCP_HEADER_BYTES;
    tx->payload_at = done - tx->header_at;
    tx->busy = true;
    link->bytes_sent += done;
    return false;
}

static void send_small(struct shl_tcp_link *link, struct shl_xfer *xfer)
{
    struct shl_tcp_frame *frame = small_frame(link, xfer);
    struct shl_tcp_flow *flow = shl_list_empty(&link->ready) ? idle_flow(link) : NULL;
    if (flow && send_now(flow, frame)) {
        frame->xfer = NULL;
        xfer->moved_bytes = xfer->bytes;
        xfer->status = SHOAL_OK;
        xfer->done(xfer);
        return;
    }
    if (!flow)
        shl_list_append(&link->ready, &frame->link);
    shl_list_append(&link->sending, &xfer->link);
    link->posted++;
}

/* ---- medium messages ---------------------------------------------------------------------- */

/* Whole and unannounced, but from the user's memory: complete when acknowledged. */
static bool push_fits(const struct shl_tcp_link *link)
{
    return link->slots_used != link->slots_limit;
}

static void push(struct shl_tcp_link *link, struct shl_xfer *xfer)
{
    shl_tcp_send_state(xfer)->push = true;
    link->slots_used++;
    shl_list_append(&link->pushes, &xfer->link);
}

/* ---- posting ------------------------------------------------------------------------------ */

static void wait_for_announcement(struct shl_tcp_link *link, struct shl_xfer *xfer)
{
    shl_list_append(&link->waiting[shl_tcp_bucket(&xfer->tag)], &xfer->link);
    link->posted++;
    if (shl_tcp_send_state(xfer)->small)
        link->starved++;
    ask(link, xfer);
}

static void send_large(struct shl_tcp_link *link, struct shl_xfer *xfer)
{
    struct shl_tcp_notice *notice =
        link->notice_count ? shl_tcp_notice_find(link, &xfer->tag, SHL_TCP_ANNOUNCE) : NULL;
    if (!notice) {
        wait_for_announcement(link, xfer);
        return;
    }
    const struct shl_transport_env *env = link->t->env;
    struct shl_signature signature = notice->signature;
    uint64_t bytes = notice->bytes;
    struct shl_tag tag = xfer->tag;
    shl_tcp_send_state(xfer)->elem_bytes = notice->elem_bytes;
    shl_tcp_notice_free(link, notice);
    link->posted++;
    if (!shl_signature_equal(&signature, &xfer->signature)) {
        shl_list_append(&link->waiting[shl_tcp_bucket(&tag)], &xfer->link);
        shl_tcp_send_state(xfer)->asked = true; /* the receiver cannot answer; it is aborted */
        env->seen(env->arg, link->peer, &tag, &signature);
        return;
    }
    shl_list_append(&link->streams, &xfer->link);
    if (bytes == xfer->bytes)
        return;
    shl_fail(SHOAL_ERR_MISMATCH,
             "rank %u expects %" PRIu64 " bytes where %" PRIu64 " are sent, in message %u",
             link->peer, bytes, xfer->bytes, tag.msg);
    shl_tcp_send_complete(link, xfer, SHOAL_ERR_MISMATCH);
}

enum shoal_status shl_tcp_send(struct shl_transport *t, struct shl_xfer *xfer)
{
    struct shl_tcp_link *link;
    SHL_TRY(shl_tcp_link_get(t, xfer->peer, &link));
    if (SHL_UNLIKELY(link->state == SHL_TCP_GONE))
        return shl_fail(SHOAL_ERR_PEER, "rank %u has closed its link", xfer->peer);
    struct shl_tcp_send_state *state = shl_tcp_send_state(xfer);
    memset(xfer->scratch, 0, sizeof(xfer->scratch));
    state->elem_bytes = 1;
    state->small = xfer->bytes <= SHL_TCP_PUSH_BYTES;
    xfer->moved_bytes = 0;
    xfer->status = SHOAL_IN_PROGRESS;
    if (!state->small)
        send_large(link, xfer);
    else if (xfer->bytes <= SHL_TCP_EAGER_BYTES && small_fits(link, (uint32_t)xfer->bytes))
        send_small(link, xfer);
    else if (xfer->bytes > SHL_TCP_EAGER_BYTES && push_fits(link)) {
        push(link, xfer);
        link->posted++;
    } else
        wait_for_announcement(link, xfer);
    return SHOAL_OK;
}

/* ---- when room comes back ----------------------------------------------------------------- */

static void resume_sends(struct shl_tcp_link *link)
{
    struct shl_list *node, *after;
    for (int i = 0; i < SHL_TCP_BUCKETS; i++) {
        SHL_LIST_FOR_EACH(node, after, &link->waiting[i])
        {
            struct shl_xfer *xfer = SHL_CONTAINER_OF(node, struct shl_xfer, link);
            struct shl_tcp_send_state *state = shl_tcp_send_state(xfer);
            bool copied = xfer->bytes <= SHL_TCP_EAGER_BYTES;
            if (state->small && copied && small_fits(link, (uint32_t)xfer->bytes)) {
                shl_list_remove(node);
                link->starved--;
                shl_list_append(&link->ready, &small_frame(link, xfer)->link);
                shl_list_append(&link->sending, &xfer->link);
            } else if (state->small && !copied && push_fits(link)) {
                shl_list_remove(node);
                link->starved--;
                push(link, xfer);
            } else if (!state->asked) {
                ask(link, xfer);
            }
        }
    }
}

void shl_tcp_resume(struct shl_tcp_link *link)
{
    bool deferred = link->deferred;
    link->deferred = false;
    if (link->starved || deferred)
        resume_sends(link);
    if (!deferred)
        return;
    struct shl_list *node, *after;
    for (int i = 0; i < SHL_TCP_BUCKETS; i++) {
        SHL_LIST_FOR_EACH(node, after, &link->recvs[i])
        {
            struct shl_xfer *xfer = SHL_CONTAINER_OF(node, struct shl_xfer, link);
            const struct shl_tcp_recv_state *state = shl_tcp_recv_state(xfer);
            /* Announced late, so the sender may have asked and waits: worth keeping only if it is
             * a large one, which is what the sender looks for. */
            if (state->announce && !state->announced)
                shl_tcp_announce(link, xfer, xfer->bytes > SHL_TCP_PUSH_BYTES ? 0 : SHL_TCP_ANSWER);
        }
    }
}
