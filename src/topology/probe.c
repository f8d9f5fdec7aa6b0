/*
 * Looks at the machine through hwloc.
 *
 * Invariant: no thread is bound and no device is touched while looking, so a first look in a
 * running job disturbs nobody; hwloc's x86 backend, which would visit every core, stays off.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "core/log.h"
#include "topology/topology.h"

#include <hwloc.h>
#include <pthread.h>
#include <sched.h>
#include <sys/resource.h>
#include <unistd.h>

static const hwloc_obj_type_t wanted_types[] = {HWLOC_OBJ_CORE, HWLOC_OBJ_PU, HWLOC_OBJ_NUMANODE,
                                                HWLOC_OBJ_L2CACHE, HWLOC_OBJ_L3CACHE};

static bool load(hwloc_topology_t *topology)
{
    if (hwloc_topology_init(topology) != 0)
        return false;
    hwloc_topology_set_components(*topology, HWLOC_TOPOLOGY_COMPONENTS_FLAG_BLACKLIST, "x86");
    hwloc_topology_set_all_types_filter(*topology, HWLOC_TYPE_FILTER_KEEP_NONE);
    for (size_t i = 0; i < sizeof(wanted_types) / sizeof(wanted_types[0]); i++)
        hwloc_topology_set_type_filter(*topology, wanted_types[i], HWLOC_TYPE_FILTER_KEEP_ALL);
    if (hwloc_topology_load(*topology) == 0)
        return true;
    hwloc_topology_destroy(*topology);
    return false;
}

static uint32_t count_of(hwloc_topology_t topology, hwloc_obj_type_t type)
{
    int count = hwloc_get_nbobjs_by_type(topology, type);
    return count > 0 ? (uint32_t)count : 0;
}

static uint64_t cache_bytes(hwloc_topology_t topology, hwloc_obj_type_t type)
{
    hwloc_obj_t cache = hwloc_get_obj_by_type(topology, type, 0);
    return cache ? cache->attr->cache.size : 0;
}

static void read_numa(hwloc_topology_t topology, struct shl_topology *found)
{
    found->numa_count = count_of(topology, HWLOC_OBJ_NUMANODE);
    for (uint32_t i = 0; i < found->numa_count && i < SHL_NUMA_MAX; i++) {
        hwloc_obj_t node = hwloc_get_obj_by_type(topology, HWLOC_OBJ_NUMANODE, i);
        int cpus = hwloc_bitmap_weight(node->cpuset);
        found->numa[i] = (struct shl_numa_node){.os_index = node->os_index,
                                                .cpus = cpus > 0 ? (uint32_t)cpus : 0,
                                                .memory_bytes = node->attr->numanode.local_memory};
    }
}

static void read_hwloc(struct shl_topology *found)
{
    hwloc_topology_t topology;
    if (!load(&topology)) {
        shl_log(SHL_LOG_INFO, "hwloc found no topology; caches and NUMA nodes are unknown");
        return;
    }
    found->from_hwloc = true;
    found->allowed_cpus = count_of(topology, HWLOC_OBJ_PU);
    found->cores = count_of(topology, HWLOC_OBJ_CORE);
    found->l2_bytes = cache_bytes(topology, HWLOC_OBJ_L2CACHE);
    found->l3_bytes = cache_bytes(topology, HWLOC_OBJ_L3CACHE);
    found->l2_count = count_of(topology, HWLOC_OBJ_L2CACHE);
    found->l3_count = count_of(topology, HWLOC_OBJ_L3CACHE);
    read_numa(topology, found);
    hwloc_topology_destroy(topology);
}

/* One cpu_set_t holds 1024 processors; larger machines refuse it with EINVAL. */
static uint32_t count_bound(uint32_t fallback)
{
    cpu_set_t sets[32];
    if (sched_getaffinity(0, sizeof(sets), sets) != 0)
        return fallback;
    int count = CPU_COUNT_S(sizeof(sets), sets);
    return count > 0 ? (uint32_t)count : fallback;
}

static uint32_t at_least_one(long value)
{
    return value > 0 ? (uint32_t)value : 1;
}

static uint32_t usable(uint32_t cpus, double quota)
{
    uint32_t whole = (uint32_t)(quota < (double)cpus ? quota : (double)cpus);
    if (quota <= 0 || quota >= (double)cpus)
        return cpus;
    return whole < quota ? whole + 1 : whole;
}

void shl_topology_probe(struct shl_topology *topology)
{
    struct shl_topology found = {.machine_cpus = at_least_one(sysconf(_SC_NPROCESSORS_ONLN))};
    read_hwloc(&found);
    found.bound_cpus = count_bound(found.machine_cpus);
    if (!found.allowed_cpus)
        found.allowed_cpus = found.bound_cpus;
    if (!found.cores)
        found.cores = found.allowed_cpus;
    found.quota_cpus = shl_topology_quota("");
    found.usable_cpus = usable(found.allowed_cpus, found.quota_cpus);

    long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);
    found.memory_bytes = pages > 0 && page > 0 ? (uint64_t)pages * (uint64_t)page : 0;
    struct rlimit limit = {.rlim_cur = RLIM_INFINITY};
    getrlimit(RLIMIT_MEMLOCK, &limit);
    found.memlock_bytes = limit.rlim_cur == RLIM_INFINITY ? UINT64_MAX : limit.rlim_cur;
    *topology = found;
}

static struct shl_topology remembered;
static pthread_once_t remember_once = PTHREAD_ONCE_INIT;

static void remember(void)
{
    shl_topology_probe(&remembered);
}

const struct shl_topology *shl_topology(void)
{
    pthread_once(&remember_once, remember);
    return &remembered;
}
