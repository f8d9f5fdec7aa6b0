/*
 * The cutting proxy.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "unit/transport/tcp_proxy.h"

#include "support/random.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#define CONNECTIONS_MAX 4096
#define PIPE_BYTES 32768

/* One direction: what was read and not yet written. */
struct pipe_end {
    uint8_t *data;
    size_t at, end;
    bool closed; /* its source ended */
};

struct connection {
    int fds[2]; /* towards the lower rank, towards the higher one; -1: closed */
    struct pipe_end out[2];
    uint64_t budget;
    bool cut;
};

struct tcp_proxy {
    uint64_t random;
    struct tcp_setup setup;
    bool calm;
    uint32_t count, cuts;
    struct connection connections[CONNECTIONS_MAX];
};

struct tcp_proxy *tcp_proxy_create(uint64_t seed, const struct tcp_setup *setup)
{
    struct tcp_proxy *proxy = calloc(1, sizeof(*proxy));
    assert_non_null(proxy);
    proxy->random = seed;
    proxy->setup = *setup;
    return proxy;
}

static void shut(struct connection *connection, int side, bool reset)
{
    struct linger now = {1, 0};
    if (connection->fds[side] < 0)
        return;
    if (reset)
        setsockopt(connection->fds[side], SOL_SOCKET, SO_LINGER, &now, sizeof(now));
    close(connection->fds[side]);
    connection->fds[side] = -1;
}

void tcp_proxy_destroy(struct tcp_proxy *proxy)
{
    for (uint32_t i = 0; i < proxy->count; i++) {
        for (int side = 0; side < 2; side++) {
            shut(&proxy->connections[i], side, false);
            free(proxy->connections[i].out[side].data);
        }
    }
    free(proxy);
}

bool tcp_proxy_connect(void *arg, int fds[2])
{
    struct tcp_proxy *proxy = arg;
    int lower[2], higher[2];
    uint64_t range = proxy->setup.cut_max - proxy->setup.cut_min + 1;
    assert_true(proxy->count < CONNECTIONS_MAX);
    if (!tcp_net_loopback(NULL, lower))
        return false;
    if (!tcp_net_loopback(NULL, higher)) {
        close(lower[0]);
        close(lower[1]);
        return false;
    }
    struct connection *connection = &proxy->connections[proxy->count++];
    connection->fds[0] = lower[1];
    connection->fds[1] = higher[1];
    connection->budget = proxy->setup.cut_min + shl_test_random(&proxy->random) % range;
    connection->out[0].data = malloc(PIPE_BYTES);
    connection->out[1].data = malloc(PIPE_BYTES);
    fds[0] = lower[0];
    fds[1] = higher[0];
    return true;
}

static void cut(struct tcp_proxy *proxy, struct connection *connection)
{
    bool reset = shl_test_random(&proxy->random) % 2;
    proxy->cuts++;
    connection->cut = true;
    if (proxy->setup.cut != TCP_CUT_HIGHER)
        shut(connection, 0, reset);
    if (proxy->setup.cut != TCP_CUT_LOWER)
        shut(connection, 1, reset);
}

/* Read what `from` has and write it to the other side, as far as the budget lasts. */
static void forward(struct tcp_proxy *proxy, struct connection *connection, int from)
{
    struct pipe_end *pipe = &connection->out[from];
    if (pipe->at == pipe->end && !pipe->closed) {
        ssize_t got = recv(connection->fds[from], pipe->data, PIPE_BYTES, MSG_DONTWAIT);
        if (got == 0 || (got < 0 && errno != EAGAIN))
            pipe->closed = true;
        pipe->at = 0;
        pipe->end = got > 0 ? (size_t)got : 0;
    }
    size_t step = pipe->end - pipe->at;
    if (!proxy->calm && step > connection->budget)
        step = connection->budget;
    if (step > 1 && proxy->setup.cut_max < PIPE_BYTES) /* both directions get their share */
        step = 1 + shl_test_random(&proxy->random) % step;
    if (step) {
        ssize_t sent = send(connection->fds[1 - from], pipe->data + pipe->at, step,
                            MSG_DONTWAIT | MSG_NOSIGNAL);
        if (sent > 0) {
            pipe->at += (size_t)sent;
            connection->budget -= proxy->calm ? 0 : (uint64_t)sent;
        } else if (errno != EAGAIN) {
            pipe->closed = true;
            pipe->at = pipe->end;
        }
    }
}

void tcp_proxy_step(struct tcp_proxy *proxy)
{
    for (uint32_t i = 0; i < proxy->count; i++) {
        struct connection *connection = &proxy->connections[i];
        if (connection->cut || connection->fds[0] < 0)
            continue;
        int first = (int)(shl_test_random(&proxy->random) % 2);
        forward(proxy, connection, first);
        forward(proxy, connection, 1 - first);
        bool ended =
            (connection->out[0].closed && connection->out[0].at == connection->out[0].end) ||
            (connection->out[1].closed && connection->out[1].at == connection->out[1].end);
        if (!proxy->calm && connection->budget == 0) {
            cut(proxy, connection);
        } else if (ended) {
            shut(connection, 0, false);
            shut(connection, 1, false);
        }
    }
}

uint32_t tcp_proxy_cuts(const struct tcp_proxy *proxy)
{
    return proxy->cuts;
}

void tcp_proxy_calm(struct tcp_proxy *proxy)
{
    proxy->calm = true;
}
