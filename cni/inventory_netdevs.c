/*
 * Network devices: kind, packet size, virtual functions, and what lies above and below each.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "dcb.h"
#include "inventory.h"

#include <string.h>

#define CLASS "/sys/class/net/%s"
#define DCB "/netlink/dcb/%s" /* in captures */

static const char *kind_of(int64_t arphrd)
{
    switch (arphrd) {
    case 1:
        return "ethernet";
    case 32:
        return "infiniband";
    case 772:
        return "loopback";
    default:
        return "other";
    }
}

/* The names behind `lower_` or `upper_`. */
static json_t *neighbours(struct cni_sysfs *sysfs, const char *name, const char *prefix)
{
    json_t *list = json_array();
    size_t length = strlen(prefix);
    const char *const *entries = cni_sysfs_list(sysfs, CLASS, name);
    for (; *entries; entries++)
        if (strncmp(*entries, prefix, length) == 0)
            json_array_append_new(list, json_string(*entries + length));
    return list;
}

static json_t *functions(struct cni_sysfs *sysfs, const char *name)
{
    int64_t total = cni_sysfs_integer(sysfs, CLASS "/device/sriov_totalvfs", name);
    if (total < 0)
        return json_null();
    json_t *object = json_object();
    cni_put_number(object, "total", total);
    cni_put_number(object, "current", cni_sysfs_integer(sysfs, CLASS "/device/sriov_numvfs", name));
    return object;
}

/* PCI addresses have the form 0000:00:00.0. */
static const char *pci_of(const char *path)
{
    const char *last = cni_last_part(path);
    return last && strlen(last) >= 12 && strchr(last, ':') && strchr(last, '.') ? last : NULL;
}

/* Whether packets to anywhere else leave through it: lines are name, destination, ... in hex. */
static json_t *default_route(struct cni_sysfs *sysfs, const char *name)
{
    const char *line = cni_sysfs_text(sysfs, "/proc/self/net/route");
    char interface[32];
    unsigned int destination;
    if (!line)
        return json_null();
    for (; line; line = strchr(line, '\n'), line = line ? line + 1 : NULL)
        if (sscanf(line, "%31s %8x", interface, &destination) == 2 && destination == 0 &&
            strcmp(interface, name) == 0)
            return json_true();
    return json_false();
}

/* Of a driver that tells it by netlink only; a captured tree has the answers as files. */
static void qos_of_kernel(struct cni_sysfs *sysfs, const char *name, const char **trust,
                          const char **pfc)
{
    struct cni_dcb dcb;
    if (!cni_sysfs_live(sysfs)) {
        *trust = cni_sysfs_text(sysfs, DCB "/trust", name);
        *pfc = cni_sysfs_text(sysfs, DCB "/pfc", name);
    } else if (cni_dcb_ask(name, &dcb)) {
        *trust = cni_sysfs_add(sysfs, dcb.trust, DCB "/trust", name);
        *pfc = cni_sysfs_add(sysfs, dcb.pfc, DCB "/pfc", name);
    }
}

/* How packets are sorted into priorities, and which of these are paused: vendors' drivers tell it
 * in files, others only by netlink. */
static json_t *qos(struct cni_sysfs *sysfs, const char *name)
{
    const char *trust = cni_sysfs_text(sysfs, CLASS "/qos/trust", name);
    const char *pfc = cni_sysfs_text(sysfs, CLASS "/qos/pfc", name);
    if (!trust && !pfc)
        qos_of_kernel(sysfs, name, &trust, &pfc);
    if (!trust && !pfc)
        return json_null();
    json_t *object = json_object();
    cni_put_text(object, "trust", trust);
    cni_put_text(object, "pfc", pfc);
    return object;
}

static json_t *describe(struct cni_sysfs *sysfs, const char *name, const char *addresses)
{
    json_t *device = json_object();
    cni_put_text(device, "name", name);
    cni_put_text(device, "kind", kind_of(cni_sysfs_integer(sysfs, CLASS "/type", name)));
    cni_put_text(device, "state", cni_sysfs_text(sysfs, CLASS "/operstate", name));
    cni_put_number(device, "mtu", cni_sysfs_integer(sysfs, CLASS "/mtu", name));
    cni_put_number(device, "speed_mbps", cni_sysfs_integer(sysfs, CLASS "/speed", name));
    cni_put_text(device, "address", cni_sysfs_text(sysfs, CLASS "/address", name));
    json_object_set_new(device, "addresses", cni_inventory_addresses_of(addresses, name));
    cni_put_text(device, "pci", pci_of(cni_sysfs_real(sysfs, CLASS "/device", name)));
    cni_put_text(device, "physical_function",
                 pci_of(cni_sysfs_real(sysfs, CLASS "/device/physfn", name)));
    cni_put_text(device, "driver",
                 cni_last_part(cni_sysfs_real(sysfs, CLASS "/device/driver", name)));
    cni_put_number(device, "numa_node", cni_sysfs_integer(sysfs, CLASS "/device/numa_node", name));
    cni_put_text(device, "pkey", cni_sysfs_text(sysfs, CLASS "/pkey", name));
    cni_put_text(device, "ipoib_mode", cni_sysfs_text(sysfs, CLASS "/mode", name));
    json_object_set_new(device, "default_route", default_route(sysfs, name));
    json_object_set_new(device, "functions", functions(sysfs, name));
    json_object_set_new(device, "qos", qos(sysfs, name));
    json_object_set_new(device, "lower", neighbours(sysfs, name, "lower_"));
    json_object_set_new(device, "upper", neighbours(sysfs, name, "upper_"));
    return device;
}

json_t *cni_inventory_netdevs(struct cni_sysfs *sysfs)
{
    json_t *list = json_array();
    const char *const *names = cni_sysfs_list(sysfs, "/sys/class/net");
    const char *addresses = cni_inventory_addresses(sysfs);
    for (; *names; names++)
        if (cni_sysfs_integer(sysfs, CLASS "/type", *names) >= 0) /* bonding_masters is a file */
            json_array_append_new(list, describe(sysfs, *names, addresses));
    return list;
}
