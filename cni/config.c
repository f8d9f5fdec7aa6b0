/*
 * A CNI configuration or list: what libcni asks of it, and the chain of its plugins.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "keys.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>

#define INTERFACE_MAX 15
#define CHAINS_SINCE 2 /* of the versions that are known */

/* Beside the plugins of a list. */
static const struct cni_key list_keys[] = {
    {"cniVersion", CNI_TEXT, NULL, 0, 0},
    {"cniVersions", CNI_LIST, "=texts", 0, 0},
    {"name", CNI_TEXT, NULL, 0, 0},
    {"plugins", CNI_NULL, NULL, 0, 0},
    {"disableCheck", CNI_NULL, NULL, 0, 0},
    {"disableGC", CNI_NULL, NULL, 0, 0},
    {"loadOnlyInlinedPlugins", CNI_BOOL, NULL, 0, 0},
    CNI_KEY_END,
};

static void check_version(struct cni_check *check, const struct cni_node *config)
{
    static const char *const known[] = {"0.1.0", "0.2.0", "0.3.0", "0.3.1",
                                        "0.4.0", "1.0.0", "1.1.0"};
    const struct cni_node *version = cni_get_nocase(config, "cniVersion");
    if (!version) {
        cni_find(check->findings, CNI_RULE_cni_version, config,
                 "no cniVersion: the runtime takes 0.1.0 or 0.2.0, without chains or routes");
        return;
    }
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        if (!cni_is(version, known[i]))
            continue;
        const struct cni_node *list = cni_get_nocase(config, "plugins");
        if (i < CHAINS_SINCE && list && list->count > 1)
            cni_find(check->findings, CNI_RULE_cni_version, version,
                     "cniVersion %s has no chains; they came with 0.3.0", version->text);
        return;
    }
    cni_find(check->findings, CNI_RULE_cni_version, version,
             "cniVersion %.40s is none of 0.1.0 to 1.1.0", version->text);
}

static void check_name(struct cni_check *check, const struct cni_node *config, bool named)
{
    const struct cni_node *name = cni_get_nocase(config, "name");
    const char *text = cni_text(name);
    if (!name) {
        cni_find(check->findings, CNI_RULE_cni_name, config, "no name%s",
                 named ? ": multus takes that of the object, other runtimes refuse it" : "");
        return;
    }
    bool good = text && isalnum((unsigned char)*text);
    for (const char *c = text; good && *c; c++)
        good = isalnum((unsigned char)*c) || strchr("_.-", *c);
    if (!good)
        cni_find(check->findings, CNI_RULE_cni_name_value, name,
                 "the name \"%.60s\" does not match [a-zA-Z0-9][a-zA-Z0-9_.-]*", name->text);
}

static bool starts_like_infiniband(const char *name)
{
    return name[0] == 'i' && name[1] == 'b' && name[2];
}

/* Names that the kernel, udev and the cloud providers give to Ethernet. */
static bool starts_like_ethernet(const char *name)
{
    static const char *const starts[] = {"eth",  "eno", "ens", "enp", "enP",  "enx", "em",
                                         "bond", "br",  "lo",  "wl",  "vlan", "p1p", "p2p"};
    for (size_t i = 0; i < sizeof(starts) / sizeof(starts[0]); i++)
        if (strncmp(name, starts[i], strlen(starts[i])) == 0)
            return true;
    return false;
}

static bool is_interface_name(const char *name)
{
    size_t length = strlen(name);
    return length && length <= INTERFACE_MAX && strcmp(name, ".") != 0 && strcmp(name, "..") != 0 &&
           strpbrk(name, "/: \t\n") == NULL;
}

void cni_check_master(struct cni_check *check, const struct cni_node *master, const char *type)
{
    const char *name = cni_text(master);
    if (!name || !*name)
        return;
    if (!is_interface_name(name))
        cni_find(check->findings, CNI_RULE_interface_name, master,
                 "\"%.60s\" cannot be an interface: at most 15 bytes without / : and blanks", name);
    else if (cni_check_master_on_nodes(check, master, type))
        return;
    else if (strcmp(type, "ipoib") == 0 && starts_like_ethernet(name))
        cni_find(check->findings, CNI_RULE_ipoib_master, master,
                 "the master %s is Ethernet by its name; ipoib needs an IPoIB link such as ib0",
                 name);
    else if (strcmp(type, "ipoib") != 0 && starts_like_infiniband(name))
        cni_find(check->findings, CNI_RULE_ethernet_master, master,
                 "the master %s is InfiniBand by its name; %s needs Ethernet", name, type);
}

static bool needs_device(const char *type)
{
    return strcmp(type, "sriov") == 0 || strcmp(type, "ib-sriov") == 0;
}

static void check_required(struct cni_check *check, const struct cni_network *network,
                           const struct cni_node *plugin, const char *type, bool chained)
{
    const char *name = cni_text(cni_get_nocase(plugin, "master"));
    bool master = name && *name;
    bool given = network->resource || cni_get_nocase(plugin, "deviceID");
    if (strcmp(type, "ipoib") == 0 && !master)
        cni_find(check->findings, CNI_RULE_cni_missing, plugin, "ipoib has no master");
    if ((strcmp(type, "macvlan") == 0 || strcmp(type, "ipvlan") == 0) && !master)
        cni_find(check->findings, CNI_RULE_default_master, plugin,
                 "%s has no master: it takes the interface of the default route", type);
    if (needs_device(type) && !given)
        cni_find(check->findings, CNI_RULE_device_missing, plugin,
                 "%s gets no device: no resourceName annotation, and no deviceID", type);
    if (strcmp(type, "ipvlan") == 0 && !chained && !cni_get_nocase(plugin, "ipam"))
        cni_find(check->findings, CNI_RULE_cni_missing, plugin, "ipvlan has no ipam");
    if (strcmp(type, "host-device") == 0) {
        static const char *const selectors[] = {"device", "hwaddr", "kernelpath", "pciBusID"};
        size_t count = network->resource || cni_get_nocase(plugin, "deviceID") ? 1 : 0;
        for (size_t i = 0; i < 4; i++)
            count += cni_get_nocase(plugin, selectors[i]) != NULL;
        if (count != 1)
            cni_find(check->findings, CNI_RULE_host_device, plugin,
                     "host-device is told %zu devices; it needs exactly one of device, hwaddr, "
                     "kernelpath, pciBusID, or a resourceName annotation",
                     count);
    }
}

static int64_t integer_of(const struct cni_node *plugin, const char *key, int64_t otherwise)
{
    const struct cni_node *node = cni_get_nocase(plugin, key);
    return node && node->kind == CNI_INT ? node->integer : otherwise;
}

static void check_sriov(struct cni_check *check, const struct cni_node *plugin)
{
    const struct cni_node *qos = cni_get_nocase(plugin, "vlanQoS");
    const struct cni_node *proto = cni_get_nocase(plugin, "vlanProto");
    const struct cni_node *low = cni_get_nocase(plugin, "min_tx_rate");
    int64_t vlan = integer_of(plugin, "vlan", -1);
    int64_t max = integer_of(plugin, "max_tx_rate", 0);
    if (qos && (vlan < 0 || (vlan == 0 && qos->integer > 0)))
        cni_find(check->findings, CNI_RULE_sriov_vlan, qos, "vlanQoS without a vlan above 0");
    if (proto && (vlan < 0 || (vlan == 0 && strcasecmp(proto->text, "802.1ad") == 0)))
        cni_find(check->findings, CNI_RULE_sriov_vlan, proto, "vlanProto without a vlan above 0");
    if (low && max > 0 && low->integer > max)
        cni_find(check->findings, CNI_RULE_sriov_rate, low,
                 "min_tx_rate %lld above max_tx_rate %lld", (long long)low->integer,
                 (long long)max);
}

static void enter(struct cni_network *network, const struct cni_node *plugin, const char *type)
{
    const struct cni_node *isolation = cni_get_nocase(plugin, "rdmaIsolation");
    if (strcmp(type, "ipoib") == 0 || strcmp(type, "macvlan") == 0 || strcmp(type, "ipvlan") == 0)
        network->carrier = CNI_CARRIES_SHARED;
    else if (needs_device(type) || strcmp(type, "host-device") == 0)
        network->carrier = CNI_CARRIES_DEVICE;
    if (strcmp(type, "rdma") == 0 || (isolation && isolation->integer)) {
        network->exclusive = true;
        network->exclusive_by = strcmp(type, "rdma") == 0 ? "the plugin rdma" : "rdmaIsolation";
    }
    network->routed |= strcmp(type, "sbr") == 0;
    network->mtu = integer_of(plugin, "mtu", network->mtu);
}

static void check_addresses(struct cni_check *check, struct cni_network *network,
                            const struct cni_node *plugin, const char *type)
{
    const struct cni_node *ipam = cni_get_nocase(plugin, "ipam");
    bool infiniband = strcmp(type, "ipoib") == 0 || strcmp(type, "ib-sriov") == 0;
    if (ipam && ipam->count) {
        if (infiniband && cni_is(cni_get_nocase(ipam, "type"), "dhcp"))
            cni_find(check->findings, CNI_RULE_infiniband_dhcp, ipam, "%s with dhcp", type);
        cni_check_ipam(check, network, ipam);
    } else if (network->carrier != CNI_CARRIES_LINK &&
               (infiniband || needs_device(type) || strcmp(type, "macvlan") == 0 ||
                strcmp(type, "host-device") == 0)) {
        cni_find(check->findings, CNI_RULE_no_ipam, ipam ? ipam : plugin,
                 "%s without ipam: the link gets no address", type);
    }
}

static void check_plugin(struct cni_check *check, struct cni_network *network,
                         const struct cni_node *plugin, bool first)
{
    const struct cni_node *type_node = cni_get_nocase(plugin, "type");
    const char *type = cni_text(type_node);
    if (!type || !*type) {
        cni_find(check->findings, CNI_RULE_cni_missing, plugin, "a plugin without type");
        return;
    }
    cni_check_plugin_keys(check, plugin, type);
    check_required(check, network, plugin, type, !first);
    cni_check_master(check, cni_get_nocase(plugin, "master"), type);
    if (strcmp(type, "sriov") == 0)
        check_sriov(check, plugin);
    if (first &&
        (strcmp(type, "rdma") == 0 || strcmp(type, "tuning") == 0 || strcmp(type, "sbr") == 0))
        cni_find(check->findings, CNI_RULE_chain_first, type_node,
                 "%s comes first, but it works on what a plugin before it made", type);
    enter(network, plugin, type);
    check_addresses(check, network, plugin, type);
}

/* Plugins that give addresses by ipam only, and those that only change what others made: behind all
 * others there may be addresses. */
static bool addresses_by_ipam(const struct cni_node *type)
{
    static const char *const known[] = {
        "sriov", "ib-sriov", "ipoib",   "macvlan",  "ipvlan",    "host-device",   "bridge",
        "ptp",   "vlan",     "bond",    "tap",      "dummy",     "rdma",          "tuning",
        "sbr",   "vrf",      "portmap", "firewall", "bandwidth", "route-override"};
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
        if (cni_is(type, known[i]))
            return true;
    return false;
}

/* What plugins of one chain need of each other. */
static void check_chain(struct cni_check *check, const struct cni_node *list)
{
    const struct cni_node *rdma = NULL, *isolated = NULL, *shared = NULL;
    bool addressed = false;
    CNI_EACH(plugin, list)
    {
        const struct cni_node *type = cni_get_nocase(plugin, "type");
        const struct cni_node *ipam = cni_get_nocase(plugin, "ipam");
        if (cni_is(type, "sbr") && !addressed && plugin->index > 0)
            cni_find(check->findings, CNI_RULE_cni_missing, type,
                     "sbr routes by addresses, and no plugin before it has ipam");
        addressed |= (ipam && ipam->count) || !addresses_by_ipam(type);
        const struct cni_node *isolation = cni_get_nocase(plugin, "rdmaIsolation");
        if (cni_is(type, "rdma"))
            rdma = type;
        if (isolation && isolation->integer)
            isolated = isolation;
        if (cni_is(type, "ipoib") || cni_is(type, "macvlan") || cni_is(type, "ipvlan"))
            shared = type;
    }
    if (rdma && isolated)
        cni_find(check->findings, CNI_RULE_rdma_twice, rdma,
                 "rdmaIsolation moves the RDMA device already; rdma would move it again");
    if (rdma && shared)
        cni_find(check->findings, CNI_RULE_mode_chain, rdma,
                 "rdma moves a device into the pod, but %s leaves it in the host", shared->text);
}

static void check_list(struct cni_check *check, struct cni_network *network,
                       const struct cni_node *list)
{
    if (list->kind != CNI_LIST || !list->count)
        cni_find(check->findings, CNI_RULE_cni_missing, list,
                 "plugins is no list, or an empty one");
    cni_check_keys(check, list_keys, list->parent, "a list of plugins");
    CNI_EACH(plugin, list)
    {
        check_plugin(check, network, plugin, plugin->index == 0);
    }
    check_chain(check, list);
}

void cni_check_config(struct cni_check *check, struct cni_network *network,
                      const struct cni_node *config, bool named)
{
    const struct cni_node *list = cni_get_nocase(config, "plugins");
    if (config->kind != CNI_MAP) {
        cni_find(check->findings, CNI_RULE_cni_value, config,
                 "a configuration is an object, not %s", cni_kind_name(config));
        return;
    }
    check_version(check, config);
    check_name(check, config, named);
    if (!list)
        check_plugin(check, network, config, true);
    else
        check_list(check, network, list);
    if (network->carrier == CNI_CARRIES_SHARED)
        cni_find(check->findings, CNI_RULE_carries_no_rdma, config,
                 "this attachment brings a link, and no RDMA device");
}
