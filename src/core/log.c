/*
 * Log lines for people.
 *
 * Invariant: a line is one write(2), so lines of several threads and processes that share a file
 * never mix, and a thread holds no lock that a fork could copy.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "core/log.h"

#include "core/sys.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#define LINE_BYTES 2048
#define NO_RANK UINT32_MAX

static _Atomic uint32_t log_level = SHL_LOG_WARN;
static _Atomic uint32_t log_rank = NO_RANK;
static _Atomic int log_fd = STDERR_FILENO;

/* Only for shl_log_configure. Once opened, the number `file_fd` is never closed: a new file takes
 * its place by dup3, so that a writer which has just read log_fd cannot hit a stranger's file. */
static pthread_mutex_t configure_lock = PTHREAD_MUTEX_INITIALIZER;
static int file_fd = -1;

static const char *const level_names[] = {"OFF", "ERROR", "WARN", "INFO", "DEBUG"};

bool shl_log_enabled(enum shl_log_level level)
{
    return level != SHL_LOG_OFF && level <= atomic_load_explicit(&log_level, memory_order_relaxed);
}

void shl_log_set_rank(uint32_t rank)
{
    atomic_store_explicit(&log_rank, rank, memory_order_relaxed);
}

static size_t clamp(int used, size_t capacity)
{
    if (used < 0)
        return 0;
    return (size_t)used < capacity ? (size_t)used : capacity - 1;
}

/* A reader of our stderr that went away must not end the process: SIGPIPE is held back, and taken
 * off again if this write raised it. */
static void write_line(const char *line, size_t bytes)
{
    const struct timespec now = {0};
    sigset_t pipe_only, blocked_before, pending;
    sigemptyset(&pipe_only);
    sigaddset(&pipe_only, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &pipe_only, &blocked_before);
    sigpending(&pending);
    ssize_t written;
    do
        written = shl_fd->write(atomic_load_explicit(&log_fd, memory_order_acquire), line, bytes);
    while (written < 0 && errno == EINTR);
    /* any other failure: there is nowhere left to report it */
    if (written < 0 && errno == EPIPE && !sigismember(&pending, SIGPIPE))
        sigtimedwait(&pipe_only, NULL, &now);
    pthread_sigmask(SIG_SETMASK, &blocked_before, NULL);
}

void shl_log(enum shl_log_level level, const char *format, ...)
{
    if (!shl_log_enabled(level))
        return;
    int saved = errno;
    char line[LINE_BYTES];
    uint32_t rank = atomic_load_explicit(&log_rank, memory_order_relaxed);
    const char *name = level <= SHL_LOG_DEBUG ? level_names[level] : "DEBUG";
    int prefix = rank == NO_RANK ? snprintf(line, sizeof(line), "shoal %s: ", name)
                                 : snprintf(line, sizeof(line), "shoal %s rank %u: ", name, rank);
    size_t start = clamp(prefix, sizeof(line));
    va_list args;
    va_start(args, format);
    int text = vsnprintf(line + start, sizeof(line) - start, format, args);
    va_end(args);
    size_t end = start + clamp(text, sizeof(line) - start);
    for (size_t i = start; i < end; i++)
        if ((unsigned char)line[i] < 0x20 || line[i] == 0x7f)
            line[i] = ' '; /* text from a peer must not forge lines or move the cursor */
    line[end] = '\n';      /* in place of the terminating zero */
    write_line(line, end + 1);
    errno = saved;
}

/* Takes ownership of `fd`. */
static enum shoal_status replace_file(int fd, const char *path)
{
    if (file_fd < 0) {
        file_fd = fd;
        return SHOAL_OK;
    }
    enum shoal_status status = SHOAL_OK;
    if (shl_fd->dup3(fd, file_fd, O_CLOEXEC) < 0)
        status = shl_fail_errno("dup3 of log file %s", path);
    shl_fd->close(fd);
    return status;
}

enum shoal_status shl_log_configure(enum shl_log_level level, const char *path)
{
    int target = STDERR_FILENO;
    enum shoal_status status = SHOAL_OK;
    pthread_mutex_lock(&configure_lock);
    if (path && path[0]) {
        int fd = shl_fd->open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOCTTY, 0640);
        status = fd < 0 ? shl_fail_errno("open of SHOAL_LOG_FILE %s; give a writable path", path)
                        : replace_file(fd, path);
        target = file_fd;
    }
    if (status == SHOAL_OK) {
        atomic_store_explicit(&log_fd, target, memory_order_release);
        atomic_store_explicit(&log_level, level, memory_order_relaxed);
    }
    pthread_mutex_unlock(&configure_lock);
    return status;
}
