/*
 * Objects that make a plan: attachments, what offers their devices, and pools of addresses.
 *
 * Invariant: the order is fixed (policies, pools, attachments; each by rail), and nothing of the
 * time or place of the run enters.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "plan.h"

#include <stdlib.h>
#include <string.h>

#define PODS_PER_NODE 64 /* that may share one device */
#define CAPABLE_LABEL "feature.node.kubernetes.io/network-sriov.capable"

json_t *cni_generate_object(const char *api, const char *kind, const char *name, const char *space)
{
    json_t *object =
        json_pack("{s:s, s:s, s:{s:s}}", "apiVersion", api, "kind", kind, "metadata", "name", name);
    if (*space)
        json_object_set_new(json_object_get(object, "metadata"), "namespace", json_string(space));
    return object;
}

json_t *cni_generate_interfaces(const struct cni_plan *plan, const struct cni_rail *rail)
{
    json_t *list = json_array();
    for (uint32_t n = 0; n < plan->node_count; n++) {
        bool known = false;
        for (uint32_t i = 0; i < n; i++)
            known |= strcmp(rail->nics[i].netdev, rail->nics[n].netdev) == 0;
        if (!known)
            json_array_append_new(list, json_string(rail->nics[n].netdev));
    }
    return list;
}

static json_t *node_selector(const struct cni_plan *plan)
{
    json_t *labels = json_object();
    CNI_EACH(label, plan->intent->node_selector)
    {
        json_object_set_new(labels, label->key, json_string(label->text));
    }
    if (!json_object_size(labels))
        json_object_set_new(labels, CAPABLE_LABEL, json_string("true"));
    return labels;
}

/* ---- what offers devices ------------------------------------------------------------------------
 */

static json_t *node_policy(const struct cni_plan *plan, const struct cni_rail *rail)
{
    json_t *object = cni_generate_object("sriovnetwork.openshift.io/v1", "SriovNetworkNodePolicy",
                                         rail->name, plan->intent->operator_space);
    json_t *spec =
        json_pack("{s:s, s:o, s:i, s:{s:o}, s:s, s:b, s:s}", "resourceName", rail->resource,
                  "nodeSelector", node_selector(plan), "numVfs", (int)plan->intent->vf_total,
                  "nicSelector", "pfNames", cni_generate_interfaces(plan, rail), "deviceType",
                  "netdevice", "isRdma", 1, "linkType", plan->infiniband ? "ib" : "eth");
    if (plan->intent->mtu)
        json_object_set_new(spec, "mtu", json_integer(plan->intent->mtu));
    json_object_set_new(object, "spec", spec);
    return object;
}

/* The operator restarts nodes that are in another mode. */
static json_t *pool_config(const struct cni_plan *plan)
{
    json_t *object = cni_generate_object("sriovnetwork.openshift.io/v1", "SriovNetworkPoolConfig",
                                         "rdma-mode", plan->intent->operator_space);
    json_object_set_new(object, "spec",
                        json_pack("{s:s, s:{s:o}}", "rdmaMode",
                                  plan->exclusive ? "exclusive" : "shared", "nodeSelector",
                                  "matchLabels", node_selector(plan)));
    return object;
}

/* A ConfigMap whose text is JSON in a readable layout. */
static json_t *config_map(const char *name, json_t *config)
{
    json_t *object = cni_generate_object("v1", "ConfigMap", name, "kube-system");
    char *text = json_dumps(config, JSON_INDENT(2));
    json_t *lines = text ? json_sprintf("%s\n", text) : json_null();
    json_object_set_new(object, "data", json_pack("{s:o}", "config.json", lines));
    free(text);
    json_decref(config);
    return object;
}

static json_t *device_plugin(const struct cni_plan *plan)
{
    bool whole = plan->stack == CNI_STACK_HOST_DEVICE;
    json_t *list = json_array();
    for (uint32_t i = 0; i < plan->rail_count; i++) {
        const struct cni_rail *rail = &plan->rails[i];
        json_t *names = cni_generate_interfaces(plan, rail);
        json_array_append_new(
            list, whole ? json_pack("{s:s, s:s, s:{s:o, s:b}}", "resourceName", rail->resource,
                                    "resourcePrefix", cni_plan_prefix(plan), "selectors", "pfNames",
                                    names, "isRdma", 1)
                        : json_pack("{s:s, s:i, s:{s:o}}", "resourceName", rail->resource,
                                    "rdmaHcaMax", PODS_PER_NODE, "selectors", "ifNames", names));
    }
    if (plan->intent->operator_networks && plan->intent->release)
        return cni_generate_cluster_policy(
            plan, json_pack("{s:o}", whole ? "resourceList" : "configList", list));
    return config_map(whole ? "sriovdp-config" : "rdma-devices",
                      json_pack("{s:o}", whole ? "resourceList" : "configList", list));
}

/* ---- lossless priorities ------------------------------------------------------------------------
 */

static json_t *qos(const struct cni_intent *intent)
{
    char switches[] = "0,0,0,0,0,0,0,0";
    const struct cni_node *pfc = cni_get(intent->qos, "pfc"), *ecn = cni_get(intent->qos, "ecn");
    const char *trust = cni_text_at(intent->qos, "trust");
    int64_t dscp = intent->dscp >= 0 ? intent->dscp : intent->priority * 8;
    switches[intent->priority * 2] = '1';
    CNI_EACH(priority, pfc)
    {
        switches[priority->integer * 2] = '1';
    }
    json_t *settings = json_pack("{s:s, s:s, s:i}", "trust", trust ? trust : "dscp", "pfc",
                                 switches, "tos", (int)(dscp << 2));
    if (ecn && ecn->integer)
        json_object_set_new(
            settings, "ecn",
            json_pack("{s:b, s:i}", "enabled", 1, "priority", (int)intent->priority));
    return settings;
}

static json_t *nic_template(const struct cni_plan *plan, const char *type)
{
    bool functions = plan->stack == CNI_STACK_SRIOV;
    json_t *object =
        cni_generate_object("configuration.net.nvidia.com/v1alpha1", "NicConfigurationTemplate",
                            "lossless", "nvidia-network-operator");
    json_object_set_new(
        object, "spec",
        json_pack("{s:{s:s}, s:{s:i, s:s, s:{s:b, s:o}}}", "nicSelector", "nicType", type,
                  "template", "numVfs", functions ? (int)plan->intent->vf_total : 0, "linkType",
                  "Ethernet", "roceOptimized", "enabled", 1, "qos", qos(plan->intent)));
    return object;
}

/* ---- networks
 * ------------------------------------------------------------------------------------
 */

static json_t *address_pool(const struct cni_plan *plan, const struct cni_rail *rail)
{
    json_t *object =
        cni_generate_object("nv-ipam.nvidia.com/v1alpha1", "IPPool", rail->name, "kube-system");
    json_object_set_new(object, "spec",
                        json_pack("{s:s, s:i}", "subnet", rail->subnet, "perNodeBlockSize",
                                  (int)plan->intent->node_block_size));
    return object;
}

static json_t *attachment(const struct cni_plan *plan, uint32_t number)
{
    const struct cni_rail *rail = &plan->rails[number];
    json_t *object = cni_generate_object("k8s.cni.cncf.io/v1", "NetworkAttachmentDefinition",
                                         rail->name, plan->intent->space);
    json_t *config = cni_generate_config(plan, number);
    char *text = json_dumps(config, JSON_INDENT(2));
    if (cni_stack_moves_device(plan->stack))
        json_object_set_new(json_object_get(object, "metadata"), "annotations",
                            json_pack("{s:s}", "k8s.v1.cni.cncf.io/resourceName", rail->full));
    json_object_set_new(object, "spec",
                        json_pack("{s:o}", "config", json_sprintf("%s\n", text ? text : "")));
    free(text);
    json_decref(config);
    return object;
}

json_t *cni_generate(const struct cni_plan *plan)
{
    const char *file = "", *other = plan->exclusive ? "shared" : "exclusive";
    const char *nic_type = cni_plan_nic_type(plan);
    bool functions = plan->stack == CNI_STACK_SRIOV || plan->stack == CNI_STACK_IB_SRIOV;
    json_t *objects = json_array();
    if (functions && (plan->exclusive || cni_plan_nodes_in_mode(plan, other, &file)))
        json_array_append_new(objects, pool_config(plan));
    if (nic_type)
        json_array_append_new(objects, nic_template(plan, nic_type));
    if (plan->stack == CNI_STACK_DRANET) {
        cni_generate_claims(plan, objects);
        return objects;
    }
    for (uint32_t i = 0; functions && i < plan->rail_count; i++)
        json_array_append_new(objects, node_policy(plan, &plan->rails[i]));
    if (!functions)
        json_array_append_new(objects, device_plugin(plan));
    for (uint32_t i = 0; strcmp(plan->intent->ipam, "nv-ipam") == 0 && i < plan->rail_count; i++)
        json_array_append_new(objects, address_pool(plan, &plan->rails[i]));
    for (uint32_t i = 0; i < plan->rail_count; i++)
        json_array_append_new(objects, plan->intent->operator_networks
                                           ? cni_generate_network(plan, i)
                                           : attachment(plan, i));
    return objects;
}
