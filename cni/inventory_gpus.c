/*
 * GPUs, and how far each is from each RDMA device.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "inventory.h"

#include <string.h>

#define DEVICE "/sys/bus/pci/devices/%s"
#define PARTS_MAX 32

/* Display controllers of makers of accelerators, and processing accelerators of anyone. */
static bool is_gpu(int64_t class, int64_t vendor)
{
    bool known = vendor == 0x10de || vendor == 0x1002;
    return class >> 16 == 0x12 || (known && (class >> 8 == 0x0300 || class >> 8 == 0x0302));
}

/* Parts of a path from its host bridge (pci0000:00) on; their count. */
static size_t split(const char *path, const char **parts, size_t *lengths)
{
    size_t count = 0;
    for (const char *at = strstr(path, "/pci"); at && count < PARTS_MAX; at = strchr(at + 1, '/')) {
        parts[count] = at + 1;
        lengths[count++] = strcspn(at + 1, "/");
    }
    return count;
}

const char *cni_pci_distance(const char *one, const char *two, int64_t one_node, int64_t two_node)
{
    const char *a[PARTS_MAX], *b[PARTS_MAX];
    size_t a_lengths[PARTS_MAX], b_lengths[PARTS_MAX], common = 0;
    size_t a_count = split(one, a, a_lengths), b_count = split(two, b, b_lengths);
    while (common < a_count && common < b_count && a_lengths[common] == b_lengths[common] &&
           memcmp(a[common], b[common], a_lengths[common]) == 0)
        common++;
    if (common == 0)
        return one_node >= 0 && one_node == two_node ? "NODE" : "SYS";
    if (common == 1) /* they meet in the host bridge only */
        return "PHB";
    /* Below one switch each hangs on a port of its own. */
    return a_count - common <= 2 && b_count - common <= 2 ? "PIX" : "PXB";
}

static json_t *distances(const char *path, int64_t node, const json_t *rdma)
{
    json_t *object = json_object();
    for (size_t i = 0; i < json_array_size(rdma); i++) {
        const json_t *device = json_array_get(rdma, i);
        const char *other = json_string_value(json_object_get(device, "path"));
        const json_t *other_node = json_object_get(device, "numa_node");
        if (path && other)
            cni_put_text(object, json_string_value(json_object_get(device, "name")),
                         cni_pci_distance(
                             path, other, node,
                             json_is_integer(other_node) ? json_integer_value(other_node) : -1));
    }
    return object;
}

json_t *cni_inventory_gpus(struct cni_sysfs *sysfs, const json_t *rdma)
{
    json_t *list = json_array();
    const char *const *names = cni_sysfs_list(sysfs, "/sys/bus/pci/devices");
    for (; *names; names++) {
        int64_t class = cni_sysfs_integer(sysfs, DEVICE "/class", *names);
        int64_t vendor = cni_sysfs_integer(sysfs, DEVICE "/vendor", *names);
        if (class < 0 || !is_gpu(class, vendor))
            continue;
        json_t *gpu = json_object();
        const char *path = cni_sysfs_real(sysfs, DEVICE, *names);
        int64_t node = cni_sysfs_integer(sysfs, DEVICE "/numa_node", *names);
        cni_put_text(gpu, "pci", *names);
        cni_put_text(gpu, "vendor", cni_sysfs_text(sysfs, DEVICE "/vendor", *names));
        cni_put_text(gpu, "device", cni_sysfs_text(sysfs, DEVICE "/device", *names));
        cni_put_number(gpu, "numa_node", node);
        json_object_set_new(gpu, "distance", distances(path, node, rdma));
        json_array_append_new(list, gpu);
    }
    return list;
}
