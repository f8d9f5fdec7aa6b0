/*
 * The listener: accepts connections, authenticates them, and hands over those that passed.
 *
 * Strangers cost a bounded table and nothing else: at most SHL_LISTENER_PENDING connections that
 * have not proved the secret yet, each for SHL_HANDSHAKE_MS at most; when the table is full the
 * oldest makes room, but not before SHL_LISTENER_GRACE_MS, so that a flood of connections cannot
 * push an honest one out before it had a chance to speak. Nothing is answered to garbage, and the
 * log is rate-limited.
 *
 * After the handshake the acceptor sends one byte, enum shl_welcome, so that the dialler knows that
 * its connection is in use, or why not.
 *
 * Threads  the loop's, except that nothing runs before shl_listener_start.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef SHL_CONTROL_LISTENER_H
#define SHL_CONTROL_LISTENER_H

#include "control/handshake.h"
#include "control/loop.h"
#include "control/sock.h"

#define SHL_LISTENER_SOCKETS 10
#define SHL_LISTENER_PENDING 64
#define SHL_LISTENER_GRACE_MS 250
#define SHL_HANDSHAKE_MS 5000

enum shl_welcome {
    SHL_WELCOME_OK = 1,
    SHL_WELCOME_EVICTED = 2, /* the acceptor's world has given the dialler up */
    SHL_WELCOME_LEFT = 3,    /* the acceptor has said, or heard, goodbye */
    SHL_WELCOME_WRONG = 4    /* such a channel makes no sense here */
};

struct shl_pending;
struct shl_listener;

struct shl_listener_socket {
    struct shl_listener *owner;
    struct shl_watch watch;
    int fd;
    bool local; /* a Unix socket */
};

struct shl_listener {
    struct shl_loop *loop;
    const struct shl_key *key;
    struct shl_hello expect;
    struct shl_listener_socket sockets[SHL_LISTENER_SOCKETS];
    uint32_t socket_count;
    bool started;
    bool paused; /* the table is full of young connections, or descriptors ran out */
    struct shl_list pending;
    uint32_t pending_count;
    struct shl_timer timer;
    uint64_t last_log_ns;
    uint64_t unlogged;

    void *arg;
    /* Judge an authenticated dialler; anything but SHL_WELCOME_OK closes the connection. */
    enum shl_welcome (*admit)(void *arg, const struct shl_hello *hello, bool local);
    /* Takes the descriptor of an admitted one. */
    void (*accepted)(void *arg, int fd, const struct shl_hello *hello, bool local);
};

/* `expect` is what shl_handshake_accept takes; it may be changed until start. */
void shl_listener_init(struct shl_listener *listener, struct shl_loop *loop,
                       const struct shl_key *key, const struct shl_hello *expect);
enum shoal_status shl_listener_add(struct shl_listener *listener, const struct shl_sockaddr *addr,
                                   struct shl_sockaddr *bound);
enum shoal_status shl_listener_start(struct shl_listener *listener);
void shl_listener_fini(struct shl_listener *listener);

#endif
