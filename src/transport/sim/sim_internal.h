/*
 * What the files of the simulated network share.
 *
 * Invariant: event_capacity covers every event queued and every packet held, so that an arrival or
 * the healing of a link never allocates.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef SHL_SIM_INTERNAL_H
#define SHL_SIM_INTERNAL_H

#include "transport/sim/sim_network.h"

#define SIM_POOLS 40 /* packets are pooled by the binary logarithm of their capacity */

/* Something at a time: a packet arrives, or (NULL) the clock only stops. */
struct sim_event {
    uint64_t due_ns, order;
    struct shl_sim_packet *packet;
};

struct sim_node {
    bool crashed;
    uint64_t free_ns; /* when its last packet has left */
};

struct shl_sim_port {
    struct shl_sim_network *network;
    uint32_t node, id;
    bool closed; /* by a crash */
    struct shl_list inbox;
};

struct sim_pool {
    struct shl_list idle;
    size_t made;
};

struct shl_sim_network {
    struct shl_sim_options options;
    uint64_t now_ns, random_state, hash;
    uint64_t next_order, next_number;

    struct sim_node *nodes;
    struct shl_sim_link *links;  /* [from * nodes + to] */
    struct shl_sim_port **ports; /* by id; NULL: closed. Entry 0 is never used. */
    uint32_t port_count;
    size_t port_capacity;

    struct sim_event *events; /* binary heap, earliest first */
    size_t event_count, event_capacity, held_count;
    struct shl_list held; /* packets that met a cut link */
    struct sim_pool pools[SIM_POOLS];
};

struct shl_sim_link *sim_link(const struct shl_sim_network *network, uint32_t from, uint32_t to);

/* sim_events_reserve - room for one more event or held packet. */
enum shoal_status sim_events_reserve(struct shl_sim_network *network);
void sim_events_push(struct shl_sim_network *network, uint64_t due_ns,
                     struct shl_sim_packet *packet);

/* sim_packet_take - from the pool or from memory; NULL: no memory. */
struct shl_sim_packet *sim_packet_take(struct shl_sim_network *network, size_t bytes);
void sim_packet_free_all(struct shl_sim_network *network);

/* sim_port_deliver - hand over an arrived packet, or drop it when nobody is there. */
void sim_port_deliver(struct shl_sim_network *network, struct shl_sim_packet *packet);

/* sim_packet_launch - draw the packet's delay and queue its arrival; the caller reserved. */
void sim_packet_launch(struct shl_sim_network *network, struct shl_sim_packet *packet,
                       uint64_t depart_ns);

#endif
