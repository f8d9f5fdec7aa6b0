/*
 * Progress: which flows are looked at when poll() runs, and what wakes a sleeper.
 *
 * With few links each poll reads the flows of those that something is posted to, without asking
 * epoll first: for a small message that is one call instead of two. The other flows, and all when
 * there are many links, are asked for through epoll, at no wait. Per flow a poll makes at most one
 * read and one write, so both directions move.
 *
 * Invariant: no flow's bytes wait unread for ever: every SWEEP_POLLS-th poll asks epoll about all.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "transport/tcp/tcp_link.h"

#include "core/sys.h"

#include <errno.h>
#include <sys/epoll.h>

#define DIRECT_LINKS 6    /* polled without epoll up to so many links */
#define SWEEP_POLLS 64    /* how often epoll is asked while some flows are polled directly */
#define SIDE_FLOW_POLLS 8 /* how often flows on which nothing is expected are read directly */
#define EVENTS_MAX 64
/* In the middle of a chunk a sleeper is woken for so much at a time: on a slow link each packet
 * would wake it. */
#define WAKE_BYTES 65536

/* Reading comes first: what completes may let the engine send, and that carries the ack. */
static unsigned step_flow(struct shl_tcp_flow *flow, bool read)
{
    unsigned work = 0;
    if (read || flow->tx_errno)
        work += shl_tcp_rx_step(flow);
    if (shl_tcp_tx_wanted(flow))
        work += shl_tcp_tx_step(flow);
    return work;
}

static unsigned step_link(struct shl_tcp_link *link)
{
    unsigned work = 0;
    bool all = link->large_posted || link->t->polls % SIDE_FLOW_POLLS == 0;
    for (uint32_t i = 0; i < link->flow_count; i++) {
        struct shl_tcp_flow *flow = &link->flows[i];
        if (flow->fd >= 0)
            work += step_flow(flow, i == 0 || all || flow->chunk.active);
    }
    return work;
}

/* Is there a reason to look at this link's flows at every poll? */
static bool is_busy(const struct shl_tcp_link *link)
{
    if (link->posted || link->ack_due || !shl_list_empty(&link->ready))
        return true;
    for (uint32_t i = 0; i < link->flow_count; i++)
        if (link->flows[i].tx.busy || link->flows[i].hello_due || link->flows[i].held)
            return true;
    return false;
}

static unsigned step_ready(struct shl_transport *t)
{
    struct epoll_event events[EVENTS_MAX];
    unsigned work = 0;
    int count = shl_fd->epoll_wait(t->epoll_fd, events, EVENTS_MAX, 0);
    for (int i = 0; i < count; i++) {
        if (events[i].data.u64 == UINT64_MAX) /* the mailbox */
            continue;
        uint32_t peer = (uint32_t)(events[i].data.u64 >> 8);
        struct shl_tcp_flow *flow = &t->peers[peer].link->flows[events[i].data.u64 & 0xff];
        if (flow->fd < 0)
            continue;
        work += step_flow(flow, true);
        /* A sleeper waited for room; while awake nobody does, and it would be reported for ever. */
        if (flow->fd >= 0 && flow->events & EPOLLOUT)
            shl_tcp_flow_watch(flow, EPOLLIN);
    }
    return work;
}

unsigned shl_tcp_poll(struct shl_transport *t)
{
    unsigned work = 0;
    bool busy = false, direct = t->link_count <= DIRECT_LINKS;
    t->polls++;
    if (SHL_UNLIKELY(shl_tcp_mailbox_filled(t->mailbox)))
        work += shl_tcp_arrivals(t);
    if (!direct)
        work += step_ready(t);
    for (struct shl_list *node = t->links.next; node != &t->links; node = node->next) {
        struct shl_tcp_link *link = SHL_CONTAINER_OF(node, struct shl_tcp_link, node);
        if (SHL_UNLIKELY(link->flows_up == 0)) {
            shl_tcp_link_check(link);
            continue;
        }
        if (!is_busy(link))
            continue;
        busy = true;
        if (direct)
            work += step_link(link);
        else
            for (uint32_t i = 0; i < link->flow_count; i++)
                work += step_flow(&link->flows[i], false);
    }
    /* Where all peers are on this host there is no link, and this is polled between exchanges. */
    if (direct && t->link_count > 0 && (!busy || t->polls % SWEEP_POLLS == 0))
        work += step_ready(t);
    return work;
}

/* What is left of a chunk comes before anything else on its flow, so no message waits for this. */
static uint32_t wake_bytes(const struct shl_tcp_flow *flow)
{
    const struct shl_tcp_chunk *chunk = &flow->chunk;
    if (!chunk->active || chunk->at == chunk->length)
        return 1;
    uint32_t rest = chunk->length - chunk->at;
    return rest < WAKE_BYTES ? rest : WAKE_BYTES;
}

bool shl_tcp_arm(struct shl_transport *t, bool sleeping)
{
    if (!sleeping)
        return true;
    shl_tcp_look_for_stalls(t);
    for (struct shl_list *node = t->links.next; node != &t->links; node = node->next) {
        struct shl_tcp_link *link = SHL_CONTAINER_OF(node, struct shl_tcp_link, node);
        for (uint32_t i = 0; i < link->flow_count; i++) {
            struct shl_tcp_flow *flow = &link->flows[i];
            if (flow->fd < 0)
                continue;
            shl_tcp_flow_wake_at(flow, wake_bytes(flow));
            shl_tcp_flow_watch(flow, shl_tcp_tx_wanted(flow) ? EPOLLIN | EPOLLOUT : EPOLLIN);
        }
    }
    return !shl_tcp_mailbox_filled(t->mailbox);
}
