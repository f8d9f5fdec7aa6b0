/*
 * How near a device is to this thread's processors, by hwloc's map of the machine.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef SHL_TOPOLOGY_NEAR_H
#define SHL_TOPOLOGY_NEAR_H

#include "core/near.h"

/*
 * shl_topology_near - distance of a device from the processors that the calling thread may run on:
 * nearest is one whose part of the machine holds them all, then one that is attached to the whole
 * machine, then one whose part holds some of them, then the others by the distance of NUMA nodes.
 *
 * The machine is looked at on the first call, and then remembered. Threads: any.
 */
bool shl_topology_near(const char *device, const char *interface, struct shl_near *near);

/* shl_topology_near_of - the same on the machine that a file of hwloc's describes, for a thread
 * that is bound to `cpus`, such as "0-3,8". false also: the file or the list is not legal. */
bool shl_topology_near_of(const char *xml_path, const char *cpus, const char *device,
                          const char *interface, struct shl_near *near);

#endif
