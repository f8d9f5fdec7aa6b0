/*
 * Whether a silent peer on this host merely gets no CPU.
 *
 * A process that was stopped, frozen or is blocked has no runnable thread; one that the scheduler
 * keeps waiting has. The kernel tells for the process at the other end of a Unix socket
 * (proc(5), SO_PEERCRED), as long as it is in a pid namespace that this process sees.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "control/control_internal.h"
#include "control/sock.h"
#include "core/sys.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#define STAT_BYTES 96 /* pid, a name of at most 64 bytes in parentheses, the state */

static char state_of_thread(pid_t pid, const char *thread)
{
    char path[64], text[STAT_BYTES];
    snprintf(path, sizeof(path), "/proc/%ld/task/%.20s/stat", (long)pid, thread);
    int fd = shl_fd->open(path, O_RDONLY | O_CLOEXEC, 0);
    if (fd < 0)
        return '?';
    ssize_t bytes = shl_fd->read(fd, text, sizeof(text) - 1);
    shl_fd->close(fd);
    text[bytes > 0 ? bytes : 0] = '\0';
    const char *name_end = strrchr(text, ')');
    return name_end != NULL && name_end[1] == ' ' ? name_end[2] : '?';
}

static bool is_waiting_for_cpu(pid_t pid)
{
    char path[32];
    bool runnable = false, stopped = false;
    snprintf(path, sizeof(path), "/proc/%ld/task", (long)pid);
    DIR *threads = opendir(path);
    if (threads == NULL)
        return false;
    for (struct dirent *entry; !stopped && (entry = readdir(threads)) != NULL;) {
        if (entry->d_name[0] == '.')
            continue;
        char state = state_of_thread(pid, entry->d_name);
        runnable |= state == 'R';
        stopped = state == 'T' || state == 't';
    }
    closedir(threads);
    return runnable && !stopped;
}

pid_t shl_sock_peer_pid(int fd)
{
    struct ucred peer = {0};
    socklen_t bytes = sizeof(peer);
    if (fd < 0 || shl_sock->getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &bytes) != 0)
        return 0;
    return peer.pid;
}

bool shl_sock_peer_is_starved(int fd)
{
    pid_t pid = shl_sock_peer_pid(fd);
    return pid > 0 && is_waiting_for_cpu(pid);
}

bool shl_session_peer_is_starved(const struct shl_session *session)
{
    return shl_sock_peer_is_starved(session->fd);
}
