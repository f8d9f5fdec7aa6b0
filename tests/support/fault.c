/*
 * Counting tables over memory, descriptors and randomness, and the sweep.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "support/fault.h"

#include "core/sys.h"
#include "support/leaks.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>

#include <cmocka.h>

static _Atomic unsigned armed_kinds;
static _Atomic uint64_t armed_k, counted;
static _Atomic bool fired;
static const char *_Atomic site = "";

static _Atomic int64_t live_blocks, live_maps;

bool shl_fault_hit(unsigned kind, const char *name, int error)
{
    unsigned kinds = atomic_load(&armed_kinds);
    if (!(kinds & kind))
        return false;
    uint64_t number = atomic_fetch_add(&counted, 1) + 1;
    uint64_t k = atomic_load(&armed_k);
    bool hit = k && (number == k || (number > k && (kinds & SHL_FAULT_STICKY)));
    if (!hit)
        return false;
    if (number == k) {
        atomic_store(&site, name);
        atomic_store(&fired, true);
    }
    errno = error;
    return true;
}

/* ---- memory ----------------------------------------------------------------------------- */

static void *count_block(void *block)
{
    if (block)
        atomic_fetch_add(&live_blocks, 1);
    return block;
}

static void *mem_alloc(size_t bytes)
{
    if (shl_fault_hit(SHL_FAULT_MEM, "mem.alloc", ENOMEM))
        return NULL;
    return count_block(shl_mem_kernel.alloc(bytes));
}

static void *mem_alloc_aligned(size_t align, size_t bytes)
{
    if (shl_fault_hit(SHL_FAULT_MEM, "mem.alloc_aligned", ENOMEM))
        return NULL;
    return count_block(shl_mem_kernel.alloc_aligned(align, bytes));
}

static void *mem_resize(void *p, size_t bytes)
{
    if (shl_fault_hit(SHL_FAULT_MEM, "mem.resize", ENOMEM))
        return NULL;
    void *moved = shl_mem_kernel.resize(p, bytes);
    return p ? moved : count_block(moved);
}

static void mem_free(void *p)
{
    if (p)
        atomic_fetch_sub(&live_blocks, 1);
    shl_mem_kernel.free(p);
}

static void *mem_map(void *at, size_t bytes, int prot, int flags, int fd, off_t offset)
{
    if (shl_fault_hit(SHL_FAULT_MEM, "mem.map", ENOMEM))
        return MAP_FAILED;
    void *p = shl_mem_kernel.map(at, bytes, prot, flags, fd, offset);
    if (p != MAP_FAILED && !(flags & MAP_FIXED)) /* MAP_FIXED replaces what was counted before */
        atomic_fetch_add(&live_maps, 1);
    return p;
}

static int mem_unmap(void *p, size_t bytes)
{
    atomic_fetch_sub(&live_maps, 1);
    return shl_mem_kernel.unmap(p, bytes);
}

static int mem_memfd(const char *name, unsigned flags)
{
    return shl_fault_hit(SHL_FAULT_MEM, "mem.memfd", EMFILE) ? -1
                                                             : shl_mem_kernel.memfd(name, flags);
}

static int mem_truncate(int fd, off_t bytes)
{
    return shl_fault_hit(SHL_FAULT_MEM, "mem.truncate", ENOMEM)
               ? -1
               : shl_mem_kernel.truncate(fd, bytes);
}

static ssize_t mem_vm_readv(pid_t pid, const struct iovec *local, unsigned long locals,
                            const struct iovec *remote, unsigned long remotes, unsigned long flags)
{
    if (shl_fault_hit(SHL_FAULT_VM, "mem.vm_readv", EPERM))
        return -1;
    return shl_mem_kernel.vm_readv(pid, local, locals, remote, remotes, flags);
}

static ssize_t mem_vm_writev(pid_t pid, const struct iovec *local, unsigned long locals,
                             const struct iovec *remote, unsigned long remotes, unsigned long flags)
{
    if (shl_fault_hit(SHL_FAULT_VM, "mem.vm_writev", EPERM))
        return -1;
    return shl_mem_kernel.vm_writev(pid, local, locals, remote, remotes, flags);
}

static int mem_seal(int fd, int seals)
{
    return shl_fault_hit(SHL_FAULT_MEM, "mem.seal", EPERM) ? -1 : shl_mem_kernel.seal(fd, seals);
}

static int mem_punch(int fd, off_t offset, off_t bytes)
{
    return shl_fault_hit(SHL_FAULT_MEM, "mem.punch", ENOMEM)
               ? -1
               : shl_mem_kernel.punch(fd, offset, bytes);
}

static const struct shl_sys_mem fault_mem = {
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

/* ---- descriptors and randomness ------------------------------------------------------------ */

static int fd_close(int fd)
{
    return shl_fd_kernel.close(fd);
}

static ssize_t fd_read(int fd, void *buf, size_t bytes)
{
    return shl_fault_hit(SHL_FAULT_FD, "fd.read", EIO) ? -1 : shl_fd_kernel.read(fd, buf, bytes);
}

static ssize_t fd_write(int fd, const void *buf, size_t bytes)
{
    return shl_fault_hit(SHL_FAULT_FD | SHL_FAULT_WRITE, "fd.write", EIO)
               ? -1
               : shl_fd_kernel.write(fd, buf, bytes);
}

static int fd_eventfd(unsigned initial, int flags)
{
    return shl_fault_hit(SHL_FAULT_FD, "fd.eventfd", EMFILE)
               ? -1
               : shl_fd_kernel.eventfd(initial, flags);
}

static int fd_epoll_create(int flags)
{
    return shl_fault_hit(SHL_FAULT_FD, "fd.epoll_create", EMFILE)
               ? -1
               : shl_fd_kernel.epoll_create(flags);
}

static int fd_epoll_ctl(int epfd, int op, int fd, void *event)
{
    return shl_fault_hit(SHL_FAULT_FD, "fd.epoll_ctl", ENOMEM)
               ? -1
               : shl_fd_kernel.epoll_ctl(epfd, op, fd, event);
}

static int fd_epoll_wait(int epfd, void *events, int max, int timeout_ms)
{
    return shl_fault_hit(SHL_FAULT_FD, "fd.epoll_wait", EINTR)
               ? -1
               : shl_fd_kernel.epoll_wait(epfd, events, max, timeout_ms);
}

static int fd_open(const char *path, int flags, int mode)
{
    return shl_fault_hit(SHL_FAULT_FD, "fd.open", EMFILE) ? -1
                                                          : shl_fd_kernel.open(path, flags, mode);
}

static int fd_dup3(int from, int to, int flags)
{
    return shl_fault_hit(SHL_FAULT_FD, "fd.dup3", EMFILE) ? -1
                                                          : shl_fd_kernel.dup3(from, to, flags);
}

static int fd_sync(int fd)
{
    return shl_fault_hit(SHL_FAULT_FD, "fd.sync", EIO) ? -1 : shl_fd_kernel.sync(fd);
}

static int fd_rename(const char *from, const char *to)
{
    return shl_fault_hit(SHL_FAULT_FD, "fd.rename", EIO) ? -1 : shl_fd_kernel.rename(from, to);
}

static int fd_lock(int fd)
{
    return shl_fault_hit(SHL_FAULT_FD, "fd.lock", EIO) ? -1 : shl_fd_kernel.lock(fd);
}

static const struct shl_sys_fd fault_fd = {
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

static int random_bytes(void *out, size_t count)
{
    return shl_fault_hit(SHL_FAULT_RANDOM, "random.bytes", ENOSYS)
               ? -1
               : shl_random_kernel.bytes(out, count);
}

static const struct shl_sys_random fault_random = {.bytes = random_bytes};

/* ---- control ---------------------------------------------------------------------------- */

void shl_fault_arm(unsigned kinds, uint64_t k)
{
    atomic_store(&armed_kinds, 0);
    atomic_store(&armed_k, k);
    atomic_store(&counted, 0);
    atomic_store(&fired, false);
    atomic_store(&site, "");
    atomic_store(&armed_kinds, kinds);
}

void shl_fault_pause(void)
{
    atomic_store(&armed_kinds, 0);
}

void shl_fault_install(void)
{
    shl_fault_arm(0, 0);
    atomic_store(&live_blocks, 0);
    atomic_store(&live_maps, 0);
    shl_mem = &fault_mem;
    shl_fd = &fault_fd;
    shl_random = &fault_random;
    shl_fault_install_sock();
}

void shl_fault_remove(void)
{
    shl_fault_arm(0, 0);
    shl_mem = &shl_mem_kernel;
    shl_fd = &shl_fd_kernel;
    shl_random = &shl_random_kernel;
    shl_fault_remove_sock();
}

uint64_t shl_fault_calls(void)
{
    return atomic_load(&counted);
}

bool shl_fault_fired(void)
{
    return atomic_load(&fired);
}

const char *shl_fault_site(void)
{
    return atomic_load(&site);
}

/* ---- the sweep -------------------------------------------------------------------------- */

struct balance {
    int64_t blocks, maps;
    uint32_t fds;
};

static struct balance take_balance(void)
{
    return (struct balance){.blocks = atomic_load(&live_blocks),
                            .maps = atomic_load(&live_maps),
                            .fds = shl_test_open_fds()};
}

/* cmocka's fail leaves by longjmp, so the kernel's tables are put back first. */
static void check_run(uint64_t k, enum shoal_status status, struct balance before)
{
    struct balance after = take_balance();
    bool hit = shl_fault_fired();
    const char *where = hit ? shl_fault_site() : "no fault";
    bool bad_status = status < 0 ? shl_error_text()[0] == 0 : status != SHOAL_OK;
    if (!hit && status != SHOAL_OK)
        bad_status = true;
    bool leaked =
        after.blocks != before.blocks || after.maps != before.maps || after.fds != before.fds;
    if (!bad_status && !leaked)
        return;
    shl_fault_remove();
    fail_msg("k=%llu (%s): status %d \"%s\"; leaked %lld blocks, %lld mappings, %d descriptors",
             (unsigned long long)k, where, status, shl_error_text(),
             (long long)(after.blocks - before.blocks), (long long)(after.maps - before.maps),
             (int)(after.fds - before.fds));
}

uint64_t shl_fault_sweep(unsigned kinds, shl_fault_scenario scenario, void *arg, uint64_t k_max)
{
    shl_fault_install();
    for (uint64_t k = 1; k <= k_max; k++) {
        struct balance before = take_balance();
        shl_error_set("");
        shl_fault_arm(kinds, k);
        enum shoal_status status = scenario(arg);
        bool hit = shl_fault_fired();
        shl_fault_pause();
        check_run(k, status, before);
        if (!hit) {
            shl_fault_remove();
            return k - 1;
        }
    }
    shl_fault_remove();
    fail_msg("%llu runs were not enough", (unsigned long long)k_max);
    return k_max;
}
