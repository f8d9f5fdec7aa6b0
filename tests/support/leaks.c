/*
 * Counts entries of /proc/self.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "support/leaks.h"

#include "core/sys.h"
#include "support/test.h"

#include <dirent.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

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

static void *name_yourself(void *path)
{
    snprintf(path, 64, "/proc/self/task/%ld", syscall(SYS_gettid));
    return NULL;
}

static bool is_absent(void *path)
{
    return access(path, F_OK) != 0;
}

uint32_t shl_test_threads_at_first(void)
{
    pthread_t thread;
    char path[64] = "";
    assert_int_equal(pthread_create(&thread, NULL, name_yourself, path), 0);
    pthread_join(thread, NULL);
    /* The kernel lists a thread for a moment after it was joined. */
    assert_true(shl_test_wait_for(is_absent, path, 20000));
    return shl_test_threads();
}

static bool are_so_many(void *count)
{
    return shl_test_threads() == *(uint32_t *)count;
}

bool shl_test_wait_for_threads(uint32_t count, uint32_t limit_ms)
{
    return shl_test_wait_for(are_so_many, &count, limit_ms);
}
