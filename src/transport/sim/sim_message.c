/*
 * Messages of the simulated transport: packets out, duplicates dropped, arrivals matched.
 *
 * Invariant: a byte is placed only into a transfer that is on a recvs list, so what cancel took off
 * is never written again.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "core/array.h"
#include "transport/sim/sim_transport_internal.h"

#include <string.h>

#define FRAGMENT_BYTES_MAX 16384
#define FRAGMENTS_PER_POLL 8
#define SINK_PIECES_MAX 4

/* ---- out ------------------------------------------------------------------------------------ */

struct sim_header *sim_packet_header(const struct shl_sim_packet *packet)
{
    return (struct sim_header *)packet->data;
}

enum shoal_status sim_message_send(struct shl_transport *t, const struct shl_xfer *xfer,
                                   enum sim_message_kind kind, uint64_t offset, size_t bytes)
{
    struct sim_peer *peer = &t->peers[xfer->peer];
    struct {
        struct sim_header header;
        uint8_t pad[SIM_PAD_MAX];
    } head = {
        .header =
            {
                .number = peer->next_number,
                .epoch = t->env->epoch,
                .incarnation = t->env->incarnation,
                .tag = xfer->tag,
                .signature = xfer->signature,
                .message_bytes = xfer->bytes,
                .offset = offset,
                .kind = kind,
                .pad_bytes = (uint32_t)shl_sim_network_random(t->network, SIM_PAD_MAX),
            },
    };
    const uint8_t *body = bytes > 0 ? (const uint8_t *)xfer->data + offset : NULL;
    SHL_TRY(shl_sim_port_send(t->port, peer->node, peer->port, &head,
                              sizeof(head.header) + head.header.pad_bytes, body, bytes));
    peer->next_number++;
    return SHOAL_OK;
}

/* Fragments end at element boundaries and differ in size. */
static size_t fragment_bytes(struct shl_transport *t, const struct shl_xfer *xfer)
{
    uint64_t left = xfer->bytes - xfer->moved_bytes;
    uint64_t bytes = 1 + shl_sim_network_random(t->network, FRAGMENT_BYTES_MAX);
    bytes -= bytes % xfer->elem_bytes;
    if (bytes == 0)
        bytes = xfer->elem_bytes;
    return bytes < left ? bytes : left;
}

/* The next fragment leaves when the port is free; without a wake-up then it might never. */
static void wake_when_free(struct shl_transport *t)
{
    uint64_t free_ns = shl_sim_port_free_ns(t->port);
    if (shl_list_empty(&t->flowing) || free_ns == t->wake_ns ||
        free_ns == shl_sim_network_now_ns(t->network))
        return;
    enum shoal_status status = shl_sim_network_wake(t->network, free_ns);
    if (status == SHOAL_OK) {
        t->wake_ns = free_ns;
        return;
    }
    struct shl_list *at = shl_list_pop(&t->flowing);
    sim_xfer_finish(t, SHL_CONTAINER_OF(at, struct shl_xfer, link), status);
}

unsigned sim_flow(struct shl_transport *t)
{
    uint64_t now_ns = shl_sim_network_now_ns(t->network);
    unsigned budget = 1 + (unsigned)shl_sim_network_random(t->network, FRAGMENTS_PER_POLL);
    unsigned sent = 0;
    struct shl_list *at;
    while (sent < budget && shl_sim_port_free_ns(t->port) == now_ns &&
           (at = shl_list_pop(&t->flowing)) != NULL) {
        struct shl_xfer *xfer = SHL_CONTAINER_OF(at, struct shl_xfer, link);
        size_t bytes = fragment_bytes(t, xfer);
        enum shoal_status status =
            sim_message_send(t, xfer, SIM_FRAGMENT, xfer->moved_bytes, bytes);
        sent++;
        if (status == SHOAL_OK)
            xfer->moved_bytes += bytes;
        if (status < 0 || xfer->moved_bytes == xfer->bytes)
            sim_xfer_finish(t, xfer, status);
        else
            shl_list_append(&t->flowing, &xfer->link);
    }
    wake_when_free(t);
    return sent;
}

/* ---- in ------------------------------------------------------------------------------------- */

static enum shoal_status window_reserve(struct sim_window *window)
{
    return shl_array_reserve(&window->ahead, &window->ahead_capacity, window->ahead_count,
                             sizeof(*window->ahead), "packets out of order");
}

static bool window_has(const struct sim_window *window, uint64_t number)
{
    bool has = number < window->next;
    for (size_t i = 0; i < window->ahead_count && !has; i++)
        has = window->ahead[i] == number;
    return has;
}

/* The caller reserved, and the window does not have it. */
static void window_add(struct sim_window *window, uint64_t number)
{
    window->ahead[window->ahead_count++] = number;
    for (size_t i = 0; i < window->ahead_count;) {
        if (window->ahead[i] != window->next) {
            i++;
            continue;
        }
        window->ahead[i] = window->ahead[--window->ahead_count];
        window->next++;
        i = 0;
    }
}

/* Up to SINK_PIECES_MAX pieces at chosen element boundaries, in any order. */
static void pour(struct shl_transport *t, struct shl_xfer *xfer, uint64_t offset,
                 const uint8_t *data, size_t bytes)
{
    uint64_t elems = bytes / xfer->elem_bytes;
    uint64_t count = 1 + shl_sim_network_random(t->network, SINK_PIECES_MAX);
    uint64_t from[SINK_PIECES_MAX], to[SINK_PIECES_MAX];
    uint64_t at = 0;
    for (uint64_t i = 0; i < count; i++) {
        from[i] = at;
        at = i + 1 == count ? elems : at + shl_sim_network_random(t->network, elems - at + 1);
        to[i] = at;
    }
    for (uint64_t left = count; left > 0; left--) {
        uint64_t pick = shl_sim_network_random(t->network, left);
        uint64_t begin = from[pick] * xfer->elem_bytes;
        uint64_t end = to[pick] * xfer->elem_bytes;
        from[pick] = from[left - 1];
        to[pick] = to[left - 1];
        if (end > begin)
            xfer->sink(xfer, offset + begin, data + begin, end - begin);
    }
}

/* Data for a posted receive; false: they do not fit it. */
static bool place(struct shl_transport *t, struct shl_xfer *xfer,
                  const struct shl_sim_packet *packet)
{
    const struct sim_header *header = sim_packet_header(packet);
    size_t head_bytes = sizeof(*header) + header->pad_bytes;
    const uint8_t *data = packet->data + head_bytes;
    size_t bytes = packet->bytes - head_bytes;
    if (header->message_bytes != xfer->bytes || bytes > xfer->bytes - xfer->moved_bytes ||
        header->offset > xfer->bytes - bytes)
        return false;
    if (xfer->sink != NULL && (header->offset % xfer->elem_bytes || bytes % xfer->elem_bytes))
        return false;
    if (bytes > 0 && xfer->sink != NULL)
        pour(t, xfer, header->offset, data, bytes);
    else if (bytes > 0)
        memcpy((uint8_t *)xfer->data + header->offset, data, bytes);
    xfer->moved_bytes += bytes;
    return true;
}

static void report(struct shl_transport *t, const struct shl_sim_packet *packet, uint32_t rank)
{
    struct sim_header header = *sim_packet_header(packet);
    t->env->seen(t->env->arg, rank, &header.tag, &header.signature);
}

/* An eager message or a fragment meets the receive that waits for it. Releases the packet. */
static void complete_recv(struct shl_transport *t, struct shl_xfer *xfer,
                          struct shl_sim_packet *packet)
{
    if (!shl_signature_equal(&xfer->signature, &sim_packet_header(packet)->signature)) {
        report(t, packet, xfer->peer);
        shl_sim_packet_release(t->network, packet);
        return;
    }
    uint64_t came_bytes = sim_packet_header(packet)->message_bytes;
    bool placed = place(t, xfer, packet);
    shl_sim_packet_release(t->network, packet);
    if (placed && xfer->moved_bytes < xfer->bytes)
        return;
    enum shoal_status status = SHOAL_OK;
    if (!placed)
        status = shl_fail(
            SHOAL_ERR_INTERNAL, "rank %u sent a message of %llu bytes where %llu were expected",
            xfer->peer, (unsigned long long)came_bytes, (unsigned long long)xfer->bytes);
    shl_list_remove(&xfer->link);
    sim_xfer_finish(t, xfer, status);
}

/* An announcement meets the send that waits for it. Releases the packet. */
static void start_flow(struct shl_transport *t, struct shl_xfer *xfer,
                       struct shl_sim_packet *packet)
{
    if (!shl_signature_equal(&xfer->signature, &sim_packet_header(packet)->signature)) {
        report(t, packet, xfer->peer);
    } else {
        shl_list_remove(&xfer->link);
        shl_list_append(&t->flowing, &xfer->link);
    }
    shl_sim_packet_release(t->network, packet);
}

static void keep(struct shl_transport *t, uint32_t rank, struct shl_sim_packet *packet)
{
    if (!t->env->wanted(t->env->arg, &sim_packet_header(packet)->tag)) {
        shl_sim_packet_release(t->network, packet);
        return;
    }
    shl_list_append(&t->peers[rank].kept, &packet->link);
    report(t, packet, rank);
}

/* Whose packet is it? The world's size when it belongs to no peer, or to another epoch. */
static uint32_t sender_of(const struct shl_transport *t, const struct shl_sim_packet *packet)
{
    if (packet->bytes < sizeof(struct sim_header))
        return t->env->size;
    const struct sim_header *header = sim_packet_header(packet);
    if (header->epoch != t->env->epoch || header->incarnation != t->env->incarnation)
        return t->env->size;
    uint32_t rank = 0;
    while (rank < t->env->size &&
           !(t->peers[rank].attached && t->peers[rank].port == packet->from_port))
        rank++;
    return rank;
}

static void match(struct shl_transport *t, uint32_t rank, struct shl_sim_packet *packet)
{
    struct sim_peer *peer = &t->peers[rank];
    const struct sim_header *header = sim_packet_header(packet);
    bool announce = header->kind == SIM_ANNOUNCE;
    struct shl_xfer *xfer = sim_xfer_find(announce ? &peer->sends : &peer->recvs, &header->tag);
    if (xfer != NULL && announce)
        start_flow(t, xfer, packet);
    else if (xfer != NULL)
        complete_recv(t, xfer, packet);
    else if (header->kind == SIM_FRAGMENT)
        shl_sim_packet_release(t->network, packet);
    else
        keep(t, rank, packet);
}

void sim_message_handle(struct shl_transport *t, struct shl_sim_packet *packet)
{
    uint32_t rank = sender_of(t, packet);
    if (rank < t->env->size && !t->peers[rank].dropped) {
        struct sim_window *window = &t->peers[rank].window;
        uint64_t number = sim_packet_header(packet)->number;
        if (window_reserve(window) < 0) {
            sim_peer_lose(t, rank, SHOAL_ERR_NOMEM, "no memory to put its packets in order");
        } else if (!window_has(window, number)) {
            window_add(window, number);
            match(t, rank, packet);
            return;
        }
    }
    shl_sim_packet_release(t->network, packet);
}

/* ---- a transfer was posted ------------------------------------------------------------------ */

static struct shl_sim_packet *take_kept(struct sim_peer *peer, const struct shl_tag *tag,
                                        bool announce)
{
    struct shl_list *at, *next;
    SHL_LIST_FOR_EACH(at, next, &peer->kept)
    {
        struct shl_sim_packet *packet = SHL_CONTAINER_OF(at, struct shl_sim_packet, link);
        const struct sim_header *header = sim_packet_header(packet);
        if ((header->kind == SIM_ANNOUNCE) != announce || !shl_tag_equal(&header->tag, tag))
            continue;
        shl_list_remove(at);
        return packet;
    }
    return NULL;
}

void sim_match_send(struct shl_transport *t, struct shl_xfer *xfer)
{
    struct shl_sim_packet *packet = take_kept(&t->peers[xfer->peer], &xfer->tag, true);
    if (packet != NULL)
        start_flow(t, xfer, packet);
}

void sim_match_recv(struct shl_transport *t, struct shl_xfer *xfer)
{
    struct shl_sim_packet *packet = take_kept(&t->peers[xfer->peer], &xfer->tag, false);
    if (packet != NULL)
        complete_recv(t, xfer, packet);
}
