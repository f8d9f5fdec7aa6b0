/*
 * Ending an evicted process of this host. What it maps of others' memory cannot be taken from it,
 * so only its end makes sure that it writes nothing more.
 *
 * The process is held by a descriptor from the moment of its session on, so that no other process
 * that got its number is ever meant.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "core/log.h"
#include "core/sys.h"
#include "elastic/node/internal.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

int shl_node_pidfd_of(int fd)
{
    pid_t pid = shl_sock_peer_pid(fd);
    return pid > 0 ? (int)syscall(SYS_pidfd_open, pid, 0) : -1;
}

struct handle {
    uint64_t id;
    int fd;
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
        handle->fd = peer->pidfd;
        peer->pidfd = -1;
    }
}

bool shl_node_kill(struct shl_node *node, uint64_t id, uint64_t deadline_ns)
{
    struct handle handle = {.id = id, .fd = -1};
    shl_node_call(node, take_handle, &handle);
    if (handle.fd < 0)
        return true; /* on another host, or it never was connected */
    bool gone = syscall(SYS_pidfd_send_signal, handle.fd, SIGKILL, NULL, 0) == 0;
    if (!gone && errno != ESRCH)
        shl_log(SHL_LOG_WARN, "cannot end the evicted process of member %016llx: %s",
                (unsigned long long)id, strerrordesc_np(errno));
    gone |= errno == ESRCH;
    bool ended = gone && shl_sock_wait(handle.fd, POLLIN, deadline_ns) == SHOAL_OK;
    shl_fd->close(handle.fd);
    return ended;
}
