/*
 * A flow's life: dialled, up, broken, dialled again.
 *
 * Who dials. Control lets the lower rank dial. The higher rank cannot know that the lower one wants
 * a connection, or has lost one whose end here still looks well, so it always keeps a request
 * outstanding: a new connection of an index replaces the old one. The lower rank dials when it has
 * something to send or to receive, and when the higher one knocks: because it waits for a link that
 * only it wants (ranks that disagree on what they do), or whose connections only it saw break or
 * stall (tcp_stall.c).
 *
 * Each side opens a connection with a bare header, which tells what has arrived so far. On all but
 * the link's very first connection of flow 0 frames wait for the peer's: nothing is sent again that
 * only lacks its acknowledgement, and nothing on a connection that the peer never took up.
 *
 * Invariant: after a break every unacknowledged frame of the flow is queued again, and what had
 * been placed of the chunk it was receiving is remembered, so nothing is lost or summed twice.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "transport/tcp/tcp_link.h"

#include "control/sock.h"
#include "core/config.h"
#include "core/log.h"
#include "core/sys.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/epoll.h>

/* Heartbeats find dead hosts; this only frees frames from a connection whose packets vanish while
 * others pass. It must be generous: a receiver that does not read for a while also stops it. */
#define USER_TIMEOUT_FACTOR 10
/* What the kernel holds and has not sent yet. Acknowledgements and announcements, which the peer
 * waits for, queue behind it: 4 MiB, which it would take, are 32 ms at 1 Gbit/s. */
#define UNSENT_BYTES_MAX 524288
/* Within a host what is under way had better stay in the cache, from the sender's copy into the
 * kernel to the receiver's out of it; by itself the kernel lets it grow to megabytes. It doubles
 * this for its own records, and takes less where net.core.rmem_max and wmem_max are lower. */
#define LOCAL_BUFFER_BYTES 524288
/* Connections that can be made but break at once would be dialled for ever. */
#define FUTILE_BREAKS_MAX 64
#define STANDING_REQUEST_NS (UINT64_C(86400) * 365 * 1000000000)

static void tune(const struct shl_tcp_flow *flow)
{
    uint64_t timeout_ms = flow->link->t->env->config->dead_after_ms * USER_TIMEOUT_FACTOR;
    int unsent_bytes = UNSENT_BYTES_MAX, buffer_bytes = LOCAL_BUFFER_BYTES, fd = flow->fd;
    shl_sock_tune(fd, timeout_ms > UINT32_MAX ? UINT32_MAX : (uint32_t)timeout_ms);
    if (flow->link->t->peers[flow->link->peer].local) {
        shl_sock->setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &buffer_bytes, sizeof(buffer_bytes));
        shl_sock->setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &buffer_bytes, sizeof(buffer_bytes));
    } else {
        shl_sock->setsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &unsent_bytes,
                             sizeof(unsent_bytes));
    }
}

static int epoll_set(struct shl_tcp_flow *flow, int operation, uint32_t events)
{
    struct epoll_event event = {.events = events};
    event.data.u64 = (uint64_t)flow->link->peer << 8 | flow->index;
    flow->events = events;
    return shl_fd->epoll_ctl(flow->link->t->epoll_fd, operation, flow->fd, &event);
}

void shl_tcp_flow_watch(struct shl_tcp_flow *flow, uint32_t events)
{
    if (flow->events != events && epoll_set(flow, EPOLL_CTL_MOD, events))
        shl_tcp_flow_break(flow, "epoll_ctl: %s", strerror(errno));
}

void shl_tcp_flow_wake_at(struct shl_tcp_flow *flow, uint32_t bytes)
{
    int value = (int)bytes;
    if (flow->wake_bytes != bytes &&
        shl_sock->setsockopt(flow->fd, SOL_SOCKET, SO_RCVLOWAT, &value, sizeof(value)) == 0)
        flow->wake_bytes = bytes;
}

static uint64_t dial_deadline(const struct shl_tcp_link *link)
{
    if (link->deadline_ns)
        return link->deadline_ns;
    return shl_now_ns() + link->t->env->config->dead_after_ms * UINT64_C(1000000);
}

static bool is_dialling(const struct shl_tcp_link *link)
{
    for (uint32_t i = 0; i < link->flow_count; i++)
        if (link->flows[i].dialling)
            return true;
    return false;
}

void shl_tcp_flow_dial(struct shl_tcp_flow *flow)
{
    struct shl_tcp_link *link = flow->link;
    struct shl_transport *t = link->t;
    if (flow->dialling)
        return;
    bool accepts = t->env->rank > link->peer;
    uint64_t deadline_ns = accepts ? shl_now_ns() + STANDING_REQUEST_NS : dial_deadline(link);
    enum shoal_status status = shl_tcp_mailbox_dial(t->mailbox, t->env->control, link->peer,
                                                    SHL_CHANNEL_TCP_DATA, flow->index, deadline_ns);
    if (status >= 0)
        flow->dialling = true;
    /* It works with fewer, but the peer may send on flow 0 before it hears from this side. */
    else if (flow->index == 0 || (link->flows_up == 0 && !is_dialling(link)))
        shl_tcp_link_fail(link, status, "%s", shl_error_text());
}

enum shoal_status shl_tcp_stand_by(struct shl_transport *t, uint32_t peer)
{
    bool accepts = t->env->rank > peer;
    SHL_TRY(shl_tcp_mailbox_dial(t->mailbox, t->env->control, peer,
                                 accepts ? SHL_CHANNEL_TCP_DATA : SHL_CHANNEL_TCP_KNOCK, 0,
                                 shl_now_ns() + STANDING_REQUEST_NS));
    t->peers[peer].standing = accepts;
    return SHOAL_OK;
}

void shl_tcp_link_knock(struct shl_tcp_link *link)
{
    struct shl_transport *t = link->t;
    link->knock_ns = 0;
    if (link->knocking)
        return;
    if (shl_tcp_mailbox_dial(t->mailbox, t->env->control, link->peer, SHL_CHANNEL_TCP_KNOCK, 0,
                             dial_deadline(link)) < 0)
        shl_log(SHL_LOG_INFO, "cannot knock at rank %u: %s", link->peer, shl_error_text());
    else
        link->knocking = true;
}

static void release(struct shl_tcp_flow *flow)
{
    if (flow->fd < 0)
        return;
    shl_tcp_chunk_suspend(flow);
    shl_fd->close(flow->fd); /* epoll forgets it */
    flow->fd = -1;
    flow->tx_errno = 0;
    flow->hello_due = flow->held = false;
    flow->events = 0;
    flow->begin = flow->end = 0;
    flow->tx.busy = flow->tx.orphaned = false;
    flow->tx.frame = NULL;
    flow->link->flows_up--;
    shl_tcp_requeue(flow->link, flow->index);
}

void shl_tcp_flow_close(struct shl_tcp_flow *flow)
{
    release(flow);
}

void shl_tcp_flow_break(struct shl_tcp_flow *flow, const char *format, ...)
{
    struct shl_tcp_link *link = flow->link;
    char cause[SHL_TCP_CAUSE_BYTES];
    va_list args;
    if (flow->fd < 0)
        return;
    va_start(args, format);
    vsnprintf(cause, sizeof(cause), format, args);
    va_end(args);
    snprintf(link->cause, sizeof(link->cause), "flow %u: %.200s", flow->index, cause);
    shl_log(SHL_LOG_INFO, "tcp link to rank %u, %s; dialling again", link->peer, link->cause);
    release(flow);
    link->flow_breaks++;
    if (++link->futile_breaks > FUTILE_BREAKS_MAX) {
        shl_tcp_link_fail(link, SHOAL_ERR_PEER,
                          "connections to rank %u broke %u times before it said anything; flow %u: "
                          "%.100s",
                          link->peer, link->futile_breaks, flow->index, cause);
        return;
    }
    if (link->flows_up) {
        shl_tcp_flow_dial(flow);
        return;
    }
    shl_tcp_link_become(link, SHL_TCP_BROKEN);
    shl_tcp_link_wait(link, link->t->env->config->dead_after_ms);
    for (uint32_t i = 0; i < link->flow_count && link->state == SHL_TCP_BROKEN; i++)
        shl_tcp_flow_dial(&link->flows[i]);
}

static void come_up(struct shl_tcp_flow *flow, int fd)
{
    struct shl_tcp_link *link = flow->link;
    if (flow->fd >= 0) {
        shl_log(SHL_LOG_INFO, "tcp link to rank %u: flow %u replaced by the peer", link->peer,
                flow->index);
        link->flow_breaks++;
        release(flow);
    }
    flow->fd = fd;
    flow->wake_bytes = 1; /* the kernel's default */
    link->flows_up++;
    tune(flow);
    if (epoll_set(flow, EPOLL_CTL_ADD, EPOLLIN)) {
        shl_tcp_link_fail(link, SHOAL_ERR_SYSTEM, "epoll_ctl: %s", strerror(errno));
        return;
    }
    flow->hello_due = true;
    flow->held = link->state != SHL_TCP_OPENING || flow->index != 0;
    shl_tcp_link_become(link, SHL_TCP_UP);
    link->deadline_ns = 0;
    if (link->t->env->rank > link->peer)
        shl_tcp_flow_dial(flow);
}

static void dial_failed(struct shl_tcp_flow *flow, const char *cause)
{
    struct shl_tcp_link *link = flow->link;
    /* The others carry on; asked for again when all are down. */
    shl_log(SHL_LOG_INFO, "tcp link to rank %u: flow %u not available: %s", link->peer, flow->index,
            cause);
    if (link->flows_up == 0 && !is_dialling(link))
        shl_tcp_link_fail(link, SHOAL_ERR_PEER, "no data connection to rank %u: %s", link->peer,
                          cause);
}

static void data_arrived(struct shl_transport *t, struct shl_tcp_arrival *arrival)
{
    struct shl_tcp_peer *peer = &t->peers[arrival->peer];
    struct shl_tcp_link *link = peer->link;
    if (!link && arrival->fd >= 0 && !peer->dropped) {
        if (shl_tcp_link_get(t, arrival->peer, &link) < 0) {
            shl_fd->close(arrival->fd);
            t->env->lost(t->env->arg, arrival->peer, SHOAL_ERR_NOMEM, shl_error_text());
            return;
        }
    }
    peer->standing = false;
    if (link)
        link->flows[arrival->index].dialling = false;
    if (!link || link->state == SHL_TCP_LOST || link->state == SHL_TCP_GONE) {
        if (arrival->fd >= 0)
            shl_fd->close(arrival->fd);
    } else if (arrival->fd >= 0) {
        come_up(&link->flows[arrival->index], arrival->fd);
    } else {
        dial_failed(&link->flows[arrival->index], arrival->cause);
    }
}

/* Outcome of our own knock, or the knock of a higher rank, which lacks a connection to us. */
static void knock_arrived(struct shl_transport *t, struct shl_tcp_arrival *arrival)
{
    struct shl_tcp_link *link = t->peers[arrival->peer].link;
    bool own = t->env->rank > arrival->peer;
    if (own && link)
        link->knocking = false;
    if (arrival->fd < 0) {
        /* The peer or control is no more, which others tell, or this one began before the wait. */
        if (own && link && link->state == SHL_TCP_BROKEN)
            link->knock_ns = shl_now_ns() + SHL_TCP_KNOCK_AFTER_NS;
        return;
    }
    shl_fd->close(arrival->fd);
    if (own)
        return;
    if (shl_tcp_stand_by(t, arrival->peer) < 0)
        shl_log(SHL_LOG_WARN, "rank %u can knock no more: %s", arrival->peer, shl_error_text());
    if (!link && !t->peers[arrival->peer].dropped) {
        if (shl_tcp_link_get(t, arrival->peer, &link) < 0)
            t->env->lost(t->env->arg, arrival->peer, SHOAL_ERR_NOMEM, shl_error_text());
        return;
    }
    if (!link || link->state != SHL_TCP_UP)
        return;
    /* Which of them stall or broke over there is not told. What works is not given up for that: it
     * carries on until another one replaces it. */
    shl_log(SHL_LOG_INFO, "rank %u lacks a connection; dialling others", link->peer);
    for (uint32_t i = 0; i < link->flow_count && link->state == SHL_TCP_UP; i++)
        shl_tcp_flow_dial(&link->flows[i]);
}

unsigned shl_tcp_arrivals(struct shl_transport *t)
{
    struct shl_tcp_arrival *arrival;
    unsigned count = 0;
    while ((arrival = shl_tcp_mailbox_take(t->mailbox))) {
        if (arrival->kind == SHL_CHANNEL_TCP_DATA)
            data_arrived(t, arrival);
        else
            knock_arrived(t, arrival);
        shl_mem->free(arrival);
        count++;
    }
    return count;
}
