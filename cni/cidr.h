/*
 * Addresses and subnets.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef CNI_CIDR_H
#define CNI_CIDR_H

#include <stdbool.h>
#include <stdint.h>

struct cni_address {
    uint8_t bytes[16]; /* of IPv4, the first four */
    bool v6;
};

struct cni_cidr {
    struct cni_address address;
    uint32_t prefix;
};

bool cni_address_parse(const char *text, struct cni_address *address);
bool cni_cidr_parse(const char *text, struct cni_cidr *cidr);

/* Bits below the prefix are set: an address inside a subnet, not the subnet. */
bool cni_cidr_has_host_bits(const struct cni_cidr *cidr);
bool cni_cidr_contains(const struct cni_cidr *cidr, const struct cni_address *address);
bool cni_cidr_overlaps(const struct cni_cidr *a, const struct cni_cidr *b);
struct cni_address cni_cidr_last(const struct cni_cidr *cidr);
int cni_address_compare(const struct cni_address *a, const struct cni_address *b);

#endif
