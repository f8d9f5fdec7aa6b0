/*
 * Objects that describe networks: NetworkAttachmentDefinition, and the operators' kinds that one is
 * made from.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "check.h"

#include <string.h>

#define RESOURCE_ANNOTATION "k8s.v1.cni.cncf.io/resourceName"

static struct cni_node *resource_annotation(const struct cni_node *object)
{
    return cni_get(cni_get(cni_get(object, "metadata"), "annotations"), RESOURCE_ANNOTATION);
}

void cni_check_attachment(struct cni_check *check, const struct cni_node *object)
{
    struct cni_node *config = cni_at(object, "spec.config");
    struct cni_network *network = cni_check_add_network(check, object);
    const struct cni_node *resource = resource_annotation(object);
    network->space = cni_metadata_text(object, "namespace");
    network->resource = cni_text(resource);
    if (network->resource && !strchr(network->resource, '/'))
        cni_find(check->findings, CNI_RULE_resource_name, resource,
                 "the resource \"%.80s\" has no prefix such as nvidia.com/", network->resource);
    if (!cni_text(config) || !*config->text) {
        cni_find(check->findings, CNI_RULE_nad_empty, config ? config : object,
                 "no spec.config: multus looks for a file of this name on each node");
        return;
    }
    struct cni_node *root = cni_check_json(check, config);
    if (root)
        cni_check_config(check, network, root, true);
}

void cni_check_bare_config(struct cni_check *check, struct cni_node *config)
{
    struct cni_network *network = cni_check_add_network(check, config);
    network->name = cni_text(cni_get_nocase(config, "name"));
    if (!network->name)
        network->name = "";
    cni_check_config(check, network, config, false);
}

/* Plugins behind the operator's own, separated by commas; the operator puts brackets around. */
static void check_meta_plugins(struct cni_check *check, struct cni_network *network,
                               const struct cni_node *meta, const char *type)
{
    struct cni_node list = *meta;
    list.text = cni_arena_format(check->arena, "[%s]", meta->text);
    const struct cni_node *root = cni_check_json(check, &list);
    CNI_EACH(plugin, root)
    {
        const struct cni_node *name = cni_get_nocase(plugin, "type");
        if (!cni_text(name)) {
            cni_find(check->findings, CNI_RULE_cni_missing, plugin, "a plugin without type");
            continue;
        }
        cni_check_plugin_keys(check, plugin, name->text);
        network->routed |= cni_is(name, "sbr");
        if (!cni_is(name, "rdma"))
            continue;
        network->exclusive = true;
        network->exclusive_by = "metaPlugins";
        if (network->carrier == CNI_CARRIES_SHARED)
            cni_find(check->findings, CNI_RULE_mode_chain, name,
                     "rdma moves a device into the pod, but %s leaves it in the host", type);
    }
}

/* The texts with JSON of the operators' kinds. */
static void check_texts(struct cni_check *check, struct cni_network *network,
                        const struct cni_node *spec, const char *type)
{
    struct cni_node *ipam = cni_get(spec, "ipam"), *meta = cni_get(spec, "metaPlugins"), *root;
    if (ipam && ipam->kind == CNI_TEXT && *ipam->text) {
        root = cni_check_json(check, ipam);
        if (root && root->count) {
            if (cni_is(cni_get_nocase(root, "type"), "dhcp") && strcmp(type, "ipoib") == 0)
                cni_find(check->findings, CNI_RULE_infiniband_dhcp, ipam, "ipoib with dhcp");
            cni_check_ipam(check, network, root);
        }
    } else {
        cni_find(check->findings, CNI_RULE_no_ipam, ipam ? ipam : spec,
                 "%s without ipam: the link gets no address", type);
    }
    if (cni_text(meta) && meta->text[strspn(meta->text, " \t\n")])
        check_meta_plugins(check, network, meta, type);
}

void cni_check_operator_network(struct cni_check *check, const struct cni_node *object)
{
    struct cni_network *network = cni_check_add_network(check, object);
    const struct cni_node *spec = cni_get(object, "spec"), *mtu = cni_get(spec, "mtu");
    const char *type = cni_has_kind(object, "IPoIBNetwork")     ? "ipoib"
                       : cni_has_kind(object, "MacvlanNetwork") ? "macvlan"
                       : cni_has_kind(object, "SriovIBNetwork") ? "ib-sriov"
                       : cni_has_kind(object, "SriovNetwork")   ? "sriov"
                                                                : "host-device";
    bool shared = strcmp(type, "ipoib") == 0 || strcmp(type, "macvlan") == 0;
    const struct cni_node *master = cni_get(spec, "master");
    network->carrier = shared ? CNI_CARRIES_SHARED : CNI_CARRIES_DEVICE;
    network->space = cni_text_at(spec, "networkNamespace");
    if (!network->space)
        network->space = "";
    network->resource = cni_text_at(spec, "resourceName");
    network->any_prefix = network->resource && !strchr(network->resource, '/');
    network->mtu = mtu && mtu->kind == CNI_INT ? mtu->integer : 0;
    if (shared && (!master || !*master->text))
        cni_find(check->findings,
                 strcmp(type, "ipoib") == 0 ? CNI_RULE_cni_missing : CNI_RULE_default_master,
                 spec ? spec : object, "%s has no master", type);
    cni_check_master(check, master, type);
    if (spec)
        check_texts(check, network, spec, type);
}
