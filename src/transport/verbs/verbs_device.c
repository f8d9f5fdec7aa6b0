/*
 * What a transport holds of its device: context, protection domain, completion queue, and the
 * registered pool of windows and stages.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "transport/verbs/verbs_link.h"

#include "core/sys.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/epoll.h>

#define POOL_ALIGN 4096
#define POOL_BYTES ((size_t)(SHL_VERBS_WINDOWS + SHL_VERBS_STAGES) * SHL_VERBS_WINDOW_BYTES)

static struct ibv_context *open_named(const char *name)
{
    struct ibv_context *context = NULL;
    struct ibv_device **devices = shl_verbs->get_device_list(NULL);
    for (struct ibv_device **at = devices; at && *at && !context; at++)
        if (strcmp((*at)->name, name) == 0)
            context = shl_verbs->open_device(*at);
    if (devices)
        shl_verbs->free_device_list(devices);
    return context;
}

static enum shoal_status open_queue(struct shl_transport *t, uint32_t links)
{
    /* Twice for the direct pair: of one that has ended something may still be in the queue. */
    int entries = (int)(links * (4 * SHL_VERBS_SLOTS + 2 * (SHL_VERBS_SLOTS + SHL_VERBS_PLACES)));
    t->channel = shl_verbs->create_comp_channel(t->context);
    if (!t->channel)
        return shl_fail_errno("%s: no completion channel", t->port.device);
    t->cq = shl_verbs->create_cq(t->context, entries, NULL, t->channel, 0);
    if (!t->cq)
        return shl_fail_errno("%s: no completion queue of %d entries", t->port.device, entries);
    t->deferred_capacity = (uint32_t)entries;
    t->deferred = shl_mem->alloc(t->deferred_capacity * sizeof(*t->deferred));
    return t->deferred ? SHOAL_OK
                       : shl_fail(SHOAL_ERR_NOMEM, "no memory for %d completions", entries);
}

static enum shoal_status open_pool(struct shl_transport *t)
{
    t->pool = shl_mem->alloc_aligned(POOL_ALIGN, POOL_BYTES);
    if (!t->pool)
        return shl_fail(SHOAL_ERR_NOMEM, "no memory for %zu bytes of RDMA windows", POOL_BYTES);
    t->pool_mr = shl_verbs->reg_mr(t->pd, t->pool, POOL_BYTES,
                                   IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE);
    if (!t->pool_mr)
        return shl_fail_errno("%s: cannot register %zu bytes; raise the limit of locked memory "
                              "(ulimit -l unlimited; in a pod: of the container runtime)",
                              t->port.device, POOL_BYTES);
    for (uint32_t i = 0; i < SHL_VERBS_WINDOWS; i++) {
        t->windows[i].memory = t->pool + (size_t)i * SHL_VERBS_WINDOW_BYTES;
        t->windows[i].index = (uint16_t)i;
        shl_list_append(&t->windows_free, &t->windows[i].link);
    }
    t->windows_free_count = SHL_VERBS_WINDOWS;
    for (uint32_t i = 0; i < SHL_VERBS_STAGES; i++) {
        t->stages[i].memory = t->pool + (size_t)(SHL_VERBS_WINDOWS + i) * SHL_VERBS_WINDOW_BYTES;
        shl_list_append(&t->stages_free, &t->stages[i].link);
    }
    return SHOAL_OK;
}

/* Events are fetched when there are some, never waited for. */
static enum shoal_status watch(struct shl_transport *t, int fd, uint64_t name)
{
    struct epoll_event event = {.events = EPOLLIN, .data.u64 = name};
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) != 0)
        return shl_fail_errno("%s: its events cannot be fetched without waiting", t->port.device);
    if (shl_fd->epoll_ctl(t->epoll_fd, EPOLL_CTL_ADD, fd, &event) != 0)
        return shl_fail_errno("%s: its events cannot be watched", t->port.device);
    return SHOAL_OK;
}

enum shoal_status shl_verbs_device_open(struct shl_transport *t, uint32_t links)
{
    errno = 0;
    t->context = open_named(t->port.device);
    if (!t->context)
        return shl_fail_errno("%s cannot be opened any more", t->port.device);
    t->pd = shl_verbs->alloc_pd(t->context);
    if (!t->pd)
        return shl_fail_errno("%s: no protection domain", t->port.device);
    t->direct_pd = shl_verbs->alloc_pd(t->context);
    if (!t->direct_pd)
        return shl_fail_errno("%s: no second protection domain", t->port.device);
    SHL_TRY(open_queue(t, links));
    SHL_TRY(open_pool(t));
    SHL_TRY(shl_verbs_memory_open(t));
    SHL_TRY(watch(t, t->channel->fd, UINT64_MAX));
    return watch(t, t->context->async_fd, UINT64_MAX - 1);
}

void shl_verbs_device_close(struct shl_transport *t)
{
    shl_verbs_memory_close(t);
    if (t->pool_mr)
        shl_verbs->dereg_mr(t->pool_mr);
    if (t->cq)
        shl_verbs->destroy_cq(t->cq);
    if (t->channel)
        shl_verbs->destroy_comp_channel(t->channel);
    if (t->direct_pd)
        shl_verbs->dealloc_pd(t->direct_pd);
    if (t->pd)
        shl_verbs->dealloc_pd(t->pd);
    if (t->context)
        shl_verbs->close_device(t->context);
    shl_mem->free(t->deferred);
    shl_mem->free(t->pool);
    t->pool_mr = NULL;
    t->cq = NULL;
    t->channel = NULL;
    t->pd = t->direct_pd = NULL;
    t->context = NULL;
    t->deferred = NULL;
    t->pool = NULL;
}
