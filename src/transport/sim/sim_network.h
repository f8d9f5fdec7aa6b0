/*
 * A simulated network: nodes, the links between them, a virtual clock and a queue of events.
 *
 * Everything happens in the thread that calls; time moves only in advance. A node is a process that
 * can crash and restart. It opens ports; a port sends packets to ports and receives what has
 * arrived. A link (one direction between two nodes) has delay, loss, duplication and may be cut.
 * Packets overtake each other whenever their delays say so. What is lost is sent again after
 * `retransmit_ns`, and what meets a cut link waits until it heals, so a packet arrives at least
 * once unless its sender or receiver crashes: the service of a reliable but unordered link layer.
 *
 * Invariant: the same seed and the same calls give the same events at the same times; the trace
 * hash proves it.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef SHL_SIM_NETWORK_H
#define SHL_SIM_NETWORK_H

#include "core/list.h"
#include "core/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SHL_SIM_NODES_MAX 4096
#define SHL_SIM_MILLION 1000000u

struct shl_sim_network;
struct shl_sim_port;

/* One direction between two nodes. */
struct shl_sim_link {
    uint64_t delay_min_ns, delay_max_ns; /* uniform between both; equal: nothing overtakes */
    uint32_t loss_ppm;                   /* each attempt, below SHL_SIM_MILLION */
    uint32_t duplicate_ppm;
    bool cut;
};

struct shl_sim_options {
    uint64_t seed;
    uint32_t nodes;
    struct shl_sim_link link;  /* every link at the start */
    uint64_t retransmit_ns;    /* what one loss, or the healing of a cut, adds to the delay */
    uint64_t bytes_per_second; /* what a node can send; 0: no limit */
};

enum shl_sim_packet_kind {
    SHL_SIM_DATA,
    SHL_SIM_RESET /* the node `from_node` crashed; no data; `from_port` is 0 */
};

/* What receive returns; valid until released. */
struct shl_sim_packet {
    enum shl_sim_packet_kind kind;
    uint32_t from_node, to_node;
    uint32_t from_port, to_port;
    uint64_t number; /* of the send; duplicates carry the same */
    uint8_t *data;   /* aligned to 16 */
    size_t bytes;

    struct shl_list link; /* the holder's, between receive and release */
    uint64_t due_ns;      /* the rest is the network's */
    uint64_t order;
    size_t capacity;
};

enum shoal_status shl_sim_network_create(const struct shl_sim_options *options,
                                         struct shl_sim_network **network);
/* Closes ports that are still open; their handles end with it. */
void shl_sim_network_destroy(struct shl_sim_network *network);

/* ---- time ----------------------------------------------------------------------------------- */

uint64_t shl_sim_network_now_ns(const struct shl_sim_network *network);

/* shl_sim_network_next_ns - the time of the next event; UINT64_MAX: there is none. */
uint64_t shl_sim_network_next_ns(const struct shl_sim_network *network);

/* shl_sim_network_advance - move to the time of the next event and let everything due then arrive.
 * false: there is none, and the clock stands still. */
bool shl_sim_network_advance(struct shl_sim_network *network);

/* shl_sim_network_advance_to - the same for all events up to `time_ns`, where the clock stops. */
void shl_sim_network_advance_to(struct shl_sim_network *network, uint64_t time_ns);

/* shl_sim_network_wake - make the clock stop at `time_ns`: whoever runs the world polls then. */
enum shoal_status shl_sim_network_wake(struct shl_sim_network *network, uint64_t time_ns);

/* shl_sim_clock_install - shl_time reads (and sleeps on) this network's clock until removed. */
void shl_sim_clock_install(struct shl_sim_network *network);
void shl_sim_clock_remove(void);

/* ---- chance --------------------------------------------------------------------------------- */

/* shl_sim_network_random - the next number below `bound` (at least 1) of the seeded stream. */
uint64_t shl_sim_network_random(struct shl_sim_network *network, uint64_t bound);

/* shl_sim_network_trace_hash - digest of every arrival so far: when, from, to, number, bytes. */
uint64_t shl_sim_network_trace_hash(const struct shl_sim_network *network);

/* ---- nodes and links ------------------------------------------------------------------------ */

uint32_t shl_sim_network_nodes(const struct shl_sim_network *network);

/* shl_sim_network_crash - the node is gone: its ports close, each packet that it has under way
 * arrives or not as chance decides, and the open ports of others get a RESET. */
void shl_sim_network_crash(struct shl_sim_network *network, uint32_t node);
/* The node is back, without ports. */
void shl_sim_network_restart(struct shl_sim_network *network, uint32_t node);
bool shl_sim_network_alive(const struct shl_sim_network *network, uint32_t node);

struct shl_sim_link shl_sim_network_link(const struct shl_sim_network *network, uint32_t from,
                                         uint32_t to);
/* Takes effect for packets sent later; `cut` for those under way too. */
void shl_sim_network_set_link(struct shl_sim_network *network, uint32_t from, uint32_t to,
                              const struct shl_sim_link *link);
/* Cut or heal both directions. */
void shl_sim_network_cut(struct shl_sim_network *network, uint32_t a, uint32_t b, bool cut);

/* ---- ports ---------------------------------------------------------------------------------- */

enum shoal_status shl_sim_port_open(struct shl_sim_network *network, uint32_t node,
                                    struct shl_sim_port **port);
/* Packets that arrive for it later are dropped. */
void shl_sim_port_close(struct shl_sim_port *port);
uint32_t shl_sim_port_id(const struct shl_sim_port *port); /* 1, 2, ...: never reused */
uint32_t shl_sim_port_node(const struct shl_sim_port *port);

/*
 * shl_sim_port_send - a packet of head followed by body; both are copied. Leaves when the node's
 * earlier packets have left. From a crashed node it goes nowhere, which is no error.
 */
enum shoal_status shl_sim_port_send(struct shl_sim_port *port, uint32_t to_node, uint32_t to_port,
                                    const void *head, size_t head_bytes, const void *body,
                                    size_t body_bytes);

/* shl_sim_port_free_ns - when the next packet could leave: now or later. */
uint64_t shl_sim_port_free_ns(const struct shl_sim_port *port);

bool shl_sim_port_ready(const struct shl_sim_port *port);

/* shl_sim_port_receive - the next packet that has arrived, NULL: none. Release it. */
struct shl_sim_packet *shl_sim_port_receive(struct shl_sim_port *port);
void shl_sim_packet_release(struct shl_sim_network *network, struct shl_sim_packet *packet);

#endif
