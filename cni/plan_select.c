/*
 * Rails: which devices of each node become them.
 *
 * Invariant: rails are numbered by PCI address, so that nodes of one build get the same order.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "plan.h"

#include <stdlib.h>
#include <string.h>

#define NICS_MAX 256

struct candidates {
    struct cni_nic list[NICS_MAX];
    uint32_t count;
};

static int64_t number_of(const struct cni_node *map, const char *key)
{
    const struct cni_node *node = cni_get(map, key);
    return node && node->kind == CNI_INT ? node->integer : -1;
}

static const struct cni_node *netdev_called(const struct cni_node *inventory, const char *name)
{
    CNI_EACH(netdev, cni_get(inventory, "netdevs"))
    {
        if (name && cni_is(cni_get(netdev, "name"), name))
            return netdev;
    }
    return NULL;
}

static bool is_true(const struct cni_node *node)
{
    return node && node->kind == CNI_BOOL && node->integer;
}

/* Smaller is nearer; 5 for what is none of them. */
static int rank_of(const char *distance)
{
    static const char *const names[] = {"PIX", "PXB", "PHB", "NODE", "SYS"};
    int rank = 0;
    while (rank < 5 && strcmp(names[rank], distance) != 0)
        rank++;
    return rank;
}

static const char *nearest_gpu(const struct cni_node *inventory, const char *rdma)
{
    const char *nearest = NULL;
    CNI_EACH(gpu, cni_get(inventory, "gpus"))
    {
        const char *distance = cni_text(cni_get(cni_get(gpu, "distance"), rdma));
        if (distance && (!nearest || rank_of(distance) < rank_of(nearest)))
            nearest = distance;
    }
    return nearest;
}

static bool describe(struct cni_nic *nic, const struct cni_document *node,
                     const struct cni_node *device)
{
    const struct cni_node *names = cni_get(device, "netdevs"), *ports = cni_get(device, "ports");
    const struct cni_node *port = ports ? ports->first : NULL;
    const struct cni_node *netdev =
        names && names->first ? netdev_called(node->root, cni_text(names->first)) : NULL;
    const char *rate = cni_text_at(port, "rate"), *vendor = cni_text_at(device, "vendor");
    const char *id = cni_text_at(device, "device");
    if (cni_text_at(netdev, "physical_function")) /* rails are made of whole ports */
        return false;
    *nic = (struct cni_nic){
        .node = node->file,
        .netdev = cni_text_at(netdev, "name"),
        .rdma = cni_text_at(device, "name"),
        .pci = cni_text_at(device, "pci"),
        .vendor = vendor && strncmp(vendor, "0x", 2) == 0 ? vendor + 2 : vendor,
        .device = id && strncmp(id, "0x", 2) == 0 ? id + 2 : id,
        .infiniband = cni_is(cni_get(port, "link_layer"), "InfiniBand") ||
                      cni_is(cni_get(netdev, "kind"), "infiniband"),
        .mtu = number_of(netdev, "mtu"),
        .speed_mbps = number_of(netdev, "speed_mbps"),
        .functions = number_of(cni_get(netdev, "functions"), "total"),
    };
    if (nic->speed_mbps < 0 && rate)
        nic->speed_mbps = 1000 * (strtol(rate, NULL, 10) & 0xffffff);
    if (nic->rdma)
        nic->gpu = nearest_gpu(node->root, nic->rdma);
    return nic->rdma != NULL;
}

static bool is_listed(const struct cni_node *list, const char *name)
{
    CNI_EACH(entry, list)
    {
        if (cni_is(entry, name))
            return true;
    }
    return false;
}

static const char *port_state(const struct cni_node *device)
{
    const struct cni_node *ports = cni_get(device, "ports");
    const char *state = ports ? cni_text_at(ports->first, "state") : NULL;
    return state ? state : "ACTIVE"; /* unknown: let it pass */
}

/* Why a device is no rail, or NULL. */
static const char *refusal(const struct cni_plan *plan, const struct cni_nic *nic,
                           const struct cni_node *device)
{
    const struct cni_intent *intent = plan->intent;
    struct cni_arena *arena = plan->arena;
    if (!nic->netdev)
        return "it has no network interface";
    if (intent->pf_names && !is_listed(intent->pf_names, nic->netdev))
        return cni_arena_format(arena, "%s is not among pfNames", nic->netdev);
    if (strcmp(port_state(device), "ACTIVE") != 0)
        return cni_arena_format(arena, "its port is %s", port_state(device));
    if (intent->fabric == CNI_FABRIC_ROCE && nic->infiniband)
        return "it is InfiniBand";
    if (intent->fabric == CNI_FABRIC_INFINIBAND && !nic->infiniband)
        return "it is Ethernet";
    if (strcmp(intent->vendor, "any") != 0 && nic->vendor && strcmp(intent->vendor, nic->vendor))
        return cni_arena_format(arena, "its vendor is %s", nic->vendor);
    if (nic->speed_mbps >= 0 && nic->speed_mbps < intent->speed_min_mbps)
        return cni_arena_format(arena, "it has %lld Gb/s", (long long)nic->speed_mbps / 1000);
    if (intent->gpu_max && intent->gpu_required && nic->gpu &&
        rank_of(nic->gpu) > rank_of(intent->gpu_max))
        return cni_arena_format(arena, "its nearest GPU is %s away", nic->gpu);
    return NULL;
}

static int compare(const void *a, const void *b)
{
    const struct cni_nic *one = a, *two = b;
    int order = strcmp(one->pci ? one->pci : "", two->pci ? two->pci : "");
    return order ? order : strcmp(one->rdma, two->rdma);
}

static void gather(struct cni_plan *plan, const struct cni_document *node, struct candidates *found)
{
    found->count = 0;
    CNI_EACH(device, cni_get(node->root, "rdma"))
    {
        struct cni_nic nic;
        if (found->count == NICS_MAX || !describe(&nic, node, device))
            continue;
        const char *why = refusal(plan, &nic, device);
        if (why)
            cni_plan_note(plan, CNI_NOTE_LEFT_OUT, nic.rdma, "%s (%s)", why, node->file);
        else
            found->list[found->count++] = nic;
    }
    qsort(found->list, found->count, sizeof(found->list[0]), compare);
}

/* The interface of the default route carries the cluster's own traffic. */
static void leave_management(struct cni_plan *plan, const struct cni_document *node,
                             struct candidates *found)
{
    uint32_t kept = 0;
    if (plan->intent->pf_names || found->count < 2)
        return;
    for (uint32_t i = 0; i < found->count; i++) {
        const struct cni_nic *nic = &found->list[i];
        if (is_true(cni_get(netdev_called(node->root, nic->netdev), "default_route")))
            cni_plan_note(plan, CNI_NOTE_LEFT_OUT, nic->rdma, "%s has the default route (%s)",
                          nic->netdev, node->file);
        else
            found->list[kept++] = *nic;
    }
    found->count = kept;
}

static bool same_fabric(struct cni_plan *plan, const struct candidates *found)
{
    for (uint32_t i = 1; i < found->count; i++)
        if (found->list[i].infiniband != found->list[0].infiniband) {
            cni_plan_note(plan, CNI_NOTE_PROBLEM, found->list[i].rdma,
                          "there are InfiniBand and Ethernet devices (%s): set fabric",
                          found->list[i].node);
            return false;
        }
    return true;
}

static void enter(struct cni_plan *plan, const struct candidates *found, uint32_t node)
{
    for (uint32_t i = 0; i < found->count && i < CNI_RAILS_MAX; i++) {
        struct cni_rail *rail = &plan->rails[i];
        if (!rail->nics)
            rail->nics = cni_arena_alloc(plan->arena, plan->node_count * sizeof(*rail->nics));
        rail->nics[node] = found->list[i];
    }
}

static bool select_from_nodes(struct cni_plan *plan)
{
    struct candidates *found = cni_arena_alloc(plan->arena, sizeof(*found));
    uint32_t least = CNI_RAILS_MAX, number = 0;
    const char *least_file = "";
    for (const struct cni_document *node = plan->nodes; node; node = node->next, number++) {
        gather(plan, node, found);
        leave_management(plan, node, found);
        if (!same_fabric(plan, found))
            return false;
        enter(plan, found, number);
        if (number && found->count != least && !plan->intent->rail_count)
            cni_plan_note(plan, CNI_NOTE_DIFFERENCE, "rails", "%u devices in %s, %u elsewhere",
                          found->count, node->file, least);
        if (found->count < least) {
            least = found->count;
            least_file = node->file;
        }
    }
    plan->rail_count = plan->intent->rail_count ? plan->intent->rail_count : least;
    if (least == 0 || plan->rail_count > least)
        cni_plan_note(plan, CNI_NOTE_PROBLEM, "rails", "%s has %u devices that can be rails%s",
                      least_file, least, least ? ", fewer than rails.count" : "");
    return least > 0 && plan->rail_count <= least;
}

static bool select_from_names(struct cni_plan *plan)
{
    const struct cni_intent *intent = plan->intent;
    bool infiniband = intent->fabric == CNI_FABRIC_INFINIBAND || intent->stack == CNI_STACK_IPOIB ||
                      intent->stack == CNI_STACK_IB_SRIOV;
    if (!intent->pf_names || intent->pf_names->count > CNI_RAILS_MAX ||
        (intent->rail_count && intent->rail_count != intent->pf_names->count)) {
        cni_plan_note(plan, CNI_NOTE_PROBLEM, "nodes",
                      "there is no inventory, and rails.select.pfNames does not name one interface "
                      "a rail: run shoal-cni inspect on a node");
        return false;
    }
    plan->node_count = 1;
    CNI_EACH(name, intent->pf_names)
    {
        struct cni_rail *rail = &plan->rails[plan->rail_count++];
        rail->nics = cni_arena_alloc(plan->arena, sizeof(*rail->nics));
        *rail->nics = (struct cni_nic){.node = "",
                                       .netdev = name->text,
                                       .infiniband = infiniband,
                                       .mtu = -1,
                                       .speed_mbps = -1,
                                       .functions = -1};
    }
    cni_plan_note(plan, CNI_NOTE_ADVICE, "nodes",
                  "no inventory was given: nothing of the nodes could be checked");
    return true;
}

bool cni_plan_select(struct cni_plan *plan)
{
    for (const struct cni_document *node = plan->nodes; node; node = node->next)
        plan->node_count++;
    if (!(plan->nodes ? select_from_nodes(plan) : select_from_names(plan)))
        return false;
    plan->infiniband = plan->rails[0].nics[0].infiniband;
    for (uint32_t i = 0; i < plan->node_count; i++)
        if (plan->rails[0].nics[i].infiniband != plan->infiniband) {
            cni_plan_note(plan, CNI_NOTE_PROBLEM, "fabric", "%s and %s are on different fabrics",
                          plan->rails[0].nics[0].node, plan->rails[0].nics[i].node);
            return false;
        }
    return true;
}
