/*
 * Sending in place: from the caller's memory to where the receiver wants it.
 *
 * A message goes in pieces, so that the watchdog sees it move, and so that no device's limit of
 * size is met; the last piece carries the immediate value. Several pieces are posted at once.
 *
 * Invariant: the memory of a send stays registered until its last piece is acknowledged, or the
 * pair was fenced.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "transport/verbs/verbs_link.h"

#include "core/sys.h"

#define PIECE_BYTES (1u << 20)
#define CHAIN 8 /* requests posted at once */

void shl_verbs_say_unplace(struct shl_verbs_link *link, const struct shl_verbs_frame *place,
                           bool windows)
{
    struct shl_verbs_frame frame = *place;
    frame.type = SHL_VERBS_UNPLACE;
    frame.length = windows;
    struct shl_verbs_note *note = shl_verbs_note_new(link, &frame);
    if (note)
        shl_list_append(&link->outbox, &note->link);
}

/* ---- what the receiver says ---------------------------------------------------------------- */

void shl_verbs_direct_use(struct shl_verbs_link *link, struct shl_verbs_note *note,
                          struct shl_xfer *xfer)
{
    struct shl_verbs_send_state *state = shl_verbs_send_state(xfer);
    shl_list_remove(&note->link);
    if (!state->hold.mr && !shl_verbs_hold(link->t, xfer->data, xfer->bytes, true, &state->hold)) {
        struct shl_verbs_frame frame = note->frame;
        shl_verbs_note_free(link->t, note);
        shl_verbs_say_unplace(link, &frame, true);
        return;
    }
    state->direct = true;
    state->unsettled = false;
    state->placed = state->acked = 0;
    note->xfer = xfer;
    shl_list_append(&link->direct.serving, &note->link);
}

void shl_verbs_on_place(struct shl_verbs_link *link, const struct shl_verbs_frame *frame)
{
    const struct shl_transport_env *env = link->t->env;
    if (frame->offset != link->direct.life || !link->direct.up)
        return; /* it will be said again */
    struct shl_xfer *xfer = shl_verbs_find(link->sends, &frame->tag);
    if (!xfer && !env->wanted(env->arg, &frame->tag)) {
        shl_verbs_say_unplace(link, frame, false);
        return;
    }
    if (xfer && !shl_verbs_agrees(link, xfer, frame))
        return;
    struct shl_verbs_note *note = shl_verbs_note_new(link, frame);
    if (!note)
        return;
    if (xfer) {
        shl_verbs_direct_use(link, note, xfer);
        return;
    }
    shl_list_append(&link->notes[shl_verbs_bucket(&frame->tag)], &note->link);
    env->seen(env->arg, link->peer, &frame->tag, &frame->signature);
}

/* ---- writing ------------------------------------------------------------------------------- */

/* The next piece of the message that a PLACE is for; true: it is the last. */
static bool cut(struct shl_verbs_link *link, const struct shl_verbs_note *note, uint32_t number,
                struct ibv_sge *piece, struct ibv_send_wr *request)
{
    const struct shl_verbs_frame *frame = &note->frame;
    struct shl_xfer *xfer = note->xfer;
    struct shl_verbs_send_state *state = shl_verbs_send_state(xfer);
    uint64_t left = xfer->bytes - state->placed;
    bool last = left <= PIECE_BYTES;
    *piece = (struct ibv_sge){.addr = (uintptr_t)xfer->data + state->placed,
                              .length = last ? (uint32_t)left : PIECE_BYTES,
                              .lkey = state->hold.mr->lkey};
    *request = (struct ibv_send_wr){
        .wr_id = (uint64_t)link->peer << 32 | SHL_VERBS_SEND_REQUEST |
                 ((number + 1) & (SHL_VERBS_SEND_REQUEST - 1)),
        .sg_list = piece,
        .num_sge = 1,
        .opcode = last ? IBV_WR_RDMA_WRITE_WITH_IMM : IBV_WR_RDMA_WRITE,
        .send_flags =
            last || number % SHL_VERBS_SIGNAL == SHL_VERBS_SIGNAL - 1 ? IBV_SEND_SIGNALED : 0,
        .imm_data = frame->window | (state->ready_sent ? SHL_VERBS_READY_SENT : 0),
        .wr.rdma = {.remote_addr = frame->address + state->placed, .rkey = frame->key}};
    state->placed += piece->length;
    link->direct.requests[number % SHL_VERBS_SLOTS] = (struct shl_verbs_write){xfer, piece->length};
    return last;
}

static bool room(const struct shl_verbs_direct *direct, uint32_t number)
{
    return number - direct->completed < SHL_VERBS_SLOTS;
}

unsigned shl_verbs_direct_flush(struct shl_verbs_link *link)
{
    struct shl_verbs_direct *direct = &link->direct;
    struct ibv_send_wr chain[CHAIN], *bad;
    struct ibv_sge pieces[CHAIN];
    unsigned count = 0;
    if (!direct->up || direct->reset_wanted)
        return 0;
    uint32_t number = direct->requested;
    while (count < CHAIN && !shl_list_empty(&direct->serving) && room(direct, number)) {
        struct shl_verbs_note *note =
            SHL_CONTAINER_OF(direct->serving.next, struct shl_verbs_note, link);
        if (cut(link, note, number++, &pieces[count], &chain[count]))
            shl_verbs_note_free(link->t, note);
        if (count > 0)
            chain[count - 1].next = &chain[count];
        direct->signalled += (chain[count].send_flags & IBV_SEND_SIGNALED) != 0;
        link->bytes_sent += pieces[count].length;
        direct->bytes_sent += pieces[count].length;
        count++;
    }
    if (count == 0)
        return 0;
    direct->requested = number;
    if (SHL_UNLIKELY(shl_verbs->post_send(direct->qp, chain, &bad) != 0))
        direct->reset_wanted = true; /* some may have been posted */
    return count;
}

/* ---- completions --------------------------------------------------------------------------- */

static void finish(struct shl_xfer *xfer)
{
    struct shl_verbs_send_state *state = shl_verbs_send_state(xfer);
    shl_verbs_unhold(&state->hold);
    state->direct = false;
    xfer->moved_bytes = xfer->bytes;
    shl_verbs_complete(xfer, SHOAL_OK);
}

/* Requests up to number `upto` (exclusive) are complete. */
static void completed(struct shl_verbs_link *link, uint32_t upto)
{
    struct shl_verbs_direct *direct = &link->direct;
    const uint64_t life = direct->life;
    upto =
        direct->completed + ((upto - direct->completed) & (uint32_t)(SHL_VERBS_SEND_REQUEST - 1));
    while (direct->completed != upto && direct->life == life && direct->qp) {
        struct shl_verbs_write done = direct->requests[direct->completed % SHL_VERBS_SLOTS];
        struct shl_verbs_send_state *state = shl_verbs_send_state(done.xfer);
        direct->completed++;
        state->acked += done.bytes;
        done.xfer->moved_bytes = state->acked;
        if (state->acked == done.xfer->bytes)
            finish(done.xfer);
    }
}

void shl_verbs_direct_arrive(struct shl_verbs_link *link, const struct ibv_wc *completion)
{
    struct shl_verbs_direct *direct = &link->direct;
    bool sent = completion->wr_id & SHL_VERBS_SEND_REQUEST;
    if (SHL_UNLIKELY(completion->status != IBV_WC_SUCCESS)) {
        shl_verbs_direct_absorb(link, completion);
        if (link->state != SHL_VERBS_UP || direct->reset_wanted || shl_verbs_said_bye(link))
            return;
        /* The peer may have ended its pair; if it is gone, the other pair will tell. */
        direct->reset_wanted = true;
        if (direct->errors++ >= SHL_VERBS_DIRECT_ERRORS)
            shl_verbs_link_fail(link, SHOAL_ERR_PEER, "%s port %u to rank %u, writing in place: %s",
                                link->t->port.device, link->t->port.port, link->peer,
                                shl_verbs->wc_status_str(completion->status));
        return;
    }
    direct->quiet_ns = 0;
    if (sent) {
        direct->signalled--;
        direct->errors = 0;
        completed(link, (uint32_t)completion->wr_id & (uint32_t)(SHL_VERBS_SEND_REQUEST - 1));
        return;
    }
    direct->recvs--;
    if (shl_verbs_pair_direct_recv(link) < 0)
        shl_verbs_link_fail(link, SHOAL_ERR_PEER, "%s", shl_error_text());
    else
        shl_verbs_on_placed(link, completion->imm_data);
}

/* ---- ending -------------------------------------------------------------------------------- */

void shl_verbs_direct_forget(struct shl_verbs_link *link, struct shl_xfer *xfer)
{
    struct shl_verbs_send_state *state = shl_verbs_send_state(xfer);
    struct shl_list *node, *after;
    if (!state->direct)
        return;
    if (state->placed > 0 && !state->unsettled) /* some may still be read */
        shl_verbs_direct_reset(link);
    SHL_LIST_FOR_EACH(node, after, &link->direct.serving)
    {
        struct shl_verbs_note *note = SHL_CONTAINER_OF(node, struct shl_verbs_note, link);
        if (note->xfer != xfer)
            continue;
        shl_verbs_say_unplace(link, &note->frame, false);
        shl_verbs_note_free(link->t, note);
    }
    shl_verbs_unhold(&state->hold);
    state->direct = false;
}

static unsigned settle_places(struct shl_verbs_link *link)
{
    unsigned work = 0;
    for (uint32_t i = 0; i < SHL_VERBS_PLACES; i++) {
        struct shl_verbs_place *place = &link->direct.places[i];
        struct shl_xfer *xfer = place->xfer;
        if (!xfer || !place->landed)
            continue;
        xfer->moved_bytes = xfer->bytes;
        shl_verbs_place_free(link, place);
        shl_verbs_recv_complete(link, xfer, SHOAL_OK);
        work++;
    }
    return work;
}

/* One at a time, since `done` may post and so change the lists. */
static struct shl_xfer *find_acked(struct shl_verbs_link *link)
{
    struct shl_list *node, *after;
    for (uint32_t i = 0; i < SHL_VERBS_BUCKETS; i++) {
        SHL_LIST_FOR_EACH(node, after, &link->sends[i])
        {
            struct shl_xfer *xfer = SHL_CONTAINER_OF(node, struct shl_xfer, link);
            const struct shl_verbs_send_state *state = shl_verbs_send_state(xfer);
            if (state->direct && state->acked == xfer->bytes)
                return xfer;
        }
    }
    return NULL;
}

unsigned shl_verbs_direct_settle(struct shl_verbs_link *link)
{
    struct shl_xfer *xfer;
    unsigned work = 0;
    if (SHL_LIKELY(!link->direct.settle))
        return 0;
    link->direct.settle = false;
    work += settle_places(link);
    while ((xfer = find_acked(link))) {
        finish(xfer);
        work++;
    }
    return work;
}
