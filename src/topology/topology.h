/*
 * What this process may use of the machine: cores, caches, NUMA nodes, CPU time, locked memory; and
 * who had too little.
 *
 * Everything is as seen from inside a container: cores that the cpuset withholds do not count, and
 * a CPU quota of 1.5 cores makes two usable cores of sixty-four.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef SHL_TOPOLOGY_TOPOLOGY_H
#define SHL_TOPOLOGY_TOPOLOGY_H

#include "core/status.h"

#include <stdbool.h>
#include <stdint.h>

#define SHL_NUMA_MAX 64 /* nodes described one by one; more are counted */

struct shl_numa_node {
    uint32_t os_index;
    uint32_t cpus; /* hardware threads that the cpuset allows */
    uint64_t memory_bytes;
};

struct shl_topology {
    uint32_t machine_cpus; /* hardware threads online in the machine */
    uint32_t allowed_cpus; /* of these, in the cpuset of the cgroup */
    uint32_t bound_cpus;   /* of these, in the calling thread's affinity mask */
    uint32_t cores;        /* physical cores that have an allowed hardware thread */
    double quota_cpus;     /* CPU time a second that the cgroups grant; 0: no limit */
    uint32_t usable_cpus;  /* min(allowed, quota rounded up): ranks beyond it take turns */

    uint64_t l2_bytes; /* of one instance; 0: unknown */
    uint64_t l3_bytes;
    uint32_t l2_count; /* instances that serve allowed cores */
    uint32_t l3_count;

    uint64_t memory_bytes;  /* of the machine */
    uint64_t memlock_bytes; /* limit of locked memory; UINT64_MAX: none */

    uint32_t numa_count;
    struct shl_numa_node numa[SHL_NUMA_MAX];
    bool from_hwloc; /* false: hwloc failed, and only counts are known */
};

/* shl_topology_probe - look at the machine now. Never fails: what cannot be found out is 0. */
void shl_topology_probe(struct shl_topology *topology);

/* shl_topology - the same, looked at on the first call and then remembered for the process. Threads
 * may be bound later, so bound_cpus is the first caller's. Threads: any. */
const struct shl_topology *shl_topology(void);

/*
 * shl_topology_quota - CPU time a second that the cgroups of this process grant, the least along
 * the way to the root; 0 without a limit. Versions 1 and 2. `root` is put before /proc and the
 * mount points: "" but for tests.
 */
double shl_topology_quota(const char *root);

/*
 * shl_topology_oom_kills - how many processes of this process's cgroup the kernel has killed for
 * want of memory so far; 0 when that cannot be found out. `root` as above.
 */
uint64_t shl_topology_oom_kills(const char *root);

/*
 * shl_topology_oom_remark - what to say of a process of this host that is gone, where more were
 * killed than `*known`, which is set to how many were; else NULL.
 */
const char *shl_topology_oom_remark(uint64_t *known);

#endif
