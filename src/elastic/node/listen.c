/*
 * Where a node listens, and what it says about that in its address.
 *
 * Invariant: without a secret, and unless SHOAL_INSECURE is set, nothing but loopback is bound.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "control/interface.h"
#include "control/resolve.h"
#include "core/sys.h"
#include "elastic/node/internal.h"

#include <errno.h>

#define RESOLVE_MS 10000

static void set_port(struct shl_sockaddr *addr, uint16_t port)
{
    if (addr->any.sa_family == AF_INET)
        addr->v4.sin_port = htons(port);
    else
        addr->v6.sin6_port = htons(port);
}

static enum shoal_status listen_interfaces(struct shl_node *node, struct shl_node_address *own)
{
    struct shl_interface list[SHL_INTERFACES_MAX];
    uint32_t count, chosen[SHL_LISTENER_SOCKETS - 1], chosen_count;
    enum shoal_status status = SHOAL_OK;
    SHL_TRY(shl_interface_list(list, SHL_INTERFACES_MAX, &count));
    SHL_TRY(shl_interface_select(list, count, node->config->interface, node->loopback_only, chosen,
                                 SHL_LISTENER_SOCKETS - 1, &chosen_count));
    for (uint32_t i = 0; i < chosen_count; i++) {
        struct shl_sockaddr bound;
        status = shl_listener_add(&node->listener, &list[chosen[i]].addr, &bound);
        if (status == SHOAL_OK)
            own->tcp[own->count++] = bound;
        else if (errno != EADDRNOTAVAIL) /* a tentative or just removed address */
            return status;
    }
    return own->count ? SHOAL_OK : status;
}

/* SHOAL_ADDRESS: listen on all and publish what the user says. Its port belongs to the views. */
static enum shoal_status listen_given(struct shl_node *node, struct shl_node_address *own)
{
    struct shl_sockaddr bound, any6 = {.bytes = sizeof(any6.v6), .v6.sin6_family = AF_INET6};
    struct shl_sockaddr any4 = {.bytes = sizeof(any4.v4), .v4.sin_family = AF_INET};
    char host[SHL_SOCK_TEXT_BYTES];
    uint16_t port;
    if (node->loopback_only)
        return listen_interfaces(node, own);
    SHL_TRY(shl_sock_split(node->config->address, 0, host, sizeof(host), &port));
    if (shl_listener_add(&node->listener, &any6, &bound) < 0)
        SHL_TRY(shl_listener_add(&node->listener, &any4, &bound));
    SHL_TRY(shl_resolve(host, 0, shl_now_ns() + RESOLVE_MS * SHL_NODE_MS, own->tcp,
                        SHL_DIAL_CANDIDATES, &own->count));
    for (uint32_t i = 0; i < own->count; i++)
        set_port(&own->tcp[i], shl_sockaddr_port(&bound));
    return SHOAL_OK;
}

enum shoal_status shl_node_listen(struct shl_node *node)
{
    struct shl_node_address own = {.host = node->host, .domain = node->domain};
    struct shl_sockaddr addr, bound;
    SHL_TRY(shl_node_address_local(node->self.id, &addr));
    SHL_TRY(shl_listener_add(&node->listener, &addr, &bound));
    SHL_TRY(node->config->address[0] ? listen_given(node, &own) : listen_interfaces(node, &own));
    shl_node_address_put(&node->self, &own);
    return SHOAL_OK;
}
