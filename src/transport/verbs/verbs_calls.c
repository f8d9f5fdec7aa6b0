/*
 * Where control channels come from: control hands them out in its own thread, attach takes them.
 *
 * Invariant: the mailbox lives until it is closed and no request is outstanding, so a channel that
 * comes after close is closed and never lost.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "transport/verbs/verbs_link.h"

#include "control/control.h"
#include "core/sys.h"

#include <pthread.h>
#include <stdio.h>

/* A request, and then its outcome. */
struct call {
    struct shl_list link;
    struct shl_verbs_calls *calls;
    uint32_t peer;
    int fd;
    char cause[160];
};

struct shl_verbs_calls {
    pthread_mutex_t lock;
    struct shl_list arrived;
    uint32_t outstanding;
    bool closed;
};

enum shoal_status shl_verbs_calls_create(struct shl_verbs_calls **out)
{
    struct shl_verbs_calls *calls = shl_mem->alloc(sizeof(*calls));
    if (!calls)
        return shl_fail(SHOAL_ERR_NOMEM, "no memory for the channels of the verbs transport");
    pthread_mutex_init(&calls->lock, NULL);
    shl_list_init(&calls->arrived);
    *out = calls;
    return SHOAL_OK;
}

static void destroy(struct shl_verbs_calls *calls)
{
    pthread_mutex_destroy(&calls->lock);
    shl_mem->free(calls);
}

static void drop(struct call *call)
{
    if (call->fd >= 0)
        shl_fd->close(call->fd);
    shl_mem->free(call);
}

void shl_verbs_calls_close(struct shl_verbs_calls *calls)
{
    struct shl_list *node;
    if (!calls)
        return;
    pthread_mutex_lock(&calls->lock);
    calls->closed = true; /* what comes from here on is closed by `ready` */
    bool last = calls->outstanding == 0;
    pthread_mutex_unlock(&calls->lock);
    while ((node = shl_list_pop(&calls->arrived)))
        drop(SHL_CONTAINER_OF(node, struct call, link));
    if (last)
        destroy(calls);
}

/* In control's thread. */
static void ready(void *arg, uint32_t peer, uint32_t index, int fd, const char *cause)
{
    struct call *call = arg;
    struct shl_verbs_calls *calls = call->calls;
    (void)peer, (void)index;
    call->fd = fd;
    snprintf(call->cause, sizeof(call->cause), "%s", cause ? cause : "");
    pthread_mutex_lock(&calls->lock);
    calls->outstanding--;
    bool closed = calls->closed, last = closed && calls->outstanding == 0;
    if (!closed)
        shl_list_append(&calls->arrived, &call->link);
    pthread_mutex_unlock(&calls->lock);
    if (closed)
        drop(call);
    if (last)
        destroy(calls);
}

enum shoal_status shl_verbs_calls_dial(struct shl_verbs_calls *calls, struct shl_control *control,
                                       uint32_t peer, uint64_t deadline_ns)
{
    struct call *call = shl_mem->alloc(sizeof(*call));
    if (!call)
        return shl_fail(SHOAL_ERR_NOMEM, "no memory to ask for a channel to rank %u", peer);
    call->calls = calls;
    call->peer = peer;
    call->fd = -1;
    shl_list_init(&call->link);
    pthread_mutex_lock(&calls->lock);
    calls->outstanding++;
    pthread_mutex_unlock(&calls->lock);
    enum shoal_status status =
        shl_control_dial(control, peer, SHL_CHANNEL_VERBS, 0, deadline_ns, ready, call);
    if (status < 0) {
        pthread_mutex_lock(&calls->lock);
        calls->outstanding--;
        pthread_mutex_unlock(&calls->lock);
        shl_mem->free(call);
    }
    return status;
}

bool shl_verbs_calls_take(struct shl_verbs_calls *calls, uint32_t *peer, int *fd, char *cause,
                          size_t cause_bytes)
{
    pthread_mutex_lock(&calls->lock);
    struct shl_list *node = shl_list_pop(&calls->arrived);
    pthread_mutex_unlock(&calls->lock);
    if (!node)
        return false;
    struct call *call = SHL_CONTAINER_OF(node, struct call, link);
    *peer = call->peer;
    *fd = call->fd;
    snprintf(cause, cause_bytes, "%s", call->cause);
    shl_mem->free(call);
    return true;
}
