/*
 * Ports and packets of the simulated network.
 *
 * Invariant: a packet is in exactly one place: a pool, the event queue, the list of held ones, an
 * inbox, or the hands of the receiver.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "core/array.h"
#include "core/sys.h"
#include "transport/sim/sim_internal.h"

#include <string.h>

#define PACKET_ALIGN 16
/* Few sizes, so that a rare one finds a pool that is warm. */
#define PACKET_BYTES_MIN 2048
#define PACKET_BYTES_STEP 16
#define NS_PER_SECOND 1000000000u

/* ---- packets -------------------------------------------------------------------------------- */

static unsigned pool_of(size_t capacity)
{
    return (unsigned)(63 - __builtin_clzll(capacity));
}

static size_t packet_head_bytes(void)
{
    return (sizeof(struct shl_sim_packet) + PACKET_ALIGN - 1) / PACKET_ALIGN * PACKET_ALIGN;
}

static struct shl_sim_packet *packet_make(size_t capacity)
{
    struct shl_sim_packet *packet =
        shl_mem->alloc_aligned(PACKET_ALIGN, packet_head_bytes() + capacity);
    if (packet == NULL)
        return NULL;
    packet->capacity = capacity;
    packet->data = (uint8_t *)packet + packet_head_bytes();
    return packet;
}

/* An empty pool is doubled, so that traffic which stays as it is soon allocates no more. */
static void pool_grow(struct shl_sim_network *network, size_t capacity)
{
    struct sim_pool *pool = &network->pools[pool_of(capacity)];
    for (size_t left = pool->made + 1; left > 0; left--) {
        struct shl_sim_packet *packet = packet_make(capacity);
        if (packet == NULL)
            return;
        shl_list_append(&pool->idle, &packet->link);
        pool->made++;
    }
}

struct shl_sim_packet *sim_packet_take(struct shl_sim_network *network, size_t bytes)
{
    size_t capacity = PACKET_BYTES_MIN;
    while (capacity < bytes)
        capacity *= PACKET_BYTES_STEP;
    struct shl_list *idle = &network->pools[pool_of(capacity)].idle;
    if (shl_list_empty(idle))
        pool_grow(network, capacity);
    if (shl_list_empty(idle))
        return NULL;
    struct shl_sim_packet *packet =
        SHL_CONTAINER_OF(shl_list_pop(idle), struct shl_sim_packet, link);
    packet->bytes = bytes;
    return packet;
}

void shl_sim_packet_release(struct shl_sim_network *network, struct shl_sim_packet *packet)
{
    shl_list_append(&network->pools[pool_of(packet->capacity)].idle, &packet->link);
}

static void free_list(struct shl_list *head)
{
    struct shl_list *at;
    while ((at = shl_list_pop(head)) != NULL)
        shl_mem->free(SHL_CONTAINER_OF(at, struct shl_sim_packet, link));
}

void sim_packet_free_all(struct shl_sim_network *network)
{
    for (size_t i = 0; i < network->event_count; i++)
        shl_mem->free(network->events[i].packet);
    network->event_count = 0;
    free_list(&network->held);
    for (size_t i = 0; i < SIM_POOLS; i++)
        free_list(&network->pools[i].idle);
}

void sim_packet_launch(struct shl_sim_network *network, struct shl_sim_packet *packet,
                       uint64_t depart_ns)
{
    const struct shl_sim_link *link = sim_link(network, packet->from_node, packet->to_node);
    uint64_t spread = link->delay_max_ns - link->delay_min_ns;
    uint64_t due = depart_ns + link->delay_min_ns + shl_sim_network_random(network, spread + 1);
    while (shl_sim_network_random(network, SHL_SIM_MILLION) < link->loss_ppm)
        due += network->options.retransmit_ns + shl_sim_network_random(network, spread + 1);
    sim_events_push(network, due, packet);
}

/* ---- ports ---------------------------------------------------------------------------------- */

static enum shoal_status reserve_port(struct shl_sim_network *network)
{
    SHL_TRY(shl_array_reserve(&network->ports, &network->port_capacity, network->port_count,
                              sizeof(struct shl_sim_port *), "simulated ports"));
    network->ports[0] = NULL;
    if (network->port_count == 0)
        network->port_count = 1;
    return SHOAL_OK;
}

enum shoal_status shl_sim_port_open(struct shl_sim_network *network, uint32_t node,
                                    struct shl_sim_port **port)
{
    if (node >= network->options.nodes)
        return shl_fail(SHOAL_ERR_INVALID, "simulated node %u of %u", node, network->options.nodes);
    if (network->nodes[node].crashed)
        return shl_fail(SHOAL_ERR_PEER, "simulated node %u has crashed; restart it first", node);
    SHL_TRY(reserve_port(network));
    struct shl_sim_port *made = shl_mem->alloc(sizeof(*made));
    if (made == NULL)
        return shl_fail(SHOAL_ERR_NOMEM, "no memory for a simulated port");
    made->network = network;
    made->node = node;
    made->id = network->port_count++;
    shl_list_init(&made->inbox);
    network->ports[made->id] = made;
    *port = made;
    return SHOAL_OK;
}

void shl_sim_port_close(struct shl_sim_port *port)
{
    if (port == NULL)
        return;
    struct shl_list *at;
    while ((at = shl_list_pop(&port->inbox)) != NULL)
        shl_sim_packet_release(port->network, SHL_CONTAINER_OF(at, struct shl_sim_packet, link));
    port->network->ports[port->id] = NULL;
    shl_mem->free(port);
}

uint32_t shl_sim_port_id(const struct shl_sim_port *port)
{
    return port->id;
}

uint32_t shl_sim_port_node(const struct shl_sim_port *port)
{
    return port->node;
}

void sim_port_deliver(struct shl_sim_network *network, struct shl_sim_packet *packet)
{
    struct shl_sim_port *port =
        packet->to_port < network->port_count ? network->ports[packet->to_port] : NULL;
    if (packet->to_port == 0 || port == NULL || port->closed || port->node != packet->to_node)
        shl_sim_packet_release(network, packet);
    else
        shl_list_append(&port->inbox, &packet->link);
}

/* The time at which a packet of `bytes` that is handed over now has left the node. */
static uint64_t depart(struct shl_sim_network *network, uint32_t node, size_t bytes)
{
    struct sim_node *from = &network->nodes[node];
    if (from->free_ns < network->now_ns)
        from->free_ns = network->now_ns;
    if (network->options.bytes_per_second > 0) {
        double seconds = (double)bytes / (double)network->options.bytes_per_second;
        from->free_ns += (uint64_t)(seconds * NS_PER_SECOND);
    }
    return from->free_ns;
}

/* A second copy of a packet under way. Chance may skip it, and so may a lack of memory. */
static void duplicate(struct shl_sim_network *network, const struct shl_sim_packet *packet,
                      uint64_t depart_ns)
{
    if (sim_events_reserve(network) != SHOAL_OK)
        return;
    struct shl_sim_packet *copy = sim_packet_take(network, packet->bytes);
    if (copy == NULL)
        return;
    copy->kind = packet->kind;
    copy->from_node = packet->from_node;
    copy->to_node = packet->to_node;
    copy->from_port = packet->from_port;
    copy->to_port = packet->to_port;
    copy->number = packet->number;
    memcpy(copy->data, packet->data, packet->bytes);
    sim_packet_launch(network, copy, depart_ns);
}

enum shoal_status shl_sim_port_send(struct shl_sim_port *port, uint32_t to_node, uint32_t to_port,
                                    const void *head, size_t head_bytes, const void *body,
                                    size_t body_bytes)
{
    struct shl_sim_network *network = port->network;
    if (to_node >= network->options.nodes)
        return shl_fail(SHOAL_ERR_INVALID, "simulated node %u of %u", to_node,
                        network->options.nodes);
    if (port->closed)
        return SHOAL_OK;
    SHL_TRY(sim_events_reserve(network));
    struct shl_sim_packet *packet = sim_packet_take(network, head_bytes + body_bytes);
    if (packet == NULL)
        return shl_fail(SHOAL_ERR_NOMEM, "no memory for a simulated packet of %zu bytes",
                        head_bytes + body_bytes);
    packet->kind = SHL_SIM_DATA;
    packet->from_node = port->node;
    packet->to_node = to_node;
    packet->from_port = port->id;
    packet->to_port = to_port;
    packet->number = network->next_number++;
    if (head_bytes > 0)
        memcpy(packet->data, head, head_bytes);
    if (body_bytes > 0)
        memcpy(packet->data + head_bytes, body, body_bytes);
    uint64_t depart_ns = depart(network, port->node, packet->bytes);
    uint32_t duplicate_ppm = sim_link(network, port->node, to_node)->duplicate_ppm;
    sim_packet_launch(network, packet, depart_ns);
    if (shl_sim_network_random(network, SHL_SIM_MILLION) < duplicate_ppm)
        duplicate(network, packet, depart_ns);
    return SHOAL_OK;
}

uint64_t shl_sim_port_free_ns(const struct shl_sim_port *port)
{
    uint64_t free_ns = port->network->nodes[port->node].free_ns;
    uint64_t now_ns = port->network->now_ns;
    return free_ns > now_ns ? free_ns : now_ns;
}

bool shl_sim_port_ready(const struct shl_sim_port *port)
{
    return !port->closed && !shl_list_empty(&port->inbox);
}

struct shl_sim_packet *shl_sim_port_receive(struct shl_sim_port *port)
{
    struct shl_list *at = port->closed ? NULL : shl_list_pop(&port->inbox);
    return at == NULL ? NULL : SHL_CONTAINER_OF(at, struct shl_sim_packet, link);
}
