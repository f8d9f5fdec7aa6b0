/*
 * Channels for passing descriptors, from control: asked for in its thread, awaited here.
 *
 * Invariant: control answers each request exactly once, so the waiter may free the link then.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "control/control.h"
#include "core/sys.h"
#include "transport/shm/shm_party.h"

#include <pthread.h>
#include <stdio.h>

struct link {
    pthread_mutex_t lock; /* guards the rest */
    pthread_cond_t ready;
    bool answered;
    int fd;
    char cause[128];
    uint32_t peer;
};

/* In the control thread. */
static void on_channel(void *arg, uint32_t peer, uint32_t index, int fd, const char *cause)
{
    (void)peer;
    (void)index;
    struct link *link = arg;
    pthread_mutex_lock(&link->lock);
    link->answered = true;
    link->fd = fd;
    snprintf(link->cause, sizeof(link->cause), "%s", cause ? cause : "no cause given");
    pthread_cond_signal(&link->ready);
    pthread_mutex_unlock(&link->lock);
}

static void link_free(struct link *link)
{
    pthread_cond_destroy(&link->ready);
    pthread_mutex_destroy(&link->lock);
    shl_mem->free(link);
}

static enum shoal_status control_request(const struct shl_transport_env *env, uint32_t peer,
                                         uint64_t deadline_ns, void **out)
{
    struct link *link = shl_mem->alloc(sizeof(*link));
    if (!link)
        return shl_fail(SHOAL_ERR_NOMEM, "no memory to ask for a channel to rank %u", peer);
    pthread_mutex_init(&link->lock, NULL);
    pthread_cond_init(&link->ready, NULL);
    link->peer = peer;
    enum shoal_status status =
        shl_control_dial(env->control, peer, SHL_CHANNEL_FD_PASS, 0, deadline_ns, on_channel, link);
    if (status != SHOAL_OK) {
        link_free(link);
        return status;
    }
    *out = link;
    return SHOAL_OK;
}

/* Control answers each request once, at its deadline at the latest. */
static enum shoal_status control_await(void *arg, int *fd)
{
    struct link *link = arg;
    pthread_mutex_lock(&link->lock);
    while (!link->answered)
        pthread_cond_wait(&link->ready, &link->lock);
    pthread_mutex_unlock(&link->lock);
    enum shoal_status status = SHOAL_OK;
    if (link->fd < 0)
        status = shl_fail(SHOAL_ERR_PEER, "no channel to rank %u of this host: %s", link->peer,
                          link->cause);
    else
        *fd = link->fd;
    link_free(link);
    return status;
}

const struct shl_shm_links shl_shm_links_control = {.request = control_request,
                                                    .await = control_await};
const struct shl_shm_links *shl_shm_links = &shl_shm_links_control;
