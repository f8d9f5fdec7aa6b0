/*
 * Configurations of device plugins: JSON in a ConfigMap, or in a NicClusterPolicy.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "keys.h"

#include <ctype.h>
#include <string.h>

/* clang-format off */
static const struct cni_key shared_root[] = {
    {"periodicUpdateInterval", CNI_INT, NULL, 0, 0}, {"configList", CNI_LIST, NULL, 0, 0},
    CNI_KEY_END};
static const struct cni_key shared_entry[] = {
    {"resourceName", CNI_TEXT, NULL, 0, 0}, {"resourcePrefix", CNI_TEXT, NULL, 0, 0},
    {"rdmaHcaMax", CNI_INT, NULL, 0, 0}, {"devices", CNI_LIST, "=texts", 0, 0},
    {"selectors", CNI_MAP, NULL, 0, 0}, CNI_KEY_END};
static const struct cni_key shared_selectors[] = {
    {"vendors", CNI_LIST, "=texts", 0, 0}, {"deviceIDs", CNI_LIST, "=texts", 0, 0},
    {"drivers", CNI_LIST, "=texts", 0, 0}, {"ifNames", CNI_LIST, "=texts", 0, 0},
    {"linkTypes", CNI_LIST, "=texts", 0, 0}, CNI_KEY_END};
static const struct cni_key sriov_root[] = {
    {"resourceList", CNI_LIST, NULL, 0, 0}, CNI_KEY_END};
static const struct cni_key sriov_entry[] = {
    {"resourceName", CNI_TEXT, NULL, 0, 0}, {"resourcePrefix", CNI_TEXT, NULL, 0, 0},
    {"deviceType", CNI_TEXT, "netDevice|accelerator|auxNetDevice", 0, 0},
    {"excludeTopology", CNI_BOOL, NULL, 0, 0}, {"selectors", CNI_NULL, NULL, 0, 0},
    {"additionalInfo", CNI_MAP, NULL, 0, 0}, CNI_KEY_END};
static const struct cni_key sriov_selectors[] = {
    {"vendors", CNI_LIST, "=texts", 0, 0}, {"devices", CNI_LIST, "=texts", 0, 0},
    {"drivers", CNI_LIST, "=texts", 0, 0}, {"pciAddresses", CNI_LIST, "=texts", 0, 0},
    {"pfNames", CNI_LIST, "=texts", 0, 0}, {"rootDevices", CNI_LIST, "=texts", 0, 0},
    {"linkTypes", CNI_LIST, "=texts", 0, 0}, {"acpiIndexes", CNI_LIST, "=texts", 0, 0},
    {"isRdma", CNI_BOOL, NULL, 0, 0}, {"needVhostNet", CNI_BOOL, NULL, 0, 0},
    {"ddpProfiles", CNI_LIST, "=texts", 0, 0}, {"vdpaType", CNI_TEXT, NULL, 0, 0},
    {"pKeys", CNI_LIST, "=texts", 0, 0}, {"auxTypes", CNI_LIST, "=texts", 0, 0}, CNI_KEY_END};
/* clang-format on */

/* What the kubelet takes before the slash: a name of DNS. */
static bool is_prefix(const char *text)
{
    bool begins = true; /* a label */
    for (const char *c = text; *c; c++) {
        bool good = islower((unsigned char)*c) || isdigit((unsigned char)*c);
        if (!good && (begins || (*c != '-' && *c != '.') || !c[1] || (*c == '.' && c[-1] == '-')))
            return false;
        begins = *c == '.';
    }
    return *text;
}

/* The two plugins differ; this is what both accept, dash apart for the first. */
static void check_name(struct cni_check *check, const struct cni_node *entry, bool shared)
{
    const struct cni_node *name = cni_get_nocase(entry, "resourceName");
    const char *text = cni_text(name);
    if (!text) {
        cni_find(check->findings, CNI_RULE_cni_missing, name ? name : entry,
                 "a resource without resourceName");
        return;
    }
    bool good = isalnum((unsigned char)*text);
    for (const char *c = text; *c; c++)
        good = good && (isalnum((unsigned char)*c) || *c == '_' || (!shared && *c == '-'));
    if (!good)
        cni_find(check->findings, CNI_RULE_resource_name, name,
                 "resourceName \"%.80s\": the plugin ends unless it is letters, digits and _%s",
                 text, shared ? "" : " or -");
}

static void check_selectors(struct cni_check *check, const struct cni_node *entry, bool shared)
{
    const struct cni_node *selectors = cni_get_nocase(entry, "selectors");
    const struct cni_node *devices = cni_get_nocase(entry, "devices");
    if (shared && (selectors != NULL) == (devices != NULL))
        cni_find(check->findings, CNI_RULE_device_selectors, entry,
                 "%s: the plugin takes exactly one",
                 devices ? "both selectors and devices" : "neither selectors nor devices");
    const char *prefix = cni_text(cni_get_nocase(entry, "resourcePrefix"));
    if (prefix && *prefix && !is_prefix(prefix))
        cni_find(check->findings, CNI_RULE_resource_name, cni_get_nocase(entry, "resourcePrefix"),
                 "the kubelet refuses the prefix \"%.80s\": it is a DNS name such as nvidia.com",
                 prefix);
    bool list = selectors && selectors->kind == CNI_LIST;
    for (const struct cni_node *one = list ? selectors->first : selectors; one;
         one = list ? one->next : NULL) {
        const struct cni_node *rdma = cni_get_nocase(one, "isRdma");
        const struct cni_node *vdpa = cni_get_nocase(one, "vdpaType");
        if (rdma && rdma->integer && vdpa && *vdpa->text)
            cni_find(check->findings, CNI_RULE_policy_driver, rdma, "isRdma with vdpaType");
        cni_check_keys(check, shared ? shared_selectors : sriov_selectors, one,
                       "selectors of the device plugin");
        CNI_EACH(address, cni_get_nocase(one, "pciAddresses"))
        {
            if (strlen(address->text) == 12 && strncmp(address->text, "0000:", 5) != 0)
                cni_find(check->findings, CNI_RULE_cni_value, address,
                         "pciAddresses has %.40s; the plugin takes PCI domain 0000 only",
                         address->text);
        }
    }
}

static void check_json(struct cni_check *check, struct cni_node *text)
{
    if (!strstr(text->text, "resourceList") && !strstr(text->text, "configList"))
        return;
    const struct cni_node *root = cni_check_json(check, text);
    const struct cni_node *shared = cni_get_nocase(root, "configList");
    const struct cni_node *list = shared ? shared : cni_get_nocase(root, "resourceList");
    cni_check_keys(check, shared ? shared_root : sriov_root, root, "the device plugin");
    CNI_EACH(entry, list)
    {
        cni_check_keys(check, shared ? shared_entry : sriov_entry, entry,
                       "a resource of the device plugin");
        check_name(check, entry, shared != NULL);
        check_selectors(check, entry, shared != NULL);
        CNI_EACH(other, list)
        {
            const char *name = cni_text(cni_get_nocase(entry, "resourceName"));
            const char *prefix = cni_text(cni_get_nocase(entry, "resourcePrefix"));
            const char *others = cni_text(cni_get_nocase(other, "resourcePrefix"));
            if (other->index < entry->index && name &&
                cni_is(cni_get_nocase(other, "resourceName"), name) &&
                strcmp(prefix ? prefix : "", others ? others : "") == 0)
                cni_find(check->findings, CNI_RULE_resource_twice, entry,
                         "the resource %.80s is listed twice", name);
        }
    }
}

void cni_check_device_plugins(struct cni_check *check, const struct cni_node *object)
{
    static const char *const parts[] = {"spec.sriovDevicePlugin.config",
                                        "spec.rdmaSharedDevicePlugin.config"};
    CNI_EACH(entry, cni_get(object, "data"))
    {
        if (entry->kind == CNI_TEXT)
            check_json(check, entry);
    }
    for (size_t i = 0; i < 2; i++) {
        struct cni_node *config = cni_at(object, parts[i]);
        if (cni_text(config))
            check_json(check, config);
    }
}
