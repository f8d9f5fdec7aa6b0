/*
 * Output of ranks, line by line, each with its rank in front.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "run.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define HELD_MAX 65536 /* a longer line is cut, so that memory is bounded */

static bool write_all(int fd, const char *data, size_t bytes)
{
    while (bytes) {
        ssize_t wrote = write(fd, data, bytes);
        if (wrote < 0 && errno == EAGAIN) {
            struct pollfd one = {.fd = fd, .events = POLLOUT};
            (void)poll(&one, 1, -1);
        } else if (wrote < 0 && errno != EINTR) {
            return false;
        } else if (wrote > 0) {
            data += wrote;
            bytes -= (size_t)wrote;
        }
    }
    return true;
}

/* One write a line, so that lines of ranks, and of other writers, do not mix. */
static bool write_line(int to, const char *prefix, const char *line, size_t bytes)
{
    static char whole[HELD_MAX + 64];
    size_t prefix_bytes = strlen(prefix);
    memcpy(whole, prefix, prefix_bytes);
    memcpy(whole + prefix_bytes, line, bytes);
    bytes += prefix_bytes;
    if (whole[bytes - 1] != '\n')
        whole[bytes++] = '\n';
    return write_all(to, whole, bytes);
}

static bool write_held_lines(struct run_stream *stream, const char *prefix)
{
    char *line = stream->held, *end = stream->held + stream->held_bytes;
    bool good = true;
    for (char *newline; good && (newline = memchr(line, '\n', (size_t)(end - line)));
         line = newline + 1)
        good = write_line(stream->to, prefix, line, (size_t)(newline + 1 - line));
    stream->held_bytes = (size_t)(end - line);
    memmove(stream->held, line, stream->held_bytes);
    if (good && stream->held_bytes == HELD_MAX) {
        good = write_line(stream->to, prefix, stream->held, HELD_MAX);
        stream->held_bytes = 0;
    }
    return good;
}

static bool finish(struct run_stream *stream, const char *prefix)
{
    bool good =
        !stream->held_bytes || write_line(stream->to, prefix, stream->held, stream->held_bytes);
    close(stream->from);
    free(stream->held);
    stream->from = -1;
    stream->held = NULL;
    stream->held_bytes = 0;
    return good;
}

bool run_stream_read(struct run_stream *stream, const char *prefix)
{
    while (stream->from >= 0) {
        if (!stream->held && !(stream->held = malloc(HELD_MAX)))
            return finish(stream, prefix);
        ssize_t got =
            read(stream->from, stream->held + stream->held_bytes, HELD_MAX - stream->held_bytes);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0 && errno == EAGAIN)
            return true;
        if (got <= 0)
            return finish(stream, prefix);
        stream->held_bytes += (size_t)got;
        if (!write_held_lines(stream, prefix))
            return false;
    }
    return true;
}

void run_stream_end(struct run_stream *stream, const char *prefix)
{
    if (stream->from >= 0)
        (void)finish(stream, prefix);
}
