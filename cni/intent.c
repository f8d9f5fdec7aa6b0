/*
 * Reading intents. The schema has checked types and words; here are defaults and what one field
 * asks of another.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "intent.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

static const char *const stack_names[CNI_STACK_COUNT] = {
    "auto", "sriov", "ib-sriov", "macvlan", "ipvlan", "ipoib", "host-device", "dranet"};

const char *cni_stack_name(enum cni_stack stack)
{
    return stack_names[stack];
}

bool cni_intent_is(const struct cni_node *object)
{
    return cni_is(cni_get(object, "kind"), "RdmaIntent") &&
           cni_is(cni_get(object, "apiVersion"), "shoal.dev/v1alpha1");
}

static const char *text_or(const struct cni_node *map, const char *path, const char *otherwise)
{
    const char *text = cni_text_at(map, path);
    return text ? text : otherwise;
}

static int64_t number_or(const struct cni_node *map, const char *path, int64_t otherwise)
{
    const struct cni_node *node = cni_at(map, path);
    return node && node->kind == CNI_INT ? node->integer : otherwise;
}

/* Position of a word in a list that ends with NULL; 0 when it is not there. */
static int word_of(const char *word, const char *const *words)
{
    for (int i = 0; words[i]; i++)
        if (strcmp(words[i], word) == 0)
            return i;
    return 0;
}

static void read_network(struct cni_intent *intent, const struct cni_node *spec)
{
    static const char *const fabrics[] = {"auto", "roce", "infiniband", NULL};
    static const char *const isolations[] = {"auto", "shared", "exclusive", NULL};
    const char *stack = text_or(spec, "stack", "auto");
    for (int i = 0; i < CNI_STACK_COUNT; i++)
        if (strcmp(stack_names[i], stack) == 0)
            intent->stack = (enum cni_stack)i;
    intent->fabric = (enum cni_fabric)word_of(text_or(spec, "fabric", "auto"), fabrics);
    intent->isolation = (enum cni_isolation)word_of(text_or(spec, "isolation", "auto"), isolations);
    intent->mtu = number_or(spec, "mtu", 0);
    intent->ipam = text_or(spec, "ipam.type", "whereabouts");
    intent->rail_prefix = (uint32_t)number_or(spec, "ipam.perRailPrefix", 20);
    intent->node_block_size = number_or(spec, "ipam.perNodeBlockSize", 64);
    intent->vf_per_pod = number_or(spec, "vf.perPod", 1);
    intent->vf_total = number_or(spec, "vf.total", 8);
    intent->vf_trust = cni_text_at(spec, "vf.trust");
    intent->vf_spoof_check = cni_text_at(spec, "vf.spoofChk");
    intent->operator_space = text_or(spec, "operator.namespace", "sriov-network-operator");
    intent->prefix = text_or(spec, "operator.resourcePrefix", "openshift.io");
    intent->operator_networks =
        strcmp(text_or(spec, "operator.networks", "attachments"), "operator") == 0;
    intent->release = cni_text_at(spec, "operator.release");
    intent->node_selector = cni_at(spec, "operator.nodeSelector");
}

static void read_rails(struct cni_intent *intent, const struct cni_node *spec)
{
    const char *vendor = text_or(spec, "rails.select.vendor", "any");
    const char *affinity = text_or(spec, "rails.gpuAffinity.policy", "prefer");
    intent->rail_count = (uint32_t)number_or(spec, "rails.count", 0);
    intent->naming = text_or(spec, "rails.naming", "rail{n}");
    intent->vendor = strcmp(vendor, "mellanox") == 0   ? "15b3"
                     : strcmp(vendor, "intel") == 0    ? "8086"
                     : strcmp(vendor, "broadcom") == 0 ? "14e4"
                                                       : vendor;
    intent->speed_min_mbps =
        1000 * strtoll(text_or(spec, "rails.select.linkSpeedMin", "0G"), NULL, 10);
    intent->pf_names = cni_at(spec, "rails.select.pfNames");
    if (intent->pf_names && !intent->pf_names->count)
        intent->pf_names = NULL;
    intent->gpu_max = cni_text_at(spec, "rails.gpuAffinity.max");
    intent->gpu_required = strcmp(affinity, "require") == 0;
}

static void read_pod(struct cni_intent *intent, const struct cni_node *spec)
{
    intent->qos = cni_get(spec, "qos");
    intent->priority = number_or(spec, "qos.priority", 0);
    intent->dscp = number_or(spec, "qos.dscp", -1);
    intent->memlock = strcmp(text_or(spec, "pod.memlock", "unlimited"), "unlimited") == 0;
    intent->run_as_user = number_or(spec, "pod.runAsUser", -1);
    intent->shm = text_or(spec, "pod.shm", "8Gi"); /* a limit; nothing is taken in advance */
    if (strcmp(intent->shm, "inherit") == 0)
        intent->shm = NULL;
    intent->gpu_direct = text_or(spec, "pod.gpuDirect", "prefer");
    intent->fallback = text_or(spec, "fallback", "warn");
    intent->workload_kind = cni_text_at(spec, "workload.kind");
    intent->containers = cni_at(spec, "workload.containers");
    intent->replicas = cni_at(spec, "workload.replicas");
}

/* ---- what fields ask of each other -------------------------------------------------------------
 */

static bool check_addresses(struct cni_findings *findings, struct cni_intent *intent,
                            const struct cni_node *spec)
{
    const struct cni_node *cidr = cni_at(spec, "ipam.cidr");
    const struct cni_node *where = cidr ? cidr : spec;
    uint32_t rails = intent->rail_count ? intent->rail_count : 1, bits = 0;
    if (!cni_cidr_parse(cidr ? cidr->text : "10.16.0.0/12", &intent->cidr) ||
        cni_cidr_has_host_bits(&intent->cidr)) {
        cni_find(findings, CNI_RULE_intent_value, where, "\"%.60s\" is no subnet", cidr->text);
        return false;
    }
    if (!cni_at(spec, "ipam.perRailPrefix") && intent->cidr.prefix > intent->rail_prefix)
        intent->rail_prefix = intent->cidr.prefix;
    while ((1u << bits) < rails)
        bits++;
    if (intent->rail_prefix > (intent->cidr.address.v6 ? 126 : 30) ||
        intent->rail_prefix < intent->cidr.prefix + bits) {
        cni_find(findings, CNI_RULE_intent_value, where,
                 "%u rails of /%u do not fit into a subnet of /%u", rails, intent->rail_prefix,
                 intent->cidr.prefix);
        return false;
    }
    return true;
}

static bool check_qos(struct cni_findings *findings, const struct cni_intent *intent)
{
    const struct cni_node *pfc = cni_get(intent->qos, "pfc");
    bool paused = false;
    CNI_EACH(priority, pfc)
    {
        paused |= priority->integer == intent->priority;
    }
    if (pfc && !paused)
        cni_find(findings, CNI_RULE_intent_value, pfc,
                 "priority %lld is not among those that pfc pauses", (long long)intent->priority);
    if (intent->qos && intent->dscp >= 0 && intent->dscp / 8 != intent->priority)
        cni_find(findings, CNI_RULE_intent_value, cni_get(intent->qos, "dscp"),
                 "DSCP %lld is priority %lld where nothing else is set, not %lld",
                 (long long)intent->dscp, (long long)intent->dscp / 8, (long long)intent->priority);
    return (!pfc || paused) &&
           (!intent->qos || intent->dscp < 0 || intent->dscp / 8 == intent->priority);
}

static bool check_stack(struct cni_findings *findings, const struct cni_intent *intent,
                        const struct cni_node *spec)
{
    bool infiniband = intent->stack == CNI_STACK_IB_SRIOV || intent->stack == CNI_STACK_IPOIB;
    bool ethernet = intent->stack == CNI_STACK_SRIOV || intent->stack == CNI_STACK_MACVLAN ||
                    intent->stack == CNI_STACK_IPVLAN;
    bool above = intent->stack == CNI_STACK_IPOIB || intent->stack == CNI_STACK_MACVLAN ||
                 intent->stack == CNI_STACK_IPVLAN;
    const struct cni_node *stack = cni_get(spec, "stack");
    if ((infiniband && intent->fabric == CNI_FABRIC_ROCE) ||
        (ethernet && intent->fabric == CNI_FABRIC_INFINIBAND))
        cni_find(findings, CNI_RULE_intent_value, stack, "%s is for %s", stack->text,
                 infiniband ? "infiniband" : "roce");
    else if (above && intent->isolation == CNI_ISOLATION_EXCLUSIVE)
        cni_find(findings, CNI_RULE_intent_value, stack,
                 "%s leaves the device in the host: isolation must be shared", stack->text);
    else
        return true;
    return false;
}

bool cni_intent_read(struct cni_findings *findings, const struct cni_node *object,
                     struct cni_intent *intent)
{
    const struct cni_node *spec = cni_get(object, "spec");
    /* Said in any case: otherwise kubectl puts attachments wherever it happens to be set to, and
     * jobs of another namespace do not find them. */
    *intent = (struct cni_intent){.space = text_or(object, "metadata.namespace", "default")};
    read_network(intent, spec);
    read_rails(intent, spec);
    read_pod(intent, spec);
    bool good = check_addresses(findings, intent, spec ? spec : object);
    good &= check_qos(findings, intent);
    good &= check_stack(findings, intent, spec);
    return good;
}

/* ---- rails ------------------------------------------------------------------------------------
 */

const char *cni_intent_subnet(struct cni_arena *arena, const struct cni_intent *intent,
                              uint32_t rail)
{
    uint8_t bytes[16];
    char text[INET6_ADDRSTRLEN];
    memcpy(bytes, intent->cidr.address.bytes, sizeof(bytes));
    for (uint32_t bit = 0; bit < 6; bit++) /* rail < 64 */
        if ((rail >> bit & 1) && intent->rail_prefix > bit) {
            uint32_t at = intent->rail_prefix - 1 - bit;
            bytes[at / 8] |= (uint8_t)(0x80 >> at % 8);
        }
    if (!inet_ntop(intent->cidr.address.v6 ? AF_INET6 : AF_INET, bytes, text, sizeof(text)))
        return "";
    return cni_arena_format(arena, "%s/%u", text, intent->rail_prefix);
}

const char *cni_intent_rail_name(struct cni_arena *arena, const struct cni_intent *intent,
                                 uint32_t rail)
{
    int length = (int)strcspn(intent->naming, "{");
    return cni_arena_format(arena, "%.*s%u", length, intent->naming, rail);
}
