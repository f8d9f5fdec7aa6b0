/*
 * Members' addresses, packed and unpacked.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "elastic/node/address.h"

#include "core/bytes.h"
#include "core/host.h"

#include <stdio.h>
#include <string.h>

#define VERSION 2
#define FAMILY_V4 4
#define FAMILY_V6 6

static void put_one(struct shl_bytes *out, const struct shl_sockaddr *addr)
{
    struct shl_bytes whole = *out;
    if (addr->any.sa_family == AF_INET) {
        shl_bytes_put_u8(&whole, FAMILY_V4);
        shl_bytes_put(&whole, &addr->v4.sin_addr, sizeof(addr->v4.sin_addr));
    } else if (addr->any.sa_family == AF_INET6 && addr->v6.sin6_scope_id == 0) {
        shl_bytes_put_u8(&whole, FAMILY_V6);
        shl_bytes_put(&whole, &addr->v6.sin6_addr, sizeof(addr->v6.sin6_addr));
    } else {
        return; /* a scope means nothing on another host */
    }
    shl_bytes_put_u16(&whole, shl_sockaddr_port(addr));
    if (!whole.failed)
        *out = whole;
}

void shl_node_address_put(struct shl_member *member, const struct shl_node_address *address)
{
    struct shl_bytes out = shl_bytes_writer(member->address, sizeof(member->address));
    shl_bytes_put_u8(&out, VERSION);
    shl_bytes_put_u64(&out, address->host);
    shl_bytes_put_u64(&out, address->domain);
    for (uint32_t i = 0; i < address->count; i++)
        put_one(&out, &address->tcp[i]);
    member->address_bytes = (uint8_t)out.at;
}

static bool get_one(struct shl_bytes *in, struct shl_sockaddr *addr)
{
    uint8_t family = shl_bytes_get_u8(in);
    memset(addr, 0, sizeof(*addr));
    if (family == FAMILY_V4) {
        addr->bytes = sizeof(addr->v4);
        addr->v4.sin_family = AF_INET;
        shl_bytes_get(in, &addr->v4.sin_addr, sizeof(addr->v4.sin_addr));
        addr->v4.sin_port = htons(shl_bytes_get_u16(in));
    } else if (family == FAMILY_V6) {
        addr->bytes = sizeof(addr->v6);
        addr->v6.sin6_family = AF_INET6;
        shl_bytes_get(in, &addr->v6.sin6_addr, sizeof(addr->v6.sin6_addr));
        addr->v6.sin6_port = htons(shl_bytes_get_u16(in));
    } else {
        return false;
    }
    return !in->failed;
}

bool shl_node_address_get(const struct shl_member *member, struct shl_node_address *address)
{
    struct shl_node_address found = {0};
    struct shl_bytes in = shl_bytes_reader(member->address, member->address_bytes);
    if (shl_bytes_get_u8(&in) != VERSION)
        return false;
    found.host = shl_bytes_get_u64(&in);
    found.domain = shl_bytes_get_u64(&in);
    while (!in.failed && shl_bytes_left(&in)) {
        if (found.count == SHL_DIAL_CANDIDATES || !get_one(&in, &found.tcp[found.count]))
            return false;
        found.count++;
    }
    if (in.failed)
        return false;
    *address = found;
    return true;
}

enum shoal_status shl_node_address_local(uint64_t id, struct shl_sockaddr *addr)
{
    char name[40];
    snprintf(name, sizeof(name), "shoal-member-%016llx", (unsigned long long)id);
    return shl_sockaddr_unix(name, addr);
}

static uint64_t digest(const char *text)
{
    uint64_t hash = 1469598103934665603ull; /* FNV-1a */
    for (const char *at = text; *at; at++)
        hash = (hash ^ (uint8_t)*at) * 1099511628211ull;
    return hash;
}

enum shoal_status shl_node_address_domain(const char *name, uint64_t *domain)
{
    struct shl_host identity;
    SHL_TRY(shl_host_identify(&identity));
    *domain = digest(name[0] ? name : identity.boot_id);
    return SHOAL_OK;
}

enum shoal_status shl_node_address_host(uint64_t *host)
{
    struct shl_host identity;
    char text[SHL_HOST_ID_BYTES];
    SHL_TRY(shl_host_identify(&identity));
    shl_host_id_format(&identity, text, sizeof(text));
    *host = digest(text);
    return SHOAL_OK;
}

void shl_node_address_target(const struct shl_node_address *address, uint64_t id, uint64_t host,
                             struct shl_dial_target *target)
{
    memset(target, 0, sizeof(*target));
    /* On the same host the socket says all there is to say: if it is refused, the member is gone.
     */
    if (address->host == host) {
        target->count = shl_node_address_local(id, &target->addresses[0]) == SHOAL_OK;
        return;
    }
    for (uint32_t i = 0; i < address->count; i++)
        if (!shl_sockaddr_is_loopback(&address->tcp[i]))
            target->addresses[target->count++] = address->tcp[i];
}
