/*
 * What others than we make attachments from: the operators' kinds of networks, and claims of
 * devices for DRANET.
 *
 * Invariant: an operator's network becomes the attachment that we would write ourselves.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "plan.h"

#include <stdlib.h>

#define REPOSITORY "nvcr.io/nvidia/mellanox"
#define DRANET "dra.net"

/* JSON in a readable layout, as a text. */
static json_t *as_text(const json_t *value)
{
    char *text = json_dumps(value, JSON_INDENT(2));
    json_t *lines = json_sprintf("%s\n", text ? text : "");
    free(text);
    return lines;
}

/* The plugins behind the first, separated by commas and without brackets; NULL: there are none. */
static json_t *meta_plugins(const struct cni_plan *plan, const json_t *plugins)
{
    json_t *text = NULL, *plugin;
    size_t index;
    json_array_foreach(plugins, index, plugin)
    {
        char *one = index ? json_dumps(plugin, 0) : NULL;
        json_t *longer = !one   ? NULL
                         : text ? json_sprintf("%s, %s", json_string_value(text), one)
                                : json_string(one);
        free(one);
        if (!longer)
            continue;
        json_decref(text);
        text = longer;
    }
    if (!text && plan->exclusive && plan->stack == CNI_STACK_IB_SRIOV)
        text = json_string("{\"type\": \"rdma\"}"); /* the kind has no rdmaIsolation */
    return text;
}

static void move_members(json_t *spec, const struct cni_plan *plan, const json_t *link)
{
    static const char *const names[][2] = {{"trust", "trust"},          {"spoofchk", "spoofChk"},
                                           {"link_state", "linkState"}, {"mode", "mode"},
                                           {"master", "master"},        {"mtu", "mtu"}};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        json_t *value = json_object_get(link, names[i][0]);
        if (value)
            json_object_set(spec, names[i][1], value);
    }
    json_object_set_new(spec, "networkNamespace", json_string(plan->intent->space));
}

json_t *cni_generate_network(const struct cni_plan *plan, uint32_t number)
{
    bool functions = plan->stack == CNI_STACK_SRIOV || plan->stack == CNI_STACK_IB_SRIOV;
    const char *kind = plan->stack == CNI_STACK_SRIOV      ? "SriovNetwork"
                       : plan->stack == CNI_STACK_IB_SRIOV ? "SriovIBNetwork"
                       : plan->stack == CNI_STACK_MACVLAN  ? "MacvlanNetwork"
                       : plan->stack == CNI_STACK_IPOIB    ? "IPoIBNetwork"
                                                           : "HostDeviceNetwork";
    const struct cni_rail *rail = &plan->rails[number];
    json_t *object =
        cni_generate_object(functions ? "sriovnetwork.openshift.io/v1" : "mellanox.com/v1alpha1",
                            kind, rail->name, functions ? plan->intent->operator_space : "");
    json_t *config = cni_generate_config(plan, number), *spec = json_object();
    const json_t *plugins = json_object_get(config, "plugins"), *link = json_array_get(plugins, 0);
    move_members(spec, plan, link);
    if (cni_stack_moves_device(plan->stack))
        json_object_set_new(spec, "resourceName", json_string(rail->resource));
    json_object_set_new(spec, "ipam", as_text(json_object_get(link, "ipam")));
    json_t *meta = meta_plugins(plan, plugins);
    if (meta)
        json_object_set_new(spec, "metaPlugins", meta);
    json_object_set_new(object, "spec", spec);
    json_decref(config);
    return object;
}

json_t *cni_generate_cluster_policy(const struct cni_plan *plan, json_t *config)
{
    bool whole = plan->stack == CNI_STACK_HOST_DEVICE;
    json_t *object =
        cni_generate_object("mellanox.com/v1alpha1", "NicClusterPolicy", "nic-cluster-policy", "");
    json_object_set_new(
        object, "spec",
        json_pack(
            "{s:{s:s, s:s, s:s, s:o}}", whole ? "sriovDevicePlugin" : "rdmaSharedDevicePlugin",
            "image", whole ? "sriov-network-device-plugin" : "k8s-rdma-shared-dev-plugin",
            "repository", REPOSITORY, "version", plan->intent->release, "config", as_text(config)));
    json_decref(config);
    return object;
}

/* ---- DRANET ------------------------------------------------------------------------------------
 */

static json_t *selector(const char *expression)
{
    return json_pack("{s:{s:s}}", "cel", "expression", expression);
}

/* The interface of a rail, by the names that it has on the nodes. */
static json_t *request(const struct cni_plan *plan, const struct cni_rail *rail)
{
    json_t *names = cni_generate_interfaces(plan, rail), *name;
    const char *list = "";
    size_t index;
    json_array_foreach(names, index, name)
    {
        list = cni_arena_format(plan->arena, "%s%s\"%s\"", list, *list ? ", " : "",
                                json_string_value(name));
    }
    json_decref(names);
    return json_pack("{s:s, s:{s:s, s:[o]}}", "name", rail->name, "exactly", "deviceClassName",
                     CNI_DEVICE_CLASS, "selectors",
                     selector(cni_arena_format(
                         plan->arena, "device.attributes[\"" DRANET "\"].ifName in [%s]", list)));
}

/* The size of packets of a rail's interface in the pod. */
static json_t *interface_config(const struct cni_plan *plan, const struct cni_rail *rail)
{
    return json_pack("{s:[s], s:{s:s, s:{s:{s:s, s:I}}}}", "requests", rail->name, "opaque",
                     "driver", DRANET, "parameters", "interface", "name", rail->name, "mtu",
                     (json_int_t)plan->intent->mtu);
}

void cni_generate_claims(const struct cni_plan *plan, json_t *objects)
{
    json_t *class = cni_generate_object("resource.k8s.io/v1", "DeviceClass", CNI_DEVICE_CLASS, "");
    json_t *template = cni_generate_object("resource.k8s.io/v1", "ResourceClaimTemplate",
                                           CNI_CLAIM_TEMPLATE, plan->intent->space);
    json_t *requests = json_array(), *configs = json_array();
    for (uint32_t i = 0; i < plan->rail_count; i++) {
        json_array_append_new(requests, request(plan, &plan->rails[i]));
        if (plan->intent->mtu)
            json_array_append_new(configs, interface_config(plan, &plan->rails[i]));
    }
    json_object_set_new(class, "spec",
                        json_pack("{s:[o, o]}", "selectors",
                                  selector("device.driver == \"" DRANET "\""),
                                  selector("device.attributes[\"" DRANET "\"].rdma == true")));
    json_t *devices = json_pack("{s:o}", "requests", requests);
    if (json_array_size(configs))
        json_object_set(devices, "config", configs);
    json_decref(configs);
    json_object_set_new(template, "spec", json_pack("{s:{s:o}}", "spec", "devices", devices));
    json_array_append_new(objects, class);
    json_array_append_new(objects, template);
}
