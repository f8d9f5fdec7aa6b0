/*
 * Operators' policies: what their webhooks and daemons ask for beyond the schema.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "check.h"

#include <stdio.h>
#include <string.h>

#define MELLANOX "15b3"
#define MELLANOX_VFS_MAX 128

static bool is_true(const struct cni_node *node)
{
    return node && node->kind == CNI_BOOL && node->integer;
}

static void check_resource_name(struct cni_check *check, const struct cni_node *name)
{
    const char *text = cni_text(name);
    if (text && (!*text || strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                        "0123456789_") != strlen(text)))
        cni_find(check->findings, CNI_RULE_resource_name, name,
                 "resourceName \"%.80s\" has other characters than letters, digits and _", text);
}

/* The VF range of `pf#first-last`; false when the text has none. Last is -1 when malformed. */
static bool vf_range(const char *text, long *first, long *last)
{
    char more;
    const char *hash = strchr(text, '#');
    if (!hash)
        return false;
    if (sscanf(hash, "#%ld-%ld%c", first, last, &more) != 2 || *first < 0 || *last < *first)
        *last = -1;
    return true;
}

static void check_selector(struct cni_check *check, const struct cni_node *spec)
{
    const struct cni_node *selector = cni_get(spec, "nicSelector"),
                          *count = cni_get(spec, "numVfs");
    if (!selector)
        return;
    if (!selector->count)
        cni_find(check->findings, CNI_RULE_policy_selector, selector,
                 "nicSelector selects nothing");
    if (cni_get(selector, "netFilter") && selector->count > 1)
        cni_find(check->findings, CNI_RULE_policy_selector, selector,
                 "netFilter stands beside other selectors");
    CNI_EACH(name, cni_get(selector, "pfNames"))
    {
        long first = 0, last = 0;
        if (!vf_range(name->text, &first, &last))
            continue;
        if (last < 0)
            cni_find(check->findings, CNI_RULE_policy_vfs, name, "\"%.60s\" is not pf#first-last",
                     name->text);
        else if (count && last >= count->integer)
            cni_find(check->findings, CNI_RULE_policy_vfs, name,
                     "VF %ld of \"%.60s\" does not exist: numVfs is %lld", last, name->text,
                     (long long)count->integer);
    }
    if (count && count->integer > MELLANOX_VFS_MAX && cni_is(cni_get(selector, "vendor"), MELLANOX))
        cni_find(check->findings, CNI_RULE_policy_vfs, count, "numVfs %lld, these adapters have %d",
                 (long long)count->integer, MELLANOX_VFS_MAX);
}

static void check_node_policy(struct cni_check *check, const struct cni_node *spec)
{
    const struct cni_node *type = cni_get(spec, "deviceType"), *rdma = cni_get(spec, "isRdma");
    const struct cni_node *vdpa = cni_get(spec, "vdpaType"), *count = cni_get(spec, "numVfs");
    check_resource_name(check, cni_get(spec, "resourceName"));
    check_selector(check, spec);
    if (count && count->kind == CNI_INT && count->integer <= 0)
        cni_find(check->findings, CNI_RULE_policy_vfs, count, "numVfs %lld makes no functions",
                 (long long)count->integer);
    if (cni_is(type, "vfio-pci") && is_true(rdma))
        cni_find(check->findings, CNI_RULE_policy_driver, rdma,
                 "isRdma with vfio-pci: the kernel's RDMA driver is not loaded");
    if (vdpa && *vdpa->text &&
        (!cni_is(cni_get(spec, "eSwitchMode"), "switchdev") || cni_is(type, "vfio-pci")))
        cni_find(check->findings, CNI_RULE_policy_driver, vdpa,
                 "vdpaType needs eSwitchMode switchdev and deviceType netdevice");
    if (vdpa && *vdpa->text && is_true(rdma))
        cni_find(check->findings, CNI_RULE_policy_driver, rdma, "isRdma with vdpaType");
}

/* 1 in the text of eight switches "0,0,0,1,0,0,0,0". */
static bool is_lossless(const char *pfc, int64_t priority)
{
    return strlen(pfc) == 15 && pfc[priority * 2] == '1';
}

static bool enabled(const struct cni_node *parent, const char *part)
{
    return is_true(cni_get(cni_get(parent, part), "enabled"));
}

/* Whether adapters take the priority of a packet from its DSCP: the default. */
static bool reads_dscp(const struct cni_node *qos)
{
    const char *trust = cni_text_at(qos, "trust");
    return !trust || !*trust || strcmp(trust, "dscp") == 0;
}

/* What the template marks packets with, against what it pauses. */
static void check_qos(struct cni_check *check, const struct cni_node *qos)
{
    const struct cni_node *pfc = cni_get(qos, "pfc");
    const struct cni_node *tos = reads_dscp(qos) ? cni_get(qos, "tos") : NULL;
    const struct cni_node *ecn = enabled(qos, "ecn") ? cni_at(qos, "ecn.priority") : NULL;
    if (!cni_text(pfc))
        return;
    if (!strchr(pfc->text, '1')) {
        cni_find(check->findings, CNI_RULE_qos_pfc, pfc, "no priority is lossless");
        return;
    }
    if (tos && tos->kind == CNI_INT && tos->integer >= 0 && tos->integer < 256 &&
        !is_lossless(pfc->text, tos->integer >> 5))
        cni_find(check->findings, CNI_RULE_qos_pfc, tos, "tos %lld is priority %lld; pfc pauses %s",
                 (long long)tos->integer, (long long)(tos->integer >> 5), pfc->text);
    if (ecn && ecn->kind == CNI_INT && ecn->integer >= 0 && ecn->integer < 8 &&
        !is_lossless(pfc->text, ecn->integer))
        cni_find(check->findings, CNI_RULE_qos_pfc, ecn, "ecn is for priority %lld; pfc pauses %s",
                 (long long)ecn->integer, pfc->text);
}

static void check_template(struct cni_check *check, const struct cni_node *spec)
{
    const struct cni_node *template = cni_get(spec, "template");
    const struct cni_node *roce = cni_get(template, "roceOptimized");
    const struct cni_node *spectrum = cni_get(template, "spectrumXOptimized");
    const struct cni_node *vfs = cni_get(template, "numVfs");
    bool infiniband = cni_is(cni_get(template, "linkType"), "Infiniband");
    if (enabled(template, "roceOptimized") && infiniband)
        cni_find(check->findings, CNI_RULE_nic_template, roce, "roceOptimized on InfiniBand links");
    if (enabled(template, "gpuDirectOptimized") && !enabled(template, "pciPerformanceOptimized"))
        cni_find(check->findings, CNI_RULE_nic_template, cni_get(template, "gpuDirectOptimized"),
                 "gpuDirectOptimized needs pciPerformanceOptimized");
    if (enabled(template, "spectrumXOptimized") &&
        (infiniband || enabled(template, "roceOptimized") || (vfs && vfs->integer != 1)))
        cni_find(check->findings, CNI_RULE_nic_template, spectrum,
                 "spectrumXOptimized needs Ethernet, numVfs 1, and no roceOptimized");
    if (enabled(template, "roceOptimized"))
        check_qos(check, cni_get(roce, "qos"));
}

/* The traffic class that a process sets against the priorities that its adapters pause. */
static void check_traffic_class(struct cni_check *check, const struct cni_node *qos,
                                const struct cni_node *spec)
{
    const struct cni_node *pfc = cni_get(qos, "pfc");
    static const char *const names[] = {"NCCL_IB_TC", "SHOAL_IB_TRAFFIC_CLASS",
                                        "UCX_IB_TRAFFIC_CLASS"};
    CNI_EACH(container, cni_get(spec, "containers"))
    {
        CNI_EACH(variable, cni_get(container, "env"))
        {
            const struct cni_node *value = cni_get(variable, "value");
            unsigned int class = 0;
            bool known = false;
            for (size_t i = 0; i < 3; i++)
                known |= cni_is(cni_get(variable, "name"), names[i]);
            if (!known || !value || sscanf(value->text, "%u", &class) != 1 || class > 255)
                continue;
            unsigned int dscp = class >> 2, priority = dscp / 8;
            if (!reads_dscp(qos))
                cni_find(check->findings, CNI_RULE_qos_class, value,
                         "traffic class %u marks packets with DSCP %u, which adapters with trust "
                         "%.20s do not read",
                         class, dscp, cni_text_at(qos, "trust"));
            else if (!is_lossless(pfc->text, priority))
                cni_find(check->findings, CNI_RULE_qos_class, value,
                         "traffic class %u is DSCP %u, priority %u; the adapters pause %s", class,
                         dscp, priority, pfc->text);
        }
    }
}

static void check_rails(struct cni_check *check, const struct cni_node *spec)
{
    CNI_EACH(rail, cni_get(spec, "railTopology"))
    {
        bool pool = cni_get(rail, "cidrPoolRef") != NULL, ipam = cni_get(rail, "ipam") != NULL;
        if (pool == ipam)
            cni_find(check->findings, CNI_RULE_rail_addresses, rail, "a rail has %s",
                     pool ? "both cidrPoolRef and ipam" : "neither cidrPoolRef nor ipam");
    }
}

static void check_space(struct cni_check *check, const struct cni_node *object)
{
    static const char *const kinds[] = {"SriovNetworkNodePolicy", "SriovNetworkPoolConfig",
                                        "SriovNetwork", "SriovIBNetwork", "OVSNetwork"};
    const char *space = cni_metadata_text(object, "namespace");
    const struct cni_node *metadata = cni_get(object, "metadata");
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
        if (cni_has_kind(object, kinds[i]) && (!*space || strcmp(space, "default") == 0))
            cni_find(check->findings, CNI_RULE_policy_space, metadata ? metadata : object,
                     "this %s has %s", kinds[i], *space ? "the namespace default" : "no namespace");
}

void cni_check_policy(struct cni_check *check, const struct cni_node *object)
{
    check_space(check, object);
    const struct cni_node *spec = cni_get(object, "spec");
    if (cni_has_kind(object, "SriovNetworkNodePolicy"))
        check_node_policy(check, spec);
    else if (cni_has_kind(object, "NicConfigurationTemplate"))
        check_template(check, spec);
    else if (cni_has_kind(object, "SpectrumXRailPoolConfig"))
        check_rails(check, spec);
}

/* ---- between policies ------------------------------------------------------------------------ */

/* Two policies that claim the same functions of the same adapter. */
static void check_ranges_apart(struct cni_check *check, const struct cni_node *one,
                               const struct cni_node *two)
{
    CNI_EACH(a, cni_at(one, "spec.nicSelector.pfNames"))
    {
        CNI_EACH(b, cni_at(two, "spec.nicSelector.pfNames"))
        {
            long low = 0, high = 4096, other_low = 0, other_high = 4096;
            size_t length = strcspn(a->text, "#");
            if (length != strcspn(b->text, "#") || strncmp(a->text, b->text, length) != 0)
                continue;
            vf_range(a->text, &low, &high);
            vf_range(b->text, &other_low, &other_high);
            if (low <= other_high && other_low <= high)
                cni_find(check->findings, CNI_RULE_policy_overlap, b,
                         "\"%.60s\" takes functions that %.60s takes as \"%.60s\"", b->text,
                         cni_metadata_text(one, "name"), a->text);
        }
    }
}

static bool same_nodes(const struct cni_node *one, const struct cni_node *two)
{
    const struct cni_node *a = cni_at(one, "spec.nodeSelector"),
                          *b = cni_at(two, "spec.nodeSelector");
    if (!a || !b || a->count != b->count)
        return false;
    CNI_EACH(label, a)
    {
        const struct cni_node *other = cni_get(b, label->key);
        if (!other || strcmp(other->text, label->text) != 0)
            return false;
    }
    return true;
}

void cni_check_policies_together(struct cni_check *check)
{
    for (struct cni_document *one = check->documents; one; one = one->next) {
        if (cni_has_kind(one->root, "SriovNetworkNodePolicy"))
            for (struct cni_document *two = one->next; two; two = two->next)
                if (cni_has_kind(two->root, "SriovNetworkNodePolicy") &&
                    same_nodes(one->root, two->root))
                    check_ranges_apart(check, one->root, two->root);
        const struct cni_node *template = cni_at(one->root, "spec.template");
        const struct cni_node *qos = cni_at(template, "roceOptimized.qos");
        if (cni_has_kind(one->root, "NicConfigurationTemplate") &&
            enabled(template, "roceOptimized") && cni_text_at(qos, "pfc"))
            for (struct cni_pod *pod = check->pods; pod; pod = pod->next)
                check_traffic_class(check, qos, pod->spec);
    }
}
