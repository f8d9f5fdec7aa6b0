/*
 * See resets.h. To connect a TCP socket to no address at all resets its connection.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "multiproc/resets.h"

#include "support/random.h"
#include "support/test.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

static bool is_connection(int fd)
{
    int protocol = 0, accepts = 0;
    socklen_t size = sizeof(int);
    struct sockaddr_storage peer;
    socklen_t peer_size = sizeof(peer);
    return getsockopt(fd, SOL_SOCKET, SO_PROTOCOL, &protocol, &size) == 0 &&
           protocol == IPPROTO_TCP &&
           getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &accepts, &size) == 0 && !accepts &&
           getpeername(fd, (struct sockaddr *)&peer, &peer_size) == 0;
}

/* 1: reset, 0: no connection (any more), -1: not allowed. */
static int reset_one(int process, int number, uint64_t *random)
{
    const struct sockaddr nobody = {.sa_family = AF_UNSPEC};
    int fd = (int)syscall(SYS_pidfd_getfd, process, number, 0);
    if (fd < 0)
        return errno == EPERM || errno == ENOSYS ? -1 : 0;
    int done = is_connection(fd) && shl_test_random(random) % 2 &&
               connect(fd, &nobody, sizeof(nobody)) == 0;
    close(fd);
    return done;
}

int resets_send(pid_t pid, uint64_t *random)
{
    char path[64];
    int sent = 0, process = (int)syscall(SYS_pidfd_open, pid, 0);
    if (process < 0)
        return -1;
    snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
    DIR *folder = opendir(path);
    assert_non_null(folder);
    for (const struct dirent *entry; sent >= 0 && (entry = readdir(folder));) {
        int done = isdigit(entry->d_name[0])
                       ? reset_one(process, (int)strtol(entry->d_name, NULL, 10), random)
                       : 0;
        sent = done < 0 ? -1 : sent + done;
    }
    closedir(folder);
    close(process);
    return sent;
}
