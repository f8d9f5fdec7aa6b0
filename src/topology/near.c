/*
 * Distances of devices, from hwloc's tree: a device hangs off the part of the machine whose
 * processors are nearest to it.
 *
 * Invariant: nothing is bound and no device is opened; the components of hwloc that would load
 * drivers stay off.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "topology/near.h"

#include <hwloc.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

/* Steps of distance; that of NUMA nodes, which is below 1000, is added to the last. */
#define AROUND 0
#define WHOLE SHL_NEAR_UNKNOWN
#define PARTLY 2000
#define APART 3000

static bool load(hwloc_topology_t *topology, const char *xml_path)
{
    static const char *const unwanted[] = {"x86", "cuda", "nvml",     "opencl",
                                           "gl",  "rsmi", "levelzero"};
    if (hwloc_topology_init(topology) != 0)
        return false;
    for (size_t i = 0; i < sizeof(unwanted) / sizeof(unwanted[0]); i++)
        (void)hwloc_topology_set_components(*topology, HWLOC_TOPOLOGY_COMPONENTS_FLAG_BLACKLIST,
                                            unwanted[i]);
    hwloc_topology_set_io_types_filter(*topology, HWLOC_TYPE_FILTER_KEEP_ALL);
    if ((!xml_path || hwloc_topology_set_xml(*topology, xml_path) == 0) &&
        hwloc_topology_load(*topology) == 0)
        return true;
    hwloc_topology_destroy(*topology);
    return false;
}

/* ---- one device ---------------------------------------------------------------------------- */

static hwloc_obj_t device_named(hwloc_topology_t topology, const char *name)
{
    hwloc_obj_t device = NULL;
    while (*name && (device = hwloc_get_next_osdev(topology, device)) != NULL)
        if (device->name && strcmp(device->name, name) == 0)
            return device;
    return NULL;
}

/* The distance of NUMA nodes that the firmware tells, the least of all pairs; 0: unknown. */
static uint32_t latency(hwloc_topology_t topology, hwloc_const_bitmap_t from,
                        hwloc_const_bitmap_t to)
{
    struct hwloc_distances_s *table = NULL;
    unsigned count = 1;
    uint64_t least = UINT64_MAX;
    if (hwloc_distances_get_by_type(topology, HWLOC_OBJ_NUMANODE, &count, &table,
                                    HWLOC_DISTANCES_KIND_MEANS_LATENCY, 0) != 0 ||
        count == 0)
        return 0;
    for (unsigned i = 0; i < table->nbobjs; i++)
        for (unsigned k = 0; k < table->nbobjs; k++)
            if (hwloc_bitmap_intersects(table->objs[i]->cpuset, from) &&
                hwloc_bitmap_intersects(table->objs[k]->cpuset, to) &&
                table->values[i * table->nbobjs + k] < least)
                least = table->values[i * table->nbobjs + k];
    hwloc_distances_release(topology, table);
    return least < 1000 ? (uint32_t)least : 0;
}

static void judge(hwloc_topology_t topology, hwloc_const_bitmap_t cpus, hwloc_obj_t part,
                  struct shl_near *near)
{
    char nodes[32] = "?";
    hwloc_bitmap_list_snprintf(nodes, sizeof(nodes), part->nodeset);
    if (hwloc_bitmap_isequal(part->cpuset, hwloc_get_root_obj(topology)->cpuset)) {
        near->distance = WHOLE;
        snprintf(near->text, sizeof(near->text), "equally near to all CPUs");
    } else if (hwloc_bitmap_isincluded(cpus, part->cpuset)) {
        near->distance = AROUND;
        snprintf(near->text, sizeof(near->text), "near to our CPUs (NUMA node %s)", nodes);
    } else if (hwloc_bitmap_intersects(cpus, part->cpuset)) {
        near->distance = PARTLY;
        snprintf(near->text, sizeof(near->text), "near to some of our CPUs (NUMA node %s)", nodes);
    } else {
        uint32_t far = latency(topology, cpus, part->cpuset);
        near->distance = APART + far;
        snprintf(near->text, sizeof(near->text),
                 far ? "far from our CPUs (NUMA node %s, distance %u)"
                     : "far from our CPUs (NUMA node %s)",
                 nodes, far);
    }
}

static bool find(hwloc_topology_t topology, hwloc_const_bitmap_t cpus, const char *device,
                 const char *interface, struct shl_near *near)
{
    hwloc_obj_t found = device_named(topology, device);
    if (!found)
        found = device_named(topology, interface);
    hwloc_obj_t part = found ? hwloc_get_non_io_ancestor_obj(topology, found) : NULL;
    if (!part || !part->cpuset)
        return false;
    judge(topology, cpus, part, near);
    return true;
}

/* ---- this machine, or one of a file -------------------------------------------------------- */

static hwloc_topology_t machine;
static bool machine_known;
static pthread_once_t machine_once = PTHREAD_ONCE_INIT;

static void look(void)
{
    machine_known = load(&machine, NULL);
}

bool shl_topology_near(const char *device, const char *interface, struct shl_near *near)
{
    pthread_once(&machine_once, look);
    hwloc_bitmap_t cpus = machine_known ? hwloc_bitmap_alloc() : NULL;
    bool known = cpus && hwloc_get_cpubind(machine, cpus, HWLOC_CPUBIND_THREAD) == 0 &&
                 find(machine, cpus, device, interface, near);
    hwloc_bitmap_free(cpus);
    return known;
}

bool shl_topology_near_of(const char *xml_path, const char *cpus, const char *device,
                          const char *interface, struct shl_near *near)
{
    hwloc_topology_t topology;
    if (!load(&topology, xml_path))
        return false;
    hwloc_bitmap_t set = hwloc_bitmap_alloc();
    bool known = set && hwloc_bitmap_list_sscanf(set, cpus) == 0 &&
                 find(topology, set, device, interface, near);
    hwloc_bitmap_free(set);
    hwloc_topology_destroy(topology);
    return known;
}
