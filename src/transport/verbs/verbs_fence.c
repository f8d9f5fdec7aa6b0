/*
 * The lives of direct pairs: how an end makes sure that nothing is written any more, and how both
 * go on afterwards.
 *
 * An end that gives memory back, or has lost a rail, moves its pairs to ERROR, takes completions
 * until every request of the pairs is accounted for, and destroys them: from there on no write of
 * the peer is carried out and none of its own leaves. It says RESET with the pairs of the next
 * life; the peer does the same with its end. When an end knows both, it connects, announces again
 * what it still expects, and says RESUME, by which the peer knows what had landed: all that was not
 * announced again. So messages of a lost rail go on by the others, and only after both ends of its
 * pair are drained.
 *
 * Invariant: an end is at most one life ahead of its peer, and announces only when it is connected.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "transport/verbs/verbs_link.h"

#include "core/log.h"
#include "core/sys.h"

#define DRAIN_NS UINT64_C(1000000000)
#define PAUSE_NS 20000

/* ---- ending a life ------------------------------------------------------------------------- */

/* A write of the peer's was heard of. */
static void note_told(struct shl_verbs_link *link, uint32_t immediate)
{
    struct shl_verbs_place *place = shl_verbs_place_named(link, immediate);
    uint32_t told = shl_verbs_pieces_told(immediate);
    if (!place || place->landed || told > place->pieces_left)
        return;
    place->pieces_left -= told;
    if (place->pieces_left)
        return;
    place->landed = true;
    link->bytes_received += place->xfer->bytes;
    link->direct.bytes_received += place->xfer->bytes;
    link->direct.settle = true;
}

/* Nothing is called back, since this may be inside cancel. */
void shl_verbs_direct_absorb(struct shl_verbs_link *link, uint32_t index,
                             const struct ibv_wc *completion)
{
    struct shl_verbs_lane *lane = &link->direct.lanes[index];
    bool went_well = completion->status == IBV_WC_SUCCESS;
    if (!(completion->wr_id & SHL_VERBS_SEND_REQUEST)) {
        lane->recvs--;
        if (went_well)
            note_told(link, shl_verbs_told(link, completion));
        return;
    }
    uint32_t upto = (uint32_t)completion->wr_id & (uint32_t)(SHL_VERBS_SEND_REQUEST - 1);
    upto = lane->completed + ((upto - lane->completed) & (uint32_t)(SHL_VERBS_SEND_REQUEST - 1));
    while (lane->completed != upto) {
        struct shl_verbs_write done = lane->requests[lane->completed++ % SHL_VERBS_SLOTS];
        if (!done.xfer)
            continue; /* it was to prove the lane */
        struct shl_verbs_send_state *state = shl_verbs_send_state(done.xfer);
        state->outstanding -= went_well;
        link->direct.settle = link->direct.settle || shl_verbs_send_landed(state);
    }
}

/* Those that were taken from the queues before, by whoever called this. */
static void absorb_taken(struct shl_verbs_link *link)
{
    struct shl_transport *t = link->t;
    for (uint32_t i = t->deferred_next; i < t->deferred_count; i++) {
        struct ibv_wc *completion = &t->deferred[i];
        uint32_t index = (uint32_t)(completion->wr_id >> 56);
        const struct ibv_qp *qp = link->direct.lanes[index].qp;
        if (!qp || completion->qp_num != qp->qp_num || shl_verbs_peer_of(completion) != link->peer)
            continue;
        shl_verbs_direct_absorb(link, index, completion);
        completion->qp_num = UINT32_MAX; /* no pair's */
    }
}

/* Rails, as bits, of whose pairs not every request is accounted for. */
static uint32_t undrained(const struct shl_verbs_direct *direct)
{
    uint32_t rails = 0;
    for (uint32_t index = 0; index < SHL_VERBS_LANES; index++) {
        const struct shl_verbs_lane *lane = &direct->lanes[index];
        if (lane->qp && (lane->recvs || lane->requested != lane->completed))
            rails |= 1u << shl_verbs_rail_of(index);
    }
    return rails;
}

static uint32_t mute_rails(const struct shl_transport *t)
{
    uint32_t rails = 0;
    for (uint32_t rail = 0; rail < t->rail_count; rail++)
        rails |= t->rails[rail].mute ? 1u << rail : 0;
    return rails;
}

static void destroy_pairs(struct shl_verbs_link *link)
{
    for (uint32_t index = 0; index < SHL_VERBS_LANES; index++) {
        struct shl_verbs_lane *lane = &link->direct.lanes[index];
        shl_verbs_join_end(&lane->join, lane->qp);
        memset(lane, 0, sizeof(*lane));
    }
}

/* Pairs that rdma_cm has not connected: nothing was written by them. */
static void drop_apart(struct shl_verbs_link *link, bool distrust)
{
    for (uint32_t index = 0; index < SHL_VERBS_LANES; index++) {
        struct shl_verbs_lane *lane = &link->direct.lanes[index];
        uint32_t rail = shl_verbs_rail_of(index);
        if (!lane->qp || shl_verbs_join_outcome(&lane->join, 0) == 1)
            continue;
        if (distrust) {
            shl_log(SHL_LOG_WARN, "%s to rank %u, writing in place: %s",
                    link->t->rails[rail].port.device, link->peer, lane->join.cause);
            link->direct.bad |= 1u << rail;
            link->direct.reset_wanted = true;
            shl_verbs_retry_later(link);
        }
        shl_verbs_join_end(&lane->join, lane->qp);
        memset(lane, 0, sizeof(*lane));
    }
}

/* Writes that went well and did not ask for a completion get none in ERROR either. This one, which
 * is not carried out, does, after all others. */
static void post_last(struct shl_verbs_link *link, uint32_t index)
{
    struct shl_verbs_lane *lane = &link->direct.lanes[index];
    struct ibv_send_wr *bad,
        request = {.wr_id = (uint64_t)index << 56 | (uint64_t)link->peer << 32 |
                            SHL_VERBS_SEND_REQUEST |
                            (lane->requested & (SHL_VERBS_SEND_REQUEST - 1)),
                   .opcode = IBV_WR_RDMA_WRITE,
                   .send_flags = IBV_SEND_SIGNALED};
    if (lane->requested != lane->completed)
        (void)shl_verbs->post_send(lane->qp, &request, &bad); /* else DRAIN_NS ends it */
}

/* Wait until all is accounted for. A device that tells nothing costs this wait once, not once a
 * peer; and a process that did not run for a while looks several times before it gives up. */
static void drain(struct shl_verbs_link *link)
{
    struct shl_verbs_direct *direct = &link->direct;
    struct shl_transport *t = link->t;
    uint64_t deadline_ns = shl_now_ns() + DRAIN_NS;
    absorb_taken(link);
    for (unsigned looks = 0; undrained(direct); looks++) {
        if (t->deferred_count == t->deferred_capacity)
            break; /* no room to take more; destroying the pairs fences as well */
        if (looks >= SHL_VERBS_LOOKS &&
            (shl_now_ns() >= deadline_ns || !(undrained(direct) & ~mute_rails(t))))
            break;
        if (shl_verbs_take(t, UINT32_MAX) == 0)
            shl_time->sleep_ns(PAUSE_NS);
        absorb_taken(link);
    }
    for (uint32_t rail = 0; rail < t->rail_count; rail++) {
        if (!(undrained(direct) >> rail & 1))
            continue;
        t->rails[rail].mute = true;
        shl_log(SHL_LOG_WARN,
                "%s: queue pairs for writes in place to rank %u are destroyed before they are "
                "drained",
                t->rails[rail].port.device, link->peer);
    }
}

static void fence(struct shl_verbs_link *link)
{
    struct shl_verbs_direct *direct = &link->direct;
    for (uint32_t index = 0; index < SHL_VERBS_LANES; index++) {
        struct ibv_qp_attr attr = {.qp_state = IBV_QPS_ERR};
        if (!direct->lanes[index].qp)
            continue;
        shl_verbs->modify_qp(direct->lanes[index].qp, &attr, IBV_QP_STATE);
        post_last(link, index);
    }
    drain(link);
    destroy_pairs(link);
}

/* PLACEs of the life that has ended; they are said again, if they still hold. */
static void forget_places(struct shl_transport *t, struct shl_list *list)
{
    struct shl_list *node, *after;
    SHL_LIST_FOR_EACH(node, after, list)
    {
        struct shl_verbs_note *note = SHL_CONTAINER_OF(node, struct shl_verbs_note, link);
        if (note->frame.type == SHL_VERBS_PLACE)
            shl_verbs_note_free(t, note);
    }
}

/* What was posted, and is not known to be complete, may have landed or not. */
static void doubt_sends(struct shl_list *list)
{
    struct shl_list *node, *after;
    SHL_LIST_FOR_EACH(node, after, list)
    {
        struct shl_verbs_send_state *state =
            shl_verbs_send_state(SHL_CONTAINER_OF(node, struct shl_xfer, link));
        if (!state->direct || shl_verbs_send_landed(state))
            continue;
        state->unsettled = state->unsettled || state->placed > 0;
        state->invited = false;
    }
}

static void end_life(struct shl_verbs_link *link)
{
    struct shl_verbs_direct *direct = &link->direct;
    fence(link);
    forget_places(link->t, &direct->serving);
    for (uint32_t i = 0; i < SHL_VERBS_BUCKETS; i++) {
        forget_places(link->t, &link->notes[i]);
        doubt_sends(&link->sends[i]);
    }
    direct->up = direct->reset_wanted = false;
}

/* ---- the next life ------------------------------------------------------------------------- */

static void queue(struct shl_verbs_link *link, const struct shl_verbs_frame *frame)
{
    struct shl_verbs_note *note = shl_verbs_note_new(link, frame);
    if (note)
        shl_list_append(&link->outbox, &note->link);
}

static void say_resume(struct shl_verbs_link *link)
{
    const struct shl_verbs_frame frame = {.type = SHL_VERBS_RESUME, .offset = link->direct.life};
    queue(link, &frame);
}

static void say_reset(struct shl_verbs_link *link)
{
    struct shl_verbs_direct *direct = &link->direct;
    for (uint32_t pair = 0; pair < direct->qps; pair++) {
        const struct shl_verbs_lane *lanes = &direct->lanes[pair * SHL_VERBS_RAILS];
        struct shl_verbs_frame frame = {.type = SHL_VERBS_RESET,
                                        .offset = direct->life,
                                        .window = pair,
                                        .key = direct->first_psn,
                                        .length = direct->returned};
        for (uint32_t rail = 0; rail < SHL_VERBS_RAILS; rail++)
            frame.keys[rail] = lanes[rail].qp ? lanes[rail].qp->qp_num : 0;
        queue(link, &frame);
    }
    direct->returned = 0;
}

static void announce_all(struct shl_verbs_link *link)
{
    struct shl_verbs_direct *direct = &link->direct;
    direct->joining = false;
    direct->up = true;
    for (uint32_t i = 0; i < SHL_VERBS_PLACES; i++) {
        struct shl_verbs_place *place = &direct->places[i];
        if (!place->xfer || place->landed)
            continue;
        if (shl_verbs_direct_carries(direct))
            shl_verbs_say_place(link, place);
        else
            shl_verbs_place_to_windows(link, place);
    }
    say_resume(link);
    if (link->rail == SHL_VERBS_CHANNEL && !shl_verbs_direct_lanes(direct))
        shl_verbs_move_missed(link, 0, true); /* nor is there one for frames */
}

static void begin_life(struct shl_verbs_link *link)
{
    struct shl_verbs_direct *direct = &link->direct;
    /* A rail that cannot be connected is left by another life. */
    direct->reset_wanted |=
        shl_verbs_pair_direct_connect(link, direct->peer_pairs, direct->peer_psn) < 0;
    direct->peer_reset = false;
    direct->joining = link->t->cm != NULL;
    if (!direct->joining)
        announce_all(link);
}

unsigned shl_verbs_direct_join(struct shl_verbs_link *link)
{
    if (SHL_LIKELY(!link->direct.joining))
        return 0;
    unsigned work = shl_verbs_cm_read(link->t);
    uint64_t now_ns = shl_now_ns();
    for (uint32_t index = 0; index < SHL_VERBS_LANES; index++)
        if (shl_verbs_join_outcome(&link->direct.lanes[index].join, now_ns) == 0)
            return work;
    drop_apart(link, true);
    announce_all(link);
    return work + 1;
}

void shl_verbs_direct_reset(struct shl_verbs_link *link)
{
    struct shl_verbs_direct *direct = &link->direct;
    if (!direct->made || !direct->up)
        return; /* nothing can be written */
    end_life(link);
    direct->life++;
    if (link->state != SHL_VERBS_UP)
        return; /* nor will it be */
    if (shl_verbs_pair_direct_create(link) < 0) {
        shl_verbs_link_fail(link, SHOAL_ERR_PEER, "%s", shl_error_text());
        return;
    }
    say_reset(link);
    if (direct->peer_reset)
        begin_life(link);
}

void shl_verbs_on_reset(struct shl_verbs_link *link, const struct shl_verbs_frame *frame)
{
    struct shl_verbs_direct *direct = &link->direct;
    if (!direct->made)
        return;                                                 /* this end is closing */
    if (direct->joining && frame->offset == direct->life + 1) { /* the peer's is over already */
        drop_apart(link, false);
        direct->joining = false;
        direct->up = true;
    }
    uint64_t next = direct->life + (direct->up || direct->joining);
    if (frame->offset != next || direct->peer_reset || frame->window != direct->qps_told) {
        shl_verbs_link_fail(link, SHOAL_ERR_PEER, "rank %u resets its queue pair out of order",
                            link->peer);
        return;
    }
    memcpy(direct->peer_pairs + frame->window * SHL_VERBS_RAILS, frame->keys, sizeof(frame->keys));
    if (++direct->qps_told < direct->qps)
        return; /* the others follow */
    direct->qps_told = 0;
    direct->peer_psn = frame->key;
    if (frame->length)
        shl_verbs_direct_trust(link, frame->length, false);
    direct->peer_reset = true;
    if (direct->up)
        direct->reset_wanted = true; /* in a poll: completions are being handled now */
    else
        begin_life(link);
}

/* A send that is still in doubt was not announced again: it has landed. */
static struct shl_xfer *find_unsettled(struct shl_verbs_link *link)
{
    struct shl_list *node, *after;
    for (uint32_t i = 0; i < SHL_VERBS_BUCKETS; i++) {
        SHL_LIST_FOR_EACH(node, after, &link->sends[i])
        {
            struct shl_xfer *xfer = SHL_CONTAINER_OF(node, struct shl_xfer, link);
            const struct shl_verbs_send_state *state = shl_verbs_send_state(xfer);
            if (state->direct && state->unsettled)
                return xfer;
        }
    }
    return NULL;
}

void shl_verbs_on_resume(struct shl_verbs_link *link, const struct shl_verbs_frame *frame)
{
    struct shl_xfer *xfer;
    if (frame->offset != link->direct.life || !(link->direct.up || link->direct.joining))
        return; /* another life has begun meanwhile */
    while ((xfer = find_unsettled(link))) {
        struct shl_verbs_send_state *state = shl_verbs_send_state(xfer);
        state->outstanding = 0;
        state->unsettled = false;
        state->posted = state->invited = true;
        link->direct.settle = true;
    }
    shl_verbs_direct_prove(link);
}

/* ---- for good ------------------------------------------------------------------------------ */

static void release_sends(struct shl_transport *t, struct shl_list *list)
{
    struct shl_list *node, *after;
    SHL_LIST_FOR_EACH(node, after, list)
    {
        struct shl_verbs_send_state *state =
            shl_verbs_send_state(SHL_CONTAINER_OF(node, struct shl_xfer, link));
        if (state->direct)
            shl_verbs_unhold(t, &state->hold);
        state->direct = false;
    }
}

void shl_verbs_direct_shut(struct shl_verbs_link *link)
{
    struct shl_verbs_direct *direct = &link->direct;
    if (direct->up && link->state >= SHL_VERBS_UP)
        end_life(link);
    else
        destroy_pairs(link);
    direct->made = direct->up = direct->joining = direct->settle = false;
    for (uint32_t i = 0; i < SHL_VERBS_PLACES; i++)
        if (direct->places[i].xfer)
            shl_verbs_place_free(link, &direct->places[i]);
    forget_places(link->t, &direct->serving);
    for (uint32_t i = 0; i < SHL_VERBS_BUCKETS; i++)
        release_sends(link->t, &link->sends[i]);
}
