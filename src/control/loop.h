/*
 * An event loop: descriptors, timers and a wake-up, for one thread.
 *
 * Everything belongs to the thread that runs the loop, except shl_loop_wake, which any thread may
 * call. A watch or timer is a member of the object it serves; it may be removed, and its object
 * freed, inside any callback, its own included.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef SHL_CONTROL_LOOP_H
#define SHL_CONTROL_LOOP_H

#include "core/list.h"
#include "core/status.h"

#include <stdbool.h>
#include <stdint.h>

#define SHL_LOOP_BATCH 64

struct shl_loop;

struct shl_watch {
    int fd; /* -1: not watched */
    uint32_t events;
    void (*ready)(void *arg, uint32_t events); /* EPOLLIN, EPOLLOUT, EPOLLHUP, EPOLLERR */
    void *arg;
};

struct shl_timer {
    struct shl_list link;
    uint64_t at_ns;
    bool armed;
    void (*fire)(void *arg);
    void *arg;
};

struct shl_loop {
    int epoll_fd;
    int wake_fd;
    struct shl_watch wake_watch;
    struct shl_list timers; /* unordered: there are few, and they move often */
    struct shl_watch *batch[SHL_LOOP_BATCH];
    int batch_count;
};

enum shoal_status shl_loop_init(struct shl_loop *loop);
void shl_loop_fini(struct shl_loop *loop); /* watches and timers need not be removed before */

void shl_watch_init(struct shl_watch *watch, void (*ready)(void *arg, uint32_t events), void *arg);
/* Level triggered. Calling it again on a watched descriptor changes the events. */
enum shoal_status shl_loop_watch(struct shl_loop *loop, struct shl_watch *watch, int fd,
                                 uint32_t events);
void shl_loop_unwatch(struct shl_loop *loop, struct shl_watch *watch); /* legal when not watched */

void shl_timer_init(struct shl_timer *timer, void (*fire)(void *arg), void *arg);
void shl_loop_timer_set(struct shl_loop *loop, struct shl_timer *timer, uint64_t at_ns);
void shl_loop_timer_stop(struct shl_loop *loop, struct shl_timer *timer);

/* shl_loop_turn - wait for something, at most until until_ns and at most a second, and serve it. */
void shl_loop_turn(struct shl_loop *loop, uint64_t until_ns);
/* Make the current or next turn end early. Threads: any. */
void shl_loop_wake(struct shl_loop *loop);

#endif
