/*
 * Making and ending links.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "transport/verbs/verbs_link.h"

#include "control/sock.h"
#include "core/sys.h"

#include <stdarg.h>
#include <stdio.h>
#include <sys/epoll.h>

enum shoal_status shl_verbs_link_create(struct shl_transport *t, uint32_t peer)
{
    struct shl_verbs_link *link = shl_mem->alloc(sizeof(*link));
    if (!link)
        return shl_fail(SHOAL_ERR_NOMEM, "no memory for the verbs link to rank %u", peer);
    link->t = t;
    link->peer = peer;
    link->fd = -1;
    for (uint32_t i = 0; i < SHL_VERBS_BUCKETS; i++) {
        shl_list_init(&link->recvs[i]);
        shl_list_init(&link->sends[i]);
        shl_list_init(&link->notes[i]);
        shl_list_init(&link->kept[i]);
    }
    shl_list_init(&link->eager);
    shl_list_init(&link->outbox);
    shl_list_init(&link->serving);
    shl_list_init(&link->direct.serving);
    shl_list_init(&link->granting);
    shl_list_init(&link->kept_free);
    link->kept_memory = shl_mem->alloc(SHL_VERBS_KEPT * sizeof(*link->kept_memory));
    if (!link->kept_memory) {
        shl_mem->free(link);
        return shl_fail(SHOAL_ERR_NOMEM, "no memory for the verbs link to rank %u", peer);
    }
    for (uint32_t i = 0; i < SHL_VERBS_KEPT; i++)
        shl_list_append(&link->kept_free, &link->kept_memory[i].link);
    t->links[peer] = link;
    return SHOAL_OK;
}

/* The windows that the peer might still write to; its queue pair is gone. */
static void take_windows_back(struct shl_verbs_link *link)
{
    for (uint32_t i = 0; i < SHL_VERBS_WINDOWS; i++) {
        struct shl_verbs_window *window = &link->t->windows[i];
        if (window->owner != link)
            continue;
        if (window->xfer)
            shl_verbs_recv_state(window->xfer)->windows--;
        shl_verbs_window_free(link->t, window);
    }
    for (uint32_t i = 0; i < SHL_VERBS_SLOTS; i++) {
        if (link->requests[i].stage)
            shl_list_append(&link->t->stages_free, &link->requests[i].stage->link);
        link->requests[i] = (struct shl_verbs_request){0};
    }
}

void shl_verbs_link_hang_up(struct shl_verbs_link *link)
{
    struct epoll_event none = {0};
    if (link->fd < 0)
        return;
    /* A child that was forked meanwhile has the socket too: it must neither keep the connection
     * open nor wake whoever waits here. */
    (void)shl_fd->epoll_ctl(link->t->epoll_fd, EPOLL_CTL_DEL, link->fd, &none);
    (void)shl_sock->shutdown(link->fd, SHUT_RDWR);
    shl_fd->close(link->fd);
    link->fd = -1;
}

void shl_verbs_link_shut(struct shl_verbs_link *link, enum shl_verbs_state state)
{
    shl_verbs_direct_shut(link);
    (void)shl_verbs_seek_end(link);
    link->state = state;
    shl_verbs_join_end(&link->join, link->qp);
    link->qp = NULL;
    link->rail = SHL_VERBS_NOWHERE;
    take_windows_back(link);
    shl_verbs_link_hang_up(link);
}

void shl_verbs_link_gone(struct shl_verbs_link *link)
{
    (void)shl_verbs_seek_end(link); /* nobody asks what it finds any more */
    shl_verbs_link_hang_up(link);
    link->state = SHL_VERBS_GONE;
}

static void free_notes(struct shl_transport *t, struct shl_list *list)
{
    struct shl_list *node;
    while ((node = shl_list_pop(list)))
        shl_list_append(&t->notes_free, node);
}

void shl_verbs_link_destroy(struct shl_verbs_link *link)
{
    if (!link)
        return;
    shl_verbs_link_shut(link, SHL_VERBS_LOST);
    free_notes(link->t, &link->outbox);
    free_notes(link->t, &link->serving);
    free_notes(link->t, &link->direct.serving);
    for (uint32_t i = 0; i < SHL_VERBS_BUCKETS; i++)
        free_notes(link->t, &link->notes[i]);
    if (link->slots_mr)
        shl_verbs->dereg_mr(link->slots_mr);
    shl_verbs_tokens_close(link);
    shl_mem->free(link->recv_slots);
    shl_mem->free(link->kept_memory);
    shl_mem->free(link);
}

void shl_verbs_link_fail(struct shl_verbs_link *link, enum shoal_status status, const char *format,
                         ...)
{
    va_list arguments;
    if (link->state == SHL_VERBS_LOST)
        return;
    va_start(arguments, format);
    vsnprintf(link->cause, sizeof(link->cause), format, arguments);
    va_end(arguments);
    bool was_up = link->state == SHL_VERBS_UP;
    shl_verbs_link_shut(link, SHL_VERBS_LOST);
    if (was_up)
        link->t->env->lost(link->t->env->arg, link->peer, status, link->cause);
}
