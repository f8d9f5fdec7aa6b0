/*
 * Places in a topology that lstopo exported as XML: NUMA nodes of RDMA devices and GPUs, and how
 * far these are apart. Devices that only the topology knows are added.
 *
 * Invariant: what the tree of files said already is not changed.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "inventory.h"

#include <hwloc.h>
#include <string.h>

#define NEAR_DEPTH 2 /* levels of switches between functions of one board */

static void pci_name(const struct hwloc_pcidev_attr_s *pci, char name[16])
{
    snprintf(name, 16, "%04x:%02x:%02x.%x", pci->domain & 0xffffu, pci->bus, pci->dev, pci->func);
}

static int64_t numa_of(hwloc_topology_t topology, hwloc_obj_t object)
{
    hwloc_obj_t place = hwloc_get_non_io_ancestor_obj(topology, object);
    if (!place || !place->nodeset || hwloc_bitmap_weight(place->nodeset) != 1)
        return -1;
    return hwloc_bitmap_first(place->nodeset);
}

static json_t *entry_with(const json_t *list, const char *key, const char *value)
{
    json_t *entry;
    size_t index;
    json_array_foreach((json_t *)(uintptr_t)list, index, entry)
    {
        const char *text = json_string_value(json_object_get(entry, key));
        if (text && strcmp(text, value) == 0)
            return entry;
    }
    return NULL;
}

/* A member that is absent or null gets a value. */
static void complete(json_t *object, const char *key, json_t *value)
{
    const json_t *now = json_object_get(object, key);
    if (!now || json_is_null(now))
        json_object_set(object, key, value);
    json_decref(value);
}

static hwloc_obj_t function_of(hwloc_obj_t device)
{
    hwloc_obj_t at = device->parent;
    while (at && at->type != HWLOC_OBJ_PCI_DEVICE)
        at = at->parent;
    return at;
}

/* ---- RDMA devices and interfaces ----------------------------------------------------------------
 */

static void place_rdma(hwloc_topology_t topology, hwloc_obj_t device, json_t *rdma)
{
    char pci[16] = "";
    hwloc_obj_t function = function_of(device);
    json_t *entry = entry_with(rdma, "name", device->name);
    if (!entry) {
        const char *guid = hwloc_obj_get_info_by_name(device, "NodeGUID");
        entry = json_pack("{s:s, s:[], s:[]}", "name", device->name, "netdevs", "ports");
        cni_put_text(entry, "node_guid", guid);
        json_array_append_new(rdma, entry);
    }
    if (function) {
        pci_name(&function->attr->pcidev, pci);
        complete(entry, "pci", json_string(pci));
        complete(entry, "vendor", json_sprintf("0x%04x", function->attr->pcidev.vendor_id));
        complete(entry, "device", json_sprintf("0x%04x", function->attr->pcidev.device_id));
    }
    int64_t node = numa_of(topology, device);
    if (node >= 0)
        complete(entry, "numa_node", json_integer(node));
}

static void place_netdev(hwloc_obj_t device, json_t *netdevs, json_t *rdma)
{
    char pci[16] = "";
    hwloc_obj_t function = function_of(device);
    json_t *entry = entry_with(netdevs, "name", device->name);
    if (!entry) {
        entry = json_pack("{s:s}", "name", device->name);
        cni_put_text(entry, "address", hwloc_obj_get_info_by_name(device, "Address"));
        json_array_append_new(netdevs, entry);
    }
    if (!function)
        return;
    pci_name(&function->attr->pcidev, pci);
    complete(entry, "pci", json_string(pci));
    json_t *names = json_object_get(entry_with(rdma, "pci", pci), "netdevs");
    if (json_is_array(names) && !json_array_size(names))
        json_array_append_new(names, json_string(device->name));
}

/* ---- GPUs ---------------------------------------------------------------------------------------
 */

static bool is_gpu(hwloc_obj_t function)
{
    const struct hwloc_pcidev_attr_s *pci = &function->attr->pcidev;
    bool known = pci->vendor_id == 0x10de || pci->vendor_id == 0x1002;
    return pci->class_id >> 8 == 0x12 ||
           (known && (pci->class_id == 0x0300 || pci->class_id == 0x0302));
}

static unsigned int levels_to(hwloc_obj_t from, hwloc_obj_t above)
{
    unsigned int levels = 0;
    for (; from != above; from = from->parent)
        levels++;
    return levels;
}

/* hwloc's own function compares depths, which devices do not have. */
static hwloc_obj_t common_ancestor(hwloc_obj_t one, hwloc_obj_t two)
{
    for (hwloc_obj_t above = one; above; above = above->parent)
        for (hwloc_obj_t at = two; at; at = at->parent)
            if (at == above)
                return at;
    return NULL; /* the machine is above all */
}

static const char *distance(hwloc_topology_t topology, hwloc_obj_t one, hwloc_obj_t two)
{
    hwloc_obj_t common = common_ancestor(one, two);
    if (!common)
        return "SYS";
    if (common->type == HWLOC_OBJ_BRIDGE &&
        common->attr->bridge.upstream_type == HWLOC_OBJ_BRIDGE_PCI)
        return levels_to(one, common) <= NEAR_DEPTH && levels_to(two, common) <= NEAR_DEPTH ? "PIX"
                                                                                            : "PXB";
    if (common->type == HWLOC_OBJ_BRIDGE)
        return "PHB";
    int64_t node = numa_of(topology, one);
    return node >= 0 && node == numa_of(topology, two) ? "NODE" : "SYS";
}

static void place_gpu(hwloc_topology_t topology, hwloc_obj_t gpu, json_t *gpus)
{
    char pci[16];
    pci_name(&gpu->attr->pcidev, pci);
    json_t *entry = entry_with(gpus, "pci", pci);
    int64_t node = numa_of(topology, gpu);
    if (!entry) {
        entry = json_pack("{s:s}", "pci", pci);
        complete(entry, "vendor", json_sprintf("0x%04x", gpu->attr->pcidev.vendor_id));
        complete(entry, "device", json_sprintf("0x%04x", gpu->attr->pcidev.device_id));
        json_array_append_new(gpus, entry);
    }
    complete(entry, "numa_node", node >= 0 ? json_integer(node) : json_null());
    complete(entry, "distance", json_object());
    json_t *distances = json_object_get(entry, "distance");
    for (hwloc_obj_t at = NULL; (at = hwloc_get_next_osdev(topology, at)) != NULL;)
        if (at->attr->osdev.type == HWLOC_OBJ_OSDEV_OPENFABRICS && function_of(at))
            complete(distances, at->name, json_string(distance(topology, gpu, function_of(at))));
}

bool cni_inventory_hwloc(json_t *inventory, const char *path)
{
    hwloc_topology_t topology;
    json_t *rdma = json_object_get(inventory, "rdma");
    if (hwloc_topology_init(&topology) != 0)
        return false;
    bool good = hwloc_topology_set_io_types_filter(topology, HWLOC_TYPE_FILTER_KEEP_ALL) == 0 &&
                hwloc_topology_set_xml(topology, path) == 0 && hwloc_topology_load(topology) == 0;
    for (hwloc_obj_t at = NULL; good && (at = hwloc_get_next_osdev(topology, at)) != NULL;)
        if (at->attr->osdev.type == HWLOC_OBJ_OSDEV_OPENFABRICS)
            place_rdma(topology, at, rdma);
    for (hwloc_obj_t at = NULL; good && (at = hwloc_get_next_osdev(topology, at)) != NULL;)
        if (at->attr->osdev.type == HWLOC_OBJ_OSDEV_NETWORK)
            place_netdev(at, json_object_get(inventory, "netdevs"), rdma);
    for (hwloc_obj_t at = NULL; good && (at = hwloc_get_next_pcidev(topology, at)) != NULL;)
        if (is_gpu(at))
            place_gpu(topology, at, json_object_get(inventory, "gpus"));
    hwloc_topology_destroy(topology);
    return good;
}
