/*
 * Addresses and the devices that rdma_cm reaches by them. To bind is the one way to know: the
 * kernel compares hardware addresses, or looks through GID tables, and takes the first device that
 * fits.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "transport/verbs/verbs_cm_address.h"

#include "transport/verbs/verbs_cm_sys.h"
#include "transport/verbs/verbs_gid.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static bool is_ipv4(const uint8_t *address)
{
    static const uint8_t prefix[12] = {[10] = 0xff, [11] = 0xff};
    return memcmp(address, prefix, sizeof(prefix)) == 0;
}

void shl_verbs_cm_sockaddr(const uint8_t *address, uint16_t port, struct shl_sockaddr *out)
{
    memset(out, 0, sizeof(*out));
    if (is_ipv4(address)) {
        out->bytes = sizeof(out->v4);
        out->v4.sin_family = AF_INET;
        out->v4.sin_port = htons(port);
        memcpy(&out->v4.sin_addr, address + 12, 4);
    } else {
        out->bytes = sizeof(out->v6);
        out->v6.sin6_family = AF_INET6;
        out->v6.sin6_port = htons(port);
        memcpy(&out->v6.sin6_addr, address, 16);
    }
}

/* false: of no use to others, or none that RDMA knows. */
static bool address_of(const struct shl_interface *interface, int family, uint8_t *address)
{
    const struct shl_sockaddr *from = &interface->addr;
    memset(address, 0, SHL_VERBS_GID_BYTES);
    if (!interface->up || from->any.sa_family != family)
        return false;
    if (family == AF_INET) {
        address[10] = address[11] = 0xff;
        memcpy(address + 12, &from->v4.sin_addr, 4);
        return true;
    }
    memcpy(address, &from->v6.sin6_addr, 16);
    return !IN6_IS_ADDR_LINKLOCAL(&from->v6.sin6_addr);
}

static void try_address(struct rdma_event_channel *channel, const struct shl_interface *interface,
                        int family, struct shl_verbs_cm_addresses *out)
{
    struct shl_verbs_cm_address *entry = &out->list[out->count];
    struct rdma_cm_id *id;
    struct shl_sockaddr to;
    if (out->count == SHL_INTERFACES_MAX || !address_of(interface, family, entry->address) ||
        shl_verbs_cm->create_id(channel, &id, NULL, RDMA_PS_TCP) != 0)
        return;
    shl_verbs_cm_sockaddr(entry->address, 0, &to);
    if (shl_verbs_cm->bind_addr(id, &to.any) == 0 && id->verbs) {
        snprintf(entry->device, sizeof(entry->device), "%.63s", id->verbs->device->name);
        snprintf(entry->interface, sizeof(entry->interface), "%s", interface->name);
        entry->port = id->port_num;
        out->count++;
    }
    shl_verbs_cm->destroy_id(id);
}

void shl_verbs_cm_addresses_find(const struct shl_interface *interfaces, uint32_t count,
                                 struct shl_verbs_cm_addresses *out)
{
    memset(out, 0, sizeof(*out));
    out->known = true;
    if (shl_verbs_cm_load() < 0) {
        snprintf(out->why_not, sizeof(out->why_not), "%s", shl_error_text());
        return;
    }
    errno = 0;
    struct rdma_event_channel *channel = shl_verbs_cm->create_event_channel();
    if (!channel) {
        snprintf(out->why_not, sizeof(out->why_not),
                 "rdma_cm does not work (%s); /dev/infiniband/rdma_cm must exist and be readable "
                 "and writable, and the module rdma_ucm loaded",
                 errno ? strerror(errno) : "no reason given");
        return;
    }
    for (uint32_t i = 0; i < count; i++)
        try_address(channel, &interfaces[i], AF_INET, out);
    for (uint32_t i = 0; i < count; i++)
        try_address(channel, &interfaces[i], AF_INET6, out);
    shl_verbs_cm->destroy_event_channel(channel);
}

static bool fits(const struct shl_verbs_cm_address *entry, const struct shl_verbs_port *port)
{
    return strcmp(entry->device, port->device) == 0 && entry->port == port->port &&
           (port->kind != SHL_VERBS_ROCE ||
            memcmp(entry->address, port->gid, sizeof(port->gid)) == 0);
}

bool shl_verbs_cm_address_choose(const struct shl_verbs_cm_addresses *addresses,
                                 struct shl_verbs_port *port)
{
    for (uint32_t i = 0; i < addresses->count; i++) {
        const struct shl_verbs_cm_address *entry = &addresses->list[i];
        if (!fits(entry, port))
            continue;
        memcpy(port->address, entry->address, sizeof(port->address));
        snprintf(port->interface, sizeof(port->interface), "%s", entry->interface);
        return true;
    }
    if (addresses->why_not[0])
        snprintf(port->reason, sizeof(port->reason), "%s", addresses->why_not);
    else if (port->kind == SHL_VERBS_ROCE)
        snprintf(port->reason, sizeof(port->reason),
                 "rdma_cm does not take its address %s to this device; does another device share "
                 "its interface?",
                 port->gid_text);
    else
        snprintf(port->reason, sizeof(port->reason),
                 "rdma_cm takes no address of this network namespace to it; give its interface an "
                 "address, and no other RDMA device the same interface");
    return false;
}
