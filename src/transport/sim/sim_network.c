/*
 * The clock and the events of the simulated network, its nodes and its links.
 *
 * Invariant: events leave the queue in order of (due_ns, order), and `order` counts the pushes, so
 * equal times keep the order in which they were made.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "core/array.h"
#include "core/sys.h"
#include "transport/sim/sim_internal.h"

#define FNV_OFFSET 0xcbf29ce484222325u
#define FNV_PRIME 0x100000001b3u

static enum shoal_status check_options(const struct shl_sim_options *options)
{
    const struct shl_sim_link *link = &options->link;
    if (options->nodes == 0 || options->nodes > SHL_SIM_NODES_MAX)
        return shl_fail(SHOAL_ERR_INVALID, "a simulated network of %u nodes; 1 to %u are possible",
                        options->nodes, SHL_SIM_NODES_MAX);
    if (link->delay_min_ns > link->delay_max_ns)
        return shl_fail(SHOAL_ERR_INVALID, "link delay from %llu to %llu ns; swap them",
                        (unsigned long long)link->delay_min_ns,
                        (unsigned long long)link->delay_max_ns);
    if (link->loss_ppm >= SHL_SIM_MILLION || link->duplicate_ppm > SHL_SIM_MILLION)
        return shl_fail(SHOAL_ERR_INVALID,
                        "loss of %u and duplication of %u in a million; loss must be less than all",
                        link->loss_ppm, link->duplicate_ppm);
    return SHOAL_OK;
}

enum shoal_status shl_sim_network_create(const struct shl_sim_options *options,
                                         struct shl_sim_network **network)
{
    SHL_TRY(check_options(options));
    struct shl_sim_network *made = shl_mem->alloc(sizeof(*made));
    if (made == NULL)
        return shl_fail(SHOAL_ERR_NOMEM, "no memory for a simulated network");
    size_t links = (size_t)options->nodes * options->nodes;
    made->nodes = shl_mem->alloc(options->nodes * sizeof(*made->nodes));
    made->links = shl_mem->alloc(links * sizeof(*made->links));
    if (made->nodes == NULL || made->links == NULL) {
        shl_mem->free(made->links);
        shl_mem->free(made->nodes);
        shl_mem->free(made);
        return shl_fail(SHOAL_ERR_NOMEM, "no memory for %u simulated nodes", options->nodes);
    }
    made->options = *options;
    made->random_state = options->seed;
    made->hash = FNV_OFFSET;
    for (size_t i = 0; i < links; i++)
        made->links[i] = options->link;
    shl_list_init(&made->held);
    for (size_t i = 0; i < SIM_POOLS; i++)
        shl_list_init(&made->pools[i].idle);
    *network = made;
    return SHOAL_OK;
}

void shl_sim_network_destroy(struct shl_sim_network *network)
{
    if (network == NULL)
        return;
    for (uint32_t id = 1; id < network->port_count; id++) {
        if (network->ports[id] != NULL)
            shl_sim_port_close(network->ports[id]);
    }
    sim_packet_free_all(network);
    shl_mem->free(network->events);
    shl_mem->free(network->ports);
    shl_mem->free(network->links);
    shl_mem->free(network->nodes);
    shl_mem->free(network);
}

/* ---- chance --------------------------------------------------------------------------------- */

/* splitmix64: every seed, 0 too, starts a full-period stream. */
uint64_t shl_sim_network_random(struct shl_sim_network *network, uint64_t bound)
{
    SHL_ASSERT(bound > 0);
    network->random_state += 0x9e3779b97f4a7c15u;
    uint64_t mixed = network->random_state;
    mixed = (mixed ^ (mixed >> 30)) * 0xbf58476d1ce4e5b9u;
    mixed = (mixed ^ (mixed >> 27)) * 0x94d049bb133111ebu;
    return (mixed ^ (mixed >> 31)) % bound;
}

static void hash_u64(struct shl_sim_network *network, uint64_t value)
{
    for (unsigned i = 0; i < 8; i++) {
        network->hash ^= value >> (8 * i) & 0xff;
        network->hash *= FNV_PRIME;
    }
}

static void hash_arrival(struct shl_sim_network *network, const struct shl_sim_packet *packet)
{
    hash_u64(network, network->now_ns);
    hash_u64(network, (uint64_t)packet->from_node << 32 | packet->to_node);
    hash_u64(network, (uint64_t)packet->from_port << 32 | packet->to_port);
    hash_u64(network, packet->number);
    hash_u64(network, packet->bytes);
}

uint64_t shl_sim_network_trace_hash(const struct shl_sim_network *network)
{
    return network->hash;
}

/* ---- events --------------------------------------------------------------------------------- */

static bool event_before(const struct sim_event *a, const struct sim_event *b)
{
    return a->due_ns != b->due_ns ? a->due_ns < b->due_ns : a->order < b->order;
}

enum shoal_status sim_events_reserve(struct shl_sim_network *network)
{
    return shl_array_reserve(&network->events, &network->event_capacity,
                             network->event_count + network->held_count, sizeof(*network->events),
                             "simulated events");
}

void sim_events_push(struct shl_sim_network *network, uint64_t due_ns,
                     struct shl_sim_packet *packet)
{
    SHL_ASSERT(network->event_count < network->event_capacity);
    struct sim_event *events = network->events;
    struct sim_event event = {due_ns, network->next_order++, packet};
    size_t at = network->event_count++;
    while (at > 0 && event_before(&event, &events[(at - 1) / 2])) {
        events[at] = events[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    events[at] = event;
}

static struct sim_event pop_event(struct shl_sim_network *network)
{
    struct sim_event *events = network->events;
    struct sim_event first = events[0];
    struct sim_event last = events[--network->event_count];
    size_t at = 0;
    for (;;) {
        size_t child = 2 * at + 1;
        if (child >= network->event_count)
            break;
        if (child + 1 < network->event_count && event_before(&events[child + 1], &events[child]))
            child++;
        if (!event_before(&events[child], &last))
            break;
        events[at] = events[child];
        at = child;
    }
    events[at] = last;
    return first;
}

static void arrive(struct shl_sim_network *network, struct shl_sim_packet *packet)
{
    if (sim_link(network, packet->from_node, packet->to_node)->cut) {
        shl_list_append(&network->held, &packet->link);
        network->held_count++;
        return;
    }
    hash_arrival(network, packet);
    sim_port_deliver(network, packet);
}

uint64_t shl_sim_network_now_ns(const struct shl_sim_network *network)
{
    return network->now_ns;
}

uint64_t shl_sim_network_next_ns(const struct shl_sim_network *network)
{
    return network->event_count > 0 ? network->events[0].due_ns : UINT64_MAX;
}

void shl_sim_network_advance_to(struct shl_sim_network *network, uint64_t time_ns)
{
    while (network->event_count > 0 && network->events[0].due_ns <= time_ns) {
        struct sim_event event = pop_event(network);
        if (event.due_ns > network->now_ns)
            network->now_ns = event.due_ns;
        if (event.packet != NULL)
            arrive(network, event.packet);
    }
    if (time_ns > network->now_ns)
        network->now_ns = time_ns;
}

bool shl_sim_network_advance(struct shl_sim_network *network)
{
    if (network->event_count == 0)
        return false;
    shl_sim_network_advance_to(network, network->events[0].due_ns);
    return true;
}

enum shoal_status shl_sim_network_wake(struct shl_sim_network *network, uint64_t time_ns)
{
    SHL_TRY(sim_events_reserve(network));
    sim_events_push(network, time_ns, NULL);
    return SHOAL_OK;
}

/* ---- nodes and links ------------------------------------------------------------------------ */

uint32_t shl_sim_network_nodes(const struct shl_sim_network *network)
{
    return network->options.nodes;
}

bool shl_sim_network_alive(const struct shl_sim_network *network, uint32_t node)
{
    return !network->nodes[node].crashed;
}

static void lose_under_way(struct shl_sim_network *network, uint32_t node)
{
    for (size_t i = 0; i < network->event_count; i++) {
        struct shl_sim_packet *packet = network->events[i].packet;
        if (packet != NULL && packet->from_node == node && shl_sim_network_random(network, 2) == 0)
            packet->to_port = 0;
    }
    struct shl_list *at, *next;
    SHL_LIST_FOR_EACH(at, next, &network->held)
    {
        struct shl_sim_packet *packet = SHL_CONTAINER_OF(at, struct shl_sim_packet, link);
        if (packet->from_node == node)
            packet->to_port = 0;
    }
}

static void send_reset(struct shl_sim_network *network, uint32_t from_node,
                       const struct shl_sim_port *to)
{
    /* Without memory the others do not learn of the crash, as when a host loses power. */
    struct shl_sim_packet *packet =
        sim_events_reserve(network) == SHOAL_OK ? sim_packet_take(network, 0) : NULL;
    if (packet == NULL)
        return;
    packet->kind = SHL_SIM_RESET;
    packet->from_node = from_node;
    packet->from_port = 0;
    packet->to_node = to->node;
    packet->to_port = to->id;
    packet->number = network->next_number++;
    sim_packet_launch(network, packet, network->now_ns);
}

void shl_sim_network_crash(struct shl_sim_network *network, uint32_t node)
{
    if (network->nodes[node].crashed)
        return;
    network->nodes[node].crashed = true;
    lose_under_way(network, node);
    for (uint32_t id = 1; id < network->port_count; id++) {
        struct shl_sim_port *port = network->ports[id];
        if (port == NULL || port->closed)
            continue;
        if (port->node == node)
            port->closed = true;
        else
            send_reset(network, node, port);
    }
}

void shl_sim_network_restart(struct shl_sim_network *network, uint32_t node)
{
    network->nodes[node].crashed = false;
    network->nodes[node].free_ns = network->now_ns;
}

struct shl_sim_link *sim_link(const struct shl_sim_network *network, uint32_t from, uint32_t to)
{
    SHL_ASSERT(from < network->options.nodes && to < network->options.nodes);
    return &network->links[(size_t)from * network->options.nodes + to];
}

struct shl_sim_link shl_sim_network_link(const struct shl_sim_network *network, uint32_t from,
                                         uint32_t to)
{
    return *sim_link(network, from, to);
}

static void release_held(struct shl_sim_network *network, uint32_t from, uint32_t to)
{
    struct shl_list *at, *next;
    SHL_LIST_FOR_EACH(at, next, &network->held)
    {
        struct shl_sim_packet *packet = SHL_CONTAINER_OF(at, struct shl_sim_packet, link);
        if (packet->from_node != from || packet->to_node != to)
            continue;
        shl_list_remove(&packet->link);
        network->held_count--;
        sim_packet_launch(network, packet, network->now_ns + network->options.retransmit_ns);
    }
}

void shl_sim_network_set_link(struct shl_sim_network *network, uint32_t from, uint32_t to,
                              const struct shl_sim_link *link)
{
    *sim_link(network, from, to) = *link;
    if (!link->cut)
        release_held(network, from, to);
}

void shl_sim_network_cut(struct shl_sim_network *network, uint32_t a, uint32_t b, bool cut)
{
    struct shl_sim_link there = *sim_link(network, a, b), back = *sim_link(network, b, a);
    there.cut = back.cut = cut;
    shl_sim_network_set_link(network, a, b, &there);
    shl_sim_network_set_link(network, b, a, &back);
}
