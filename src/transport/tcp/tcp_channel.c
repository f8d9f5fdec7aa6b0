/*
 * The mailbox between control's thread and the token's holder.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "transport/tcp/tcp_channel.h"

#include "core/bell.h"
#include "core/sys.h"

#include <pthread.h>
#include <stdio.h>
#include <sys/eventfd.h>

struct shl_tcp_mailbox {
    pthread_mutex_t lock; /* guards all but `filled` */
    struct shl_list arrived;
    uint32_t outstanding; /* requests without an outcome */
    bool closed;
    int event_fd;
    atomic_bool filled;
};

static const char *host_id_control(struct shl_control *control)
{
    return shl_control_own_address(control)->host_id;
}

static const struct shl_tcp_channels control_channels = {shl_control_dial, host_id_control};
const struct shl_tcp_channels *shl_tcp_channels = &control_channels;

enum shoal_status shl_tcp_mailbox_create(struct shl_tcp_mailbox **mailbox)
{
    struct shl_tcp_mailbox *box = shl_mem->alloc(sizeof(*box));
    if (!box)
        return shl_fail(SHOAL_ERR_NOMEM, "no memory for the mailbox of the tcp transport");
    box->event_fd = shl_fd->eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (box->event_fd < 0) {
        enum shoal_status status = shl_fail_errno("eventfd");
        shl_mem->free(box);
        return status;
    }
    pthread_mutex_init(&box->lock, NULL);
    shl_list_init(&box->arrived);
    *mailbox = box;
    return SHOAL_OK;
}

static void destroy(struct shl_tcp_mailbox *box)
{
    pthread_mutex_destroy(&box->lock);
    shl_mem->free(box);
}

void shl_tcp_mailbox_close(struct shl_tcp_mailbox *box)
{
    struct shl_list arrived, *node;
    shl_list_init(&arrived);
    pthread_mutex_lock(&box->lock);
    box->closed = true; /* what comes from here on is closed by `ready` */
    while ((node = shl_list_pop(&box->arrived)))
        shl_list_append(&arrived, node);
    shl_fd->close(box->event_fd);
    bool last = box->outstanding == 0;
    pthread_mutex_unlock(&box->lock);

    while ((node = shl_list_pop(&arrived))) {
        struct shl_tcp_arrival *arrival = SHL_CONTAINER_OF(node, struct shl_tcp_arrival, link);
        if (arrival->fd >= 0)
            shl_fd->close(arrival->fd);
        shl_mem->free(arrival);
    }
    if (last)
        destroy(box);
}

int shl_tcp_mailbox_fd(const struct shl_tcp_mailbox *box)
{
    return box->event_fd;
}

bool shl_tcp_mailbox_filled(const struct shl_tcp_mailbox *box)
{
    return atomic_load_explicit(&box->filled, memory_order_acquire);
}

struct shl_tcp_arrival *shl_tcp_mailbox_take(struct shl_tcp_mailbox *box)
{
    uint64_t count;
    pthread_mutex_lock(&box->lock);
    struct shl_list *node = shl_list_pop(&box->arrived);
    if (shl_list_empty(&box->arrived)) {
        atomic_store_explicit(&box->filled, false, memory_order_relaxed);
        /* Fails with EAGAIN when it was not set, which is as good. */
        (void)!shl_fd->read(box->event_fd, &count, sizeof(count));
    }
    pthread_mutex_unlock(&box->lock);
    return node ? SHL_CONTAINER_OF(node, struct shl_tcp_arrival, link) : NULL;
}

/* In control's thread. */
static void ready(void *arg, uint32_t peer, uint32_t index, int fd, const char *cause)
{
    struct shl_tcp_arrival *arrival = arg;
    struct shl_tcp_mailbox *box = arrival->mailbox;
    (void)peer, (void)index;
    arrival->fd = fd;
    snprintf(arrival->cause, sizeof(arrival->cause), "%s", cause ? cause : "");
    pthread_mutex_lock(&box->lock);
    box->outstanding--;
    bool closed = box->closed, last = closed && box->outstanding == 0;
    if (!closed) {
        shl_list_append(&box->arrived, &arrival->link);
        atomic_store_explicit(&box->filled, true, memory_order_release);
        shl_bell_ring(box->event_fd);
    }
    pthread_mutex_unlock(&box->lock);
    if (!closed)
        return;
    if (fd >= 0)
        shl_fd->close(fd);
    shl_mem->free(arrival);
    if (last)
        destroy(box);
}

enum shoal_status shl_tcp_mailbox_dial(struct shl_tcp_mailbox *box, struct shl_control *control,
                                       uint32_t peer, enum shl_channel_kind kind, uint32_t index,
                                       uint64_t deadline_ns)
{
    struct shl_tcp_arrival *arrival = shl_mem->alloc(sizeof(*arrival));
    if (!arrival)
        return shl_fail(SHOAL_ERR_NOMEM, "no memory to ask for a connection to rank %u", peer);
    arrival->mailbox = box;
    arrival->kind = kind;
    arrival->peer = peer;
    arrival->index = index;
    arrival->fd = -1;
    pthread_mutex_lock(&box->lock);
    box->outstanding++;
    pthread_mutex_unlock(&box->lock);
    enum shoal_status status =
        shl_tcp_channels->dial(control, peer, kind, index, deadline_ns, ready, arrival);
    if (status < 0) {
        pthread_mutex_lock(&box->lock);
        box->outstanding--;
        pthread_mutex_unlock(&box->lock);
        shl_mem->free(arrival);
    }
    return status;
}
