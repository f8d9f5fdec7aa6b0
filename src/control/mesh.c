/*
 * The mesh: who keeps sessions with whom, and floods over it.
 *
 * Invariant: a rank forwards a flood on all its other sessions before it delivers it, and forwards
 * floods of one origin in the order of their numbers. Hence every session carries each origin's
 * floods in order, without holes that the receiver has not seen already, and whatever one
 * surviving rank delivers, all that are connected to it deliver.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "control/control_internal.h"
#include "core/sys.h"

#include <stdio.h>

static void add_neighbour(uint32_t rank, uint32_t neighbour, uint32_t *out, uint32_t *count)
{
    if (neighbour == rank)
        return;
    for (uint32_t i = 0; i < *count; i++)
        if (out[i] == neighbour)
            return;
    out[(*count)++] = neighbour;
}

uint32_t shl_mesh_neighbours(uint32_t rank, uint32_t size, uint32_t out[SHL_SESSIONS_MAX])
{
    uint32_t count = 0;
    if (size <= SHL_MESH_FULL_SIZE) {
        for (uint32_t other = 0; other < size; other++)
            add_neighbour(rank, other, out, &count);
        return count;
    }
    for (uint64_t step = 1; step < size; step *= 2) {
        add_neighbour(rank, (uint32_t)((rank + step) % size), out, &count);
        add_neighbour(rank, (uint32_t)((rank + size - step) % size), out, &count);
    }
    return count;
}

struct shl_packet *shl_packet_create(struct shl_control *control, uint32_t bytes)
{
    size_t head =
        sizeof(struct shl_packet) + control->session_count * sizeof(struct shl_packet_link);
    struct shl_packet *packet = shl_mem->alloc(head + bytes);
    if (!packet) {
        (void)shl_fail(SHOAL_ERR_NOMEM, "no memory for a control message of %u bytes", bytes);
        return NULL;
    }
    packet->references = 1;
    packet->bytes = bytes;
    packet->payload = (uint8_t *)packet + head;
    atomic_fetch_add_explicit(&control->backlog_bytes, head + bytes, memory_order_relaxed);
    return packet;
}

void shl_packet_release(struct shl_control *control, struct shl_packet *packet)
{
    if (!packet || --packet->references)
        return;
    uint64_t whole = (uint64_t)(packet->payload - (uint8_t *)packet) + packet->bytes;
    atomic_fetch_sub_explicit(&control->backlog_bytes, whole, memory_order_relaxed);
    shl_mem->free(packet);
}

static void forward(struct shl_control *control, struct shl_packet *packet,
                    const struct shl_session *except)
{
    for (uint32_t i = 0; i < control->session_count; i++) {
        struct shl_session *session = &control->sessions[i];
        if (session != except && shl_session_open(session) && !session->said_goodbye)
            shl_session_queue(session, packet);
    }
}

/* False: a verdict that cannot be parsed. */
static bool deliver(struct shl_control *control, struct shl_packet *packet)
{
    if (packet->kind == SHL_FRAME_VERDICT)
        return shl_verdict_apply(control, packet);
    control->options.on_message(control->options.arg, packet->origin, packet->type, packet->payload,
                                packet->bytes);
    return true;
}

void shl_mesh_originate(struct shl_control *control, struct shl_packet *packet)
{
    packet->origin = control->options.rank;
    packet->flood_seq = ++control->flooded;
    control->delivered[packet->origin] = packet->flood_seq;
    forward(control, packet, NULL);
    (void)deliver(control, packet);
    shl_packet_release(control, packet);
}

bool shl_mesh_receive(struct shl_session *from, struct shl_packet *packet)
{
    struct shl_control *control = from->control;
    uint64_t *delivered = &control->delivered[packet->origin];
    bool good = true;
    if (packet->flood_seq > *delivered + 1) {
        char cause[128];
        snprintf(cause, sizeof(cause), "it sent flood %llu of rank %u, %llu was due",
                 (unsigned long long)packet->flood_seq, packet->origin,
                 (unsigned long long)*delivered + 1);
        shl_verdict_pass(control, from->peer, SHOAL_ERR_INTERNAL, cause);
    } else if (packet->flood_seq == *delivered + 1) {
        (*delivered)++;
        forward(control, packet, from);
        good = deliver(control, packet);
    }
    shl_packet_release(control, packet);
    return good;
}
