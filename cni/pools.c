/*
 * Pools of addresses: IPPool and CIDRPool.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "check.h"

#include <string.h>

static void check_gateway(struct cni_check *check, const struct cni_cidr *cidr,
                          const struct cni_node *gateway)
{
    struct cni_address address;
    if (!cni_text(gateway) || !*gateway->text)
        return;
    if (!cni_address_parse(gateway->text, &address))
        cni_find(check->findings, CNI_RULE_ipam_address, gateway, "\"%.60s\" is no address",
                 gateway->text);
    else if (!cni_cidr_contains(cidr, &address))
        cni_find(check->findings, CNI_RULE_ipam_outside, gateway,
                 "the gateway %s lies outside the subnet", gateway->text);
}

static uint32_t host_bits(const struct cni_cidr *cidr)
{
    return (cidr->address.v6 ? 128 : 32) - cidr->prefix;
}

void cni_check_pools(struct cni_check *check, const struct cni_node *object)
{
    const struct cni_node *spec = cni_get(object, "spec");
    bool blocks = cni_has_kind(object, "IPPool");
    const struct cni_node *subnet = cni_get(spec, blocks ? "subnet" : "cidr");
    const struct cni_node *size =
        cni_get(spec, blocks ? "perNodeBlockSize" : "perNodeNetworkPrefix");
    struct cni_cidr cidr;
    if (!cni_text(subnet))
        return; /* the schema has said so */
    if (!cni_cidr_parse(subnet->text, &cidr)) {
        cni_find(check->findings, CNI_RULE_ipam_address, subnet, "\"%.60s\" is no subnet",
                 subnet->text);
        return;
    }
    if (blocks)
        check_gateway(check, &cidr, cni_get(spec, "gateway"));
    if (!size || size->kind != CNI_INT)
        return;
    if (blocks && (size->integer < 1 ||
                   (host_bits(&cidr) < 31 && size->integer > (INT64_C(1) << host_bits(&cidr)))))
        cni_find(check->findings, CNI_RULE_pool_size, size, "blocks of %lld addresses in %s",
                 (long long)size->integer, subnet->text);
    if (!blocks && (size->integer < cidr.prefix || size->integer > (cidr.address.v6 ? 128 : 32)))
        cni_find(check->findings, CNI_RULE_pool_size, size, "networks of /%lld in %s",
                 (long long)size->integer, subnet->text);
}

void cni_check_pool_networks(struct cni_check *check)
{
    for (struct cni_network *network = check->networks; network; network = network->next)
        for (const struct cni_document *at = check->documents; network->pool && at; at = at->next) {
            bool blocks = cni_has_kind(at->root, "IPPool");
            const char *subnet = cni_text_at(at->root, blocks ? "spec.subnet" : "spec.cidr");
            struct cni_subnet *entry = &network->subnets[network->subnet_count];
            if ((blocks || cni_has_kind(at->root, "CIDRPool")) && subnet &&
                strcmp(cni_metadata_text(at->root, "name"), network->pool) == 0 &&
                network->subnet_count < CNI_SUBNETS_MAX && cni_cidr_parse(subnet, &entry->cidr)) {
                entry->text = subnet;
                network->subnet_count++;
            }
        }
}
