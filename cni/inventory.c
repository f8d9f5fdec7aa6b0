/*
 * The inventory of a node: what all its devices share, and the parts together.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "inventory.h"

#include <stdlib.h>
#include <string.h>

#define SCHEMA "shoal.dev/inventory/v1alpha1"

void cni_put_text(json_t *object, const char *key, const char *text)
{
    json_t *value = text && *text ? json_string(text) : NULL;
    json_object_set_new(object, key, value ? value : json_null());
}

void cni_put_number(json_t *object, const char *key, int64_t number)
{
    json_object_set_new(object, key, number < 0 ? json_null() : json_integer(number));
}

const char *cni_last_part(const char *path)
{
    const char *slash = path ? strrchr(path, '/') : NULL;
    return slash ? slash + 1 : path;
}

/* "shared", "exclusive", or NULL: ib_core is not loaded, or too old to have the choice. */
static const char *netns_mode(struct cni_sysfs *sysfs)
{
    const char *mode = cni_sysfs_text(sysfs, "/sys/module/ib_core/parameters/netns_mode");
    if (!mode)
        return NULL;
    return strcmp(mode, "Y") == 0 || strcmp(mode, "1") == 0 ? "shared" : "exclusive";
}

/* The soft and hard limit of locked memory of whoever looked; "unlimited" is a text. */
static json_t *memlock(struct cni_sysfs *sysfs)
{
    static const char name[] = "Max locked memory";
    const char *limits = cni_sysfs_text(sysfs, "/proc/self/limits");
    const char *line = limits ? strstr(limits, name) : NULL;
    json_t *object = json_object();
    char soft[32] = "", hard[32] = "";
    if (line && sscanf(line + sizeof(name) - 1, "%31s %31s", soft, hard) != 2)
        *soft = *hard = 0;
    const char *const keys[] = {"soft", "hard"}, *const values[] = {soft, hard};
    for (size_t i = 0; i < 2; i++) {
        if (strcmp(values[i], "unlimited") == 0)
            cni_put_text(object, keys[i], values[i]);
        else
            cni_put_number(object, keys[i], *values[i] ? strtoll(values[i], NULL, 10) : -1);
    }
    return object;
}

/* Those that matter here, in this order. Built into the kernel, they are not listed by it. */
static json_t *modules(struct cni_sysfs *sysfs)
{
    static const char *const names[] = {
        "ib_core", "ib_uverbs", "ib_umad",  "rdma_cm", "rdma_ucm", "ib_ipoib",       "mlx5_core",
        "mlx5_ib", "mlx4_ib",   "irdma",    "bnxt_re", "efa",      "rdma_rxe",       "siw",
        "macvlan", "ipvlan",    "vfio_pci", "nvidia",  "amdgpu",   "nvidia_peermem", "bonding",
        "8021q"};
    const char *text = cni_sysfs_text(sysfs, "/proc/modules");
    json_t *list = json_array();
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        size_t length = strlen(names[i]);
        for (const char *line = text; line;
             line = strchr(line, '\n'), line = line ? line + 1 : line)
            if (strncmp(line, names[i], length) == 0 && line[length] == ' ') {
                json_array_append_new(list, json_string(names[i]));
                break;
            }
    }
    return list;
}

json_t *cni_inventory(struct cni_sysfs *sysfs)
{
    json_t *root = json_object();
    json_object_set_new(root, "schema", json_string(SCHEMA));
    cni_put_text(root, "kernel", cni_sysfs_text(sysfs, "/proc/sys/kernel/osrelease"));
    cni_put_text(root, "rdma_netns_mode", netns_mode(sysfs));
    json_object_set_new(root, "rdma_netns_boot", cni_inventory_boot_mode(sysfs));
    json_object_set_new(root, "memlock_bytes", memlock(sysfs));
    json_object_set_new(root, "modules", modules(sysfs));
    json_t *rdma = cni_inventory_rdma(sysfs);
    json_object_set_new(root, "rdma", rdma);
    json_object_set_new(root, "netdevs", cni_inventory_netdevs(sysfs));
    json_object_set_new(root, "rules", cni_inventory_rules(sysfs));
    json_object_set_new(root, "gpus", cni_inventory_gpus(sysfs, rdma));
    return root;
}
