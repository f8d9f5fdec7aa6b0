/*
 * Sessions: numbered frames between two ranks that survive the connections they travel over.
 *
 * Invariant: each numbered frame is acted upon once, in order, however often connections break;
 * a frame is kept until the peer has acknowledged it.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "control/control_internal.h"
#include "core/log.h"
#include "core/sys.h"

/* Acknowledge at once after so many frames; until then the next frame or beat does it. */
#define ACK_EVERY 32

static struct shl_packet_link *first_link(const struct shl_session *session)
{
    return shl_list_empty(&session->queue)
               ? NULL
               : SHL_CONTAINER_OF(session->queue.next, struct shl_packet_link, link);
}

void shl_session_init(struct shl_session *session, struct shl_control *control, uint32_t peer,
                      uint32_t slot)
{
    session->control = control;
    session->peer = peer;
    session->slot = slot;
    session->dials = control->options.rank < peer;
    session->state = SHL_SESSION_OPENING;
    session->fd = -1;
    shl_list_init(&session->queue);
    shl_session_connect_init(session);
}

static void drop_queue(struct shl_session *session)
{
    for (struct shl_packet_link *link = first_link(session); link; link = first_link(session)) {
        shl_list_remove(&link->link);
        shl_packet_release(session->control, link->packet);
    }
    session->next_unsent = NULL;
}

void shl_session_fini(struct shl_session *session)
{
    shl_session_detach(session, "");
    shl_dialler_stop(&session->dialler);
    shl_loop_timer_stop(&session->control->loop, &session->retry);
    drop_queue(session);
}

void shl_session_end(struct shl_session *session, enum shl_session_state state)
{
    if (!shl_session_open(session))
        return;
    shl_log(SHL_LOG_DEBUG, "session with rank %u: %s", session->peer,
            state == SHL_SESSION_LEFT ? "left" : "lost");
    session->state = state;
    shl_session_fini(session);
}

void shl_session_queue(struct shl_session *session, struct shl_packet *packet)
{
    struct shl_packet_link *link = &packet->links[session->slot];
    packet->references++;
    link->packet = packet;
    link->seq = ++session->last_queued;
    shl_list_append(&session->queue, &link->link);
    if (!session->next_unsent)
        session->next_unsent = link;
    shl_session_flush(session);
}

void shl_session_say_goodbye(struct shl_session *session)
{
    if (!shl_session_open(session) || session->said_goodbye)
        return;
    /* One that is still opening may carry the verdict that made this rank give up, so it gets the
     * time that goodbyes get to open after all. */
    session->said_goodbye = true;
    shl_session_queue(session, session->control->goodbye);
}

/* Forget what the peer has. False: it acknowledges what was never sent. */
static bool acknowledge(struct shl_session *session, uint64_t ack)
{
    if (ack > session->last_queued)
        return false;
    for (struct shl_packet_link *link = first_link(session); link && link->seq <= ack;
         link = first_link(session)) {
        if (link == session->next_unsent)
            session->next_unsent =
                link->link.next == &session->queue
                    ? NULL
                    : SHL_CONTAINER_OF(link->link.next, struct shl_packet_link, link);
        shl_list_remove(&link->link);
        shl_packet_release(session->control, link->packet);
    }
    return true;
}

static bool on_resume(struct shl_session *session)
{
    if (session->resumed)
        return false;
    session->resumed = true;
    session->next_unsent = first_link(session);
    if (session->state == SHL_SESSION_OPENING) {
        session->state = SHL_SESSION_LIVE;
        shl_control_check_up(session->control);
    }
    shl_session_flush(session);
    return true;
}

static bool on_goodbye(struct shl_session *session)
{
    /* Its peer waits for this acknowledgement, and for nothing else that we might still have. */
    drop_queue(session);
    session->owes_beat = true;
    shl_session_flush(session);
    shl_session_end(session, SHL_SESSION_LEFT);
    return true;
}

/* The packet is consumed. */
static bool on_numbered(struct shl_session *session, const struct shl_frame *frame,
                        struct shl_packet *packet)
{
    if (!session->resumed || frame->seq > session->received + 1) {
        shl_packet_release(session->control, packet);
        return false;
    }
    if (frame->seq <= session->received) {
        /* Sent again after a reconnect, though it had arrived. */
        shl_packet_release(session->control, packet);
        return true;
    }
    session->received = frame->seq;
    if (frame->kind == SHL_FRAME_GOODBYE) {
        shl_packet_release(session->control, packet);
        return on_goodbye(session);
    }
    packet->kind = frame->kind;
    packet->type = frame->type;
    packet->origin = frame->origin;
    packet->flood_seq = frame->flood_seq;
    bool good = shl_mesh_receive(session, packet);
    if (session->received - session->acked_to_peer >= ACK_EVERY) {
        session->owes_beat = true;
        shl_session_flush(session);
    }
    return good;
}

bool shl_session_on_frame(struct shl_session *session, const struct shl_frame *frame,
                          struct shl_packet *packet)
{
    if (frame->epoch != session->control->epoch || !acknowledge(session, frame->ack)) {
        shl_packet_release(session->control, packet);
        return false;
    }
    session->heard_ns = shl_now_ns();
    if (session->said_goodbye && shl_list_empty(&session->queue)) {
        shl_packet_release(session->control, packet);
        shl_session_end(session, SHL_SESSION_LEFT);
        return true;
    }
    switch (frame->kind) {
    case SHL_FRAME_RESUME:
        return on_resume(session);
    case SHL_FRAME_BEAT:
        return true;
    default:
        return on_numbered(session, frame, packet);
    }
}
