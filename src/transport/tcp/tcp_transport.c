/*
 * The transport contract over TCP: opening, closing, and the table of operations.
 *
 * Invariant: close never waits for a peer longer than LINGER_NS, and that only for small messages
 * that were reported sent and were taken back by a connection that broke.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "transport/tcp/tcp_link.h"

#include "control/sock.h"
#include "core/config.h"
#include "core/sys.h"

#include <stdio.h>
#include <sys/epoll.h>

#define LINGER_NS UINT64_C(50000000)
#define BOUNCE_ALIGN 4096

static void free_transport(struct shl_transport *t)
{
    shl_mem->free(t->peers);
    shl_mem->free(t->bounce);
    shl_mem->free(t->zeros);
    shl_mem->free(t);
}

static enum shoal_status open_epoll(struct shl_transport *t)
{
    struct epoll_event event = {.events = EPOLLIN};
    t->epoll_fd = shl_fd->epoll_create(EPOLL_CLOEXEC);
    if (t->epoll_fd < 0)
        return shl_fail_errno("epoll_create");
    event.data.u64 = UINT64_MAX;
    if (shl_fd->epoll_ctl(t->epoll_fd, EPOLL_CTL_ADD, shl_tcp_mailbox_fd(t->mailbox), &event)) {
        enum shoal_status status = shl_fail_errno("epoll_ctl");
        shl_fd->close(t->epoll_fd);
        return status;
    }
    return SHOAL_OK;
}

static enum shoal_status tcp_open(const struct shl_transport_env *env, struct shl_transport **out)
{
    enum shoal_status status;
    struct shl_transport *t = shl_mem->alloc(sizeof(*t));
    if (!t)
        return shl_fail(SHOAL_ERR_NOMEM, "no memory for the tcp transport");
    t->env = env;
    shl_list_init(&t->links);
    t->peers = shl_mem->alloc(env->size * sizeof(*t->peers));
    t->bounce = shl_mem->alloc_aligned(BOUNCE_ALIGN, SHL_TCP_BOUNCE_BYTES);
    t->zeros = shl_mem->alloc(SHL_TCP_ZERO_BYTES);
    if (!t->peers || !t->bounce || !t->zeros) {
        status =
            shl_fail(SHOAL_ERR_NOMEM, "no memory for the tcp transport of %u ranks", env->size);
        goto free_all;
    }
    for (uint32_t peer = 0; peer < env->size; peer++)
        t->peers[peer].flow_count = 1;
    status = shl_tcp_mailbox_create(&t->mailbox);
    if (status < 0)
        goto free_all;
    status = open_epoll(t);
    if (status < 0)
        goto close_mailbox;
    *out = t;
    return SHOAL_OK;

close_mailbox:
    shl_tcp_mailbox_close(t->mailbox);
free_all:
    free_transport(t);
    return status;
}

/* Send what was reported sent and is not with the kernel, then BYE. true: nothing is left. */
static bool flush(struct shl_tcp_link *link)
{
    bool left = false;
    for (uint32_t i = 0; i < link->flow_count; i++) {
        struct shl_tcp_flow *flow = &link->flows[i];
        while (shl_tcp_tx_wanted(flow) && shl_tcp_tx_step(flow))
            ;
        left = left || shl_tcp_tx_wanted(flow);
    }
    return !left;
}

static void say_bye(struct shl_tcp_link *link)
{
    shl_tcp_cancel_all(link);
    if (link->flows_up == 0 || !shl_tcp_window_open(link))
        return;
    struct shl_tcp_frame *frame = shl_tcp_frame_new(link, SHL_TCP_BYE, NULL);
    shl_list_append(&link->ready, &frame->link);
}

/* A close with bytes unread would be a reset, which may overtake what was sent last. */
static void drain(struct shl_tcp_link *link)
{
    for (uint32_t i = 0; i < link->flow_count; i++) {
        int fd = link->flows[i].fd;
        if (fd < 0)
            continue;
        shl_sock->shutdown(fd, SHUT_WR);
        for (int reads = 0; reads < 64; reads++)
            if (shl_sock->recv(fd, link->t->bounce, SHL_TCP_BOUNCE_BYTES, MSG_DONTWAIT) <= 0)
                break;
    }
}

static void tcp_close(struct shl_transport *t)
{
    struct shl_list *node, *after;
    if (!t)
        return;
    uint64_t deadline_ns = shl_now_ns() + LINGER_NS;
    SHL_LIST_FOR_EACH(node, after, &t->links)
    {
        struct shl_tcp_link *link = SHL_CONTAINER_OF(node, struct shl_tcp_link, node);
        say_bye(link);
        while (link->flows_up && !flush(link) && shl_now_ns() < deadline_ns)
            shl_time->sleep_ns(100000);
        drain(link);
        shl_tcp_link_destroy(link);
    }
    shl_tcp_mailbox_close(t->mailbox);
    shl_fd->close(t->epoll_fd);
    free_transport(t);
}

static int tcp_wait_fd(struct shl_transport *t)
{
    return t->epoll_fd;
}

static void tcp_drop_peer(struct shl_transport *t, uint32_t peer)
{
    if (peer >= t->env->size || peer == t->env->rank)
        return;
    t->peers[peer].dropped = true;
    struct shl_tcp_link *link = t->peers[peer].link;
    if (!link || link->state == SHL_TCP_LOST)
        return;
    snprintf(link->cause, sizeof(link->cause), "given up");
    shl_tcp_link_shut(link, SHL_TCP_LOST);
}

static void tcp_explain(struct shl_transport *t, uint32_t peer, char *text, size_t text_bytes)
{
    struct shl_tcp_link *link = peer < t->env->size ? t->peers[peer].link : NULL;
    if (link)
        shl_tcp_link_explain(link, text, text_bytes);
    else
        snprintf(text, text_bytes, "tcp to rank %u: not used yet", peer);
}

const struct shl_transport_ops shl_transport_tcp = {
    .name = "tcp",
    .eager_bytes = SHL_TCP_PUSH_BYTES,
    .open = tcp_open,
    .close = tcp_close,
    .describe = shl_tcp_describe,
    .attach = shl_tcp_attach,
    .send = shl_tcp_send,
    .recv = shl_tcp_recv,
    .poll = shl_tcp_poll,
    .wait_fd = tcp_wait_fd,
    .arm = shl_tcp_arm,
    .cancel = shl_tcp_cancel,
    .review = shl_tcp_review,
    .drop_peer = tcp_drop_peer,
    .explain = tcp_explain,
};
