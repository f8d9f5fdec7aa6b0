/*
 * Keys that CNI plugins read, with the values they take. Plugins ignore all others in silence.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "keys.h"

#include "core/suggest.h"

#include <string.h>
#include <strings.h>

#define KEYS_MAX 24 /* with the one that ends them */

struct plugin {
    const char *type;
    struct cni_key keys[KEYS_MAX];
};

/* clang-format off */
static const struct cni_key common[] = {
    {"cniVersion", CNI_TEXT, NULL, 0, 0}, {"cniVersions", CNI_LIST, NULL, 0, 0},
    {"name", CNI_TEXT, NULL, 0, 0}, {"type", CNI_TEXT, NULL, 0, 0},
    {"capabilities", CNI_MAP, NULL, 0, 0}, {"dns", CNI_MAP, NULL, 0, 0},
    {"args", CNI_MAP, NULL, 0, 0}, {"deviceID", CNI_TEXT, NULL, 0, 0},
    {"pciBusID", CNI_TEXT, "=pci", 0, 0}, CNI_KEY_END,
};

static const struct plugin plugins[] = {
    {"sriov", {
        {"vlan", CNI_INT, NULL, 0, 4094}, {"vlanQoS", CNI_INT, NULL, 0, 7},
        {"vlanProto", CNI_TEXT, "~802.1q|802.1ad", 0, 0}, {"mac", CNI_TEXT, "=mac", 0, 0},
        {"spoofchk", CNI_TEXT, "on|off", 0, 0}, {"trust", CNI_TEXT, "on|off", 0, 0},
        {"link_state", CNI_TEXT, "auto|enable|disable", 0, 0},
        {"min_tx_rate", CNI_INT, NULL, 0, 0}, {"max_tx_rate", CNI_INT, NULL, 0, 0},
        {"logLevel", CNI_TEXT, NULL, 0, 0}, {"logFile", CNI_TEXT, NULL, 0, 0},
        {"ipam", CNI_MAP, NULL, 0, 0}}},
    {"rdma", {{"ipam", CNI_MAP, NULL, 0, 0}}},
    {"ib-sriov", {
        {"pkey", CNI_TEXT, NULL, 0, 0}, {"link_state", CNI_TEXT, "auto|enable|disable", 0, 0},
        {"rdmaIsolation", CNI_BOOL, NULL, 0, 0}, {"ibKubernetesEnabled", CNI_BOOL, NULL, 0, 0},
        {"vfioPciMode", CNI_BOOL, NULL, 0, 0}, {"ipam", CNI_MAP, NULL, 0, 0}}},
    {"ipoib", {
        {"master", CNI_TEXT, NULL, 0, 0}, {"mtu", CNI_INT, NULL, 0, 65520},
        {"ipam", CNI_MAP, NULL, 0, 0}}},
    {"macvlan", {
        {"master", CNI_TEXT, NULL, 0, 0}, {"mode", CNI_TEXT, "bridge|private|vepa|passthru", 0, 0},
        {"mtu", CNI_INT, NULL, 0, 65535}, {"mac", CNI_TEXT, "=mac", 0, 0},
        {"bcqueuelen", CNI_INT, NULL, 0, 0}, {"linkInContainer", CNI_BOOL, NULL, 0, 0},
        {"ipam", CNI_MAP, NULL, 0, 0}}},
    {"ipvlan", {
        {"master", CNI_TEXT, NULL, 0, 0}, {"mode", CNI_TEXT, "l2|l3|l3s", 0, 0},
        {"mtu", CNI_INT, NULL, 0, 65535}, {"linkInContainer", CNI_BOOL, NULL, 0, 0},
        {"ipam", CNI_MAP, NULL, 0, 0}}},
    {"host-device", {
        {"device", CNI_TEXT, NULL, 0, 0}, {"hwaddr", CNI_TEXT, "=mac", 0, 0},
        {"kernelpath", CNI_TEXT, NULL, 0, 0}, {"ipam", CNI_MAP, NULL, 0, 0}}},
    {"tuning", {
        {"sysctl", CNI_MAP, "=texts", 0, 0}, {"mac", CNI_TEXT, "=mac", 0, 0},
        {"mtu", CNI_INT, NULL, 0, 65535}, {"promisc", CNI_BOOL, NULL, 0, 0},
        {"allmulti", CNI_BOOL, NULL, 0, 0}, {"txQLen", CNI_INT, NULL, 0, 0},
        {"dataDir", CNI_TEXT, NULL, 0, 0}, {"ipam", CNI_MAP, NULL, 0, 0}}},
    {"sbr", {
        {"table", CNI_INT, NULL, 0, 0}, {"gateways", CNI_LIST, NULL, 0, 0},
        {"ipam", CNI_MAP, NULL, 0, 0}}},
    /* IPAM plugins, whose keys stand in the object `ipam`. */
    {"ipam:host-local", {
        {"subnet", CNI_TEXT, NULL, 0, 0}, {"ranges", CNI_LIST, NULL, 0, 0},
        {"rangeStart", CNI_TEXT, NULL, 0, 0}, {"rangeEnd", CNI_TEXT, NULL, 0, 0},
        {"gateway", CNI_TEXT, NULL, 0, 0}, {"routes", CNI_LIST, NULL, 0, 0},
        {"dataDir", CNI_TEXT, NULL, 0, 0}, {"resolvConf", CNI_TEXT, NULL, 0, 0}}},
    {"ipam:static", {{"addresses", CNI_LIST, NULL, 0, 0}, {"routes", CNI_LIST, NULL, 0, 0}}},
    {"ipam:nv-ipam", {
        {"poolName", CNI_TEXT, NULL, 0, 0}, {"poolType", CNI_TEXT, "~ippool|cidrpool", 0, 0},
        {"daemonSocket", CNI_TEXT, NULL, 0, 0}, {"confDir", CNI_TEXT, NULL, 0, 0},
        {"daemonCallTimeoutSeconds", CNI_INT, NULL, 0, 0}, {"logFile", CNI_TEXT, NULL, 0, 0},
        {"logLevel", CNI_TEXT, NULL, 0, 0}}},
    {"ipam:whereabouts", {
        {"range", CNI_TEXT, NULL, 0, 0}, {"range_start", CNI_TEXT, NULL, 0, 0},
        {"range_end", CNI_TEXT, NULL, 0, 0}, {"exclude", CNI_LIST, NULL, 0, 0},
        {"ipRanges", CNI_LIST, NULL, 0, 0}, {"gateway", CNI_TEXT, NULL, 0, 0},
        {"routes", CNI_LIST, NULL, 0, 0}, {"addresses", CNI_LIST, NULL, 0, 0},
        {"node_slice_size", CNI_NULL, NULL, 0, 0}, {"network_name", CNI_TEXT, NULL, 0, 0},
        {"enable_overlapping_ranges", CNI_BOOL, NULL, 0, 0}, {"datastore", CNI_TEXT, NULL, 0, 0},
        {"kubernetes", CNI_MAP, NULL, 0, 0}, {"configuration_path", CNI_TEXT, NULL, 0, 0},
        {"log_file", CNI_TEXT, NULL, 0, 0}, {"log_level", CNI_TEXT, NULL, 0, 0},
        {"sleep_for_race", CNI_INT, NULL, 0, 0}, {"leader_lease_duration", CNI_INT, NULL, 0, 0},
        {"leader_renew_deadline", CNI_INT, NULL, 0, 0},
        {"leader_retry_period", CNI_INT, NULL, 0, 0}}},
};
/* clang-format on */

/* Plugins that exist, whose keys are not checked here. */
static const char *const unchecked[] = {"bridge",
                                        "ptp",
                                        "vlan",
                                        "bond",
                                        "loopback",
                                        "dummy",
                                        "portmap",
                                        "bandwidth",
                                        "firewall",
                                        "vrf",
                                        "tap",
                                        "ovs",
                                        "calico",
                                        "dhcp",
                                        "flannel",
                                        "cilium-cni",
                                        "multus",
                                        "ipam:dhcp",
                                        "gke",
                                        "aws-cni",
                                        "accelerated-bridge",
                                        "route-override",
                                        NULL};

/* Keys of the protocol, which the runtime writes when it calls the plugin. */
static bool is_reserved(const char *key)
{
    return strcasecmp(key, "runtimeConfig") == 0 || strcasecmp(key, "prevResult") == 0 ||
           strncmp(key, "cni.dev/", 8) == 0;
}

static void report_unknown(struct cni_check *check, const struct plugin *plugin,
                           const struct cni_node *value, const char *type)
{
    if (is_reserved(value->key))
        cni_find(check->findings, CNI_RULE_cni_reserved, value,
                 "%.60s is written by the runtime, and not read from here", value->key);
    else if (strcmp(type, "ipoib") == 0 &&
             (strcasecmp(value->key, "mode") == 0 || strcasecmp(value->key, "pkey") == 0))
        cni_find(check->findings, CNI_RULE_ipoib_inherited, value,
                 "ipoib has no key %s: the link inherits it from its master", value->key);
    else if (strcmp(type, "whereabouts") == 0 && strncmp(value->key, "etcd_", 5) == 0)
        cni_find(check->findings, CNI_RULE_whereabouts_etcd, value,
                 "%.60s belongs to a data store that whereabouts no longer has", value->key);
    else
        cni_check_key_unknown(check, plugin->keys, value, type);
}

static const struct plugin *find_plugin(const char *type)
{
    for (size_t i = 0; i < sizeof(plugins) / sizeof(plugins[0]); i++)
        if (strcmp(plugins[i].type, type) == 0)
            return &plugins[i];
    return NULL;
}

/* The names of plugins on one side of the prefix that marks IPAM. */
static const char *suggest_type(const char *type)
{
    const char *names[64] = {NULL};
    size_t count = 0;
    bool ipam = strncmp(type, "ipam:", 5) == 0;
    for (size_t i = 0; i < sizeof(plugins) / sizeof(plugins[0]); i++)
        if ((strncmp(plugins[i].type, "ipam:", 5) == 0) == ipam)
            names[count++] = plugins[i].type;
    const char *near = shl_suggest(type, names);
    return near && ipam ? near + 5 : near;
}

void cni_check_plugin_keys(struct cni_check *check, const struct cni_node *plugin, const char *type)
{
    const struct plugin *known = find_plugin(type);
    const char *plain = strncmp(type, "ipam:", 5) == 0 ? type + 5 : type;
    if (!known) {
        for (const char *const *name = unchecked; *name; name++)
            if (strcmp(*name, type) == 0)
                return;
        const char *near = suggest_type(type);
        cni_find(check->findings, CNI_RULE_cni_plugin, cni_get_nocase(plugin, "type"),
                 "the plugin %.60s is not known here%s%s%s: its keys were not checked", plain,
                 near ? ", did you mean " : "", near ? near : "", near ? "?" : "");
        return;
    }
    CNI_EACH(value, plugin)
    {
        const struct cni_key *key = cni_key_find(known->keys, value->key);
        if (!key)
            key = cni_key_find(common, value->key);
        if (key)
            cni_check_key(check, key, value, plain);
        else
            report_unknown(check, known, value, plain);
    }
}
