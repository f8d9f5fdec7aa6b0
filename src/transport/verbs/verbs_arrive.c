/*
 * Completions: what each means, and what a peer's frames are allowed to say.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "transport/verbs/verbs_link.h"

#include "core/sys.h"

#include <stdio.h>

/* NULL, or what is illegal about a frame of `bytes` bytes. */
static const char *check(const struct shl_verbs_link *link, const struct shl_verbs_frame *frame,
                         uint32_t bytes)
{
    bool eager = frame->type == SHL_VERBS_EAGER;
    if (bytes < sizeof(*frame))
        return "is cut short";
    if (frame->type < SHL_VERBS_EAGER || frame->type > SHL_VERBS_WROTE)
        return "has an unknown type";
    if (bytes - sizeof(*frame) != (eager ? frame->length : 0) ||
        (eager && frame->length > SHL_VERBS_EAGER_BYTES) ||
        (eager && frame->bytes != frame->length))
        return "has another length than it says";
    if (link->sent - frame->taken > SHL_VERBS_SLOTS ||
        link->eager_sent - frame->unkept > SHL_VERBS_KEPT)
        return "gives credit that was not used";
    return NULL;
}

/* Frames about the direct pair. */
static void on_direct_frame(struct shl_verbs_link *link, const struct shl_verbs_frame *frame)
{
    if (frame->type == SHL_VERBS_PLACE)
        shl_verbs_on_place(link, frame);
    else if (frame->type == SHL_VERBS_UNPLACE)
        shl_verbs_on_unplace(link, frame);
    else if (frame->type == SHL_VERBS_RESET)
        shl_verbs_on_reset(link, frame);
    else
        shl_verbs_on_resume(link, frame);
}

void shl_verbs_on_frame(struct shl_verbs_link *link, const struct shl_verbs_frame *frame,
                        uint32_t bytes)
{
    const char *wrong = check(link, frame, bytes);
    if (SHL_UNLIKELY(wrong != NULL)) {
        shl_verbs_link_fail(link, SHOAL_ERR_PEER, "a frame of rank %u %s (type %u, %u bytes)",
                            link->peer, wrong, bytes ? frame->type : 0, bytes);
        return;
    }
    link->peer_taken = frame->taken;
    link->peer_unkept = frame->unkept;
    link->bytes_received += bytes;
    if (frame->type == SHL_VERBS_EAGER)
        shl_verbs_on_eager(link, frame, (const uint8_t *)(frame + 1));
    else if (frame->type == SHL_VERBS_READY)
        shl_verbs_on_ready(link, frame);
    else if (frame->type == SHL_VERBS_RELEASE)
        shl_verbs_on_release(link, frame);
    else if (frame->type == SHL_VERBS_GRANT || frame->type == SHL_VERBS_ANNOUNCE)
        shl_verbs_on_announce(link, frame);
    else if (frame->type == SHL_VERBS_WROTE)
        shl_verbs_on_write(link, frame->window, frame->length);
    else if (frame->type >= SHL_VERBS_PLACE)
        on_direct_frame(link, frame);
    else if (link->state < SHL_VERBS_UP)
        link->proof_received = true;
}

static void on_received(struct shl_verbs_link *link, const struct ibv_wc *completion)
{
    uint32_t slot = (uint32_t)completion->wr_id % SHL_VERBS_SLOTS;
    const uint8_t *bytes = link->recv_slots + (size_t)slot * SHL_VERBS_SLOT_BYTES;
    if (completion->opcode == IBV_WC_RECV_RDMA_WITH_IMM)
        shl_verbs_on_write(link, completion->imm_data, completion->byte_len);
    else
        shl_verbs_on_frame(link, (const struct shl_verbs_frame *)(const void *)bytes,
                           completion->byte_len);
    if (!link->qp)
        return; /* it failed meanwhile */
    /* A peer that has settled on a new pair may already send by it. */
    if (link->move.step != SHL_VERBS_LEAVING && shl_verbs_pair_recv(link, slot) < 0)
        shl_verbs_rail_fail(link, link->qp_rail, "%s", shl_error_text());
    link->taken++;
}

/* Errors of a request itself: no other rail would carry it out. */
static bool is_violation(enum ibv_wc_status status)
{
    return status == IBV_WC_LOC_LEN_ERR || status == IBV_WC_LOC_PROT_ERR ||
           status == IBV_WC_LOC_ACCESS_ERR || status == IBV_WC_REM_ACCESS_ERR;
}

static void on_error(struct shl_verbs_link *link, const struct ibv_wc *completion)
{
    const struct shl_verbs_port *port = &link->t->rails[link->qp_rail].port;
    char text[SHL_VERBS_CAUSE_BYTES];
    if (link->state == SHL_VERBS_GONE || shl_verbs_said_bye(link))
        return; /* it closed; what we had still to say does not matter */
    snprintf(text, sizeof(text), "%s port %u GID %u (%s) to rank %u: %s (vendor error 0x%x)",
             port->device, port->port, port->gid_index, port->gid_text, link->peer,
             shl_verbs->wc_status_str(completion->status), completion->vendor_err);
    if (is_violation(completion->status))
        shl_verbs_link_fail(link, SHOAL_ERR_PEER, "%s", text);
    else if (link->rail != SHL_VERBS_NOWHERE && /* else the pair is being ended */
             !shl_verbs_join_doubt(&link->join, shl_now_ns(), text))
        shl_verbs_rail_fail(link, link->qp_rail, "%s", text);
}

void shl_verbs_arrive(struct shl_transport *t, const struct ibv_wc *completion)
{
    struct shl_verbs_link *link = t->links[shl_verbs_peer_of(completion)];
    uint32_t rail = (uint32_t)(completion->wr_id >> 56); /* or lane */
    const struct ibv_qp *lane = link ? link->direct.lanes[rail].qp : NULL;
    if (lane && lane->qp_num == completion->qp_num) {
        shl_verbs_direct_arrive(link, rail, completion);
        return;
    }
    if (!link || !link->qp || rail != link->qp_rail || link->qp->qp_num != completion->qp_num)
        return; /* of a queue pair that is no more */
    link->posted_recvs -= !(completion->wr_id & SHL_VERBS_SEND_REQUEST);
    if (SHL_UNLIKELY(completion->status != IBV_WC_SUCCESS)) {
        on_error(link, completion);
        return;
    }
    link->proof_received |= link->state == SHL_VERBS_UP; /* of a link that slept first */
    if (!(completion->wr_id & SHL_VERBS_SEND_REQUEST)) {
        on_received(link, completion);
        return;
    }
    link->signalled -= link->rail != SHL_VERBS_NOWHERE;
    link->quiet_ns = 0;
    if (link->state == SHL_VERBS_PROVING)
        link->proof_sent = true;
    shl_verbs_completed(link, (uint32_t)completion->wr_id & (uint32_t)(SHL_VERBS_SEND_REQUEST - 1));
}
