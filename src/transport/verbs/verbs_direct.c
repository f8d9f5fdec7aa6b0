/*
 * Sending in place: from the caller's memory to where the receiver wants it.
 *
 * A message is cut into pieces, which the rails pull from one queue as they have room; what a rail
 * writes last of a message tells the receiver how many pieces it carried. Several requests are
 * posted at once.
 *
 * Invariant: the memory of a send stays registered until its last piece is acknowledged, or the
 * pairs were fenced.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "transport/verbs/verbs_link.h"

#include "core/sys.h"

#define CHAIN 8      /* requests posted at once */
#define LANE_SHARE 8 /* requests that a lane takes while others could carry them too */
#define SIGNAL 2     /* every so many ask for a completion, so that a rail is refilled early */
#define ALONE_BYTES ((uint64_t)512 << 10) /* a request of the only lane: nobody could share */

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
    if (state->invited || state->served) { /* requests of it may be outstanding */
        shl_verbs_note_free(link->t, note);
        shl_verbs_link_fail(link, SHOAL_ERR_PEER, "rank %u announces a place for a message twice",
                            link->peer);
        return;
    }
    if (!state->hold)
        state->hold = shl_verbs_hold(link->t, xfer->data, xfer->bytes, true);
    if (!state->hold) {
        struct shl_verbs_frame frame = note->frame;
        shl_verbs_note_free(link->t, note);
        shl_verbs_say_unplace(link, &frame, true);
        return;
    }
    state->direct = state->invited = true;
    state->posted = state->unsettled = false;
    state->placed = state->acked = state->outstanding = 0;
    note->xfer = xfer;
    shl_list_append(&link->direct.serving, &note->link);
}

void shl_verbs_on_place(struct shl_verbs_link *link, const struct shl_verbs_frame *frame)
{
    const struct shl_transport_env *env = link->t->env;
    if (frame->offset != link->direct.life || !(link->direct.up || link->direct.joining))
        return; /* it will be said again */
    struct shl_xfer *xfer = shl_verbs_find(link->sends, &frame->tag);
    if (!xfer && !env->wanted(env->arg, &frame->tag)) {
        shl_verbs_say_unplace(link, frame, false);
        return;
    }
    if (xfer && !shl_verbs_agrees(link, xfer, frame))
        return;
    if (!xfer && !shl_verbs_is_first(link, frame))
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

/* ---- lanes ---------------------------------------------------------------------------------- */

uint32_t shl_verbs_direct_lanes(const struct shl_verbs_direct *direct)
{
    uint32_t count = 0;
    for (uint32_t index = 0; index < SHL_VERBS_LANES; index++)
        count += direct->lanes[index].qp != NULL;
    return count;
}

static bool lane_carries(const struct shl_verbs_direct *direct, uint32_t index)
{
    return direct->lanes[index].qp && !(direct->unproved >> shl_verbs_rail_of(index) & 1);
}

static uint32_t carrying_lanes(const struct shl_verbs_direct *direct)
{
    uint32_t count = 0;
    for (uint32_t index = 0; index < SHL_VERBS_LANES; index++)
        count += lane_carries(direct, index);
    return count;
}

bool shl_verbs_direct_carries(const struct shl_verbs_direct *direct)
{
    return carrying_lanes(direct) > 0;
}

/* ---- writing ------------------------------------------------------------------------------- */

/* Requests for one rail, which are posted together. */
struct batch {
    struct ibv_send_wr requests[CHAIN + 1]; /* the last of a batch may take two */
    struct ibv_sge pieces[CHAIN + 1];
    unsigned count;
};

/* The next request of the batch is filled. */
static void append(struct batch *batch)
{
    if (batch->count > 0)
        batch->requests[batch->count - 1].next = &batch->requests[batch->count];
    batch->count++;
}

/* The last request of the batch has an immediate value, which the device does not know: it becomes
 * a plain write, and a send; or only that, if it writes nothing. */
static void tell_by_send(struct shl_verbs_link *link, uint32_t index, uint32_t number,
                         struct batch *batch)
{
    struct ibv_send_wr *write = &batch->requests[batch->count - 1];
    struct ibv_send_wr *send = write->num_sge ? write + 1 : write;
    struct ibv_sge *token = &batch->pieces[send - batch->requests];
    *token = shl_verbs_token_out(link, index, number, write->imm_data);
    *send = (struct ibv_send_wr){.wr_id = write->wr_id,
                                 .sg_list = token,
                                 .num_sge = 1,
                                 .opcode = IBV_WR_SEND,
                                 .send_flags = write->send_flags};
    if (send == write)
        return;
    write->opcode = IBV_WR_RDMA_WRITE;
    write->send_flags = 0;
    append(batch);
}

/* Add a request that writes the next `bytes` bytes of the message that a PLACE is for. */
static void add(struct shl_verbs_link *link, uint32_t index, const struct shl_verbs_note *note,
                uint64_t bytes, bool tells, struct batch *batch)
{
    const struct shl_verbs_frame *frame = &note->frame;
    struct shl_verbs_lane *lane = &link->direct.lanes[index];
    struct shl_verbs_send_state *state = shl_verbs_send_state(note->xfer);
    uint32_t rail = shl_verbs_rail_of(index);
    uint32_t number = lane->requested++;
    struct ibv_sge *piece = &batch->pieces[batch->count];
    struct ibv_send_wr *request = &batch->requests[batch->count];
    bool signalled = tells || number % SIGNAL == SIGNAL - 1;
    *piece = (struct ibv_sge){.addr = (uintptr_t)note->xfer->data + state->placed,
                              .length = (uint32_t)bytes,
                              .lkey = state->hold->mr[rail]->lkey};
    *request = (struct ibv_send_wr){
        .wr_id = (uint64_t)index << 56 | (uint64_t)link->peer << 32 | SHL_VERBS_SEND_REQUEST |
                 ((number + 1) & (SHL_VERBS_SEND_REQUEST - 1)),
        .sg_list = piece,
        .num_sge = bytes ? 1 : 0,
        .opcode = tells ? IBV_WR_RDMA_WRITE_WITH_IMM : IBV_WR_RDMA_WRITE,
        .send_flags = signalled ? IBV_SEND_SIGNALED : 0,
        .imm_data =
            frame->window | lane->pieces << 5 | (state->ready_sent ? SHL_VERBS_READY_SENT : 0),
        .wr.rdma = {.remote_addr = frame->address + state->placed, .rkey = frame->keys[rail]}};
    append(batch);
    if (tells && link->t->rails[rail].no_immediate)
        tell_by_send(link, index, number, batch);
    lane->requests[number % SHL_VERBS_SLOTS] =
        (struct shl_verbs_write){note->xfer, (uint32_t)bytes};
    lane->signalled += signalled;
    lane->pieces = tells ? 0 : lane->pieces;
    state->placed += bytes;
    state->outstanding++;
    link->bytes_sent += bytes;
    link->direct.bytes_sent += bytes;
}

/* Has every lane that carried some of the message told so? */
static bool is_told(const struct shl_verbs_direct *direct)
{
    for (uint32_t index = 0; index < SHL_VERBS_LANES; index++)
        if (direct->lanes[index].pieces)
            return false;
    return true;
}

/* What one request carries: a piece, or several where no other lane could carry some of them, since
 * each request costs the devices at both ends an acknowledgement, and the host a completion. */
static uint64_t request_bytes(const struct shl_verbs_direct *direct, uint64_t piece_bytes)
{
    bool alone = carrying_lanes(direct) == 1;
    return alone && piece_bytes < ALONE_BYTES ? ALONE_BYTES / piece_bytes * piece_bytes
                                              : piece_bytes;
}

/* The next request for this lane; false: there is none. */
static bool pull(struct shl_verbs_link *link, uint32_t index, struct batch *batch)
{
    struct shl_verbs_direct *direct = &link->direct;
    struct shl_verbs_lane *lane = &direct->lanes[index];
    if (shl_list_empty(&direct->serving))
        return false;
    struct shl_verbs_note *note =
        SHL_CONTAINER_OF(direct->serving.next, struct shl_verbs_note, link);
    struct shl_verbs_send_state *state = shl_verbs_send_state(note->xfer);
    uint64_t left = note->xfer->bytes - state->placed;
    uint64_t piece = shl_verbs_piece_bytes(note->xfer->bytes);
    uint64_t most = request_bytes(direct, piece);
    if (left > 0) {
        uint64_t bytes = left < most ? left : most;
        lane->pieces += (uint32_t)((bytes + piece - 1) / piece);
        add(link, index, note, bytes, left <= most, batch);
    } else if (lane->pieces > 0) {
        add(link, index, note, 0, true, batch);
    } else {
        return false; /* other lanes have to tell */
    }
    if (state->placed == note->xfer->bytes && is_told(direct)) {
        state->posted = true;
        shl_verbs_note_free(link->t, note);
    }
    return true;
}

/* Deal requests to the lanes in turn, as far as they have room. */
static void deal(struct shl_verbs_link *link, struct batch batches[SHL_VERBS_LANES])
{
    struct shl_verbs_direct *direct = &link->direct;
    const uint32_t share = carrying_lanes(direct) > 1 ? LANE_SHARE : SHL_VERBS_SLOTS;
    for (uint32_t index = 0; index < SHL_VERBS_LANES; index++)
        batches[index].count = 0;
    for (bool pulled = true; pulled;) {
        pulled = false;
        for (uint32_t index = 0; index < SHL_VERBS_LANES; index++) {
            const struct shl_verbs_lane *lane = &direct->lanes[index];
            if (lane_carries(direct, index) && batches[index].count < CHAIN &&
                lane->requested - lane->completed < share && pull(link, index, &batches[index]))
                pulled = true;
        }
    }
}

unsigned shl_verbs_direct_flush(struct shl_verbs_link *link)
{
    struct shl_verbs_direct *direct = &link->direct;
    struct batch batches[SHL_VERBS_LANES];
    struct ibv_send_wr *bad;
    unsigned work = 0;
    if (!direct->up || direct->reset_wanted || shl_list_empty(&direct->serving))
        return 0;
    deal(link, batches);
    for (uint32_t index = 0; index < SHL_VERBS_LANES; index++) {
        struct batch *batch = &batches[index];
        uint32_t rail = shl_verbs_rail_of(index);
        work += batch->count;
        if (batch->count &&
            shl_verbs->post_send(direct->lanes[index].qp, batch->requests, &bad) != 0)
            shl_verbs_rail_fail(link, rail, "%s: a write to rank %u cannot be posted",
                                link->t->rails[rail].port.device, link->peer);
    }
    return work;
}

/* ---- completions --------------------------------------------------------------------------- */

static void finish(struct shl_verbs_link *link, struct shl_xfer *xfer)
{
    struct shl_verbs_send_state *state = shl_verbs_send_state(xfer);
    shl_verbs_unhold(link->t, &state->hold);
    state->direct = false;
    xfer->moved_bytes = xfer->bytes;
    shl_verbs_complete(xfer, SHOAL_OK);
}

/* Requests up to number `upto` (exclusive) are complete. */
static void completed(struct shl_verbs_link *link, struct shl_verbs_lane *lane, uint32_t upto)
{
    const uint64_t life = link->direct.life;
    upto = lane->completed + ((upto - lane->completed) & (uint32_t)(SHL_VERBS_SEND_REQUEST - 1));
    while (lane->completed != upto && link->direct.life == life && lane->qp) {
        struct shl_verbs_write done = lane->requests[lane->completed % SHL_VERBS_SLOTS];
        lane->completed++;
        if (SHL_UNLIKELY(!done.xfer)) {
            shl_verbs_direct_proved(link, lane);
            continue;
        }
        struct shl_verbs_send_state *state = shl_verbs_send_state(done.xfer);
        state->outstanding--;
        state->acked += done.bytes;
        done.xfer->moved_bytes = state->acked;
        if (shl_verbs_send_landed(state))
            finish(link, done.xfer);
    }
}

void shl_verbs_direct_distrust(struct shl_verbs_link *link, uint32_t rail)
{
    struct shl_verbs_direct *direct = &link->direct;
    direct->bad |= 1u << rail;
    for (uint32_t index = rail; index < SHL_VERBS_LANES; index += SHL_VERBS_RAILS)
        direct->reset_wanted = direct->reset_wanted || direct->lanes[index].qp;
}

static void on_error(struct shl_verbs_link *link, uint32_t index, const struct ibv_wc *completion)
{
    struct shl_verbs_direct *direct = &link->direct;
    uint32_t rail = shl_verbs_rail_of(index);
    const struct shl_verbs_port *port = &link->t->rails[rail].port;
    shl_verbs_direct_absorb(link, index, completion);
    const char *text = shl_verbs->wc_status_str(completion->status);
    if (link->state != SHL_VERBS_UP || direct->reset_wanted || shl_verbs_said_bye(link) ||
        shl_verbs_join_doubt(&direct->lanes[index].join, shl_now_ns(), text))
        return;
    /* If the peer is gone, the channel will tell. */
    shl_verbs_rail_fail(link, rail, "%s port %u to rank %u, writing in place: %s", port->device,
                        port->port, link->peer, text);
}

void shl_verbs_direct_arrive(struct shl_verbs_link *link, uint32_t index,
                             const struct ibv_wc *completion)
{
    struct shl_verbs_lane *lane = &link->direct.lanes[index];
    if (SHL_UNLIKELY(completion->status != IBV_WC_SUCCESS)) {
        on_error(link, index, completion);
        return;
    }
    lane->quiet_ns = 0;
    if (completion->wr_id & SHL_VERBS_SEND_REQUEST) {
        lane->signalled--;
        completed(link, lane, (uint32_t)completion->wr_id & (uint32_t)(SHL_VERBS_SEND_REQUEST - 1));
        return;
    }
    lane->recvs--;
    uint32_t told = shl_verbs_told(link, completion);
    if (shl_verbs_pair_direct_recv(link, index, (uint32_t)completion->wr_id % SHL_VERBS_PLACES) < 0)
        shl_verbs_rail_fail(link, shl_verbs_rail_of(index), "%s", shl_error_text());
    if (link->state != SHL_VERBS_LOST) /* what came is there, whatever becomes of the rail */
        shl_verbs_on_placed(link, told);
}

/* ---- ending -------------------------------------------------------------------------------- */

/* PLACEs that wait to be used for this send. */
static void forget_notes(struct shl_verbs_link *link, const struct shl_xfer *xfer)
{
    struct shl_list *node, *after;
    SHL_LIST_FOR_EACH(node, after, &link->direct.serving)
    {
        struct shl_verbs_note *note = SHL_CONTAINER_OF(node, struct shl_verbs_note, link);
        if (note->xfer != xfer)
            continue;
        shl_verbs_say_unplace(link, &note->frame, false);
        shl_verbs_note_free(link->t, note);
    }
}

bool shl_verbs_direct_undo(struct shl_verbs_link *link, struct shl_xfer *xfer)
{
    struct shl_verbs_send_state *state = shl_verbs_send_state(xfer);
    if (!state->direct)
        return true;
    /* Before that the peer has ended its pairs, so there is nothing to wait for. */
    if (state->outstanding && !state->unsettled) {
        shl_verbs_link_fail(link, SHOAL_ERR_PEER, "rank %u wants windows for what is written",
                            link->peer);
        return false;
    }
    forget_notes(link, xfer);
    shl_verbs_unhold(link->t, &state->hold);
    *state = (struct shl_verbs_send_state){.ready_sent = state->ready_sent};
    return true;
}

void shl_verbs_direct_forget(struct shl_verbs_link *link, struct shl_xfer *xfer)
{
    struct shl_verbs_send_state *state = shl_verbs_send_state(xfer);
    if (!state->direct)
        return;
    if (state->placed > 0 && !state->unsettled) /* some may still be read */
        shl_verbs_direct_reset(link);
    forget_notes(link, xfer);
    shl_verbs_unhold(link->t, &state->hold);
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
static struct shl_xfer *find_landed(struct shl_verbs_link *link)
{
    struct shl_list *node, *after;
    for (uint32_t i = 0; i < SHL_VERBS_BUCKETS; i++) {
        SHL_LIST_FOR_EACH(node, after, &link->sends[i])
        {
            struct shl_xfer *xfer = SHL_CONTAINER_OF(node, struct shl_xfer, link);
            if (shl_verbs_send_landed(shl_verbs_send_state(xfer)))
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
    while ((xfer = find_landed(link))) {
        finish(link, xfer);
        work++;
    }
    return work;
}
