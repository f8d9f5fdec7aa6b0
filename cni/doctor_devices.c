/*
 * Checks of RDMA devices, their ports and their interfaces.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "doctor.h"

#include <stdlib.h>
#include <string.h>

#define LOSSLESS_UNKNOWN (-1)
#define GID_TEXT 39 /* eight groups of four digits */

/* The interface of a device in this network namespace, or NULL. */
static const json_t *interface_of(const struct cni_doctor *doctor, const json_t *device)
{
    const json_t *names = json_object_get(device, "netdevs"), *name, *found = NULL;
    size_t index;
    json_array_foreach(names, index, name)
    {
        if (!found)
            found = cni_doctor_netdev(doctor, json_string_value(name));
    }
    return found;
}

static bool is_iwarp(const json_t *device)
{
    return strcmp(cni_doctor_text_of(device, "transport"), "iWARP") == 0;
}

/* ---- character devices -------------------------------------------------------------------------
 */

static bool has_node(struct cni_doctor *doctor, const char *name)
{
    const char *const *names = cni_sysfs_list(doctor->sysfs, "/dev/infiniband");
    if (!*names && !doctor->live)
        return true; /* captures hold no character devices: unknown */
    for (; *names; names++)
        if (strcmp(*names, name) == 0)
            return true;
    return false;
}

static void check_nodes(struct cni_doctor *doctor)
{
    const json_t *list = json_object_get(doctor->inventory, "rdma"), *device;
    const char *open = "", *shut = "";
    size_t index, count = 0;
    json_array_foreach(list, index, device)
    {
        bool good = has_node(doctor, cni_doctor_text_of(device, "uverbs"));
        const char **names = good ? &open : &shut;
        *names = cni_arena_format(doctor->arena, "%s%s%s", *names, **names ? ", " : "",
                                  cni_doctor_text_of(device, "name"));
        count += good;
    }
    if (!json_array_size(list))
        return;
    if (!count)
        cni_doctor_bad(doctor, CNI_CHECK_uverbs, CNI_ERROR,
                       "no /dev/infiniband/uverbsN of %s is here", shut);
    else if (*shut && !doctor->pod)
        cni_doctor_bad(doctor, CNI_CHECK_uverbs, CNI_WARNING,
                       "%s can be opened, %s has no node: is ib_uverbs loaded?", open, shut);
    else
        cni_doctor_good(doctor, CNI_CHECK_uverbs, "%s%s%s%s", open,
                        *shut ? "; visible, but given to others: " : "", shut, "");
    if (has_node(doctor, "rdma_cm"))
        cni_doctor_good(doctor, CNI_CHECK_rdma_cm, "/dev/infiniband/rdma_cm");
    else
        cni_doctor_bad(doctor, CNI_CHECK_rdma_cm, CNI_WARNING, "no /dev/infiniband/rdma_cm");
}

/* ---- drivers of programs ------------------------------------------------------------------------
 */

/* "mlx5, rxe": libibverbs has a file for each. */
static const char *providers(struct cni_doctor *doctor)
{
    const char *const *names = cni_sysfs_list(doctor->sysfs, "/etc/libibverbs.d");
    const char *list = "";
    for (; *names; names++)
        list = cni_arena_format(doctor->arena, "%s%s%.*s", list, *list ? ", " : "",
                                (int)strcspn(*names, "."), *names);
    return *list || !doctor->live ? list : "none";
}

/* A node needs them for its own programs only: pods bring theirs. */
static void check_provider(struct cni_doctor *doctor, const json_t *device)
{
    const char *name = cni_doctor_text_of(device, "name"),
               *user_space = cni_doctor_text_of(device, "user_space");
    const json_t *abi = json_object_get(device, "abi_version");
    const char *version = json_is_integer(abi)
                              ? cni_arena_format(doctor->arena, ", kernel ABI %lld",
                                                 (long long)json_integer_value(abi))
                              : "";
    if (strcmp(user_space, "listed") == 0)
        cni_doctor_good(doctor, CNI_CHECK_provider, "libibverbs lists %s%s", name, version);
    else if (strcmp(user_space, "unlisted") == 0) {
        const char *others = providers(doctor);
        cni_doctor_bad(doctor, CNI_CHECK_provider, doctor->pod ? CNI_ERROR : CNI_WARNING,
                       "libibverbs does not list %s%s%s%s", name, version,
                       *others ? "; in /etc/libibverbs.d: " : "", others);
    }
}

/* ---- ports -------------------------------------------------------------------------------------
 */

/* RoCE v2, of an interface that is here. *local: only link-local ones. */
static const char *routable_gid(const struct cni_doctor *doctor, const json_t *port, bool *local)
{
    const json_t *gids = json_object_get(port, "gids"), *gid;
    size_t index;
    json_array_foreach(gids, index, gid)
    {
        const char *text = cni_doctor_text_of(gid, "gid");
        if (strcmp(cni_doctor_text_of(gid, "type"), "RoCE v2") != 0 ||
            !cni_doctor_netdev(doctor, cni_doctor_text_of(gid, "netdev")))
            continue;
        if (strncmp(text, "fe80", 4) != 0)
            return text;
        *local = true;
    }
    return NULL;
}

static void check_gids(struct cni_doctor *doctor, const char *name, const json_t *port)
{
    bool local = false;
    const char *gid = routable_gid(doctor, port, &local);
    int number = (int)json_integer_value(json_object_get(port, "port"));
    if (gid)
        cni_doctor_good(doctor, CNI_CHECK_roce_gid, "%s:%d has %s", name, number, gid);
    else
        cni_doctor_bad(doctor, CNI_CHECK_roce_gid, local ? CNI_WARNING : CNI_ERROR,
                       "%s:%d has %s RoCE v2 GID of an interface in this network namespace", name,
                       number, local ? "only a link-local" : "no");
}

/* The lower half of GID 0, such as "b859:9f03:00d2:1234"; "" for none. */
static const char *guid_of(const json_t *port)
{
    const json_t *gids = json_object_get(port, "gids"), *gid;
    const char *guid = "";
    size_t index;
    json_array_foreach(gids, index, gid)
    {
        const char *text = cni_doctor_text_of(gid, "gid");
        if (json_integer_value(json_object_get(gid, "index")) == 0 && strlen(text) == GID_TEXT)
            guid = text + GID_TEXT / 2 + 1;
    }
    return strspn(guid, "0:") == strlen(guid) ? "" : guid;
}

static bool is_infiniband(const json_t *port)
{
    return strcmp(cni_doctor_text_of(port, "link_layer"), "InfiniBand") == 0;
}

/* Another port with this GUID, as DEVICE:PORT; NULL: none. */
static const char *namesake(const struct cni_doctor *doctor, const json_t *mine, const char *guid)
{
    const json_t *device, *port;
    const char *found = NULL;
    size_t index, number;
    json_array_foreach(json_object_get(doctor->inventory, "rdma"), index, device)
    {
        json_array_foreach(json_object_get(device, "ports"), number, port)
        {
            if (!found && port != mine && is_infiniband(port) && strcmp(guid_of(port), guid) == 0)
                found = cni_arena_format(doctor->arena, "%s:%d", cni_doctor_text_of(device, "name"),
                                         (int)json_integer_value(json_object_get(port, "port")));
        }
    }
    return found;
}

static void check_port_guid(struct cni_doctor *doctor, const char *name, const json_t *port)
{
    const char *guid = guid_of(port), *other = *guid ? namesake(doctor, port, guid) : NULL;
    int number = (int)json_integer_value(json_object_get(port, "port"));
    if (!*guid)
        cni_doctor_bad(doctor, CNI_CHECK_port_guid, CNI_ERROR, "%s:%d has none in GID 0", name,
                       number);
    else if (other)
        cni_doctor_bad(doctor, CNI_CHECK_port_guid, CNI_ERROR, "%s:%d has %s, and so has %s", name,
                       number, guid, other);
    else
        cni_doctor_good(doctor, CNI_CHECK_port_guid, "%s:%d has %s", name, number, guid);
}

static void check_port(struct cni_doctor *doctor, const json_t *device, const json_t *port)
{
    const char *state = cni_doctor_text_of(port, "state"),
               *name = cni_doctor_text_of(device, "name");
    bool infiniband = is_infiniband(port);
    const json_t *manager = json_object_get(port, "sm_lid");
    int number = (int)json_integer_value(json_object_get(port, "port"));
    if (strcmp(state, "ACTIVE") == 0)
        cni_doctor_good(doctor, CNI_CHECK_port_state, "%s:%d is ACTIVE, %s", name, number,
                        cni_doctor_text_of(port, "rate"));
    else
        cni_doctor_bad(doctor, CNI_CHECK_port_state, doctor->pod ? CNI_WARNING : CNI_ERROR,
                       "%s:%d is %s%s", name, number, *state ? state : "in no known state",
                       infiniband && json_is_integer(manager) && !json_integer_value(manager)
                           ? ", and no subnet manager has reached it"
                           : "");
    if (infiniband)
        check_port_guid(doctor, name, port);
    if (!infiniband && !is_iwarp(device) && strcmp(state, "ACTIVE") == 0)
        check_gids(doctor, name, port);
}

static void check_device(struct cni_doctor *doctor, const json_t *device)
{
    const char *guid = cni_doctor_text_of(device, "node_guid");
    const json_t *port;
    if (is_iwarp(device))
        cni_doctor_bad(
            doctor, CNI_CHECK_iwarp, CNI_NOTE, "%s is iWARP%s%s",
            cni_doctor_text_of(device, "name"), interface_of(doctor, device) ? ", of " : "",
            interface_of(doctor, device) ? cni_doctor_text_of(interface_of(doctor, device), "name")
                                         : "");
    check_provider(doctor, device);
    size_t index;
    if (strspn(guid, "0:") == strlen(guid))
        cni_doctor_bad(doctor, CNI_CHECK_node_guid, CNI_ERROR, "%s has %s",
                       cni_doctor_text_of(device, "name"), *guid ? guid : "none");
    else
        cni_doctor_good(doctor, CNI_CHECK_node_guid, "%s has %s",
                        cni_doctor_text_of(device, "name"), guid);
    json_array_foreach(json_object_get(device, "ports"), index, port)
    {
        check_port(doctor, device, port);
    }
}

/* ---- several rails -----------------------------------------------------------------------------
 */

static int64_t larger_setting(struct cni_doctor *doctor, const char *interface, const char *key)
{
    int64_t all = cni_sysfs_integer(doctor->sysfs, "/proc/sys/net/ipv4/conf/all/%s", key);
    int64_t own = cni_sysfs_integer(doctor->sysfs, "/proc/sys/net/ipv4/conf/%s/%s", interface, key);
    return all > own ? all : own;
}

static void check_arp(struct cni_doctor *doctor, const char *interface)
{
    int64_t ignore = larger_setting(doctor, interface, "arp_ignore");
    int64_t announce = larger_setting(doctor, interface, "arp_announce");
    int64_t filter = larger_setting(doctor, interface, "rp_filter");
    if (ignore < 0 || announce < 0)
        return; /* not in this namespace */
    if (ignore >= 1 && announce >= 2 && filter != 1)
        cni_doctor_good(doctor, CNI_CHECK_rails, "%s: arp_ignore %d, arp_announce %d, rp_filter %d",
                        interface, (int)ignore, (int)announce, (int)filter);
    else
        cni_doctor_bad(doctor, CNI_CHECK_rails, CNI_WARNING,
                       "%s: arp_ignore %d, arp_announce %d, rp_filter %d", interface, (int)ignore,
                       (int)announce, (int)filter);
}

static void check_rails(struct cni_doctor *doctor)
{
    const json_t *device, *first = NULL, *rails[64];
    size_t index, count = 0;
    json_array_foreach(json_object_get(doctor->inventory, "rdma"), index, device)
    {
        const json_t *netdev = interface_of(doctor, device);
        if (netdev && count < 64 && strcmp(cni_doctor_text_of(netdev, "kind"), "ethernet") == 0)
            rails[count++] = netdev;
    }
    for (size_t i = 0; count > 1 && i < count; i++) {
        const json_t *mtu = json_object_get(rails[i], "mtu");
        check_arp(doctor, cni_doctor_text_of(rails[i], "name"));
        if (!first && json_is_integer(mtu))
            first = rails[i];
        if (first && json_is_integer(mtu) && !json_equal(mtu, json_object_get(first, "mtu")))
            cni_doctor_bad(doctor, CNI_CHECK_mtu, CNI_WARNING, "%s has %d, %s has %d",
                           cni_doctor_text_of(first, "name"),
                           (int)json_integer_value(json_object_get(first, "mtu")),
                           cni_doctor_text_of(rails[i], "name"), (int)json_integer_value(mtu));
    }
}

/* ---- lossless priorities -----------------------------------------------------------------------
 */

static void check_class(struct cni_doctor *doctor)
{
    const char *text = cni_doctor_variable(doctor, "SHOAL_IB_TRAFFIC_CLASS");
    const json_t *device;
    size_t index;
    long class = text ? strtol(text, NULL, 10) : LOSSLESS_UNKNOWN;
    if (class < 0 || class > 255)
        return;
    json_array_foreach(json_object_get(doctor->inventory, "rdma"), index, device)
    {
        const json_t *netdev = interface_of(doctor, device), *qos = json_object_get(netdev, "qos");
        const char *pfc = cni_doctor_text_of(qos, "pfc"), *trust = cni_doctor_text_of(qos, "trust");
        long priority = class >> 5;
        if (!*pfc)
            continue;
        if (strlen(pfc) == 15 && pfc[priority * 2] == '1' && strcmp(trust, "dscp") == 0)
            cni_doctor_good(doctor, CNI_CHECK_traffic_class, "%s: class %ld, priority %ld, pfc %s",
                            cni_doctor_text_of(netdev, "name"), class, priority, pfc);
        else
            cni_doctor_bad(doctor, CNI_CHECK_traffic_class, CNI_WARNING,
                           "%s: class %ld is priority %ld, but pfc is %s and trust is %s",
                           cni_doctor_text_of(netdev, "name"), class, priority, pfc,
                           *trust ? trust : "unknown");
    }
}

void cni_doctor_devices(struct cni_doctor *doctor)
{
    const json_t *device;
    size_t index;
    check_nodes(doctor);
    json_array_foreach(json_object_get(doctor->inventory, "rdma"), index, device)
    {
        bool given = !doctor->pod || has_node(doctor, cni_doctor_text_of(device, "uverbs"));
        if (given) /* those of other pods are none of ours */
            check_device(doctor, device);
    }
    check_rails(doctor);
    check_class(doctor);
}
