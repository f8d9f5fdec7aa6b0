/*
 * RDMA devices: ports, GIDs, the network devices and the PCI function that belong to each.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "inventory.h"

#include <stdlib.h>
#include <string.h>

#define CLASS "/sys/class/infiniband/%s"
#define PORT CLASS "/ports/%s"
#define ROCE_HEADER_BYTES 96 /* what the kernel leaves for headers of RDMA in a packet */

/* "4: ACTIVE" -> "ACTIVE". */
static const char *word_after_number(const char *text)
{
    const char *colon = text ? strstr(text, ": ") : NULL;
    return colon ? colon + 2 : text;
}

static bool is_zero(const char *gid)
{
    return strspn(gid, "0:") == strlen(gid);
}

/* Entries that are empty read as zero or not at all. */
static json_t *gids(struct cni_sysfs *sysfs, const char *device, const char *port)
{
    json_t *list = json_array();
    const char *const *numbers = cni_sysfs_list(sysfs, PORT "/gids", device, port);
    for (; *numbers; numbers++) {
        const char *gid = cni_sysfs_text(sysfs, PORT "/gids/%s", device, port, *numbers);
        if (!gid || !*gid || is_zero(gid))
            continue;
        json_t *entry = json_object();
        cni_put_number(entry, "index", strtol(*numbers, NULL, 10));
        cni_put_text(entry, "gid", gid);
        cni_put_text(entry, "type",
                     cni_sysfs_text(sysfs, PORT "/gid_attrs/types/%s", device, port, *numbers));
        cni_put_text(entry, "netdev",
                     cni_sysfs_text(sysfs, PORT "/gid_attrs/ndevs/%s", device, port, *numbers));
        json_array_append_new(list, entry);
    }
    return list;
}

/* Of RoCE it can be reckoned, as the kernel does: the largest packet that the interface holds
 * beside the headers. */
static int64_t active_mtu(struct cni_sysfs *sysfs, const json_t *interfaces, const char *layer)
{
    const char *name = json_string_value(json_array_get(interfaces, 0));
    int64_t room = -1;
    if (name && layer && strcmp(layer, "Ethernet") == 0)
        room = cni_sysfs_integer(sysfs, "/sys/class/net/%s/mtu", name) - ROCE_HEADER_BYTES;
    for (int64_t mtu = 4096; mtu >= 256; mtu /= 2)
        if (room >= mtu)
            return mtu;
    return -1;
}

static json_t *ports(struct cni_sysfs *sysfs, struct cni_verbs *verbs, const char *device,
                     const json_t *interfaces)
{
    json_t *list = json_array();
    const char *const *names = cni_sysfs_list(sysfs, CLASS "/ports", device);
    for (; *names; names++) {
        json_t *port = json_object();
        const char *state = cni_sysfs_text(sysfs, PORT "/state", device, *names);
        const char *physical = cni_sysfs_text(sysfs, PORT "/phys_state", device, *names);
        long number = strtol(*names, NULL, 10);
        int64_t mtu = cni_verbs_active_mtu(verbs, device, (uint32_t)number);
        cni_put_number(port, "port", number);
        cni_put_text(port, "state", word_after_number(state));
        cni_put_text(port, "physical_state", word_after_number(physical));
        const char *layer = cni_sysfs_text(sysfs, PORT "/link_layer", device, *names);
        cni_put_text(port, "link_layer", layer);
        cni_put_number(port, "active_mtu", mtu > 0 ? mtu : active_mtu(sysfs, interfaces, layer));
        cni_put_text(port, "rate", cni_sysfs_text(sysfs, PORT "/rate", device, *names));
        cni_put_number(port, "lid", cni_sysfs_integer(sysfs, PORT "/lid", device, *names));
        cni_put_number(port, "sm_lid", cni_sysfs_integer(sysfs, PORT "/sm_lid", device, *names));
        json_object_set_new(port, "gids", gids(sysfs, device, *names));
        json_array_append_new(list, port);
    }
    return list;
}

/* "InfiniBand" also stands for RoCE; NULL when unknown. */
static const char *transport(struct cni_sysfs *sysfs, const char *device)
{
    const char *type = cni_sysfs_text(sysfs, CLASS "/node_type", device);
    return !type ? NULL : *type == '4' ? "iWARP" : *type == '1' ? "InfiniBand" : "other";
}

/* The GID of an iWARP device begins with the address of its interface, which is told nowhere else.
 */
static const char *iwarp_netdev(struct cni_sysfs *sysfs, const char *device)
{
    const char *gid = cni_sysfs_text(sysfs, PORT "/gids/0", device, "1");
    const char *const *names = cni_sysfs_list(sysfs, "/sys/class/net");
    for (; gid && *names; names++) {
        const char *address = cni_sysfs_text(sysfs, "/sys/class/net/%s/address", *names);
        const char *at = gid;
        for (; address && *address; address++) {
            if (*address == ':')
                continue;
            at += *at == ':';
            if (*at != *address)
                break;
            at++;
        }
        if (address && !*address && at >= gid + 14 && !is_zero(gid))
            return *names;
    }
    return NULL;
}

/* Soft-RoCE names its interface in a file. */
static json_t *netdevs(struct cni_sysfs *sysfs, const char *device)
{
    json_t *list = json_array();
    const char *type = transport(sysfs, device);
    const char *own = type && strcmp(type, "iWARP") == 0 ? iwarp_netdev(sysfs, device) : NULL;
    if (own)
        json_array_append_new(list, json_string(own));
    const char *parent = cni_sysfs_text(sysfs, CLASS "/parent", device);
    if (parent && *parent)
        json_array_append_new(list, json_string(parent));
    const char *const *names = cni_sysfs_list(sysfs, CLASS "/device/net", device);
    for (; *names; names++)
        if (!own || strcmp(own, *names) != 0)
            json_array_append_new(list, json_string(*names));
    return list;
}

/* The character device that programs open. */
static const char *uverbs(struct cni_sysfs *sysfs, const char *device)
{
    const char *const *names = cni_sysfs_list(sysfs, "/sys/class/infiniband_verbs");
    for (; *names; names++) {
        const char *of = cni_sysfs_text(sysfs, "/sys/class/infiniband_verbs/%s/ibdev", *names);
        if (of && strcmp(of, device) == 0)
            return *names;
    }
    return NULL;
}

/* What the kernel speaks to programs, and whether libibverbs has who answers. */
static void put_user_space(struct cni_sysfs *sysfs, struct cni_verbs *verbs, json_t *device)
{
    const char *node = json_string_value(json_object_get(device, "uverbs"));
    const char *const *names = cni_sysfs_list(sysfs, "/dev/infiniband");
    bool has_node = false;
    int64_t abi = -1;
    for (; node && *names; names++)
        has_node |= strcmp(*names, node) == 0;
    if (node)
        abi = cni_sysfs_integer(sysfs, "/sys/class/infiniband_verbs/%s/abi_version", node);
    cni_put_number(device, "abi_version", abi);
    cni_put_text(
        device, "user_space",
        cni_verbs_user_space(verbs, json_string_value(json_object_get(device, "name")), has_node));
}

json_t *cni_inventory_rdma(struct cni_sysfs *sysfs)
{
    json_t *list = json_array();
    const char *const *names = cni_sysfs_list(sysfs, "/sys/class/infiniband");
    struct cni_verbs *verbs = *names ? cni_verbs_open(sysfs) : NULL;
    for (; *names; names++) {
        json_t *device = json_object();
        const char *path = cni_sysfs_real(sysfs, CLASS "/device", *names);
        cni_put_text(device, "name", *names);
        cni_put_text(device, "pci", cni_last_part(path));
        cni_put_text(device, "path", path);
        cni_put_text(device, "vendor", cni_sysfs_text(sysfs, CLASS "/device/vendor", *names));
        cni_put_text(device, "device", cni_sysfs_text(sysfs, CLASS "/device/device", *names));
        cni_put_number(device, "numa_node",
                       cni_sysfs_integer(sysfs, CLASS "/device/numa_node", *names));
        cni_put_text(device, "transport", transport(sysfs, *names));
        cni_put_text(device, "node_guid", cni_sysfs_text(sysfs, CLASS "/node_guid", *names));
        cni_put_text(device, "firmware", cni_sysfs_text(sysfs, CLASS "/fw_ver", *names));
        cni_put_text(device, "board", cni_sysfs_text(sysfs, CLASS "/board_id", *names));
        cni_put_text(device, "uverbs", uverbs(sysfs, *names));
        put_user_space(sysfs, verbs, device);
        json_object_set_new(device, "netdevs", netdevs(sysfs, *names));
        json_object_set_new(device, "ports",
                            ports(sysfs, verbs, *names, json_object_get(device, "netdevs")));
        json_array_append_new(list, device);
    }
    cni_verbs_close(verbs);
    return list;
}
