/*
 * From what the ranks published to the addresses that are dialled.
 *
 * Invariant: a loopback address is only ever dialled for a rank of the same host and network
 * namespace; on any other host it would lead to a stranger.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "control/control_internal.h"
#include "control/resolve.h"

#include <stdio.h>
#include <string.h>

/* Loopback first: it always works, and no firewall is asked. */
static void add_candidate(struct shl_peer *peer, const struct shl_sockaddr *addr)
{
    struct shl_dial_target *target = &peer->tcp;
    bool loopback = shl_sockaddr_is_loopback(addr);
    if ((loopback && !peer->is_local) || target->count == SHL_DIAL_CANDIDATES)
        return;
    uint32_t at = target->count++;
    if (loopback) {
        memmove(&target->addresses[1], &target->addresses[0], at * sizeof(target->addresses[0]));
        at = 0;
    }
    target->addresses[at] = *addr;
}

static bool is_peer_local(const struct shl_control *control,
                          const struct shl_control_address *address)
{
    return address->host_id[0] && strcmp(address->host_id, control->own.host_id) == 0;
}

static enum shoal_status find_peer(struct shl_control *control, uint32_t rank,
                                   const struct shl_control_address *address, uint64_t deadline_ns)
{
    struct shl_peer *peer = &control->peers[rank];
    char failure[512] = "";
    peer->is_local = is_peer_local(control, address);
    peer->has_socket = peer->is_local && address->unix_name[0] &&
                       shl_sockaddr_unix(address->unix_name, &peer->socket) == SHOAL_OK;
    for (uint32_t i = 0; i < address->count && i < SHL_CONTROL_ADDRESSES; i++) {
        char host[SHL_CONTROL_ADDRESS_TEXT];
        uint16_t port;
        struct shl_sockaddr found[SHL_DIAL_CANDIDATES];
        uint32_t count = 0;
        if (shl_sock_split(address->text[i], -1, host, sizeof(host), &port) < 0 ||
            shl_resolve(host, port, deadline_ns, found, SHL_DIAL_CANDIDATES, &count) < 0)
            snprintf(failure, sizeof(failure), "%.500s", shl_error_text());
        for (uint32_t j = 0; j < count; j++)
            add_candidate(peer, &found[j]);
    }
    if (peer->tcp.count || peer->has_socket)
        return SHOAL_OK;
    if (failure[0])
        return shl_fail(SHOAL_ERR_PEER, "rank %u cannot be reached: %s", rank, failure);
    return shl_fail(SHOAL_ERR_CONFIG,
                    "rank %u is on another host (%s) and listens on loopback only; set "
                    "SHOAL_SECRET_FILE on all ranks (or SHOAL_INSECURE=1 on a trusted network), "
                    "and check SHOAL_INTERFACE there",
                    rank, address->host_id[0] ? address->host_id : "unknown");
}

enum shoal_status shl_control_find_peers(struct shl_control *control,
                                         const struct shl_control_address *addresses,
                                         uint64_t deadline_ns)
{
    uint32_t size = control->options.size, own = control->options.rank;
    for (uint32_t rank = 0; rank < size; rank++) {
        if (rank == own)
            continue;
        SHL_TRY(find_peer(control, rank, &addresses[rank], deadline_ns));
        if (control->loopback_only && !control->peers[rank].is_local)
            return shl_fail(SHOAL_ERR_CONFIG,
                            "rank %u is on another host, but without a secret this rank listens on "
                            "loopback only; set SHOAL_SECRET_FILE on all ranks (or "
                            "SHOAL_INSECURE=1 on a trusted network)",
                            rank);
    }
    return SHOAL_OK;
}
