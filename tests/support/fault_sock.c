/*
 * The counting table over sockets.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "control/sock.h"
#include "support/fault.h"

#include <errno.h>

static int sock_socket(int family, int type, int protocol)
{
    return shl_fault_hit(SHL_FAULT_SOCK, "sock.socket", EMFILE)
               ? -1
               : shl_sock_kernel.socket(family, type, protocol);
}

static int sock_bind(int fd, const struct sockaddr *addr, socklen_t bytes)
{
    return shl_fault_hit(SHL_FAULT_SOCK, "sock.bind", EACCES)
               ? -1
               : shl_sock_kernel.bind(fd, addr, bytes);
}

static int sock_listen(int fd, int backlog)
{
    return shl_fault_hit(SHL_FAULT_SOCK, "sock.listen", EADDRINUSE)
               ? -1
               : shl_sock_kernel.listen(fd, backlog);
}

static int sock_accept4(int fd, struct sockaddr *addr, socklen_t *bytes, int flags)
{
    return shl_fault_hit(SHL_FAULT_SOCK, "sock.accept4", EMFILE)
               ? -1
               : shl_sock_kernel.accept4(fd, addr, bytes, flags);
}

static int sock_connect(int fd, const struct sockaddr *addr, socklen_t bytes)
{
    return shl_fault_hit(SHL_FAULT_SOCK, "sock.connect", ECONNREFUSED)
               ? -1
               : shl_sock_kernel.connect(fd, addr, bytes);
}

static ssize_t sock_send(int fd, const void *data, size_t bytes, int flags)
{
    return shl_fault_hit(SHL_FAULT_SOCK, "sock.send", ECONNRESET)
               ? -1
               : shl_sock_kernel.send(fd, data, bytes, flags);
}

static ssize_t sock_recv(int fd, void *data, size_t bytes, int flags)
{
    return shl_fault_hit(SHL_FAULT_SOCK, "sock.recv", ECONNRESET)
               ? -1
               : shl_sock_kernel.recv(fd, data, bytes, flags);
}

static ssize_t sock_sendmsg(int fd, const struct msghdr *message, int flags)
{
    return shl_fault_hit(SHL_FAULT_SOCK, "sock.sendmsg", ECONNRESET)
               ? -1
               : shl_sock_kernel.sendmsg(fd, message, flags);
}

static ssize_t sock_recvmsg(int fd, struct msghdr *message, int flags)
{
    return shl_fault_hit(SHL_FAULT_SOCK, "sock.recvmsg", ECONNRESET)
               ? -1
               : shl_sock_kernel.recvmsg(fd, message, flags);
}

static int sock_getsockopt(int fd, int level, int name, void *value, socklen_t *bytes)
{
    return shl_fault_hit(SHL_FAULT_SOCK, "sock.getsockopt", ENOBUFS)
               ? -1
               : shl_sock_kernel.getsockopt(fd, level, name, value, bytes);
}

static int sock_setsockopt(int fd, int level, int name, const void *value, socklen_t bytes)
{
    return shl_fault_hit(SHL_FAULT_SOCK, "sock.setsockopt", ENOBUFS)
               ? -1
               : shl_sock_kernel.setsockopt(fd, level, name, value, bytes);
}

static int sock_getsockname(int fd, struct sockaddr *addr, socklen_t *bytes)
{
    return shl_fault_hit(SHL_FAULT_SOCK, "sock.getsockname", ENOBUFS)
               ? -1
               : shl_sock_kernel.getsockname(fd, addr, bytes);
}

static int sock_getpeername(int fd, struct sockaddr *addr, socklen_t *bytes)
{
    return shl_fault_hit(SHL_FAULT_SOCK, "sock.getpeername", ENOTCONN)
               ? -1
               : shl_sock_kernel.getpeername(fd, addr, bytes);
}

static int sock_poll(struct pollfd *fds, nfds_t count, int timeout_ms)
{
    return shl_fault_hit(SHL_FAULT_SOCK, "sock.poll", EINTR)
               ? -1
               : shl_sock_kernel.poll(fds, count, timeout_ms);
}

static int sock_getaddrinfo(const char *host, const char *service, const struct addrinfo *hints,
                            struct addrinfo **found)
{
    return shl_fault_hit(SHL_FAULT_SOCK, "sock.getaddrinfo", 0)
               ? EAI_AGAIN
               : shl_sock_kernel.getaddrinfo(host, service, hints, found);
}

static int sock_getifaddrs(struct ifaddrs **found)
{
    return shl_fault_hit(SHL_FAULT_SOCK, "sock.getifaddrs", ENOMEM)
               ? -1
               : shl_sock_kernel.getifaddrs(found);
}

static struct shl_sys_sock fault_sock;

void shl_fault_install_sock(void)
{
    fault_sock = shl_sock_kernel; /* what only gives back stays the kernel's */
    fault_sock.socket = sock_socket;
    fault_sock.bind = sock_bind;
    fault_sock.listen = sock_listen;
    fault_sock.accept4 = sock_accept4;
    fault_sock.connect = sock_connect;
    fault_sock.send = sock_send;
    fault_sock.recv = sock_recv;
    fault_sock.sendmsg = sock_sendmsg;
    fault_sock.recvmsg = sock_recvmsg;
    fault_sock.getsockopt = sock_getsockopt;
    fault_sock.setsockopt = sock_setsockopt;
    fault_sock.getsockname = sock_getsockname;
    fault_sock.getpeername = sock_getpeername;
    fault_sock.poll = sock_poll;
    fault_sock.getaddrinfo = sock_getaddrinfo;
    fault_sock.getifaddrs = sock_getifaddrs;
    shl_sock = &fault_sock;
}

void shl_fault_remove_sock(void)
{
    shl_sock = &shl_sock_kernel;
}
