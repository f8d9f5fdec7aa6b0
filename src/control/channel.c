/*
 * Channels: connections that transports ask for by peer, kind and index.
 *
 * Invariant: a channel that was asked for is on the list until `ready` is called, exactly once; a
 * descriptor that nobody asked for yet is parked, at most one a (peer, kind, index).
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "control/control_internal.h"
#include "core/sys.h"

#include <stdio.h>
#include <string.h>

#define PARKED_MAX 4096

struct shl_channel {
    struct shl_list link;
    struct shl_control *control;
    uint32_t peer, index;
    enum shl_channel_kind kind;
    uint64_t deadline_ns;
    shl_channel_fn ready;
    void *arg;
    struct shl_timer timer;
    struct shl_dial_target target;
    struct shl_dialler dialler;
};

struct parked {
    struct shl_list link;
    uint32_t peer, index;
    enum shl_channel_kind kind;
    int fd;
};

/* ---- ending ------------------------------------------------------------------------------ */

static void finish(struct shl_channel *channel, int fd, const char *cause)
{
    shl_channel_fn ready = channel->ready;
    void *arg = channel->arg;
    uint32_t peer = channel->peer, index = channel->index;
    shl_dialler_stop(&channel->dialler);
    shl_loop_timer_stop(&channel->control->loop, &channel->timer);
    shl_list_remove(&channel->link);
    shl_mem->free(channel);
    ready(arg, peer, index, fd, cause);
}

static void unpark(struct shl_control *control, struct parked *parked)
{
    shl_list_remove(&parked->link);
    control->parked_count--;
    shl_mem->free(parked);
}

void shl_channel_fail(struct shl_control *control, uint32_t rank, const char *cause)
{
    struct shl_list *node, *next, failing;
    shl_list_init(&failing);
    shl_channel_take_asked(control);
    SHL_LIST_FOR_EACH(node, next, &control->parked)
    {
        struct parked *parked = SHL_CONTAINER_OF(node, struct parked, link);
        if (rank != SHL_RANK_ANY && parked->peer != rank)
            continue;
        shl_fd->close(parked->fd);
        unpark(control, parked);
    }
    /* `ready` may do anything, so the list is not walked while it runs. */
    SHL_LIST_FOR_EACH(node, next, &control->channels)
    {
        if (rank != SHL_RANK_ANY && SHL_CONTAINER_OF(node, struct shl_channel, link)->peer != rank)
            continue;
        shl_list_remove(node);
        shl_list_append(&failing, node);
    }
    while (!shl_list_empty(&failing))
        finish(SHL_CONTAINER_OF(failing.next, struct shl_channel, link), -1, cause);
}

static void on_deadline(void *arg)
{
    struct shl_channel *channel = arg;
    char cause[640];
    if (channel->dialler.running)
        snprintf(cause, sizeof(cause), "rank %u could not be reached in time: %s", channel->peer,
                 channel->dialler.cause[0] ? channel->dialler.cause : "no answer");
    else
        snprintf(cause, sizeof(cause), "rank %u did not open the channel in time", channel->peer);
    finish(channel, -1, cause);
}

static void on_dialled(void *arg, const struct shl_dial_result *result)
{
    struct shl_channel *channel = arg;
    char cause[640];
    if (result->outcome == SHL_DIAL_CONNECTED) {
        finish(channel, result->fd, NULL);
        return;
    }
    snprintf(cause, sizeof(cause), "rank %u could not be reached: %s", channel->peer,
             result->cause);
    finish(channel, -1, cause);
}

/* ---- opening ----------------------------------------------------------------------------- */

static struct parked *find_parked(struct shl_control *control, uint32_t peer,
                                  enum shl_channel_kind kind, uint32_t index)
{
    struct shl_list *node, *next;
    SHL_LIST_FOR_EACH(node, next, &control->parked)
    {
        struct parked *parked = SHL_CONTAINER_OF(node, struct parked, link);
        if (parked->peer == peer && parked->kind == kind && parked->index == index)
            return parked;
    }
    return NULL;
}

static void dial(struct shl_channel *channel)
{
    struct shl_control *control = channel->control;
    struct shl_dialler *dialler = &channel->dialler;
    const struct shl_peer *peer = &control->peers[channel->peer];
    if (channel->kind == SHL_CHANNEL_FD_PASS) {
        channel->target.count = peer->has_socket ? 1 : 0;
        channel->target.addresses[0] = peer->socket;
    } else {
        channel->target = peer->tcp;
    }
    dialler->key = &control->key;
    dialler->hello = (struct shl_hello){.kind = (uint8_t)channel->kind,
                                        .index = channel->index,
                                        .rank = control->options.rank,
                                        .target_rank = channel->peer,
                                        .incarnation = control->incarnation,
                                        .epoch = control->epoch};
    memcpy(dialler->hello.job, control->job_hash, sizeof(control->job_hash));
    dialler->target = &channel->target;
    dialler->brisk = true;             /* the peer is a rank of the job, so it is there */
    dialler->deadline_ns = UINT64_MAX; /* the channel's own timer ends it */
    dialler->arg = channel;
    dialler->done = on_dialled;
    shl_dialler_start(dialler);
}

/* Which side of a channel connects: the lower rank, except to knock. */
static bool dials(uint32_t rank, uint32_t peer, enum shl_channel_kind kind)
{
    return (rank < peer) == (kind != SHL_CHANNEL_TCP_KNOCK);
}

static void open_channel(struct shl_control *control, struct shl_channel *channel)
{
    char cause[160];
    shl_list_append(&control->channels, &channel->link);
    shl_dialler_init(&channel->dialler, &control->loop);
    shl_timer_init(&channel->timer, on_deadline, channel);
    if (control->lost[channel->peer] || control->evicted || control->stopping) {
        snprintf(cause, sizeof(cause), "rank %u is lost or this rank is leaving", channel->peer);
        finish(channel, -1, cause);
        return;
    }
    if (channel->kind == SHL_CHANNEL_FD_PASS && !control->peers[channel->peer].has_socket) {
        snprintf(cause, sizeof(cause), "rank %u is on another host or in another network namespace",
                 channel->peer);
        finish(channel, -1, cause);
        return;
    }
    struct parked *parked = find_parked(control, channel->peer, channel->kind, channel->index);
    if (parked) {
        int fd = parked->fd;
        unpark(control, parked);
        finish(channel, fd, NULL);
        return;
    }
    shl_loop_timer_set(&control->loop, &channel->timer, channel->deadline_ns);
    if (dials(control->options.rank, channel->peer, channel->kind))
        dial(channel);
}

enum shl_welcome shl_channel_admit(struct shl_control *control, const struct shl_hello *hello,
                                   bool local)
{
    bool tcp = hello->kind == SHL_CHANNEL_TCP_DATA || hello->kind == SHL_CHANNEL_TCP_KNOCK ||
               hello->kind == SHL_CHANNEL_VERBS;
    bool fits = hello->kind == SHL_CHANNEL_FD_PASS ? local : tcp && !local;
    if (!fits || !dials(hello->rank, control->options.rank, hello->kind) ||
        control->parked_count >= PARKED_MAX)
        return SHL_WELCOME_WRONG;
    return control->lost[hello->rank] ? SHL_WELCOME_EVICTED : SHL_WELCOME_OK;
}

static void park(struct shl_control *control, int fd, const struct shl_hello *hello)
{
    struct parked *parked = find_parked(control, hello->rank, hello->kind, hello->index);
    if (parked) {
        /* The dialler has given the older one up, or it would not dial again. */
        shl_fd->close(parked->fd);
        parked->fd = fd;
        return;
    }
    parked = shl_mem->alloc(sizeof(*parked));
    if (!parked) {
        shl_fd->close(fd); /* the dialler sees it break, and both ask again */
        return;
    }
    parked->peer = hello->rank;
    parked->kind = hello->kind;
    parked->index = hello->index;
    parked->fd = fd;
    shl_list_append(&control->parked, &parked->link);
    control->parked_count++;
}

void shl_channel_accepted(struct shl_control *control, int fd, const struct shl_hello *hello)
{
    struct shl_list *node, *next;
    shl_channel_take_asked(control);
    SHL_LIST_FOR_EACH(node, next, &control->channels)
    {
        struct shl_channel *channel = SHL_CONTAINER_OF(node, struct shl_channel, link);
        if (channel->peer == hello->rank && channel->kind == hello->kind &&
            channel->index == hello->index) {
            finish(channel, fd, NULL);
            return;
        }
    }
    park(control, fd, hello);
}

void shl_channel_take_asked(struct shl_control *control)
{
    for (;;) {
        pthread_mutex_lock(&control->lock);
        struct shl_list *node = shl_list_pop(&control->asked);
        pthread_mutex_unlock(&control->lock);
        if (!node)
            return;
        open_channel(control, SHL_CONTAINER_OF(node, struct shl_channel, link));
    }
}

/* ---- asking: other threads --------------------------------------------------------------- */

enum shoal_status shl_control_dial(struct shl_control *control, uint32_t peer,
                                   enum shl_channel_kind kind, uint32_t index, uint64_t deadline_ns,
                                   shl_channel_fn ready, void *arg)
{
    if (peer >= control->options.size || peer == control->options.rank)
        return shl_fail(SHOAL_ERR_INVALID, "no channel from rank %u to rank %u of %u",
                        control->options.rank, peer, control->options.size);
    if (kind != SHL_CHANNEL_TCP_DATA && kind != SHL_CHANNEL_FD_PASS &&
        kind != SHL_CHANNEL_TCP_KNOCK && kind != SHL_CHANNEL_VERBS)
        return shl_fail(SHOAL_ERR_INVALID, "channel kind %d cannot be asked for", (int)kind);
    struct shl_channel *channel = shl_mem->alloc(sizeof(*channel));
    if (!channel)
        return shl_fail(SHOAL_ERR_NOMEM, "no memory for a channel to rank %u", peer);
    shl_list_init(&channel->link);
    channel->control = control;
    channel->peer = peer;
    channel->kind = kind;
    channel->index = index;
    channel->deadline_ns = deadline_ns;
    channel->ready = ready;
    channel->arg = arg;
    pthread_mutex_lock(&control->lock);
    bool accepting = control->accepting;
    if (accepting)
        shl_list_append(&control->asked, &channel->link);
    pthread_mutex_unlock(&control->lock);
    if (!accepting) {
        shl_mem->free(channel);
        return shl_fail(SHOAL_ERR_INVALID, "control is not running, no channel can be opened");
    }
    shl_loop_wake(&control->loop);
    return SHOAL_OK;
}
