/*
 * Networks against inventories of nodes: what a name alone cannot tell.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "check.h"

#include <string.h>

static const struct cni_node *netdev_of(const struct cni_node *inventory, const char *name)
{
    CNI_EACH(netdev, cni_get(inventory, "netdevs"))
    {
        if (cni_is(cni_get(netdev, "name"), name))
            return netdev;
    }
    return NULL;
}

bool cni_check_master_on_nodes(struct cni_check *check, const struct cni_node *master,
                               const char *type)
{
    bool infiniband = strcmp(type, "ipoib") == 0;
    const struct cni_node *mtu = cni_get_nocase(master->parent, "mtu");
    for (const struct cni_document *at = check->nodes; at; at = at->next) {
        const struct cni_node *netdev = netdev_of(at->root, master->text);
        const struct cni_node *most = cni_get(netdev, "mtu");
        if (!netdev)
            cni_find(check->findings, CNI_RULE_node_master, master,
                     "the node of %s has no interface %s", at->file, master->text);
        else if (cni_is(cni_get(netdev, "kind"), "infiniband") != infiniband)
            cni_find(check->findings, CNI_RULE_node_master, master,
                     "%s is %s on the node of %s; %s needs %s", master->text,
                     cni_get(netdev, "kind")->text, at->file, type,
                     infiniband ? "infiniband" : "ethernet");
        if (mtu && mtu->kind == CNI_INT && most && most->kind == CNI_INT &&
            mtu->integer > most->integer)
            cni_find(check->findings, CNI_RULE_node_mtu, mtu,
                     "mtu %lld above the %lld of %s on the node of %s", (long long)mtu->integer,
                     (long long)most->integer, master->text, at->file);
    }
    return check->nodes != NULL;
}

void cni_check_nodes(struct cni_check *check)
{
    for (const struct cni_document *at = check->nodes; at; at = at->next) {
        const struct cni_node *mode = cni_get(at->root, "rdma_netns_mode");
        for (const struct cni_network *net = check->networks; net; net = net->next) {
            if (net->exclusive && cni_is(mode, "shared"))
                cni_find(check->findings, CNI_RULE_node_mode, net->where,
                         "%s needs exclusive mode, and the node of %s is in shared mode",
                         net->exclusive_by, at->file);
            else if (!net->exclusive && net->carrier == CNI_CARRIES_SHARED &&
                     cni_is(mode, "exclusive"))
                cni_find(check->findings, CNI_RULE_node_mode, net->where,
                         "the device stays in the host, and the node of %s is in exclusive mode",
                         at->file);
        }
    }
}
