/*
 * The event loop: one epoll descriptor, one eventfd, a list of timers.
 *
 * Invariant: after shl_loop_unwatch returned, that watch's callback is not called again, even when
 * its event was already in the batch being served.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "control/loop.h"
#include "core/bell.h"
#include "core/sys.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

/* So that a wake-up which the kernel did not take costs a second, not a hang. */
#define SLEEP_MAX_MS 1000

static void on_wake(void *arg, uint32_t events)
{
    struct shl_loop *loop = arg;
    uint64_t count;
    (void)events;
    /* Level triggered: a read that fails is made again next turn. */
    (void)!shl_fd->read(loop->wake_fd, &count, sizeof(count));
}

enum shoal_status shl_loop_init(struct shl_loop *loop)
{
    enum shoal_status status;
    shl_list_init(&loop->timers);
    loop->batch_count = 0;
    loop->epoll_fd = shl_fd->epoll_create(EPOLL_CLOEXEC);
    if (loop->epoll_fd < 0)
        return shl_fail_errno("epoll_create1");
    loop->wake_fd = shl_fd->eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (loop->wake_fd < 0) {
        status = shl_fail_errno("eventfd");
        goto close_epoll;
    }
    shl_watch_init(&loop->wake_watch, on_wake, loop);
    status = shl_loop_watch(loop, &loop->wake_watch, loop->wake_fd, EPOLLIN);
    if (status < 0)
        goto close_wake;
    return SHOAL_OK;

close_wake:
    shl_fd->close(loop->wake_fd);
close_epoll:
    shl_fd->close(loop->epoll_fd);
    return status;
}

void shl_loop_fini(struct shl_loop *loop)
{
    shl_fd->close(loop->wake_fd);
    shl_fd->close(loop->epoll_fd);
}

void shl_watch_init(struct shl_watch *watch, void (*ready)(void *arg, uint32_t events), void *arg)
{
    watch->fd = -1;
    watch->events = 0;
    watch->ready = ready;
    watch->arg = arg;
}

enum shoal_status shl_loop_watch(struct shl_loop *loop, struct shl_watch *watch, int fd,
                                 uint32_t events)
{
    struct epoll_event event = {.events = events, .data.ptr = watch};
    if (watch->fd == fd && watch->events == events)
        return SHOAL_OK;
    SHL_ASSERT(watch->fd == -1 || watch->fd == fd);
    if (shl_fd->epoll_ctl(loop->epoll_fd, watch->fd == fd ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, fd,
                          &event))
        return shl_fail_errno("epoll_ctl; check /proc/sys/fs/epoll/max_user_watches");
    watch->fd = fd;
    watch->events = events;
    return SHOAL_OK;
}

void shl_loop_unwatch(struct shl_loop *loop, struct shl_watch *watch)
{
    struct epoll_event event = {0};
    if (watch->fd < 0)
        return;
    /* It can only fail on a descriptor that is not watched, so there is nothing left to undo. */
    if (shl_fd->epoll_ctl(loop->epoll_fd, EPOLL_CTL_DEL, watch->fd, &event) && errno != ENOENT)
        (void)shl_fd->epoll_ctl(loop->epoll_fd, EPOLL_CTL_DEL, watch->fd, &event);
    watch->fd = -1;
    watch->events = 0;
    for (int i = 0; i < loop->batch_count; i++)
        if (loop->batch[i] == watch)
            loop->batch[i] = NULL;
}

void shl_timer_init(struct shl_timer *timer, void (*fire)(void *arg), void *arg)
{
    shl_list_init(&timer->link);
    timer->armed = false;
    timer->at_ns = 0;
    timer->fire = fire;
    timer->arg = arg;
}

void shl_loop_timer_set(struct shl_loop *loop, struct shl_timer *timer, uint64_t at_ns)
{
    if (!timer->armed)
        shl_list_append(&loop->timers, &timer->link);
    timer->armed = true;
    timer->at_ns = at_ns;
}

void shl_loop_timer_stop(struct shl_loop *loop, struct shl_timer *timer)
{
    (void)loop;
    shl_list_remove(&timer->link);
    timer->armed = false;
}

/* The armed timer that is due first, or NULL. */
static struct shl_timer *first_timer(struct shl_loop *loop)
{
    struct shl_list *node, *next;
    struct shl_timer *first = NULL;
    SHL_LIST_FOR_EACH(node, next, &loop->timers)
    {
        struct shl_timer *timer = SHL_CONTAINER_OF(node, struct shl_timer, link);
        if (!first || timer->at_ns < first->at_ns)
            first = timer;
    }
    return first;
}

static int wait_ms(uint64_t until_ns)
{
    uint64_t now = shl_now_ns();
    if (now >= until_ns)
        return 0;
    uint64_t ms = (until_ns - now + 999999) / 1000000;
    return ms > SLEEP_MAX_MS ? SLEEP_MAX_MS : (int)ms;
}

void shl_loop_turn(struct shl_loop *loop, uint64_t until_ns)
{
    struct epoll_event events[SHL_LOOP_BATCH];
    const struct shl_timer *next = first_timer(loop);
    if (next && next->at_ns < until_ns)
        until_ns = next->at_ns;
    int count = shl_fd->epoll_wait(loop->epoll_fd, events, SHL_LOOP_BATCH, wait_ms(until_ns));
    /* Nothing but EINTR can happen to a valid descriptor; whatever it is, the turn just ends. */
    loop->batch_count = count > 0 ? count : 0;
    for (int i = 0; i < loop->batch_count; i++)
        loop->batch[i] = events[i].data.ptr;
    for (int i = 0; i < loop->batch_count; i++)
        if (loop->batch[i])
            loop->batch[i]->ready(loop->batch[i]->arg, events[i].events);
    loop->batch_count = 0;

    /* Timers that these callbacks set for now wait for the next turn, so that none can starve the
     * descriptors. */
    uint64_t now = shl_now_ns();
    for (struct shl_timer *timer = first_timer(loop); timer && timer->at_ns <= now;
         timer = first_timer(loop)) {
        shl_loop_timer_stop(loop, timer);
        timer->fire(timer->arg);
    }
}

void shl_loop_wake(struct shl_loop *loop)
{
    shl_bell_ring(loop->wake_fd);
}
