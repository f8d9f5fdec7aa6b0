/*
 * See cgroups.h.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "multiproc/cgroups.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int open_file(const struct cgroup *group, const char *file, int flags)
{
    char path[600];
    snprintf(path, sizeof(path), "%s/%s", group->path, file);
    return open(path, flags | O_CLOEXEC);
}

bool cgroup_write(const struct cgroup *group, const char *file, const char *text)
{
    int fd = open_file(group, file, O_WRONLY);
    bool written = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);
    if (fd >= 0)
        close(fd);
    return written;
}

uint64_t cgroup_number(const struct cgroup *group, const char *file, const char *word)
{
    char text[4096];
    int fd = open_file(group, file, O_RDONLY);
    ssize_t got = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
    if (fd >= 0)
        close(fd);
    text[got < 0 ? 0 : got] = 0;
    const char *found = strstr(text, word);
    return found ? strtoull(found + strlen(word), NULL, 10) : 0;
}

bool cgroup_make(struct cgroup *group, const char *controller, const char *const files[2],
                 const char *const values[2])
{
    for (int version = 1; version <= 2; version++) {
        snprintf(group->path, sizeof(group->path), "/sys/fs/cgroup/%s/shoal-test-%d",
                 version == 1 ? controller : ".", (int)getpid());
        group->version = version;
        if (mkdir(group->path, 0755) == 0 &&
            cgroup_write(group, files[version - 1], values[version - 1]))
            return true;
        rmdir(group->path);
    }
    group->version = 0;
    return false;
}

void cgroup_remove(struct cgroup *group)
{
    if (group->version)
        rmdir(group->path);
    group->version = 0;
}

bool cgroup_make_small(struct cgroup *group)
{
    static const char *const files[] = {"memory.limit_in_bytes", "memory.max"};
    char limit[32];
    const char *const values[] = {limit, limit};
    snprintf(limit, sizeof(limit), "%zu", CGROUP_SMALL_BYTES);
    if (!cgroup_make(group, "memory", files, values))
        return false;
    /* There may be no swap to limit. */
    if (group->version == 1)
        (void)cgroup_write(group, "memory.memsw.limit_in_bytes", limit);
    else
        (void)cgroup_write(group, "memory.swap.max", "0");
    return true;
}

void cgroup_take_too_much(void)
{
    int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
    if (fd >= 0) {
        (void)!write(fd, "1000", 4);
        close(fd);
    }
    for (size_t taken = 0; taken < 4 * CGROUP_SMALL_BYTES; taken += 1 << 20) {
        volatile char *more = malloc(1 << 20);
        for (size_t at = 0; more && at < 1 << 20; at += 1024)
            more[at] = 1;
    }
}
