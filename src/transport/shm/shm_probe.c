/*
 * What this machine can do: its cache, and reading another process's memory.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "core/file.h"
#include "core/log.h"
#include "transport/shm/shm.h"

#include <sys/prctl.h>
#include <unistd.h>

#ifndef PR_SET_PTRACER
#define PR_SET_PTRACER 0x59616d61
#define PR_SET_PTRACER_ANY ((unsigned long)-1)
#endif

#define USUAL_L2_BYTES (1u << 20)

uint64_t shl_shm_cache_bytes(void)
{
    long bytes = sysconf(_SC_LEVEL2_CACHE_SIZE);
    return bytes > 0 ? (uint64_t)bytes : USUAL_L2_BYTES; /* Arm's kernels often hide it */
}

/*
 * Yama's scope 1 lets a process be read by its ancestors only, unless it says otherwise; 2 and 3
 * cannot be lifted. Without Yama there is nothing to ask for.
 */
void shl_shm_allow_pulls(void)
{
    char scope[16];
    if (shl_file_read_line("/proc/sys/kernel/yama/ptrace_scope", scope, sizeof(scope)) != SHOAL_OK)
        return;
    if (scope[0] == '1' && prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY, 0, 0, 0) != 0)
        shl_log(SHL_LOG_INFO, "Yama keeps ranks from reading each other's memory: prctl failed");
}

bool shl_shm_pull_works(const struct shl_shm_peer *peer)
{
    uint64_t word = 0;
    return shl_shm_pull_bytes(peer, peer->probe_address, &word, sizeof(word)) == SHOAL_OK &&
           word == peer->probe_word;
}
