/*
 * The CNI configuration of a rail: the plugin that makes the link, what tunes it, and what moves
 * the RDMA device.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "plan.h"

#include <string.h>

static json_t *ipam(const struct cni_plan *plan, const struct cni_rail *rail)
{
    const char *type = plan->intent->ipam;
    if (strcmp(type, "nv-ipam") == 0)
        return json_pack("{s:s, s:s, s:s}", "type", type, "poolName", rail->name, "poolType",
                         "ippool");
    if (strcmp(type, "host-local") == 0)
        return json_pack("{s:s, s:[[{s:s}]]}", "type", type, "ranges", "subnet", rail->subnet);
    return json_pack("{s:s, s:s}", "type", type, "range", rail->subnet);
}

static void put_if(json_t *plugin, const char *key, const char *text)
{
    if (text)
        json_object_set_new(plugin, key, json_string(text));
}

static json_t *link_plugin(const struct cni_plan *plan, const struct cni_rail *rail)
{
    const struct cni_intent *intent = plan->intent;
    json_t *plugin = json_pack("{s:s}", "type", cni_stack_name(plan->stack));
    bool above = !cni_stack_moves_device(plan->stack);
    if (above)
        put_if(plugin, "master", rail->master);
    if (plan->stack == CNI_STACK_MACVLAN)
        put_if(plugin, "mode", "bridge");
    if (plan->stack == CNI_STACK_IPVLAN)
        put_if(plugin, "mode", "l2");
    if (above && intent->mtu)
        json_object_set_new(plugin, "mtu", json_integer(intent->mtu));
    if (plan->stack == CNI_STACK_SRIOV) {
        put_if(plugin, "trust", intent->vf_trust);
        put_if(plugin, "spoofchk", intent->vf_spoof_check);
    }
    if (plan->stack == CNI_STACK_IB_SRIOV) {
        put_if(plugin, "link_state", "enable");
        if (plan->exclusive)
            json_object_set_new(plugin, "rdmaIsolation", json_true());
    }
    json_object_set_new(plugin, "ipam", ipam(plan, rail));
    return plugin;
}

/* With several rails in one pod, an interface must not answer for the address of another. */
static json_t *tuning_plugin(const struct cni_plan *plan)
{
    bool several = plan->rail_count > 1 && !plan->infiniband && !plan->intent->cidr.address.v6;
    bool sized = plan->stack == CNI_STACK_HOST_DEVICE && plan->intent->mtu;
    json_t *plugin = several || sized ? json_pack("{s:s}", "type", "tuning") : NULL;
    if (sized)
        json_object_set_new(plugin, "mtu", json_integer(plan->intent->mtu));
    if (several)
        json_object_set_new(plugin, "sysctl",
                            json_pack("{s:s, s:s}", "net.ipv4.conf.IFNAME.arp_announce", "2",
                                      "net.ipv4.conf.IFNAME.arp_ignore", "1"));
    return plugin;
}

json_t *cni_generate_config(const struct cni_plan *plan, uint32_t number)
{
    const struct cni_rail *rail = &plan->rails[number];
    json_t *plugins = json_array(), *tuning = tuning_plugin(plan);
    json_array_append_new(plugins, link_plugin(plan, rail));
    if (tuning)
        json_array_append_new(plugins, tuning);
    if (plan->exclusive && plan->stack != CNI_STACK_IB_SRIOV)
        json_array_append_new(plugins, json_pack("{s:s}", "type", "rdma"));
    return json_pack("{s:s, s:s, s:o}", "cniVersion", "1.0.0", "name", rail->name, "plugins",
                     plugins);
}
