/*
 * The window of a link: numbers, retention until acknowledged, credit.
 *
 * Why nothing here can deadlock. A receiver always takes what its sockets hold: an announced
 * message has its final place; a small one fits the blocks that its sender had credit for; an
 * announcement or a question takes a fixed entry or is dropped and asked for again; everything
 * else is numbered and done with at once. So acknowledgements always flow while both sides poll,
 * the window always opens again, and a sender without credit falls back to asking for an
 * announcement, which needs no memory at the receiver beyond the message's own place.
 *
 * Invariant: rx_seen has a bit for exactly those numbers in [rx_next, rx_next + window) that
 * arrived; the frame of each number in [tx_first, tx_next) is intact, with its payload.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "transport/tcp/tcp_link.h"

/* Acknowledge at the latest when the peer has used up a quarter of what it may send. */
#define ACK_AFTER_FRAMES (SHL_TCP_WINDOW / 4)

/* ---- sending ------------------------------------------------------------------------------ */

struct shl_tcp_frame *shl_tcp_frame_new(struct shl_tcp_link *link, enum shl_tcp_frame_type type,
                                        const struct shl_xfer *xfer)
{
    struct shl_tcp_frame *frame = &link->frames[link->tx_next % SHL_TCP_WINDOW];
    SHL_ASSERT(shl_tcp_window_open(link));
    frame->sequence = link->tx_next++;
    frame->type = (uint8_t)type;
    frame->flags = 0;
    frame->elem_bytes = 0;
    frame->flow = -1;
    frame->xfer = NULL;
    frame->length = 0;
    frame->offset = 0;
    if (xfer) {
        frame->tag = xfer->tag;
        frame->signature = xfer->signature;
    } else {
        memset(&frame->tag, 0, sizeof(frame->tag));
        memset(&frame->signature, 0, sizeof(frame->signature));
    }
    return frame;
}

static uint32_t record_bytes(uint32_t length)
{
    return (SHL_TCP_HEADER_BYTES + length + 7) & ~7u;
}

/* Bytes lost at the end of the ring, where a record does not fit in one piece. */
static uint32_t ring_gap(const struct shl_tcp_link *link, uint32_t need)
{
    uint32_t at = (uint32_t)(link->ring_head % SHL_TCP_RING_BYTES);
    return at + need > SHL_TCP_RING_BYTES ? SHL_TCP_RING_BYTES - at : 0;
}

bool shl_tcp_ring_fits(const struct shl_tcp_link *link, uint32_t length)
{
    uint32_t need = record_bytes(length);
    uint64_t used = link->ring_head - link->ring_tail;
    return used + ring_gap(link, need) + need <= SHL_TCP_RING_BYTES;
}

void shl_tcp_ring_take(struct shl_tcp_link *link, struct shl_tcp_frame *frame)
{
    uint32_t need = record_bytes(frame->length);
    link->ring_head += ring_gap(link, need);
    frame->ring_at = (uint32_t)(link->ring_head % SHL_TCP_RING_BYTES);
    link->ring_head += need;
    frame->ring_end = link->ring_head;
}

void shl_tcp_orphan(struct shl_tcp_link *link, struct shl_tcp_frame *frame)
{
    if (frame->flow < 0)
        return;
    struct shl_tcp_tx *tx = &link->flows[frame->flow].tx;
    if (tx->frame != frame)
        return;
    tx->frame = NULL;
    tx->orphaned = true;
    if (tx->trailer_bytes && tx->trailer_at == 0)
        shl_tcp_trailer_encode(SHL_TCP_TRAILER_VOID, tx->trailer);
}

bool shl_tcp_send_complete(struct shl_tcp_link *link, struct shl_xfer *xfer,
                           enum shoal_status status)
{
    shl_list_remove(&xfer->link);
    link->posted--;
    xfer->status = status;
    xfer->done(xfer);
    return link->state != SHL_TCP_LOST;
}

/* The peer has this frame. May complete a send, and so call into the engine. */
static void retire(struct shl_tcp_link *link, struct shl_tcp_frame *frame)
{
    struct shl_xfer *xfer = frame->xfer;
    shl_tcp_orphan(link, frame);
    shl_list_remove(&frame->link);
    if (frame->type == SHL_TCP_EAGER)
        link->ring_tail = frame->ring_end;
    frame->xfer = NULL;
    if (!xfer)
        return;
    struct shl_tcp_send_state *state = shl_tcp_send_state(xfer);
    if (frame->type == SHL_TCP_CHUNK) {
        state->acked += frame->length;
        xfer->moved_bytes = state->acked;
        if (state->acked < xfer->bytes)
            return;
    }
    shl_tcp_send_complete(link, xfer, SHOAL_OK);
}

/* Like an acknowledgement, a grant may be old, but not more than the peer can have. */
static bool take_credit(struct shl_tcp_link *link, const char *what, uint16_t credit, uint16_t used,
                        uint16_t most, uint16_t *limit, bool *moved)
{
    if ((int16_t)(credit - *limit) <= 0)
        return true;
    if ((uint16_t)(credit - used) > most) {
        shl_tcp_link_fail(link, SHOAL_ERR_PEER, "rank %u gave credit for %u %s of %u", link->peer,
                          (uint16_t)(credit - used), what, most);
        return false;
    }
    *limit = credit;
    *moved = true;
    return true;
}

bool shl_tcp_acked(struct shl_tcp_link *link, const struct shl_tcp_header *header)
{
    uint32_t outstanding = link->tx_next - link->tx_first, ack = header->ack;
    int32_t advance = (int32_t)(ack - link->tx_first);
    bool moved = false;
    /* Flows overtake each other, so an old acknowledgement is normal; one of the future is not. */
    if (advance > 0 && (uint32_t)advance > outstanding) {
        shl_tcp_link_fail(link, SHOAL_ERR_PEER,
                          "rank %u acknowledged frame %u where %u to %u are outstanding",
                          link->peer, ack, link->tx_first, link->tx_next);
        return false;
    }
    if (!take_credit(link, "blocks", header->blocks, link->blocks_used, SHL_TCP_KEPT_BLOCKS,
                     &link->blocks_limit, &moved) ||
        !take_credit(link, "slots", header->slots, link->slots_used, SHL_TCP_KEPT_SLOTS,
                     &link->slots_limit, &moved))
        return false;
    for (; advance > 0; advance--) {
        struct shl_tcp_frame *frame = &link->frames[link->tx_first++ % SHL_TCP_WINDOW];
        retire(link, frame);
        moved = true;
    }
    if (moved && (link->starved || link->deferred))
        shl_tcp_resume(link);
    return link->state != SHL_TCP_LOST;
}

void shl_tcp_requeue(struct shl_tcp_link *link, uint32_t flow)
{
    /* From the newest to the oldest, each to the front: `ready` stays in order of number. */
    for (uint32_t i = link->tx_next; i != link->tx_first; i--) {
        struct shl_tcp_frame *frame = &link->frames[(i - 1) % SHL_TCP_WINDOW];
        if (frame->flow != (int)flow)
            continue;
        frame->flow = -1;
        link->frames_resent++;
        shl_list_append(link->ready.next, &frame->link);
    }
}

/* ---- receiving ---------------------------------------------------------------------------- */

enum shl_tcp_sequence_kind shl_tcp_sequence_kind(const struct shl_tcp_link *link, uint32_t sequence)
{
    uint32_t ahead = sequence - link->rx_next;
    if (ahead < SHL_TCP_WINDOW) {
        uint32_t slot = sequence % SHL_TCP_WINDOW;
        return link->rx_seen[slot / 64] >> (slot % 64) & 1 ? SHL_TCP_DUPLICATE : SHL_TCP_FRESH;
    }
    return (int32_t)ahead < 0 ? SHL_TCP_DUPLICATE : SHL_TCP_ALIEN;
}

void shl_tcp_arrived(struct shl_tcp_link *link, uint32_t sequence)
{
    uint32_t slot = sequence % SHL_TCP_WINDOW;
    link->rx_seen[slot / 64] |= UINT64_C(1) << (slot % 64);
    if ((int32_t)(sequence + 1 - link->rx_top) > 0)
        link->rx_top = sequence + 1;
    for (;;) {
        slot = link->rx_next % SHL_TCP_WINDOW;
        uint64_t bit = UINT64_C(1) << (slot % 64);
        if (!(link->rx_seen[slot / 64] & bit))
            break;
        link->rx_seen[slot / 64] &= ~bit;
        link->partial[slot] = 0;
        link->rx_next++;
    }
    if (link->rx_next - link->ack_told >= ACK_AFTER_FRAMES)
        link->ack_due = true;
    if (link->ack_goal_set) {
        link->ack_due = link->ack_due || link->rx_next != link->ack_told;
        link->ack_goal_set = (int32_t)(link->rx_next - link->ack_goal) < 0;
    }
}

void shl_tcp_message_ended(struct shl_tcp_link *link)
{
    link->ack_goal = link->rx_top;
    link->ack_goal_set = (int32_t)(link->rx_next - link->ack_goal) < 0;
    link->ack_due = true;
}

void shl_tcp_blocks_return(struct shl_tcp_link *link, uint32_t blocks)
{
    link->blocks_returned = (uint16_t)(link->blocks_returned + blocks);
    uint16_t untold = (uint16_t)(link->blocks_returned + SHL_TCP_KEPT_BLOCKS - link->blocks_told);
    if (untold >= SHL_TCP_KEPT_BLOCKS / 4)
        link->ack_due = true;
}

void shl_tcp_slot_return(struct shl_tcp_link *link)
{
    link->slots_returned++;
    uint16_t untold = (uint16_t)(link->slots_returned + SHL_TCP_KEPT_SLOTS - link->slots_told);
    if (untold >= SHL_TCP_KEPT_SLOTS / 4)
        link->ack_due = true;
}
