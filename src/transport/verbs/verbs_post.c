/*
 * Frames and writes leave.
 *
 * Invariant: request number n of a link uses send slot n modulo SHL_VERBS_SLOTS, which is free
 * because requests complete in order and fewer than that are outstanding.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "transport/verbs/verbs_link.h"

#include <string.h>

#define CREDIT_RESERVE 2 /* receive requests of the peer that only CREDIT frames may use */

/* May one more request be posted, leaving `reserve` of the peer's receive requests? */
static bool room(const struct shl_verbs_link *link, uint32_t reserve)
{
    return link->state >= SHL_VERBS_PROVING && link->state <= SHL_VERBS_UP &&
           link->rail != SHL_VERBS_NOWHERE &&
           link->sent - link->peer_taken + reserve < SHL_VERBS_SLOTS &&
           link->requested - link->completed < SHL_VERBS_SLOTS;
}

/* ---- carrying ------------------------------------------------------------------------------ */

static uint8_t *slot_of(const struct shl_verbs_link *link, uint32_t number)
{
    return link->send_slots + (size_t)(number % SHL_VERBS_SLOTS) * SHL_VERBS_SLOT_BYTES;
}

const uint8_t *shl_verbs_frame_refresh(struct shl_verbs_link *link, uint32_t number)
{
    uint8_t *slot = slot_of(link, number);
    struct shl_verbs_frame *frame = (struct shl_verbs_frame *)(void *)slot;
    frame->taken = link->taken;
    frame->unkept = link->unkept;
    return slot;
}

/* A write with an immediate value becomes a plain one, and a frame that says the same. The slot of
 * its number is free, since it has a stage. */
static void tell_by_frame(struct shl_verbs_link *link, uint32_t number, struct ibv_send_wr *write,
                          struct ibv_send_wr *send, struct ibv_sge *piece)
{
    const struct shl_verbs_frame frame = {
        .type = SHL_VERBS_WROTE, .window = write->imm_data, .length = write->sg_list->length};
    memcpy(slot_of(link, number), &frame, sizeof(frame));
    (void)shl_verbs_frame_refresh(link, number);
    *piece = (struct ibv_sge){.addr = (uintptr_t)slot_of(link, number),
                              .length = sizeof(frame),
                              .lkey = link->slots_mr->lkey};
    *send = (struct ibv_send_wr){.wr_id = write->wr_id,
                                 .sg_list = piece,
                                 .num_sge = 1,
                                 .opcode = IBV_WR_SEND,
                                 .send_flags = write->send_flags};
    write->opcode = IBV_WR_RDMA_WRITE;
    write->send_flags = 0;
    write->next = send;
}

/* Give a request to the rail that carries; the channel takes it when it can. */
static void carry(struct shl_verbs_link *link, uint32_t number, bool signalled)
{
    const struct shl_verbs_request *from = &link->requests[number % SHL_VERBS_SLOTS];
    struct ibv_send_wr *bad;
    if (link->rail == SHL_VERBS_CHANNEL)
        return;
    const struct shl_verbs_rail *rail = &link->t->rails[link->rail];
    struct ibv_sge piece = {.length = from->bytes};
    struct ibv_send_wr request = {.wr_id = (uint64_t)link->rail << 56 | (uint64_t)link->peer << 32 |
                                           SHL_VERBS_SEND_REQUEST |
                                           ((number + 1) & (SHL_VERBS_SEND_REQUEST - 1)),
                                  .sg_list = &piece,
                                  .num_sge = from->bytes ? 1 : 0,
                                  .opcode = IBV_WR_SEND,
                                  .send_flags = signalled ? IBV_SEND_SIGNALED : 0};
    if (from->stage) {
        piece.addr = (uintptr_t)from->stage->memory;
        piece.lkey = rail->pool_mr->lkey;
        request.opcode = IBV_WR_RDMA_WRITE_WITH_IMM;
        request.imm_data = from->window; /* both ends have the same byte order */
        request.wr.rdma.remote_addr = from->address;
        request.wr.rdma.rkey = link->peer_window_key;
    } else {
        piece.addr = (uintptr_t)slot_of(link, number);
        piece.lkey = link->slots_mr->lkey;
        if (from->bytes <= link->inline_bytes)
            request.send_flags |= IBV_SEND_INLINE;
    }
    struct ibv_send_wr told;
    struct ibv_sge frame;
    if (from->stage && rail->no_immediate)
        tell_by_frame(link, number, &request, &told, &frame);
    link->signalled += signalled;
    int error = shl_verbs->post_send(link->qp, &request, &bad);
    if (SHL_UNLIKELY(error != 0))
        shl_verbs_rail_fail(link, link->rail, "%s: a request to rank %u cannot be posted: %s",
                            rail->port.device, link->peer, strerror(error < 0 ? -error : error));
}

void shl_verbs_carry_again(struct shl_verbs_link *link, uint32_t from)
{
    link->channel.next = from;
    for (; from != link->requested && link->rail < SHL_VERBS_RAILS; from++) {
        if (!link->requests[from % SHL_VERBS_SLOTS].stage)
            (void)shl_verbs_frame_refresh(link, from);
        carry(link, from, true);
    }
}

/* Add a request, whose slot or stage is filled; false: the link has failed. */
static bool post(struct shl_verbs_link *link, const struct shl_verbs_request *request,
                 bool signalled)
{
    uint32_t number = link->requested++;
    link->requests[number % SHL_VERBS_SLOTS] = *request;
    link->sent++;
    link->bytes_sent += request->bytes;
    carry(link, number, signalled);
    return link->state != SHL_VERBS_LOST;
}

static bool post_frame(struct shl_verbs_link *link, const struct shl_verbs_frame *frame,
                       const void *payload, bool signalled)
{
    const uint32_t number = link->requested;
    uint8_t *slot = slot_of(link, number);
    uint32_t payload_bytes = payload ? frame->length : 0;
    const struct shl_verbs_request request = {.bytes = (uint32_t)sizeof(*frame) + payload_bytes};
    memcpy(slot, frame, sizeof(*frame));
    (void)shl_verbs_frame_refresh(link, number);
    if (payload_bytes)
        memcpy(slot + sizeof(*frame), payload, payload_bytes);
    link->taken_told = link->taken;
    link->unkept_told = link->unkept;
    return post(link, &request, signalled || number % SHL_VERBS_SIGNAL == SHL_VERBS_SIGNAL - 1);
}

/* ---- frames -------------------------------------------------------------------------------- */

static struct shl_verbs_frame frame_about(enum shl_verbs_frame_type type,
                                          const struct shl_xfer *xfer)
{
    return (struct shl_verbs_frame){.type = (uint8_t)type,
                                    .tag = xfer->tag,
                                    .signature = xfer->signature,
                                    .bytes = xfer->bytes};
}

static void queue(struct shl_verbs_link *link, const struct shl_verbs_frame *frame)
{
    struct shl_verbs_note *note = shl_verbs_note_new(link, frame);
    if (note)
        shl_list_append(&link->outbox, &note->link);
}

void shl_verbs_say(struct shl_verbs_link *link, enum shl_verbs_frame_type type,
                   const struct shl_xfer *xfer)
{
    struct shl_verbs_frame frame = frame_about(type, xfer);
    queue(link, &frame);
}

void shl_verbs_say_grant(struct shl_verbs_link *link, const struct shl_xfer *xfer,
                         const struct shl_verbs_window *window)
{
    struct shl_verbs_frame frame = frame_about(SHL_VERBS_GRANT, xfer);
    frame.offset = window->offset;
    frame.length = window->length;
    frame.address = (uintptr_t)window->memory;
    frame.window = (uint32_t)window->generation << 16 | window->index;
    queue(link, &frame);
}

void shl_verbs_say_release(struct shl_verbs_link *link, const struct shl_verbs_frame *grant)
{
    struct shl_verbs_frame frame = *grant;
    frame.type = SHL_VERBS_RELEASE;
    queue(link, &frame);
}

bool shl_verbs_say_last(struct shl_verbs_link *link)
{
    struct shl_verbs_frame frame = {.type = SHL_VERBS_CREDIT};
    return room(link, 0) && post_frame(link, &frame, NULL, true);
}

static bool post_eager(struct shl_verbs_link *link, const struct shl_xfer *xfer)
{
    struct shl_verbs_frame frame = frame_about(SHL_VERBS_EAGER, xfer);
    frame.length = (uint32_t)xfer->bytes;
    return post_frame(link, &frame, xfer->data, false);
}

bool shl_verbs_eager_now(struct shl_verbs_link *link, const struct shl_xfer *xfer)
{
    return shl_list_empty(&link->outbox) && shl_list_empty(&link->eager) &&
           room(link, CREDIT_RESERVE) && post_eager(link, xfer);
}

/* ---- writes -------------------------------------------------------------------------------- */

/* Serve one GRANT; false: not now. */
static bool serve(struct shl_verbs_link *link, struct shl_verbs_note *note)
{
    const struct shl_verbs_frame *grant = &note->frame;
    struct shl_xfer *xfer = note->xfer;
    if (!room(link, CREDIT_RESERVE) || shl_list_empty(&link->t->stages_free))
        return false;
    struct shl_list *node = shl_list_pop(&link->t->stages_free);
    struct shl_verbs_stage *stage = SHL_CONTAINER_OF(node, struct shl_verbs_stage, link);
    if (grant->length)
        memcpy(stage->memory, (uint8_t *)xfer->data + grant->offset, grant->length);
    const struct shl_verbs_request request = {.stage = stage,
                                              .xfer = xfer,
                                              .bytes = grant->length,
                                              .address = grant->address,
                                              .window = grant->window};
    shl_verbs_send_state(xfer)->placed += grant->length;
    if (!post(link, &request, true))
        return false; /* its stages are free */
    shl_verbs_note_free(link->t, note);
    return true;
}

/* ---- what can leave now -------------------------------------------------------------------- */

static unsigned flush_outbox(struct shl_verbs_link *link)
{
    unsigned work = 0;
    while (!shl_list_empty(&link->outbox) && room(link, CREDIT_RESERVE)) {
        struct shl_list *node = shl_list_pop(&link->outbox);
        struct shl_verbs_note *note = SHL_CONTAINER_OF(node, struct shl_verbs_note, link);
        work += post_frame(link, &note->frame, NULL, false);
        shl_verbs_note_free(link->t, note);
    }
    return work;
}

static unsigned flush_eager(struct shl_verbs_link *link)
{
    unsigned work = 0;
    while (shl_list_empty(&link->outbox) && !shl_list_empty(&link->eager) &&
           room(link, CREDIT_RESERVE)) {
        struct shl_xfer *xfer = SHL_CONTAINER_OF(link->eager.next, struct shl_xfer, link);
        if (!post_eager(link, xfer))
            break;
        xfer->moved_bytes = xfer->bytes;
        shl_verbs_complete(xfer, SHOAL_OK);
        work++;
    }
    return work;
}

static unsigned flush_writes(struct shl_verbs_link *link)
{
    unsigned work = 0;
    /* A write must not overtake frames about its message. */
    while (shl_list_empty(&link->outbox) && !shl_list_empty(&link->serving) &&
           serve(link, SHL_CONTAINER_OF(link->serving.next, struct shl_verbs_note, link)))
        work++;
    return work;
}

unsigned shl_verbs_flush(struct shl_verbs_link *link)
{
    unsigned work = flush_outbox(link);
    work += flush_eager(link);
    work += flush_writes(link);
    work += shl_verbs_direct_flush(link);
    if ((link->taken - link->taken_told >= SHL_VERBS_SLOTS / 2 ||
         link->unkept - link->unkept_told >= SHL_VERBS_KEPT / 2) &&
        room(link, 0)) {
        struct shl_verbs_frame frame = {.type = SHL_VERBS_CREDIT};
        work += post_frame(link, &frame, NULL, false);
    }
    return work;
}

/* ---- completions --------------------------------------------------------------------------- */

void shl_verbs_forget(struct shl_verbs_link *link, const struct shl_xfer *xfer)
{
    for (uint32_t i = 0; i < SHL_VERBS_SLOTS; i++)
        if (link->requests[i].xfer == xfer)
            link->requests[i].xfer = NULL;
}

void shl_verbs_completed(struct shl_verbs_link *link, uint32_t upto)
{
    upto = link->completed + ((upto - link->completed) & (uint32_t)(SHL_VERBS_SEND_REQUEST - 1));
    while (link->completed != upto && link->state != SHL_VERBS_LOST) {
        uint32_t index = link->completed % SHL_VERBS_SLOTS;
        struct shl_verbs_request done = link->requests[index];
        link->requests[index] = (struct shl_verbs_request){0};
        link->completed++;
        if (!done.stage)
            continue;
        shl_list_append(&link->t->stages_free, &done.stage->link);
        if (!done.xfer)
            continue;
        struct shl_verbs_send_state *state = shl_verbs_send_state(done.xfer);
        state->acked += done.bytes;
        done.xfer->moved_bytes = state->acked;
        if (state->acked == done.xfer->bytes)
            shl_verbs_complete(done.xfer, SHOAL_OK);
    }
}
