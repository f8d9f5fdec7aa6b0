/*
 * What the files of the simulated transport share.
 *
 * Invariant: a posted transfer is on exactly one list: its peer's sends or recvs, or the
 * transport's flowing or finished.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef SHL_SIM_TRANSPORT_INTERNAL_H
#define SHL_SIM_TRANSPORT_INTERNAL_H

#include "transport/sim/sim_transport.h"

#define SIM_EAGER_BYTES 1024
#define SIM_PAD_MAX 16

enum sim_message_kind {
    SIM_EAGER,    /* a whole message */
    SIM_ANNOUNCE, /* a receive is posted; its sender may start */
    SIM_FRAGMENT  /* a part of an announced message */
};

/* In front of every packet. Both ends are one process, so it travels as it is. */
struct sim_header {
    uint64_t number; /* of packets from this sender to this receiver, for finding duplicates */
    uint64_t epoch, incarnation;
    struct shl_tag tag;
    struct shl_signature signature;
    uint64_t message_bytes;
    uint64_t offset;
    uint32_t kind;      /* enum sim_message_kind */
    uint32_t pad_bytes; /* between header and data: an alignment by chance */
};

/* Which packet numbers of one sender have come: all below `next`, and those in `ahead`. */
struct sim_window {
    uint64_t next;
    uint64_t *ahead;
    size_t ahead_count, ahead_capacity;
};

struct sim_peer {
    uint32_t node, port;
    bool attached, lost, dropped;
    struct shl_list sends; /* larger than eager, not announced yet */
    struct shl_list recvs;
    struct shl_list kept; /* packets, eager or announcements, for which nothing is posted */
    uint64_t next_number;
    struct sim_window window;
};

struct shl_transport {
    const struct shl_transport_env *env;
    struct shl_sim_network *network;
    struct shl_sim_port *port;
    struct sim_peer *peers;
    struct shl_list flowing;  /* sends whose data are leaving, in turns */
    struct shl_list finished; /* done, but not told yet */
    uint64_t wake_ns;         /* latest time for which the clock was asked to stop */
};

/* Scratch words of a transfer. */
static inline uint64_t *sim_xfer_status(struct shl_xfer *xfer)
{
    return &xfer->scratch[0]; /* to be told once finished */
}

/* sim_xfer_finish - tell now or in a later poll, as chance decides. Last thing a caller does. */
void sim_xfer_finish(struct shl_transport *t, struct shl_xfer *xfer, enum shoal_status status);

/* sim_xfer_find - the transfer with this tag on a list of them, NULL: none. */
struct shl_xfer *sim_xfer_find(struct shl_list *head, const struct shl_tag *tag);

/* sim_message_send - one packet to the peer. `kind` decides which fields of xfer travel. */
enum shoal_status sim_message_send(struct shl_transport *t, const struct shl_xfer *xfer,
                                   enum sim_message_kind kind, uint64_t offset, size_t bytes);

/* sim_peer_lose - tell the engine, once. */
void sim_peer_lose(struct shl_transport *t, uint32_t rank, enum shoal_status status,
                   const char *cause);

/* sim_message_handle - match an arrived packet. Keeps or releases it. */
void sim_message_handle(struct shl_transport *t, struct shl_sim_packet *packet);

/* sim_match_send, sim_match_recv - a transfer was posted: look among the kept messages. The
 * transfer may be complete, and told, after it. */
void sim_match_send(struct shl_transport *t, struct shl_xfer *xfer);
void sim_match_recv(struct shl_transport *t, struct shl_xfer *xfer);

/* sim_flow - send what bandwidth and chance allow; returns the number of fragments. */
unsigned sim_flow(struct shl_transport *t);

struct sim_header *sim_packet_header(const struct shl_sim_packet *packet);

#endif
