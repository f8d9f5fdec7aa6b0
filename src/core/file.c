/*
 * Reading a file to its end, bounded.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "core/file.h"

#include "core/sys.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <string.h>

static ssize_t read_retry(int fd, void *buf, size_t bytes)
{
    ssize_t got;
    do
        got = shl_fd->read(fd, buf, bytes);
    while (got < 0 && errno == EINTR);
    return got;
}

/* Reads until the end or until the room is full; *end says whether it was the end. */
static int read_some(int fd, uint8_t *content, size_t capacity, size_t *bytes, int *end)
{
    size_t used = 0;
    *end = 0;
    while (used < capacity && !*end) {
        ssize_t got = read_retry(fd, content + used, capacity - used);
        if (got < 0)
            return -1;
        *end = got == 0;
        used += (size_t)got;
    }
    *bytes = used;
    return 0;
}

static int open_file(const char *path)
{
    return shl_fd->open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0);
}

static void close_keeping_errno(int fd)
{
    int saved = errno;
    shl_fd->close(fd);
    errno = saved;
}

enum shoal_status shl_file_read(const char *path, void *content, size_t capacity, size_t *bytes)
{
    int fd = open_file(path);
    if (fd < 0)
        return shl_fail_errno("open of %s", path);
    int end = 0;
    uint8_t beyond;
    size_t used = 0;
    int result = read_some(fd, content, capacity, &used, &end);
    if (result == 0 && !end) {
        ssize_t more = read_retry(fd, &beyond, 1);
        if (more > 0)
            errno = EFBIG;
        result = more == 0 ? 0 : -1;
    }
    close_keeping_errno(fd);
    if (result != 0)
        return shl_fail_errno("read of %s", path);
    *bytes = used;
    return SHOAL_OK;
}

enum shoal_status shl_file_read_line(const char *path, char *line, size_t capacity)
{
    int fd = open_file(path);
    if (fd < 0)
        return shl_fail_errno("open of %s", path);
    int end = 0;
    size_t used = 0;
    int result = read_some(fd, (uint8_t *)line, capacity, &used, &end);
    char *newline = result == 0 ? memchr(line, '\n', used) : NULL;
    if (result == 0 && !newline && used == capacity) {
        errno = EFBIG;
        result = -1;
    }
    close_keeping_errno(fd);
    if (result != 0)
        return shl_fail_errno("read of %s", path);
    line[newline ? (size_t)(newline - line) : used] = 0;
    return SHOAL_OK;
}
