/*
 * Address management: whether the addresses that a network hands out exist and stay apart.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "check.h"

#include <string.h>
#include <strings.h>

#define HOST_LOCAL_PREFIX_MAX 30

static void enter(struct cni_network *network, const struct cni_cidr *cidr, const char *text)
{
    if (network->subnet_count < CNI_SUBNETS_MAX)
        network->subnets[network->subnet_count++] =
            (struct cni_subnet){.cidr = *cidr, .text = text};
}

static void check_inside(struct cni_check *check, const struct cni_cidr *cidr, const char *subnet,
                         const struct cni_node *value)
{
    struct cni_address address;
    if (!value || value->kind == CNI_NULL)
        return;
    if (!cni_address_parse(value->text, &address))
        cni_find(check->findings, CNI_RULE_ipam_address, value, "%s \"%.60s\" is no address",
                 value->key, value->text);
    else if (!cni_cidr_contains(cidr, &address))
        cni_find(check->findings, CNI_RULE_ipam_outside, value, "%s %s lies outside %s", value->key,
                 value->text, subnet);
}

static void check_order(struct cni_check *check, const struct cni_node *start,
                        const struct cni_node *end)
{
    struct cni_address low, high;
    if (start && end && cni_address_parse(start->text, &low) &&
        cni_address_parse(end->text, &high) && cni_address_compare(&low, &high) > 0)
        cni_find(check->findings, CNI_RULE_ipam_outside, start, "%s %s comes after %s %s",
                 start->key, start->text, end->key, end->text);
}

static void check_host_local_range(struct cni_check *check, struct cni_network *network,
                                   const struct cni_node *range)
{
    struct cni_cidr cidr;
    const struct cni_node *subnet = cni_get_nocase(range, "subnet");
    if (!subnet) {
        cni_find(check->findings, CNI_RULE_cni_missing, range, "host-local has no subnet");
        return;
    }
    if (!cni_cidr_parse(subnet->text, &cidr)) {
        cni_find(check->findings, CNI_RULE_ipam_address, subnet, "\"%.60s\" is no subnet",
                 subnet->text);
        return;
    }
    if (cni_cidr_has_host_bits(&cidr))
        cni_find(check->findings, CNI_RULE_ipam_address, subnet,
                 "%s is an address inside a subnet; host-local wants the subnet", subnet->text);
    if (!cidr.address.v6 && cidr.prefix > HOST_LOCAL_PREFIX_MAX)
        cni_find(check->findings, CNI_RULE_ipam_address, subnet, "%s has no room for addresses",
                 subnet->text);
    for (uint32_t i = 0; i < network->subnet_count; i++)
        if (cni_cidr_overlaps(&network->subnets[i].cidr, &cidr))
            cni_find(check->findings, CNI_RULE_ipam_overlap, subnet, "%s overlaps %s", subnet->text,
                     network->subnets[i].text);
    enter(network, &cidr, subnet->text);
    const struct cni_node *start = cni_get_nocase(range, "rangeStart");
    const struct cni_node *end = cni_get_nocase(range, "rangeEnd");
    check_inside(check, &cidr, subnet->text, start);
    check_inside(check, &cidr, subnet->text, end);
    check_inside(check, &cidr, subnet->text, cni_get_nocase(range, "gateway"));
    check_order(check, start, end);
}

static void check_host_local(struct cni_check *check, struct cni_network *network,
                             const struct cni_node *ipam)
{
    const struct cni_node *ranges = cni_get_nocase(ipam, "ranges");
    if (cni_get_nocase(ipam, "subnet") || !ranges)
        check_host_local_range(check, network, ipam);
    CNI_EACH(set, ranges)
    {
        CNI_EACH(range, set)
        {
            check_host_local_range(check, network, range);
        }
    }
    if (network->carrier != CNI_CARRIES_LINK)
        cni_find(check->findings, CNI_RULE_host_local_nodes, cni_get_nocase(ipam, "type"),
                 "host-local counts addresses on each node by itself");
}

/* CIDR, or first-last/prefix. */
static bool parse_range(const char *text, struct cni_cidr *cidr)
{
    const char *dash = strchr(text, '-');
    return dash ? cni_cidr_parse(dash + 1, cidr) : cni_cidr_parse(text, cidr);
}

static void check_whereabouts_range(struct cni_check *check, struct cni_network *network,
                                    const struct cni_node *ipam)
{
    struct cni_cidr cidr;
    const struct cni_node *range = cni_get_nocase(ipam, "range");
    if (!range) {
        cni_find(check->findings, CNI_RULE_cni_missing, ipam, "whereabouts has no range");
        return;
    }
    if (!parse_range(range->text, &cidr)) {
        cni_find(check->findings, CNI_RULE_ipam_address, range, "\"%.60s\" is no range",
                 range->text);
        return;
    }
    enter(network, &cidr, range->text);
    const struct cni_node *start = cni_get_nocase(ipam, "range_start");
    const struct cni_node *end = cni_get_nocase(ipam, "range_end");
    check_inside(check, &cidr, range->text, start);
    check_inside(check, &cidr, range->text, end);
    check_inside(check, &cidr, range->text, cni_get_nocase(ipam, "gateway"));
    check_order(check, start, end);
    CNI_EACH(excluded, cni_get_nocase(ipam, "exclude"))
    {
        struct cni_cidr part;
        if (!cni_cidr_parse(excluded->text, &part))
            cni_find(check->findings, CNI_RULE_ipam_address, excluded, "\"%.60s\" is no subnet",
                     excluded->text);
        else if (!cni_cidr_overlaps(&cidr, &part))
            cni_find(check->findings, CNI_RULE_ipam_outside, excluded,
                     "the excluded %s lies outside %s", excluded->text, range->text);
    }
}

static void check_whereabouts(struct cni_check *check, struct cni_network *network,
                              const struct cni_node *ipam)
{
    const struct cni_node *ranges = cni_get_nocase(ipam, "ipRanges");
    if (cni_get_nocase(ipam, "range") || !ranges)
        check_whereabouts_range(check, network, ipam);
    CNI_EACH(range, ranges)
    {
        check_whereabouts_range(check, network, range);
    }
}

static void check_static(struct cni_check *check, struct cni_network *network,
                         const struct cni_node *ipam)
{
    const struct cni_node *addresses = cni_get_nocase(ipam, "addresses");
    if (!addresses || !addresses->count)
        cni_find(check->findings, CNI_RULE_static_empty, ipam, "static has no addresses");
    CNI_EACH(entry, addresses)
    {
        struct cni_cidr cidr;
        const struct cni_node *address = cni_get_nocase(entry, "address");
        if (!address || !cni_cidr_parse(address->text, &cidr))
            cni_find(check->findings, CNI_RULE_ipam_address, address ? address : entry,
                     "an address is written as 10.0.0.1/24");
        else
            enter(network, &cidr, address->text);
    }
}

void cni_check_ipam(struct cni_check *check, struct cni_network *network,
                    const struct cni_node *ipam)
{
    char marked[80];
    const char *type = cni_text(cni_get_nocase(ipam, "type"));
    if (ipam->kind != CNI_MAP)
        return; /* its kind was reported with the key */
    if (!type) {
        cni_find(check->findings, CNI_RULE_cni_missing, ipam, "ipam has no type");
        return;
    }
    snprintf(marked, sizeof(marked), "ipam:%.64s", type);
    cni_check_plugin_keys(check, ipam, marked);
    if (strcmp(type, "host-local") == 0)
        check_host_local(check, network, ipam);
    else if (strcmp(type, "whereabouts") == 0)
        check_whereabouts(check, network, ipam);
    else if (strcmp(type, "static") == 0)
        check_static(check, network, ipam);
    else if (strcmp(type, "nv-ipam") == 0) {
        network->pool = cni_text(cni_get_nocase(ipam, "poolName"));
        if (!network->pool)
            cni_find(check->findings, CNI_RULE_cni_missing, ipam, "nv-ipam has no poolName");
    }
}
