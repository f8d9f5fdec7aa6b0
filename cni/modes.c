/*
 * What the whole cluster must agree on: whether RDMA devices are shared between network namespaces,
 * and the sizes of packets.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "check.h"

#include <string.h>

/* An object that asks for one of the two modes. */
struct demand {
    const struct cni_node *where;
    const char *what;
};

static void demand_once(struct demand *demand, const struct cni_node *where, const char *what)
{
    if (!demand->where)
        *demand = (struct demand){where, what};
}

static void from_networks(const struct cni_check *check, struct demand *shared,
                          struct demand *exclusive)
{
    for (const struct cni_network *at = check->networks; at; at = at->next) {
        if (at->exclusive)
            demand_once(exclusive, at->where, at->exclusive_by);
        else if (at->carrier == CNI_CARRIES_SHARED)
            demand_once(shared, at->where, "a network on a device that stays in the host");
    }
}

static void from_objects(const struct cni_check *check, struct demand *shared,
                         struct demand *exclusive)
{
    for (const struct cni_document *at = check->documents; at; at = at->next) {
        const struct cni_node *mode = cni_at(at->root, "spec.rdmaMode");
        if (!cni_has_kind(at->root, "SriovNetworkPoolConfig"))
            mode = NULL;
        if (cni_is(mode, "shared"))
            demand_once(shared, mode, "rdmaMode shared");
        if (cni_is(mode, "exclusive"))
            demand_once(exclusive, mode, "rdmaMode exclusive");
        const struct cni_node *plugin = cni_at(at->root, "spec.rdmaSharedDevicePlugin");
        if (plugin)
            demand_once(shared, plugin, "the shared device plugin");
    }
    if (check->offers.shared_plugin)
        demand_once(shared, check->offers.shared_plugin, "the shared device plugin");
}

/* The policy that makes the devices of a network. */
static const struct cni_node *policy_mtu(const struct cni_check *check,
                                         const struct cni_network *network)
{
    const char *slash = strchr(network->resource, '/');
    const char *name = slash ? slash + 1 : network->resource;
    for (const struct cni_document *at = check->documents; at; at = at->next)
        if (cni_has_kind(at->root, "SriovNetworkNodePolicy") &&
            cni_is(cni_at(at->root, "spec.resourceName"), name))
            return cni_at(at->root, "spec.mtu");
    return NULL;
}

void cni_check_modes(struct cni_check *check)
{
    struct demand shared = {NULL, NULL}, exclusive = {NULL, NULL};
    from_objects(check, &shared, &exclusive);
    from_networks(check, &shared, &exclusive);
    if (shared.where && exclusive.where)
        cni_find(check->findings, CNI_RULE_mode_conflict, exclusive.where,
                 "%s needs exclusive mode, %s (%s:%u) needs shared mode", exclusive.what,
                 shared.what, shared.where->document->file, shared.where->line);
    for (const struct cni_network *at = check->networks; at; at = at->next) {
        const struct cni_node *mtu = at->resource && at->mtu ? policy_mtu(check, at) : NULL;
        if (mtu && mtu->kind == CNI_INT && mtu->integer > 0 && at->mtu > mtu->integer)
            cni_find(check->findings, CNI_RULE_mtu_chain, at->where,
                     "mtu %lld on devices that the policy (%s:%u) makes with %lld",
                     (long long)at->mtu, mtu->document->file, mtu->line, (long long)mtu->integer);
    }
}
