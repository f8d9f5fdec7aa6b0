/*
 * The fault tables of core: memory, time, randomness and plain file descriptors.
 *
 * Everything in src/ that can fail in the kernel or allocates goes through these tables (sockets:
 * control/sock.h), so that tests can fail the k-th call and the simulator can own the clock. A
 * table is replaced only by tests, before any thread runs.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef SHL_CORE_SYS_H
#define SHL_CORE_SYS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

struct shl_sys_mem {
    void *(*alloc)(size_t bytes);                       /* zeroed */
    void *(*alloc_aligned)(size_t align, size_t bytes); /* zeroed; align a power of two */
    void *(*resize)(void *p, size_t bytes);
    void (*free)(void *p);
    void *(*map)(void *at, size_t bytes, int prot, int flags, int fd, off_t offset);
    int (*unmap)(void *p, size_t bytes);
    int (*memfd)(const char *name, unsigned flags);
    int (*truncate)(int fd, off_t bytes);
    ssize_t (*vm_readv)(pid_t pid, const struct iovec *local, unsigned long locals,
                        const struct iovec *remote, unsigned long remotes, unsigned long flags);
    ssize_t (*vm_writev)(pid_t pid, const struct iovec *local, unsigned long locals,
                         const struct iovec *remote, unsigned long remotes, unsigned long flags);
    int (*seal)(int fd, int seals);                  /* fcntl F_ADD_SEALS */
    int (*punch)(int fd, off_t offset, off_t bytes); /* gives pages back; they read as zero */
};

struct shl_sys_time {
    uint64_t (*now_ns)(void); /* CLOCK_MONOTONIC */
    void (*sleep_ns)(uint64_t ns);
    void (*yield)(void);
};

struct shl_sys_random {
    /* Cryptographic bytes from the kernel; 0, or -1 with errno. */
    int (*bytes)(void *out, size_t count);
};

struct shl_sys_fd {
    int (*close)(int fd);
    ssize_t (*read)(int fd, void *buf, size_t bytes);
    ssize_t (*write)(int fd, const void *buf, size_t bytes);
    int (*eventfd)(unsigned initial, int flags);
    int (*epoll_create)(int flags);
    int (*epoll_ctl)(int epfd, int op, int fd, void *event);            /* struct epoll_event */
    int (*epoll_wait)(int epfd, void *events, int max, int timeout_ms); /* struct epoll_event[] */
    int (*open)(const char *path, int flags, int mode);
    int (*dup3)(int from, int to, int flags);
    int (*sync)(int fd); /* fsync, of a file or a folder */
    int (*rename)(const char *from, const char *to);
    int (*lock)(int fd); /* flock, exclusive, without waiting: EWOULDBLOCK */
};

extern const struct shl_sys_mem *shl_mem;
extern const struct shl_sys_time *shl_time;
extern const struct shl_sys_random *shl_random;
extern const struct shl_sys_fd *shl_fd;

/* The kernel's own, for restoring after a test. */
extern const struct shl_sys_mem shl_mem_kernel;
extern const struct shl_sys_time shl_time_kernel;
extern const struct shl_sys_random shl_random_kernel;
extern const struct shl_sys_fd shl_fd_kernel;

static inline uint64_t shl_now_ns(void)
{
    return shl_time->now_ns();
}

#endif
