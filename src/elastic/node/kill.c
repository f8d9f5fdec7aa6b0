/*
 * Ending an evicted process of this host. What it maps of others' memory cannot be taken from it,
 * so only its end makes sure that it writes nothing more.
 *
 * The process is held by a descriptor from the moment of its session on, so that no other process
 * that got its number is ever meant. It is left alone when the member's socket is closed: that
 * comes after its views, so it maps nothing any more, whatever else the process does.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "core/log.h"
#include "core/sys.h"
#include "elastic/node/internal.h"

#include <errno.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77
#endif

/* The socket knows the process itself (Linux 6.5). By its number it could be another one by now,
 * unless the session still lives when the descriptor is there: its end closes the session. */
static int open_peer(int fd, pid_t pid)
{
    int pidfd = -1;
    socklen_t bytes = sizeof(pidfd);
    char byte;
    if (shl_sock->getsockopt(fd, SOL_SOCKET, SO_PEERPIDFD, &pidfd, &bytes) == 0)
        return pidfd;
    if (errno != ENOPROTOOPT)
        return -1; /* the process is gone, or there is no descriptor left */
    pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
    ssize_t got = shl_sock->recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    if (pidfd >= 0 && (got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR))) {
        shl_fd->close(pidfd);
        return -1;
    }
    return pidfd;
}

int shl_node_pidfd_of(int fd)
{
    pid_t pid = shl_sock_peer_pid(fd);
    /* Two members of one process do not end it. */
    return pid > 0 && pid != getpid() ? open_peer(fd, pid) : -1;
}

struct handle {
    uint64_t id;
    int fd;
    bool local; /* it is on this host */
};

/* The descriptor becomes the caller's. */
static void take_handle(struct shl_node *node, void *arg)
{
    struct handle *handle = arg;
    for (struct shl_list *at = node->peers.next; at != &node->peers && handle->fd < 0;
         at = at->next) {
        struct shl_node_peer *peer = SHL_CONTAINER_OF(at, struct shl_node_peer, link);
        if (peer->id != handle->id)
            continue;
        shl_loop_unwatch(&node->loop, &peer->process);
        handle->fd = peer->pidfd;
        handle->local = peer->has_address && peer->target.addresses[0].any.sa_family == AF_UNIX;
        peer->pidfd = -1;
    }
}

static bool is_over(uint64_t id)
{
    struct shl_sockaddr addr;
    int fd;
    if (shl_node_address_local(id, &addr) < 0)
        return false;
    if (shl_sock_connect(&addr, &fd) < 0)
        return errno == ECONNREFUSED;
    shl_fd->close(fd);
    return false;
}

static bool end(const struct handle *handle, uint64_t deadline_ns)
{
    if (syscall(SYS_pidfd_send_signal, handle->fd, SIGKILL, NULL, 0) && errno != ESRCH) {
        shl_log(SHL_LOG_WARN, "cannot end the evicted process of member %016llx: %s",
                (unsigned long long)handle->id, strerrordesc_np(errno));
        return false;
    }
    return shl_sock_wait(handle->fd, POLLIN, deadline_ns) == SHOAL_OK;
}

bool shl_node_kill(struct shl_node *node, uint64_t id, uint64_t deadline_ns)
{
    struct handle handle = {.id = id, .fd = -1};
    shl_node_call(node, take_handle, &handle);
    if (!handle.local && handle.fd < 0)
        return true; /* on another host */
    bool ended = is_over(id) || (handle.fd >= 0 && end(&handle, deadline_ns));
    if (handle.fd >= 0)
        shl_fd->close(handle.fd);
    return ended;
}
