/*
 * The bytes of a session: its connection's read and write sides.
 *
 * Invariant: while a frame is partly written, nothing else is written; a new connection starts
 * with whole frames on both sides, RESUME first.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "control/control_internal.h"
#include "core/sys.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>

#define READ_BYTES 16384
#define READS_A_TURN 8 /* so that one busy peer does not starve the others */

static void break_off(struct shl_session *session, const char *why)
{
    shl_session_detach(session, why);
    shl_session_broke(session);
}

static void on_ready(void *arg, uint32_t events)
{
    struct shl_session *session = arg;
    if (events & (EPOLLIN | EPOLLHUP | EPOLLERR))
        shl_session_read(session);
    if (session->fd >= 0 && (events & EPOLLOUT))
        shl_session_flush(session);
}

void shl_session_attach(struct shl_session *session, int fd)
{
    struct shl_control *control = session->control;
    shl_session_detach(session, "");
    shl_dialler_stop(&session->dialler);
    shl_loop_timer_stop(&control->loop, &session->retry);
    shl_sock_tune(fd, (uint32_t)control->options.config->dead_after_ms);
    shl_sock_keep_pace(fd);
    shl_watch_init(&session->watch, on_ready, session);
    if (shl_loop_watch(&control->loop, &session->watch, fd, EPOLLIN) < 0) {
        shl_fd->close(fd);
        snprintf(session->broke, sizeof(session->broke), "%.100s", shl_error_text());
        shl_session_broke(session);
        return;
    }
    session->fd = fd;
    session->resumed = false;
    session->owes_resume = true;
    session->heard_ns = shl_now_ns();
    shl_session_flush(session);
}

void shl_session_detach(struct shl_session *session, const char *why)
{
    struct shl_control *control = session->control;
    if (session->fd < 0)
        return;
    shl_loop_unwatch(&control->loop, &session->watch);
    shl_fd->close(session->fd);
    session->fd = -1;
    shl_packet_release(control, session->tx_packet);
    shl_packet_release(control, session->rx_packet);
    session->tx_packet = session->rx_packet = NULL;
    session->tx_at = session->tx_bytes = session->rx_at = 0;
    session->owes_resume = session->owes_beat = session->resumed = false;
    snprintf(session->broke, sizeof(session->broke), "%.150s", why);
}

/* ---- writing ----------------------------------------------------------------------------- */

/* Choose and encode the next frame. False: nothing to say. */
static bool next_frame(struct shl_session *session)
{
    struct shl_control *control = session->control;
    struct shl_frame frame = {.epoch = control->epoch, .ack = session->received};
    struct shl_packet_link *link = session->next_unsent;
    if (session->owes_resume) {
        frame.kind = SHL_FRAME_RESUME;
        session->owes_resume = false;
    } else if (session->resumed && link) {
        frame.kind = link->packet->kind;
        frame.type = link->packet->type;
        frame.origin = link->packet->origin;
        frame.flood_seq = link->packet->flood_seq;
        frame.bytes = link->packet->bytes;
        frame.seq = link->seq;
        session->next_unsent =
            link->link.next == &session->queue
                ? NULL
                : SHL_CONTAINER_OF(link->link.next, struct shl_packet_link, link);
        session->tx_packet = link->packet;
        session->tx_packet->references++;
    } else if (session->owes_beat) {
        frame.kind = SHL_FRAME_BEAT;
    } else {
        return false;
    }
    session->owes_beat = false;
    session->acked_to_peer = session->received;
    shl_frame_encode(&frame, session->tx_header);
    session->tx_at = 0;
    session->tx_bytes = SHL_FRAME_BYTES + frame.bytes;
    return true;
}

static ssize_t write_some(struct shl_session *session)
{
    struct iovec parts[2];
    struct msghdr message = {.msg_iov = parts};
    size_t at = session->tx_at;
    if (at < SHL_FRAME_BYTES) {
        parts[message.msg_iovlen++] = (struct iovec){session->tx_header + at, SHL_FRAME_BYTES - at};
        at = SHL_FRAME_BYTES;
    }
    if (at < session->tx_bytes)
        parts[message.msg_iovlen++] = (struct iovec){
            session->tx_packet->payload + (at - SHL_FRAME_BYTES), session->tx_bytes - at};
    return shl_sock->sendmsg(session->fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
}

void shl_session_flush(struct shl_session *session)
{
    uint32_t events = EPOLLIN;
    if (session->fd < 0)
        return;
    while (session->tx_at < session->tx_bytes || next_frame(session)) {
        ssize_t wrote = write_some(session);
        if (wrote < 0 && errno == EINTR)
            continue;
        if (wrote < 0 && errno == EAGAIN) {
            events |= EPOLLOUT;
            break;
        }
        if (wrote < 0) {
            break_off(session, strerrordesc_np(errno));
            return;
        }
        session->tx_at += (size_t)wrote;
        if (session->tx_at == session->tx_bytes) {
            shl_packet_release(session->control, session->tx_packet);
            session->tx_packet = NULL;
        }
    }
    if (shl_loop_watch(&session->control->loop, &session->watch, session->fd, events) < 0)
        break_off(session, shl_error_text());
}

/* ---- reading ----------------------------------------------------------------------------- */

static bool on_header(struct shl_session *session)
{
    struct shl_control *control = session->control;
    struct shl_frame *frame = &session->rx_frame;
    if (!shl_frame_decode(session->rx_header, control->options.size, frame))
        return false;
    if (!frame->seq)
        return true;
    /* Without memory the connection breaks, and the peer sends the frame again later. */
    session->rx_packet = shl_packet_create(control, frame->bytes);
    return session->rx_packet != NULL;
}

static bool on_whole_frame(struct shl_session *session)
{
    struct shl_packet *packet = session->rx_packet;
    struct shl_frame frame = session->rx_frame;
    session->rx_packet = NULL;
    session->rx_at = 0;
    return shl_session_on_frame(session, &frame, packet);
}

/* False: the connection is to be broken. Stops early when a frame ended the connection. */
static bool feed(struct shl_session *session, const uint8_t *data, size_t bytes)
{
    while (session->fd >= 0) {
        if (session->rx_at >= SHL_FRAME_BYTES &&
            session->rx_at == SHL_FRAME_BYTES + session->rx_frame.bytes) {
            if (!on_whole_frame(session))
                return false;
            continue;
        }
        if (!bytes)
            return true;
        bool header = session->rx_at < SHL_FRAME_BYTES;
        size_t end = header ? SHL_FRAME_BYTES : SHL_FRAME_BYTES + session->rx_frame.bytes;
        size_t take = end - session->rx_at < bytes ? end - session->rx_at : bytes;
        memcpy(header ? session->rx_header + session->rx_at
                      : session->rx_packet->payload + (session->rx_at - SHL_FRAME_BYTES),
               data, take);
        session->rx_at += take;
        data += take;
        bytes -= take;
        if (header && session->rx_at == SHL_FRAME_BYTES && !on_header(session))
            return false;
    }
    return true;
}

void shl_session_read(struct shl_session *session)
{
    uint8_t data[READ_BYTES];
    for (int reads = 0; session->fd >= 0 && reads < READS_A_TURN; reads++) {
        ssize_t got = shl_sock->recv(session->fd, data, sizeof(data), MSG_DONTWAIT);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0 && errno == EAGAIN)
            return;
        if (got <= 0) {
            break_off(session, got ? strerrordesc_np(errno) : "it closed the connection");
            return;
        }
        if (!feed(session, data, (size_t)got)) {
            if (session->fd >= 0)
                break_off(session, "it sent what is no frame of this epoch, or memory ran out");
            return;
        }
    }
}
