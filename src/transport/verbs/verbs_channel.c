/*
 * Records on the control channel of a link that is up: words about moves, and while no rail works
 * the frames and writes themselves.
 *
 * Invariant: one record is sent at a time, and its body does not change until it is sent whole: it
 * is a send slot or a stage, which are used again only when the peer has taken the request.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "transport/verbs/verbs_link.h"

#include "control/sock.h"
#include "core/sys.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/uio.h>

#define RECORD_BYTES ((uint32_t)sizeof(struct shl_verbs_record))
#define RECORDS 64 /* received in one go */

/* ---- sending ------------------------------------------------------------------------------- */

static void fill_left(struct shl_verbs_link *link, struct shl_verbs_record *out)
{
    *out = link->move.left;
    out->type = SHL_VERBS_LEFT;
    link->channel.left_due = false;
}

/* The next request, as a record. */
static void fill_request(struct shl_verbs_link *link, struct shl_verbs_record *out)
{
    struct shl_verbs_channel *channel = &link->channel;
    const struct shl_verbs_request *request = &link->requests[channel->next % SHL_VERBS_SLOTS];
    out->length = request->bytes;
    if (request->stage) {
        out->type = SHL_VERBS_WRITE;
        out->name = request->window;
        channel->out_body = request->stage->memory;
    } else {
        out->type = SHL_VERBS_FRAME;
        channel->out_body = shl_verbs_frame_refresh(link, channel->next);
    }
    channel->next++;
}

/* false: there is nothing to say. */
static bool choose(struct shl_verbs_link *link)
{
    struct shl_verbs_channel *channel = &link->channel;
    const struct shl_verbs_move *move = &link->move;
    struct shl_verbs_record *out = &channel->out;
    memset(out, 0, sizeof(*out));
    channel->out_body = NULL;
    if (channel->left_due) {
        fill_left(link, out);
        return true;
    }
    if (channel->pair_due || channel->met_due) {
        *out = channel->pair_due ? move->pair : move->met;
        out->type = channel->pair_due ? SHL_VERBS_PAIR : SHL_VERBS_MET;
        *(channel->pair_due ? &channel->pair_due : &channel->met_due) = false;
        return true;
    }
    out->taken = link->taken;
    if (link->rail == SHL_VERBS_CHANNEL && channel->next != link->requested)
        fill_request(link, out);
    else if (link->rail == SHL_VERBS_CHANNEL && channel->taken != link->taken)
        out->type = SHL_VERBS_TAKEN;
    else if (channel->bye_due)
        out->type = SHL_VERBS_BYE;
    channel->bye_due = channel->bye_due && out->type != SHL_VERBS_BYE;
    if (out->type)
        channel->taken = link->taken;
    return out->type != 0;
}

/* Wait for room as well, or no more. */
static void watch(struct shl_verbs_link *link, bool blocked)
{
    struct epoll_event event = {.events = EPOLLIN | (blocked ? EPOLLOUT : 0),
                                .data.u64 = link->peer};
    if (link->channel.blocked != blocked)
        (void)shl_fd->epoll_ctl(link->t->epoll_fd, EPOLL_CTL_MOD, link->fd, &event);
    link->channel.blocked = blocked;
}

/* false: not whole. */
static bool send_out(struct shl_verbs_link *link)
{
    struct shl_verbs_channel *channel = &link->channel;
    uint32_t at = channel->out_bytes, total = RECORD_BYTES + channel->out.length;
    struct iovec parts[2];
    struct msghdr message = {.msg_iov = parts};
    if (at < RECORD_BYTES)
        parts[message.msg_iovlen++] =
            (struct iovec){(uint8_t *)&channel->out + at, RECORD_BYTES - at};
    uint32_t of_body = at < RECORD_BYTES ? 0 : at - RECORD_BYTES;
    if (channel->out.length)
        parts[message.msg_iovlen++] = (struct iovec){
            (uint8_t *)(uintptr_t)channel->out_body + of_body, channel->out.length - of_body};
    ssize_t sent = shl_sock->sendmsg(link->fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    /* What the peer said last may still be there: whoever reads it finds the end after it. */
    channel->broken = sent < 0 && errno != EAGAIN && errno != EINTR;
    channel->out_bytes += sent > 0 ? (uint32_t)sent : 0;
    channel->busy = channel->out_bytes < total;
    return !channel->busy;
}

unsigned shl_verbs_channel_write(struct shl_verbs_link *link)
{
    struct shl_verbs_channel *channel = &link->channel;
    unsigned work = 0;
    if (link->fd < 0 || channel->broken)
        return 0;
    while (channel->busy || choose(link)) {
        if (!channel->busy)
            channel->out_bytes = 0;
        channel->busy = true;
        if (!send_out(link))
            break;
        work++;
    }
    watch(link, channel->busy && !channel->broken);
    return work;
}

/* ---- receiving ----------------------------------------------------------------------------- */

/* Frames come by the channel only while it carries, or has just been left. */
static bool carries(const struct shl_verbs_link *link)
{
    const struct shl_verbs_move *move = &link->move;
    return (link->rail == SHL_VERBS_CHANNEL && !link->asleep) ||
           (move->from_channel && !move->peer_left &&
            (move->step == SHL_VERBS_LEAVING || move->step == SHL_VERBS_GONE_FROM));
}

/* A record has come: may it, and where does its body belong? false: the link has failed. */
static bool accept_record(struct shl_verbs_link *link)
{
    struct shl_verbs_channel *channel = &link->channel;
    const struct shl_verbs_record *in = &channel->in;
    bool payload = in->type == SHL_VERBS_FRAME || in->type == SHL_VERBS_WRITE;
    const char *wrong = NULL;
    channel->in_body = NULL;
    if (payload) /* the peer uses the link for the first time */
        shl_verbs_wake(link);
    if (link->state != SHL_VERBS_UP)
        return false;
    if (payload ? !carries(link) : in->length != 0) {
        wrong = "is out of order";
    } else if (in->type == SHL_VERBS_FRAME) {
        channel->in_body = link->recv_slots;
        wrong = in->length > SHL_VERBS_SLOT_BYTES ? "is too long" : NULL;
    } else if (in->type == SHL_VERBS_WRITE) {
        struct shl_verbs_window *window = shl_verbs_window_named(link, in->name);
        if (!window)
            return false;
        channel->in_body = window->memory;
        wrong = in->length != window->length ? "does not fit its window" : NULL;
    }
    if (wrong)
        shl_verbs_link_fail(link, SHOAL_ERR_PEER, "a record of rank %u %s (type %u, %u bytes)",
                            link->peer, wrong, in->type, in->length);
    return !wrong;
}

/* The peer has closed in good order, after all that it had to say. */
static void on_bye(struct shl_verbs_link *link)
{
    while (shl_verbs_drain(link->t) > 0)
        ;
    if (link->state == SHL_VERBS_UP)
        shl_verbs_link_gone(link);
}

static void on_payload(struct shl_verbs_link *link, const struct shl_verbs_record *in)
{
    if (link->rail != SHL_VERBS_CHANNEL && link->move.step != SHL_VERBS_LEAVING)
        return; /* LEFT is said: it will come again */
    if (in->type == SHL_VERBS_WRITE)
        shl_verbs_on_write(link, in->name, in->length);
    else
        shl_verbs_on_frame(link, (const struct shl_verbs_frame *)(const void *)link->recv_slots,
                           in->length);
    link->taken++;
}

/* The peer has taken that many of our requests. */
static void on_taken(struct shl_verbs_link *link, uint32_t taken)
{
    if (link->rail != SHL_VERBS_CHANNEL || link->state != SHL_VERBS_UP)
        return;
    if (taken - link->completed > link->channel.next - link->completed) {
        shl_verbs_link_fail(link, SHOAL_ERR_PEER, "rank %u has taken what was not sent",
                            link->peer);
        return;
    }
    link->peer_taken = taken;
    shl_verbs_completed(link, taken);
}

static void on_record(struct shl_verbs_link *link)
{
    const struct shl_verbs_record in = link->channel.in;
    switch (in.type) {
    case SHL_VERBS_BYE:
        on_bye(link);
        break;
    case SHL_VERBS_LEFT:
    case SHL_VERBS_PAIR:
    case SHL_VERBS_MET:
        shl_verbs_on_move(link, &in);
        break;
    case SHL_VERBS_FRAME:
    case SHL_VERBS_WRITE:
        on_taken(link, in.taken);
        if (link->state == SHL_VERBS_UP)
            on_payload(link, &in);
        break;
    case SHL_VERBS_TAKEN:
        on_taken(link, in.taken);
        break;
    default:
        shl_verbs_link_fail(link, SHOAL_ERR_PEER, "a record of rank %u has the unknown type %u",
                            link->peer, in.type);
    }
}

/* The channel has ended, or is broken. What the peer sent before is here, and counts. */
static void on_end(struct shl_verbs_link *link, int error)
{
    while (shl_verbs_drain(link->t) > 0)
        ;
    if (link->state != SHL_VERBS_UP)
        return;
    if (error)
        shl_verbs_link_fail(link, SHOAL_ERR_PEER, "the channel to rank %u broke: %s", link->peer,
                            strerror(error));
    else
        shl_verbs_link_fail(link, SHOAL_ERR_PEER, "rank %u ended without saying goodbye",
                            link->peer);
}

/* Receive more of the record; false: there is no more now, or never. */
static bool recv_in(struct shl_verbs_link *link)
{
    struct shl_verbs_channel *channel = &link->channel;
    uint32_t at = channel->in_bytes;
    uint8_t *into =
        at < RECORD_BYTES ? (uint8_t *)&channel->in + at : channel->in_body + (at - RECORD_BYTES);
    uint32_t left = at < RECORD_BYTES ? RECORD_BYTES - at : RECORD_BYTES + channel->in.length - at;
    ssize_t got = shl_sock->recv(link->fd, into, left, MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return false;
    if (got <= 0) {
        on_end(link, got < 0 ? errno : 0);
        return false;
    }
    channel->in_bytes += (uint32_t)got;
    return channel->in_bytes != RECORD_BYTES || accept_record(link);
}

unsigned shl_verbs_channel_read(struct shl_verbs_link *link)
{
    struct shl_verbs_channel *channel = &link->channel;
    unsigned work = 0;
    while (work < RECORDS && link->state == SHL_VERBS_UP && recv_in(link)) {
        if (channel->in_bytes < RECORD_BYTES ||
            channel->in_bytes < RECORD_BYTES + channel->in.length)
            continue;
        channel->in_bytes = 0;
        on_record(link);
        work++;
    }
    return work;
}
