/*
 * Address management: whether the addresses that a network hands out exist and stay apart.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "check.h"

#include <stdlib.h>
#include <string.h>

#define HOST_LOCAL_BITS_MIN 2 /* of the host in an address */

static void enter(struct cni_network *network, const struct cni_cidr *cidr, const char *text)
{
    if (network->subnet_count < CNI_SUBNETS_MAX)
        network->subnets[network->subnet_count++] = (struct cni_subnet){
            .cidr = *cidr, .text = text, .first = cidr->address, .last = cni_cidr_last(cidr)};
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

/* An address that may be left out. */
static void take_bound(const struct cni_node *value, struct cni_address *bound)
{
    struct cni_address address;
    if (value && cni_address_parse(value->text, &address) && address.v6 == bound->v6)
        *bound = address;
}

static bool overlap(const struct cni_subnet *a, const struct cni_subnet *b)
{
    return a->first.v6 == b->first.v6 && cni_address_compare(&a->first, &b->last) <= 0 &&
           cni_address_compare(&b->first, &a->last) <= 0;
}

/* Ranges of one subnet may stand side by side, as long as no address is in two. */
static void check_host_local_overlap(struct cni_check *check, struct cni_network *network,
                                     const struct cni_subnet *range, const struct cni_node *subnet)
{
    for (uint32_t i = 0; i < network->subnet_count; i++)
        if (overlap(&network->subnets[i], range))
            cni_find(check->findings, CNI_RULE_ipam_overlap, subnet,
                     "%s hands out addresses that %s hands out, too", range->text,
                     network->subnets[i].text);
    if (network->subnet_count < CNI_SUBNETS_MAX)
        network->subnets[network->subnet_count++] = *range;
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
    if (cidr.prefix > (cidr.address.v6 ? 128u : 32u) - HOST_LOCAL_BITS_MIN)
        cni_find(check->findings, CNI_RULE_ipam_address, subnet, "%s has no room for addresses",
                 subnet->text);
    const struct cni_node *start = cni_get_nocase(range, "rangeStart");
    const struct cni_node *end = cni_get_nocase(range, "rangeEnd");
    struct cni_subnet entry = {
        .cidr = cidr, .text = subnet->text, .first = cidr.address, .last = cni_cidr_last(&cidr)};
    take_bound(start, &entry.first);
    take_bound(end, &entry.last);
    check_host_local_overlap(check, network, &entry, subnet);
    check_inside(check, &cidr, subnet->text, start);
    check_inside(check, &cidr, subnet->text, end);
    check_inside(check, &cidr, subnet->text, cni_get_nocase(range, "gateway"));
    check_order(check, start, end);
}

/* Each set gives one address, so its ranges are of one family. */
static void check_host_local_set(struct cni_check *check, struct cni_network *network,
                                 const struct cni_node *set)
{
    struct cni_cidr first, other;
    const char *one = cni_text(cni_get_nocase(set->first, "subnet"));
    if (set->kind != CNI_LIST || !set->count) {
        cni_find(check->findings, CNI_RULE_cni_value, set,
                 "ranges of host-local is a list of sets, and a set is a list: "
                 "[[{\"subnet\": \"10.10.0.0/16\"}]]");
        return;
    }
    CNI_EACH(range, set)
    {
        const char *text = cni_text(cni_get_nocase(range, "subnet"));
        check_host_local_range(check, network, range);
        if (one && text && cni_cidr_parse(one, &first) && cni_cidr_parse(text, &other) &&
            first.address.v6 != other.address.v6)
            cni_find(check->findings, CNI_RULE_ipam_address, range,
                     "%s and %s are in one set, which has one address family", one, text);
    }
}

static void check_host_local(struct cni_check *check, struct cni_network *network,
                             const struct cni_node *ipam)
{
    const struct cni_node *ranges = cni_get_nocase(ipam, "ranges");
    if (cni_get_nocase(ipam, "subnet") || !ranges || !ranges->count)
        check_host_local_range(check, network, ipam);
    CNI_EACH(set, ranges)
    {
        check_host_local_set(check, network, set);
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

/* "/24", or "24": what each node gets of the range. */
static void check_slice(struct cni_check *check, const struct cni_cidr *cidr,
                        const struct cni_node *range, const struct cni_node *slice)
{
    const char *text = slice && slice->kind != CNI_NULL ? slice->text : "";
    long prefix = strtol(text + (*text == '/'), NULL, 10);
    if (*text && (prefix < (long)cidr->prefix || prefix > (cidr->address.v6 ? 128 : 32)))
        cni_find(check->findings, CNI_RULE_pool_size, slice, "node_slice_size %.20s of %s", text,
                 range->text);
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
    check_slice(check, &cidr, range, cni_get_nocase(ipam, "node_slice_size"));
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

static void check_routes(struct cni_check *check, const struct cni_node *routes)
{
    struct cni_cidr cidr;
    struct cni_address address;
    CNI_EACH(route, routes)
    {
        const struct cni_node *target = cni_get_nocase(route, "dst");
        const struct cni_node *gateway = cni_get_nocase(route, "gw");
        if (!target || !cni_cidr_parse(target->text, &cidr))
            cni_find(check->findings, CNI_RULE_ipam_address, target ? target : route,
                     "the dst of a route is written as 10.0.0.0/8");
        if (gateway && *gateway->text && !cni_address_parse(gateway->text, &address))
            cni_find(check->findings, CNI_RULE_ipam_address, gateway, "gw \"%.60s\" is no address",
                     gateway->text);
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
    if (strcmp(type, "nv-ipam") != 0)
        check_routes(check, cni_get_nocase(ipam, "routes"));
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
