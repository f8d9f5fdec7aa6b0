/*
 * See tcp_pair.h.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "tcp_pair.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define STREAMS_MAX 8
#define SLICE_BYTES ((size_t)1 << 20)

static void die(const char *what)
{
    fprintf(stderr, "bare sockets: %s: %s\n", what, strerror(errno));
    exit(1);
}

/* As control does on loopback: timers between segments would hide what the machine can do. */
static void do_not_pace(int fd)
{
    setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, "reno", 4);
}

void tcp_pair_connect(int fds[2])
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t bytes = sizeof(at);
    int yes = 1, listener = socket(AF_INET, SOCK_STREAM, 0);
    do_not_pace(listener);
    if (listener < 0 || bind(listener, (struct sockaddr *)&at, sizeof(at)) || listen(listener, 1) ||
        getsockname(listener, (struct sockaddr *)&at, &bytes))
        die("listen");
    fds[0] = socket(AF_INET, SOCK_STREAM, 0);
    do_not_pace(fds[0]);
    if (connect(fds[0], (struct sockaddr *)&at, sizeof(at)))
        die("connect");
    fds[1] = accept(listener, NULL, NULL);
    close(listener);
    for (int i = 0; i < 2; i++) {
        setsockopt(fds[i], IPPROTO_TCP, TCP_NODELAY, &yes, sizeof(yes));
        fcntl(fds[i], F_SETFL, O_NONBLOCK);
    }
}

size_t tcp_pair_moved(ssize_t result)
{
    if (result > 0)
        return (size_t)result;
    if (result == 0 || (errno != EAGAIN && errno != EWOULDBLOCK))
        die("socket");
    return 0;
}

static size_t slice(size_t share, size_t at)
{
    return share - at < SLICE_BYTES ? share - at : SLICE_BYTES;
}

void tcp_pair_run(const struct tcp_pair_transfer *transfer)
{
    size_t out[STREAMS_MAX] = {0}, in[STREAMS_MAX] = {0};
    size_t share = transfer->bytes / (size_t)transfer->streams;
    size_t left =
        share * (size_t)transfer->streams * ((size_t)transfer->sends + (size_t)transfer->receives);
    while (left) {
        size_t before = left;
        for (int i = 0; i < transfer->streams; i++) {
            size_t base = share * (size_t)i, step = 0;
            if (transfer->sends && out[i] < share) {
                step = tcp_pair_moved(send(transfer->fds[i], transfer->out + base + out[i],
                                           slice(share, out[i]), MSG_NOSIGNAL));
                out[i] += step;
                left -= step;
            }
            if (transfer->receives && in[i] < share) {
                step = tcp_pair_moved(
                    recv(transfer->fds[i], transfer->in + base + in[i], slice(share, in[i]), 0));
                in[i] += step;
                left -= step;
            }
        }
        if (left == before)
            sched_yield(); /* whoever is to move something may wait for this core */
    }
}
