/*
 * Accepting and authenticating connections.
 *
 * Invariant: no byte of a connection is read beyond its handshake, so what follows belongs to
 * whoever the connection is handed to.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "control/listener.h"
#include "core/log.h"
#include "core/sys.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#define MS 1000000ull
#define LOG_INTERVAL_NS (10000 * MS)
#define PAUSE_MS 50

/* A connection that has not proved the secret yet. */
struct shl_pending {
    struct shl_list link; /* oldest first */
    struct shl_listener *listener;
    struct shl_watch watch;
    struct shl_handshake handshake;
    uint64_t since_ns;
    bool local;
    char peer[SHL_SOCK_TEXT_BYTES];
};

/* ---- the table of pending connections ---------------------------------------------------- */

static void arm_timer(struct shl_listener *listener);

static void log_refused(struct shl_listener *listener, const char *peer, const char *cause)
{
    uint64_t now = shl_now_ns();
    if (listener->last_log_ns && now - listener->last_log_ns < LOG_INTERVAL_NS) {
        listener->unlogged++;
        return;
    }
    shl_log(SHL_LOG_WARN, "dropped a connection from %s: %s (%llu more since the last such line)",
            peer, cause, (unsigned long long)listener->unlogged);
    listener->last_log_ns = now;
    listener->unlogged = 0;
}

/* Take a connection out of the table; its descriptor stays open and is the caller's. */
static int detach(struct shl_pending *pending)
{
    struct shl_listener *listener = pending->listener;
    int fd = pending->watch.fd;
    shl_loop_unwatch(listener->loop, &pending->watch);
    shl_list_remove(&pending->link);
    listener->pending_count--;
    shl_mem->free(pending);
    return fd;
}

static void drop(struct shl_pending *pending, const char *cause)
{
    struct shl_listener *listener = pending->listener;
    if (cause)
        log_refused(listener, pending->peer, cause);
    shl_fd->close(detach(pending));
    arm_timer(listener);
}

/* ---- one handshake ----------------------------------------------------------------------- */

/* The socket is fresh, so its buffer takes these few bytes at once or the connection is broken. */
static bool send_now(int fd, const void *data, size_t bytes)
{
    ssize_t sent;
    do
        sent = shl_sock->send(fd, data, bytes, MSG_NOSIGNAL | MSG_DONTWAIT);
    while (sent < 0 && errno == EINTR);
    return sent == (ssize_t)bytes;
}

static void finish(struct shl_pending *pending)
{
    struct shl_listener *listener = pending->listener;
    struct shl_hello hello = pending->handshake.hello;
    bool local = pending->local;
    uint8_t welcome = (uint8_t)listener->admit(listener->arg, &hello, local);
    int fd = detach(pending);
    arm_timer(listener);
    if (!send_now(fd, &welcome, 1) || welcome != SHL_WELCOME_OK)
        shl_fd->close(fd);
    else
        listener->accepted(listener->arg, fd, &hello, local);
}

static void on_readable(void *arg, uint32_t events)
{
    struct shl_pending *pending = arg;
    struct shl_handshake *hs = &pending->handshake;
    uint8_t data[SHL_HELLO_BYTES];
    size_t used;
    (void)events;
    ssize_t got = shl_sock->recv(pending->watch.fd, data, hs->in_need - hs->in_bytes, MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (got <= 0) {
        /* A probe of our own peers connects and closes without a word: not worth a line. */
        bool silent = !hs->in_bytes && hs->in_need == SHL_HELLO_BYTES;
        drop(pending, silent ? NULL : "it closed during the handshake");
        return;
    }
    enum shl_handshake_result result = shl_handshake_feed(hs, data, (size_t)got, &used);
    if (hs->out_bytes) {
        bool sent = send_now(pending->watch.fd, hs->out, hs->out_bytes);
        hs->out_bytes = 0;
        if (!sent) {
            drop(pending, "it closed during the handshake");
            return;
        }
    }
    if (result == SHL_HANDSHAKE_REFUSED)
        drop(pending, hs->cause);
    else if (result == SHL_HANDSHAKE_DONE)
        finish(pending);
}

/* ---- accepting --------------------------------------------------------------------------- */

static void pause_accepting(struct shl_listener *listener, bool paused)
{
    if (listener->paused == paused)
        return;
    listener->paused = paused;
    for (uint32_t i = 0; i < listener->socket_count; i++)
        if (shl_loop_watch(listener->loop, &listener->sockets[i].watch, listener->sockets[i].fd,
                           paused ? 0 : EPOLLIN) < 0)
            /* Left as it is: then it accepts a little more or is tried again by the timer. */
            listener->paused = false;
}

static bool table_is_full(const struct shl_listener *listener)
{
    return listener->pending_count == SHL_LISTENER_PENDING;
}

static struct shl_pending *oldest(const struct shl_listener *listener)
{
    return shl_list_empty(&listener->pending)
               ? NULL
               : SHL_CONTAINER_OF(listener->pending.next, struct shl_pending, link);
}

/* One timer serves the handshake deadline of the oldest and the end of a pause. */
static void arm_timer(struct shl_listener *listener)
{
    const struct shl_pending *first = oldest(listener);
    if (listener->paused && !table_is_full(listener))
        shl_loop_timer_set(listener->loop, &listener->timer, shl_now_ns() + PAUSE_MS * MS);
    else if (listener->paused && first)
        shl_loop_timer_set(listener->loop, &listener->timer,
                           first->since_ns + SHL_LISTENER_GRACE_MS * MS);
    else if (first)
        shl_loop_timer_set(listener->loop, &listener->timer,
                           first->since_ns + SHL_HANDSHAKE_MS * MS);
    else
        shl_loop_timer_stop(listener->loop, &listener->timer);
}

static void on_timer(void *arg)
{
    struct shl_listener *listener = arg;
    uint64_t now = shl_now_ns();
    for (struct shl_pending *first = oldest(listener);
         first && now >= first->since_ns + SHL_HANDSHAKE_MS * MS; first = oldest(listener))
        drop(first, "it did not finish the handshake in time");
    pause_accepting(listener, false);
    arm_timer(listener);
}

/* False: every pending connection is too young to make room. */
static bool make_room(struct shl_listener *listener)
{
    if (!table_is_full(listener))
        return true;
    struct shl_pending *first = oldest(listener);
    if (shl_now_ns() < first->since_ns + SHL_LISTENER_GRACE_MS * MS)
        return false;
    drop(first, "too many connections that have not authenticated");
    return true;
}

/* Abstract Unix names have no permissions, so the owner is asked for. */
static bool has_our_uid(int fd)
{
    struct ucred peer;
    socklen_t bytes = sizeof(peer);
    return shl_sock->getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &bytes) == 0 &&
           peer.uid == geteuid();
}

static void admit_stranger(struct shl_listener *listener, int fd, const struct shl_sockaddr *from,
                           bool local)
{
    struct shl_pending *pending = shl_mem->alloc(sizeof(*pending));
    if (!pending)
        goto close_fd;
    pending->listener = listener;
    pending->local = local;
    pending->since_ns = shl_now_ns();
    if (local)
        snprintf(pending->peer, sizeof(pending->peer), "a process of this host");
    else
        shl_sockaddr_format(from, pending->peer, sizeof(pending->peer));
    shl_watch_init(&pending->watch, on_readable, pending);
    if ((local && !has_our_uid(fd)) ||
        shl_handshake_accept(&pending->handshake, listener->key, &listener->expect) < 0 ||
        shl_loop_watch(listener->loop, &pending->watch, fd, EPOLLIN) < 0)
        goto free_pending;
    if (!local)
        shl_sock_tune(fd, 0);
    shl_list_append(&listener->pending, &pending->link);
    listener->pending_count++;
    arm_timer(listener);
    return;

free_pending:
    shl_mem->free(pending);
close_fd:
    shl_fd->close(fd);
}

static void on_connection(void *arg, uint32_t events)
{
    struct shl_listener_socket *socket = arg;
    struct shl_listener *listener = socket->owner;
    (void)events;
    if (!make_room(listener)) {
        pause_accepting(listener, true);
        arm_timer(listener);
        return;
    }
    struct shl_sockaddr from = {.bytes = sizeof(from) - offsetof(struct shl_sockaddr, any)};
    int fd = shl_sock->accept4(socket->fd, &from.any, &from.bytes, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd >= 0) {
        admit_stranger(listener, fd, &from, socket->local);
        return;
    }
    if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
        char cause[160];
        snprintf(cause, sizeof(cause),
                 "no descriptor or memory for it (errno %d); raise `ulimit -n`", errno);
        log_refused(listener, "a peer", cause);
        pause_accepting(listener, true);
        arm_timer(listener);
    }
}

/* ---- life -------------------------------------------------------------------------------- */

void shl_listener_init(struct shl_listener *listener, struct shl_loop *loop,
                       const struct shl_key *key, const struct shl_hello *expect)
{
    memset(listener, 0, sizeof(*listener));
    listener->loop = loop;
    listener->key = key;
    listener->expect = *expect;
    shl_list_init(&listener->pending);
    shl_timer_init(&listener->timer, on_timer, listener);
}

enum shoal_status shl_listener_add(struct shl_listener *listener, const struct shl_sockaddr *addr,
                                   struct shl_sockaddr *bound)
{
    SHL_ASSERT(listener->socket_count < SHL_LISTENER_SOCKETS && !listener->started);
    struct shl_listener_socket *socket = &listener->sockets[listener->socket_count];
    SHL_TRY(shl_sock_listen(addr, SOMAXCONN, &socket->fd, bound));
    socket->owner = listener;
    socket->local = addr->any.sa_family == AF_UNIX;
    shl_watch_init(&socket->watch, on_connection, socket);
    listener->socket_count++;
    return SHOAL_OK;
}

enum shoal_status shl_listener_start(struct shl_listener *listener)
{
    for (uint32_t i = 0; i < listener->socket_count; i++)
        SHL_TRY(shl_loop_watch(listener->loop, &listener->sockets[i].watch, listener->sockets[i].fd,
                               EPOLLIN));
    listener->started = true;
    return SHOAL_OK;
}

void shl_listener_fini(struct shl_listener *listener)
{
    for (struct shl_pending *first = oldest(listener); first; first = oldest(listener))
        shl_fd->close(detach(first));
    shl_loop_timer_stop(listener->loop, &listener->timer);
    for (uint32_t i = 0; i < listener->socket_count; i++) {
        shl_loop_unwatch(listener->loop, &listener->sockets[i].watch);
        /* Children of this process may have it too, and nobody listens there. */
        shl_sock->shutdown(listener->sockets[i].fd, SHUT_RDWR);
        shl_fd->close(listener->sockets[i].fd);
    }
    listener->socket_count = 0;
}
