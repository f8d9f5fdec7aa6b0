/*
 * Addresses and subnets, IPv4 and IPv6.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "cidr.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

static uint32_t width(const struct cni_address *address)
{
    return address->v6 ? 128 : 32;
}

bool cni_address_parse(const char *text, struct cni_address *address)
{
    *address = (struct cni_address){.v6 = strchr(text, ':') != NULL};
    return inet_pton(address->v6 ? AF_INET6 : AF_INET, text, address->bytes) == 1;
}

bool cni_cidr_parse(const char *text, struct cni_cidr *cidr)
{
    char address[64];
    const char *slash = strchr(text, '/');
    if (!slash || (size_t)(slash - text) >= sizeof(address) || !slash[1] || strlen(slash) > 4 ||
        strspn(slash + 1, "0123456789") != strlen(slash + 1))
        return false;
    memcpy(address, text, (size_t)(slash - text));
    address[slash - text] = 0;
    cidr->prefix = (uint32_t)strtoul(slash + 1, NULL, 10);
    return cni_address_parse(address, &cidr->address) && cidr->prefix <= width(&cidr->address);
}

static bool bit(const struct cni_address *address, uint32_t number)
{
    return address->bytes[number / 8] >> (7 - number % 8) & 1;
}

bool cni_cidr_has_host_bits(const struct cni_cidr *cidr)
{
    for (uint32_t i = cidr->prefix; i < width(&cidr->address); i++)
        if (bit(&cidr->address, i))
            return true;
    return false;
}

static bool agree(const struct cni_address *a, const struct cni_address *b, uint32_t prefix)
{
    if (a->v6 != b->v6)
        return false;
    for (uint32_t i = 0; i < prefix; i++)
        if (bit(a, i) != bit(b, i))
            return false;
    return true;
}

bool cni_cidr_contains(const struct cni_cidr *cidr, const struct cni_address *address)
{
    return agree(&cidr->address, address, cidr->prefix);
}

bool cni_cidr_overlaps(const struct cni_cidr *a, const struct cni_cidr *b)
{
    return agree(&a->address, &b->address, a->prefix < b->prefix ? a->prefix : b->prefix);
}

struct cni_address cni_cidr_last(const struct cni_cidr *cidr)
{
    struct cni_address last = cidr->address;
    for (uint32_t i = cidr->prefix; i < width(&last); i++)
        last.bytes[i / 8] |= (uint8_t)(1u << (7 - i % 8));
    return last;
}

int cni_address_compare(const struct cni_address *a, const struct cni_address *b)
{
    return memcmp(a->bytes, b->bytes, sizeof(a->bytes));
}
