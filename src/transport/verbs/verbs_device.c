/*
 * What a transport holds of its devices: context, protection domain and completion queue of each
 * rail, and the pool of windows and stages, registered with those rails that frames go by.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "transport/verbs/verbs_link.h"

#include "core/log.h"
#include "core/sys.h"

#include <errno.h>
#include <fcntl.h>
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

/* Completions that a queue may hold. Twice for direct pairs: of those that have ended something may
 * still be there. */
static int entries_of(const struct shl_transport *t, uint32_t links)
{
    bool two = t->port.kind == SHL_VERBS_IWARP; /* a write, and a send that tells of it */
    uint32_t sends = SHL_VERBS_SLOTS * (1 + two);
    uint32_t lane = 2 * (sends + 1 + SHL_VERBS_PLACES);
    return (int)(links *
                 (2 * SHL_VERBS_SLOTS + 2 * sends + (uint32_t)t->env->config->ib_qps * lane));
}

enum shoal_status shl_verbs_rail_windows(struct shl_transport *t, uint32_t index)
{
    struct shl_verbs_rail *rail = &t->rails[index];
    if (!rail->window_pd)
        rail->window_pd = shl_verbs->alloc_pd(rail->context);
    if (!rail->window_pd)
        return shl_fail_errno("%s: no second protection domain", rail->port.device);
    if (!rail->pool_mr)
        rail->pool_mr = shl_verbs_register(rail->window_pd, t->pool, POOL_BYTES);
    if (!rail->pool_mr)
        return shl_fail_errno("%s: cannot register %zu bytes; raise the limit of locked memory "
                              "(ulimit -l unlimited; in a pod: of the container runtime)",
                              rail->port.device, POOL_BYTES);
    return SHOAL_OK;
}

static enum shoal_status open_pool(struct shl_transport *t)
{
    t->pool = shl_mem->alloc_aligned(POOL_ALIGN, POOL_BYTES);
    if (!t->pool)
        return shl_fail(SHOAL_ERR_NOMEM, "no memory for %zu bytes of RDMA windows", POOL_BYTES);
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
    return shl_verbs_rail_windows(t, t->nearest);
}

/* Events are fetched when there are some, never waited for. */
static enum shoal_status watch(struct shl_transport *t, const struct shl_verbs_rail *rail, int fd,
                               uint64_t name)
{
    struct epoll_event event = {.events = EPOLLIN, .data.u64 = name};
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) != 0)
        return shl_fail_errno("%s: its events cannot be fetched without waiting",
                              rail->port.device);
    if (shl_fd->epoll_ctl(t->epoll_fd, EPOLL_CTL_ADD, fd, &event) != 0)
        return shl_fail_errno("%s: its events cannot be watched", rail->port.device);
    return SHOAL_OK;
}

static enum shoal_status open_rail(struct shl_transport *t, uint32_t index, uint32_t links)
{
    struct shl_verbs_rail *rail = &t->rails[index];
    const char *device = rail->port.device;
    errno = 0;
    rail->no_immediate = rail->port.kind == SHL_VERBS_IWARP;
    rail->context = open_named(device);
    if (!rail->context)
        return shl_fail_errno("%s cannot be opened any more", device);
    rail->pd = shl_verbs->alloc_pd(rail->context);
    if (!rail->pd)
        return shl_fail_errno("%s: no protection domain", device);
    rail->channel = shl_verbs->create_comp_channel(rail->context);
    if (!rail->channel)
        return shl_fail_errno("%s: no completion channel", device);
    rail->cq = shl_verbs->create_cq(rail->context, entries_of(t, links), NULL, rail->channel, 0);
    if (!rail->cq)
        return shl_fail_errno("%s: no completion queue of %d entries", device,
                              entries_of(t, links));
    SHL_TRY(watch(t, rail, rail->channel->fd, SHL_VERBS_WATCH_CHANNEL + index));
    return watch(t, rail, rail->context->async_fd, SHL_VERBS_WATCH_EVENTS + index);
}

static void close_rail(struct shl_verbs_rail *rail)
{
    if (rail->cq)
        shl_verbs->destroy_cq(rail->cq);
    if (rail->channel)
        shl_verbs->destroy_comp_channel(rail->channel);
    if (rail->pool_mr)
        shl_verbs->dereg_mr(rail->pool_mr);
    if (rail->window_pd)
        shl_verbs->dealloc_pd(rail->window_pd);
    if (rail->pd)
        shl_verbs->dealloc_pd(rail->pd);
    if (rail->context)
        shl_verbs->close_device(rail->context);
    rail->cq = NULL;
    rail->channel = NULL;
    rail->pd = NULL;
    rail->window_pd = NULL;
    rail->pool_mr = NULL;
    rail->context = NULL;
}

/* The nearest rail must open; one of the others that does not is left out. */
static enum shoal_status open_rails(struct shl_transport *t, uint32_t links)
{
    uint32_t wanted = t->rail_count, nearest = t->nearest;
    t->rail_count = 0;
    for (uint32_t i = 0; i < wanted; i++) {
        uint32_t at = t->rail_count;
        t->rails[at].port = t->rails[i].port;
        if (i == nearest)
            t->nearest = at;
        if (open_rail(t, at, links) == SHOAL_OK) {
            t->rail_count++;
            continue;
        }
        if (i == nearest)
            return SHOAL_ERR_UNSUPPORTED; /* open_rail says why; close takes it back */
        shl_log(SHL_LOG_WARN, "a rail is left out: %s", shl_error_text());
        close_rail(&t->rails[at]);
    }
    return SHOAL_OK;
}

enum shoal_status shl_verbs_device_open(struct shl_transport *t, uint32_t links)
{
    SHL_TRY(open_rails(t, links));
    t->cq = t->rails[t->nearest].cq;
    t->deferred_capacity = t->rail_count * (uint32_t)entries_of(t, links);
    t->deferred = shl_mem->alloc(t->deferred_capacity * sizeof(*t->deferred));
    if (!t->deferred)
        return shl_fail(SHOAL_ERR_NOMEM, "no memory for %u completions", t->deferred_capacity);
    SHL_TRY(open_pool(t));
    SHL_TRY(shl_verbs_cm_open(t));
    return shl_verbs_memory_open(t);
}

void shl_verbs_device_close(struct shl_transport *t)
{
    shl_verbs_memory_close(t);
    shl_verbs_cm_close(t);
    for (uint32_t i = 0; i < SHL_VERBS_RAILS; i++)
        close_rail(&t->rails[i]);
    shl_mem->free(t->deferred);
    shl_mem->free(t->pool);
    t->cq = NULL;
    t->deferred = NULL;
    t->pool = NULL;
}
