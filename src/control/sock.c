/*
 * Sockets: the kernel's table, and opening, tuning and bounded transfers on top of it.
 *
 * Invariant: no call here blocks longer than the deadline it was given.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "control/sock.h"
#include "core/sys.h"

#include <errno.h>
#include <limits.h>
#include <netinet/tcp.h>
#include <sys/resource.h>

#define LAGS_PACKETS 2 /* of three for which the kernel keeps its steady pace */

/* glibc declares these with a transparent union, which is no function pointer type of ours. */
static int kernel_bind(int fd, const struct sockaddr *addr, socklen_t bytes)
{
    return bind(fd, addr, bytes);
}

static int kernel_accept4(int fd, struct sockaddr *addr, socklen_t *bytes, int flags)
{
    return accept4(fd, addr, bytes, flags);
}

static int kernel_connect(int fd, const struct sockaddr *addr, socklen_t bytes)
{
    return connect(fd, addr, bytes);
}

static int kernel_getsockname(int fd, struct sockaddr *addr, socklen_t *bytes)
{
    return getsockname(fd, addr, bytes);
}

static int kernel_getpeername(int fd, struct sockaddr *addr, socklen_t *bytes)
{
    return getpeername(fd, addr, bytes);
}

const struct shl_sys_sock shl_sock_kernel = {
    .socket = socket,
    .bind = kernel_bind,
    .listen = listen,
    .accept4 = kernel_accept4,
    .connect = kernel_connect,
    .send = send,
    .recv = recv,
    .sendmsg = sendmsg,
    .recvmsg = recvmsg,
    .getsockopt = getsockopt,
    .setsockopt = setsockopt,
    .getsockname = kernel_getsockname,
    .getpeername = kernel_getpeername,
    .shutdown = shutdown,
    .poll = poll,
    .getaddrinfo = getaddrinfo,
    .freeaddrinfo = freeaddrinfo,
    .getifaddrs = getifaddrs,
    .freeifaddrs = freeifaddrs,
};

const struct shl_sys_sock *shl_sock = &shl_sock_kernel;

static uint64_t open_files_limit(void)
{
    struct rlimit limit;
    return getrlimit(RLIMIT_NOFILE, &limit) ? UINT64_MAX : (uint64_t)limit.rlim_cur;
}

static void close_keeping_errno(int fd)
{
    int saved = errno;
    shl_fd->close(fd);
    errno = saved;
}

static enum shoal_status open_socket(int family, int *fd)
{
    int opened = shl_sock->socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (opened < 0 && errno == EMFILE)
        return shl_fail_errno("cannot open a socket: all %llu descriptors allowed to this process "
                              "are in use; raise `ulimit -n`",
                              (unsigned long long)open_files_limit());
    if (opened < 0)
        return shl_fail_errno("cannot open a socket of family %d", family);
    *fd = opened;
    return SHOAL_OK;
}

/* Within a host no link can be congested, but an algorithm that paces (BBR) still sends by timers,
 * which halves what an allreduce moves. Reno does not pace, is in every kernel, and anybody may
 * choose it. It must be chosen before the connection is made, else pacing stays on; accepted
 * sockets have it from their listener. Best effort. */
static void do_not_pace(int fd, const struct shl_sockaddr *addr)
{
    if (addr->any.sa_family != AF_UNIX && shl_sockaddr_is_loopback(addr))
        shl_sock->setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, "reno", 4);
}

enum shoal_status shl_sock_listen(const struct shl_sockaddr *addr, int backlog, int *fd,
                                  struct shl_sockaddr *bound)
{
    int opened = -1, yes = 1;
    char text[SHL_SOCK_TEXT_BYTES];
    shl_sockaddr_format(addr, text, sizeof(text));
    SHL_TRY(open_socket(addr->any.sa_family, &opened));
    enum shoal_status status = SHOAL_OK;
    struct shl_sockaddr real = {.bytes = sizeof(real) - offsetof(struct shl_sockaddr, any)};
    do_not_pace(opened, addr);
    /* Without it a restarted job could not take its port back for a minute. */
    if (addr->any.sa_family != AF_UNIX &&
        shl_sock->setsockopt(opened, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes)))
        status = shl_fail_errno("SO_REUSEADDR on %s", text);
    else if (shl_sock->bind(opened, &addr->any, addr->bytes))
        status = shl_fail_errno("cannot bind %s", text);
    else if (shl_sock->listen(opened, backlog))
        status = shl_fail_errno("cannot listen on %s", text);
    else if (shl_sock->getsockname(opened, &real.any, &real.bytes))
        status = shl_fail_errno("getsockname of %s", text);
    if (status < 0) {
        close_keeping_errno(opened);
        return status;
    }
    *fd = opened;
    *bound = real;
    return SHOAL_OK;
}

enum shoal_status shl_sock_connect(const struct shl_sockaddr *addr, int *fd)
{
    int opened = -1;
    SHL_TRY(open_socket(addr->any.sa_family, &opened));
    do_not_pace(opened, addr);
    /* EAGAIN of a Unix socket means a full backlog: it is not connecting, so it is a failure. */
    if (shl_sock->connect(opened, &addr->any, addr->bytes) && errno != EINPROGRESS &&
        errno != EINTR) {
        char text[SHL_SOCK_TEXT_BYTES];
        shl_sockaddr_format(addr, text, sizeof(text));
        enum shoal_status status = shl_fail_errno("cannot connect to %s", text);
        close_keeping_errno(opened);
        return status;
    }
    *fd = opened;
    return SHOAL_OK;
}

int shl_sock_error(int fd)
{
    int error = 0;
    socklen_t bytes = sizeof(error);
    if (shl_sock->getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &bytes))
        return errno;
    return error;
}

void shl_sock_tune(int fd, uint32_t user_timeout_ms)
{
    int yes = 1, no = 0;
    unsigned timeout = user_timeout_ms;
    shl_sock->setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof(yes));
    shl_sock->setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &no, sizeof(no));
    if (timeout)
        shl_sock->setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &timeout, sizeof(timeout));
}

void shl_sock_keep_pace(int fd)
{
    int yes = 1;
    char name[16] = ""; /* the kernel's longest */
    socklen_t bytes = sizeof(name);
    if (shl_sock->getsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, name, &bytes) == 0 &&
        strncmp(name, "bbr", 3) == 0)
        shl_sock->setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, "reno", 4);
    shl_sock->setsockopt(fd, IPPROTO_TCP, TCP_THIN_LINEAR_TIMEOUTS, &yes, sizeof(yes));
}

static bool ask_kernel(int fd, struct tcp_info *info)
{
    socklen_t bytes = sizeof(*info);
    return shl_sock->getsockopt(fd, IPPROTO_TCP, TCP_INFO, info, &bytes) == 0;
}

bool shl_sock_lags(int fd)
{
    struct tcp_info info;
    return ask_kernel(fd, &info) && info.tcpi_unacked >= LAGS_PACKETS;
}

bool shl_sock_stalls(int fd)
{
    struct tcp_info info;
    return ask_kernel(fd, &info) && info.tcpi_unacked > 0 && info.tcpi_retransmits > 0;
}

enum shoal_status shl_sock_wait(int fd, short events, uint64_t deadline_ns)
{
    for (;;) {
        uint64_t now = shl_now_ns();
        uint64_t left_ms = now < deadline_ns ? (deadline_ns - now + 999999) / 1000000 : 0;
        struct pollfd one = {.fd = fd, .events = events};
        int count = shl_sock->poll(&one, 1, left_ms > INT_MAX ? INT_MAX : (int)left_ms);
        if (count > 0)
            return SHOAL_OK;
        if (count < 0 && errno != EINTR)
            return shl_fail_errno("poll");
        if (count == 0 && shl_now_ns() >= deadline_ns)
            return shl_fail(SHOAL_ERR_TIMEOUT, "no data moved before the deadline");
    }
}

enum shoal_status shl_sock_send_all(int fd, const void *data, size_t bytes, uint64_t deadline_ns)
{
    const uint8_t *at = data;
    while (bytes) {
        ssize_t sent = shl_sock->send(fd, at, bytes, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent > 0) {
            at += sent;
            bytes -= (size_t)sent;
        } else if (sent < 0 && errno != EAGAIN && errno != EINTR) {
            return shl_fail(SHOAL_ERR_PEER, "send failed: errno %d", errno);
        } else {
            SHL_TRY(shl_sock_wait(fd, POLLOUT, deadline_ns));
        }
    }
    return SHOAL_OK;
}

enum shoal_status shl_sock_recv_all(int fd, void *data, size_t bytes, uint64_t deadline_ns)
{
    uint8_t *at = data;
    size_t left = bytes;
    while (left) {
        ssize_t got = shl_sock->recv(fd, at, left, MSG_DONTWAIT);
        if (got > 0) {
            at += got;
            left -= (size_t)got;
        } else if (got == 0) {
            return shl_fail(SHOAL_ERR_PEER, "the other side closed after %zu of %zu bytes",
                            bytes - left, bytes);
        } else if (errno != EAGAIN && errno != EINTR) {
            return shl_fail(SHOAL_ERR_PEER, "recv failed: errno %d", errno);
        } else {
            SHL_TRY(shl_sock_wait(fd, POLLIN, deadline_ns));
        }
    }
    return SHOAL_OK;
}

void shl_sock_raise_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) || limit.rlim_cur == limit.rlim_max)
        return;
    limit.rlim_cur = limit.rlim_max;
    /* Best effort: a failure leaves the old limit, which shl_sock_check_limit judges. */
    (void)setrlimit(RLIMIT_NOFILE, &limit);
}

enum shoal_status shl_sock_check_limit(uint64_t need, const char *purpose)
{
    uint64_t limit = open_files_limit();
    if (need <= limit)
        return SHOAL_OK;
    errno = EMFILE;
    return shl_fail_errno("%s needs about %llu open files, the limit is %llu; raise `ulimit -n` to "
                          "at least that",
                          purpose, (unsigned long long)need, (unsigned long long)limit);
}
