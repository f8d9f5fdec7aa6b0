/*
 * `shoal info`: what works here, found out by trying it.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "core/file.h"
#include "core/heap.h"
#include "core/sys.h"
#include "shoal_info.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static json_t *ability(bool works, const char *detail)
{
    return json_pack("{s:b, s:s}", "works", works, "detail", detail);
}

static json_t *try_heap(void)
{
    struct shl_heap *heap = NULL;
    if (shl_heap_create(&heap) != SHOAL_OK)
        return ability(false, shoal_last_error());
    char detail[64];
    snprintf(detail, sizeof(detail), "%llu MiB can be reserved",
             (unsigned long long)(shl_heap_size(heap) >> 20));
    shl_heap_destroy(heap);
    return ability(true, detail);
}

/* Reads `remote` of process `pid`; returns 0 or an errno that fits an exit status. */
static int read_other(pid_t pid, const uint64_t *remote)
{
    uint64_t copy = 0;
    struct iovec to = {.iov_base = &copy, .iov_len = sizeof(copy)};
    struct iovec from = {.iov_base = (void *)(uintptr_t)remote, .iov_len = sizeof(copy)};
    ssize_t got = shl_mem->vm_readv(pid, &to, 1, &from, 1, 0);
    if (got < 0)
        return errno < 255 ? errno : EPERM;
    return got == sizeof(copy) && copy == *remote ? 0 : EIO;
}

/*
 * The child reads the parent: under Yama's scope 1 a parent may read its child but not the other
 * way round, and two ranks are no more to each other than a child to its parent.
 */
static json_t *try_vm_readv(void)
{
    static volatile uint64_t pattern;
    pattern = 0x5a0a11edc0ffee00u ^ (uint64_t)getpid();
    int exit_status = 0;
    pid_t child = fork();
    if (child < 0)
        return ability(false, strerror(errno));
    if (child == 0)
        _exit(read_other(getppid(), (const uint64_t *)(uintptr_t)&pattern));
    while (waitpid(child, &exit_status, 0) < 0)
        if (errno != EINTR)
            return ability(false, strerror(errno));
    if (!WIFEXITED(exit_status))
        return ability(false, "the probing child was killed; a seccomp filter forbids it");
    int error = WEXITSTATUS(exit_status);
    char scope[16] = "", detail[160];
    if (shl_file_read_line("/proc/sys/kernel/yama/ptrace_scope", scope, sizeof(scope)) < 0)
        scope[0] = 0;
    if (!error)
        return ability(true, "processes of one user may read each other");
    snprintf(detail, sizeof(detail), "%s%s%s; ordinary buffers are staged, use shoal_mem_alloc",
             strerror(error), *scope ? ", kernel.yama.ptrace_scope is " : "", scope);
    return ability(false, detail);
}

json_t *shoal_info_abilities(void)
{
    return json_pack("{s:o, s:o}", "memfd", try_heap(), "process_vm_readv", try_vm_readv());
}
