/*
 * Counts entries of /proc/self.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "support/leaks.h"

#include "core/sys.h"

#include <dirent.h>
#include <stddef.h>

static uint32_t count_entries(const char *path, uint32_t own)
{
    uint32_t count = 0;
    DIR *folder = opendir(path);
    if (!folder)
        return 0;
    for (struct dirent *entry; (entry = readdir(folder)) != NULL;)
        count += entry->d_name[0] != '.';
    closedir(folder);
    return count - own;
}

uint32_t shl_test_open_fds(void)
{
    return count_entries("/proc/self/fd", 1); /* less the folder itself */
}

uint32_t shl_test_threads(void)
{
    return count_entries("/proc/self/task", 0);
}

bool shl_test_wait_for(bool (*condition)(void *arg), void *arg, uint32_t limit_ms)
{
    uint64_t end_ns = shl_time_kernel.now_ns() + limit_ms * 1000000ull;
    while (!condition(arg)) {
        if (shl_time_kernel.now_ns() >= end_ns)
            return false;
        shl_time_kernel.sleep_ns(1000000);
    }
    return true;
}
