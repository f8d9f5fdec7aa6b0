/*
 * Making a plan: rails, mode, stack; then names, and what nodes disagree about.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "plan.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DMABUF_KERNEL 512 /* 5.12: the first whose RDMA drivers take dmabuf */

void cni_plan_note(struct cni_plan *plan, enum cni_note_kind kind, const char *subject,
                   const char *format, ...)
{
    char text[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    struct cni_plan_note *note = cni_arena_alloc(plan->arena, sizeof(*note));
    *note = (struct cni_plan_note){
        .kind = kind, .subject = subject, .text = cni_arena_copy(plan->arena, text, strlen(text))};
    *plan->notes_tail = note;
    plan->notes_tail = &note->next;
}

static void find_master(struct cni_plan *plan, struct cni_rail *rail)
{
    rail->master = rail->nics[0].netdev;
    for (uint32_t n = 1; n < plan->node_count; n++)
        if (strcmp(rail->nics[0].netdev, rail->nics[n].netdev) != 0) {
            rail->master = NULL;
            cni_plan_note(plan, CNI_NOTE_DIFFERENCE, rail->name, "%s in %s, %s in %s",
                          rail->nics[0].netdev, rail->nics[0].node, rail->nics[n].netdev,
                          rail->nics[n].node);
            return;
        }
}

static void compare_mtu(struct cni_plan *plan, const struct cni_rail *rail)
{
    for (uint32_t n = 1; n < plan->node_count; n++)
        if (rail->nics[n].mtu != rail->nics[0].mtu) {
            cni_plan_note(plan, CNI_NOTE_DIFFERENCE, rail->name, "mtu %lld in %s, %lld in %s",
                          (long long)rail->nics[0].mtu, rail->nics[0].node,
                          (long long)rail->nics[n].mtu, rail->nics[n].node);
            return;
        }
}

static void name_rails(struct cni_plan *plan)
{
    for (uint32_t i = 0; i < plan->rail_count; i++) {
        struct cni_rail *rail = &plan->rails[i];
        rail->name = cni_intent_rail_name(plan->arena, plan->intent, i);
        char *resource = cni_arena_copy(plan->arena, rail->name, strlen(rail->name));
        for (char *c = resource; *c; c++)
            *c = *c == '-' ? '_' : *c; /* a dash ends the shared device plugin */
        rail->resource = resource;
        rail->subnet = cni_intent_subnet(plan->arena, plan->intent, i);
        find_master(plan, rail);
        compare_mtu(plan, rail);
    }
}

const char *cni_plan_nic_type(const struct cni_plan *plan)
{
    const char *type = plan->rails[0].nics[0].device;
    if (!plan->intent->qos || plan->infiniband)
        return NULL;
    for (uint32_t i = 0; i < plan->rail_count; i++)
        for (uint32_t n = 0; n < plan->node_count; n++) {
            const struct cni_nic *nic = &plan->rails[i].nics[n];
            if (!type || !nic->vendor || strcmp(nic->vendor, "15b3") != 0 || !nic->device ||
                strcmp(nic->device, type) != 0)
                return NULL;
        }
    return type;
}

/* ---- what no object can set ---------------------------------------------------------------------
 */

static void advise_gpu_direct(struct cni_plan *plan)
{
    if (strcmp(plan->intent->gpu_direct, "require") != 0)
        return;
    for (const struct cni_document *node = plan->nodes; node; node = node->next) {
        const char *kernel = cni_text_at(node->root, "kernel");
        const struct cni_node *gpus = cni_get(node->root, "gpus");
        char *end = NULL;
        long version = kernel ? strtol(kernel, &end, 10) * 100 : 0;
        bool peer = false;
        version += end && *end == '.' ? strtol(end + 1, NULL, 10) : 0;
        CNI_EACH(module, cni_get(node->root, "modules"))
        {
            peer |= cni_is(module, "nvidia_peermem");
        }
        if (gpus && gpus->count && !peer && version < DMABUF_KERNEL)
            cni_plan_note(plan, CNI_NOTE_ADVICE, "gpuDirect",
                          "%s has GPUs, but neither nvidia_peermem nor a kernel with dmabuf (5.12)",
                          node->file);
    }
}

static void advise(struct cni_plan *plan)
{
    const struct cni_intent *intent = plan->intent;
    if (intent->memlock && intent->run_as_user > 0)
        cni_plan_note(plan, CNI_NOTE_ADVICE, "memlock",
                      "IPC_LOCK has no effect for user %lld: raise LimitMEMLOCK of the container "
                      "runtime's unit, and set pod.memlock to inherit",
                      (long long)intent->run_as_user);
    if (strcmp(intent->ipam, "host-local") == 0 && plan->node_count > 1)
        cni_plan_note(plan, CNI_NOTE_ADVICE, "ipam",
                      "host-local keeps its state on each node: nodes hand out the same addresses; "
                      "take whereabouts or nv-ipam");
    if (cni_get(intent->qos, "cnpDscp"))
        cni_plan_note(plan, CNI_NOTE_ADVICE, "qos.cnpDscp",
                      "the DSCP of congestion notifications is set on each adapter: "
                      "/sys/class/net/NAME/ecn/roce_np/cnp_dscp");
    if (intent->qos && !plan->infiniband && !cni_plan_nic_type(plan))
        cni_plan_note(
            plan, CNI_NOTE_ADVICE, "qos",
            "make priority %lld lossless on each adapter and on the switches between, for "
            "instance with mlnx_qos -i NAME --trust=dscp --pfc=...",
            (long long)intent->priority);
    if (plan->stack == CNI_STACK_DRANET)
        cni_plan_note(plan, CNI_NOTE_ADVICE, "claims",
                      "pods must be in namespace %s, and DRANET gives an interface to the pod with "
                      "the addresses that it has on the node",
                      intent->space);
    else if (plan->stack == CNI_STACK_SRIOV || plan->stack == CNI_STACK_IB_SRIOV)
        cni_plan_note(plan, CNI_NOTE_ADVICE, "operator",
                      "the policies are for the SR-IOV network operator in namespace %s",
                      intent->operator_space);
    else
        cni_plan_note(plan, CNI_NOTE_ADVICE, "device plugin",
                      "the resources come from %s, which reads the ConfigMap",
                      plan->stack == CNI_STACK_HOST_DEVICE ? "the SR-IOV network device plugin"
                                                           : "the RDMA shared device plugin");
    advise_gpu_direct(plan);
}

const char *cni_plan_prefix(const struct cni_plan *plan)
{
    if (!cni_stack_moves_device(plan->stack))
        return "rdma";
    if (plan->intent->operator_networks && plan->stack == CNI_STACK_HOST_DEVICE)
        return "nvidia.com"; /* what HostDeviceNetwork puts before every name */
    return plan->intent->prefix;
}

static const char *full_name(const struct cni_plan *plan, const struct cni_rail *rail)
{
    if (plan->stack == CNI_STACK_DRANET)
        return cni_arena_format(plan->arena, "request %s of %s", rail->name, CNI_CLAIM_TEMPLATE);
    return cni_arena_format(plan->arena, "%s/%s", cni_plan_prefix(plan), rail->resource);
}

void cni_plan_make(struct cni_plan *plan, struct cni_arena *arena, const struct cni_intent *intent,
                   const struct cni_document *nodes)
{
    *plan = (struct cni_plan){.arena = arena, .intent = intent, .nodes = nodes};
    plan->notes_tail = &plan->notes;
    if (!cni_plan_select(plan))
        return;
    name_rails(plan);
    if (!cni_plan_choose(plan))
        return;
    for (uint32_t i = 0; i < plan->rail_count; i++)
        plan->rails[i].full = full_name(plan, &plan->rails[i]);
    advise(plan);
    plan->possible = true;
}
