/*
 * Configurations of device plugins: JSON in a ConfigMap, or in a NicClusterPolicy.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "check.h"

#include <ctype.h>
#include <string.h>

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
    const struct cni_node *most = cni_get_nocase(entry, "rdmaHcaMax");
    if (shared && (selectors != NULL) == (devices != NULL))
        cni_find(check->findings, CNI_RULE_device_selectors, entry,
                 "%s: the plugin takes exactly one",
                 devices ? "both selectors and devices" : "neither selectors nor devices");
    if (most && (most->kind != CNI_INT || most->integer < 0))
        cni_find(check->findings, CNI_RULE_cni_value, most, "rdmaHcaMax is no number from 0");
    bool list = selectors && selectors->kind == CNI_LIST;
    for (const struct cni_node *one = list ? selectors->first : selectors; one;
         one = list ? one->next : NULL) {
        const struct cni_node *rdma = cni_get_nocase(one, "isRdma");
        const struct cni_node *vdpa = cni_get_nocase(one, "vdpaType");
        if (rdma && rdma->integer && vdpa && *vdpa->text)
            cni_find(check->findings, CNI_RULE_policy_driver, rdma, "isRdma with vdpaType");
    }
}

static void check_json(struct cni_check *check, struct cni_node *text)
{
    if (!strstr(text->text, "resourceList") && !strstr(text->text, "configList"))
        return;
    const struct cni_node *root = cni_check_json(check, text);
    const struct cni_node *shared = cni_get_nocase(root, "configList");
    const struct cni_node *list = shared ? shared : cni_get_nocase(root, "resourceList");
    CNI_EACH(entry, list)
    {
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
