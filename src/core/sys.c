/*
 * The kernel's side of the fault tables: thin wrappers, no policy.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "core/sys.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

/* ---- memory ----------------------------------------------------------------------------- */

static void *mem_alloc(size_t bytes)
{
    return calloc(1, bytes ? bytes : 1); /* NULL always means failure */
}

static void *mem_alloc_aligned(size_t align, size_t bytes)
{
    void *p = NULL;
    if (align < sizeof(void *))
        align = sizeof(void *);
    int error = posix_memalign(&p, align, bytes ? bytes : 1);
    if (error) {
        errno = error;
        return NULL;
    }
    return memset(p, 0, bytes);
}

static void *mem_resize(void *p, size_t bytes)
{
    return realloc(p, bytes ? bytes : 1);
}

static void mem_free(void *p)
{
    free(p);
}

static void *mem_map(void *at, size_t bytes, int prot, int flags, int fd, off_t offset)
{
    return mmap(at, bytes, prot, flags, fd, offset);
}

static int mem_unmap(void *p, size_t bytes)
{
    return munmap(p, bytes);
}

static int mem_memfd(const char *name, unsigned flags)
{
    return memfd_create(name, flags);
}

static int mem_truncate(int fd, off_t bytes)
{
    return ftruncate(fd, bytes);
}

static ssize_t mem_vm_readv(pid_t pid, const struct iovec *local, unsigned long locals,
                            const struct iovec *remote, unsigned long remotes, unsigned long flags)
{
    return process_vm_readv(pid, local, locals, remote, remotes, flags);
}

static ssize_t mem_vm_writev(pid_t pid, const struct iovec *local, unsigned long locals,
                             const struct iovec *remote, unsigned long remotes, unsigned long flags)
{
    return process_vm_writev(pid, local, locals, remote, remotes, flags);
}

static int mem_seal(int fd, int seals)
{
    return fcntl(fd, F_ADD_SEALS, seals);
}

static int mem_punch(int fd, off_t offset, off_t bytes)
{
    return fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, bytes);
}

const struct shl_sys_mem shl_mem_kernel = {
    .alloc = mem_alloc,
    .alloc_aligned = mem_alloc_aligned,
    .resize = mem_resize,
    .free = mem_free,
    .map = mem_map,
    .unmap = mem_unmap,
    .memfd = mem_memfd,
    .truncate = mem_truncate,
    .vm_readv = mem_vm_readv,
    .vm_writev = mem_vm_writev,
    .seal = mem_seal,
    .punch = mem_punch,
};

/* ---- time ------------------------------------------------------------------------------- */

static uint64_t time_now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void time_sleep_ns(uint64_t ns)
{
    struct timespec left = {.tv_sec = (time_t)(ns / 1000000000u),
                            .tv_nsec = (long)(ns % 1000000000u)};
    while (clock_nanosleep(CLOCK_MONOTONIC, 0, &left, &left) == EINTR)
        ;
}

static void time_yield(void)
{
    sched_yield();
}

const struct shl_sys_time shl_time_kernel = {
    .now_ns = time_now_ns,
    .sleep_ns = time_sleep_ns,
    .yield = time_yield,
};

/* ---- randomness ------------------------------------------------------------------------- */

static int random_bytes(void *out, size_t count)
{
    uint8_t *at = out;
    while (count) {
        ssize_t got = getrandom(at, count, 0);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return -1;
        at += got;
        count -= (size_t)got;
    }
    return 0;
}

const struct shl_sys_random shl_random_kernel = {.bytes = random_bytes};

/* ---- file descriptors ------------------------------------------------------------------- */

static int fd_close(int fd)
{
    return close(fd);
}

static ssize_t fd_read(int fd, void *buf, size_t bytes)
{
    return read(fd, buf, bytes);
}

static ssize_t fd_write(int fd, const void *buf, size_t bytes)
{
    return write(fd, buf, bytes);
}

static int fd_eventfd(unsigned initial, int flags)
{
    return eventfd(initial, flags);
}

static int fd_epoll_create(int flags)
{
    return epoll_create1(flags);
}

static int fd_epoll_ctl(int epfd, int op, int fd, void *event)
{
    return epoll_ctl(epfd, op, fd, event);
}

static int fd_epoll_wait(int epfd, void *events, int max, int timeout_ms)
{
    return epoll_wait(epfd, events, max, timeout_ms);
}

static int fd_open(const char *path, int flags, int mode)
{
    return open(path, flags, mode);
}

static int fd_dup3(int from, int to, int flags)
{
    return dup3(from, to, flags);
}

static int fd_sync(int fd)
{
    return fsync(fd);
}

static int fd_rename(const char *from, const char *to)
{
    return rename(from, to);
}

static int fd_lock(int fd)
{
    return flock(fd, LOCK_EX | LOCK_NB);
}

const struct shl_sys_fd shl_fd_kernel = {
    .close = fd_close,
    .read = fd_read,
    .write = fd_write,
    .eventfd = fd_eventfd,
    .epoll_create = fd_epoll_create,
    .epoll_ctl = fd_epoll_ctl,
    .epoll_wait = fd_epoll_wait,
    .open = fd_open,
    .dup3 = fd_dup3,
    .sync = fd_sync,
    .rename = fd_rename,
    .lock = fd_lock,
};

const struct shl_sys_mem *shl_mem = &shl_mem_kernel;
const struct shl_sys_time *shl_time = &shl_time_kernel;
const struct shl_sys_random *shl_random = &shl_random_kernel;
const struct shl_sys_fd *shl_fd = &shl_fd_kernel;
