/*
 * The RDMA namespace mode, and the stack: the first of an order of preference that the intent and
 * every node admit. Those before it are noted with what spoke against them.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "plan.h"

#include <string.h>

bool cni_stack_moves_device(enum cni_stack stack)
{
    return stack == CNI_STACK_SRIOV || stack == CNI_STACK_IB_SRIOV ||
           stack == CNI_STACK_HOST_DEVICE || stack == CNI_STACK_DRANET;
}

uint32_t cni_plan_nodes_in_mode(const struct cni_plan *plan, const char *mode, const char **file)
{
    uint32_t count = 0;
    for (const struct cni_document *node = plan->nodes; node; node = node->next)
        if (cni_is(cni_get(node->root, "rdma_netns_mode"), mode)) {
            *file = node->file;
            count++;
        }
    return count;
}

/* Mode of the nodes, unless the intent sets another: then they have to be changed. */
static bool choose_mode(struct cni_plan *plan)
{
    const char *shared_file = "", *exclusive_file = "";
    uint32_t shared = cni_plan_nodes_in_mode(plan, "shared", &shared_file);
    uint32_t exclusive = cni_plan_nodes_in_mode(plan, "exclusive", &exclusive_file);
    enum cni_isolation wanted = plan->intent->isolation;
    if (shared && exclusive)
        cni_plan_note(plan, CNI_NOTE_DIFFERENCE, "rdma_netns_mode", "shared in %s, exclusive in %s",
                      shared_file, exclusive_file);
    if (shared && exclusive && wanted == CNI_ISOLATION_AUTO) {
        cni_plan_note(plan, CNI_NOTE_PROBLEM, "isolation",
                      "nodes are in different modes: set isolation, and give all nodes that mode");
        return false;
    }
    plan->exclusive =
        wanted == CNI_ISOLATION_EXCLUSIVE || (wanted == CNI_ISOLATION_AUTO && exclusive > 0);
    const char *mode = plan->exclusive ? "exclusive" : "shared";
    const char *other = plan->exclusive ? shared_file : exclusive_file;
    cni_plan_note(plan, CNI_NOTE_REASON, mode, "%s",
                  wanted != CNI_ISOLATION_AUTO ? "the intent asks for this mode"
                  : shared || exclusive        ? "the nodes are in this mode"
                                               : "this is the mode that kernels start in");
    if (*other)
        cni_plan_note(plan, CNI_NOTE_ADVICE, "isolation",
                      "%s is in the other mode; it changes at boot only: options ib_core "
                      "netns_mode=%d in /etc/modprobe.d, then restart the node",
                      other, plan->exclusive ? 0 : 1);
    return true;
}

/* ---- what speaks against a stack ----------------------------------------------------------------
 */

/* The interface of a rail that has another name elsewhere. */
static const char *split_master(const struct cni_plan *plan)
{
    for (uint32_t i = 0; i < plan->rail_count; i++)
        if (!plan->rails[i].master)
            return cni_arena_format(plan->arena, "%s is not the same interface on all nodes",
                                    plan->rails[i].name);
    return NULL;
}

static const char *small_mtu(const struct cni_plan *plan)
{
    for (uint32_t i = 0; i < plan->rail_count; i++)
        for (uint32_t n = 0; n < plan->node_count; n++) {
            const struct cni_nic *nic = &plan->rails[i].nics[n];
            if (nic->mtu >= 0 && plan->intent->mtu > nic->mtu)
                return cni_arena_format(plan->arena, "%s has mtu %lld in %s, below the %lld wanted",
                                        nic->netdev, (long long)nic->mtu, nic->node,
                                        (long long)plan->intent->mtu);
        }
    return NULL;
}

static const char *few_functions(const struct cni_plan *plan)
{
    for (uint32_t i = 0; i < plan->rail_count; i++)
        for (uint32_t n = 0; n < plan->node_count; n++) {
            const struct cni_nic *nic = &plan->rails[i].nics[n];
            if (*nic->node && nic->functions < plan->intent->vf_total)
                return cni_arena_format(
                    plan->arena, "%s of %s has %lld virtual functions, not %lld", nic->netdev,
                    nic->node, (long long)(nic->functions < 0 ? 0 : nic->functions),
                    (long long)plan->intent->vf_total);
        }
    return NULL;
}

/* The device plugin hands out what is on the PCI bus. */
static const char *no_function(const struct cni_plan *plan)
{
    for (uint32_t i = 0; i < plan->rail_count; i++)
        for (uint32_t n = 0; n < plan->node_count; n++) {
            const struct cni_nic *nic = &plan->rails[i].nics[n];
            if (*nic->node && !nic->pci)
                return cni_arena_format(plan->arena, "%s of %s is no PCI device", nic->netdev,
                                        nic->node);
        }
    return NULL;
}

/* Policies name interfaces: one name may not mean two rails. */
static const char *crossed_names(const struct cni_plan *plan)
{
    for (uint32_t i = 0; i < plan->rail_count; i++)
        for (uint32_t j = i + 1; j < plan->rail_count; j++)
            for (uint32_t n = 0; n < plan->node_count * plan->node_count; n++) {
                const struct cni_nic *one = &plan->rails[i].nics[n / plan->node_count];
                const struct cni_nic *two = &plan->rails[j].nics[n % plan->node_count];
                if (strcmp(one->netdev, two->netdev) == 0)
                    return cni_arena_format(plan->arena, "%s is %s in %s, and %s in %s",
                                            one->netdev, plan->rails[i].name, one->node,
                                            plan->rails[j].name, two->node);
            }
    return NULL;
}

/* Of the operators' own kinds of networks. */
static const char *foreign_to_operators(const struct cni_plan *plan, enum cni_stack stack)
{
    if (stack == CNI_STACK_IPVLAN || stack == CNI_STACK_DRANET)
        return "no operator has networks of this kind";
    if (stack == CNI_STACK_IPOIB && plan->intent->mtu)
        return "the operator's IPoIBNetwork has no mtu";
    return NULL;
}

/* NULL: nothing. */
static const char *objection(const struct cni_plan *plan, enum cni_stack stack)
{
    bool on_infiniband = stack == CNI_STACK_IB_SRIOV || stack == CNI_STACK_IPOIB;
    bool any = stack == CNI_STACK_HOST_DEVICE || stack == CNI_STACK_DRANET;
    const char *why = NULL;
    if (stack == CNI_STACK_DRANET && plan->intent->stack != stack)
        return "it takes resource.k8s.io/v1 and DRANET in the cluster, which the intent has to say";
    if (plan->intent->operator_networks && (why = foreign_to_operators(plan, stack)))
        return why;
    if (!any && on_infiniband != plan->infiniband)
        return plan->infiniband ? "the rails are InfiniBand" : "the rails are Ethernet";
    if (cni_stack_moves_device(stack) && (why = crossed_names(plan)))
        return why;
    if (stack == CNI_STACK_SRIOV || stack == CNI_STACK_IB_SRIOV)
        return few_functions(plan);
    if (plan->intent->vf_per_pod > 1)
        return "it has no virtual functions to give a pod several of";
    if (!cni_stack_moves_device(stack)) {
        if (plan->exclusive)
            return "it leaves the device in the host, which takes shared mode";
        why = split_master(plan);
        return why ? why : small_mtu(plan);
    }
    if (stack == CNI_STACK_HOST_DEVICE && (why = no_function(plan)))
        return why;
    return small_mtu(plan);
}

static const char *merit(enum cni_stack stack)
{
    switch (stack) {
    case CNI_STACK_SRIOV:
    case CNI_STACK_IB_SRIOV:
        return "each pod gets virtual functions of its own";
    case CNI_STACK_MACVLAN:
        return "pods share the ports of the nodes, each with a link and an address of its own";
    case CNI_STACK_IPVLAN:
        return "pods share the ports and their hardware address, as switches that admit one ask";
    case CNI_STACK_IPOIB:
        return "pods share the InfiniBand ports of the nodes";
    case CNI_STACK_DRANET:
        return "claims give one pod a node whole ports, which the scheduler knows of";
    default:
        return "one pod a node gets whole ports";
    }
}

static bool choose_stack(struct cni_plan *plan)
{
    static const enum cni_stack order[] = {
        CNI_STACK_SRIOV,  CNI_STACK_IB_SRIOV,    CNI_STACK_MACVLAN, CNI_STACK_IPOIB,
        CNI_STACK_IPVLAN, CNI_STACK_HOST_DEVICE, CNI_STACK_DRANET};
    enum cni_stack wanted = plan->intent->stack;
    for (size_t i = 0; i < sizeof(order) / sizeof(order[0]); i++) {
        const char *why = objection(plan, order[i]);
        if (!why && wanted == CNI_STACK_AUTO && plan->stack != CNI_STACK_AUTO)
            why = cni_arena_format(plan->arena, "possible, but %s comes first",
                                   cni_stack_name(plan->stack));
        if (!why && wanted != CNI_STACK_AUTO && wanted != order[i])
            why = "possible, but the intent asks for another";
        if (why) {
            cni_plan_note(plan, CNI_NOTE_REJECTED, cni_stack_name(order[i]), "%s", why);
            continue;
        }
        plan->stack = order[i];
        cni_plan_note(plan, CNI_NOTE_REASON, cni_stack_name(order[i]), "%s", merit(order[i]));
    }
    if (plan->stack == CNI_STACK_AUTO)
        cni_plan_note(plan, CNI_NOTE_PROBLEM, "stack", "%s",
                      wanted == CNI_STACK_AUTO ? "no stack is possible on all nodes"
                                               : "the stack that the intent asks for is not "
                                                 "possible; see what speaks against it");
    return plan->stack != CNI_STACK_AUTO;
}

bool cni_plan_choose(struct cni_plan *plan)
{
    return choose_mode(plan) && choose_stack(plan);
}
