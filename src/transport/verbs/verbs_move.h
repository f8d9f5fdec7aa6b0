/*
 * What carries the frames of a link, and how they move from one carrier to another.
 *
 * The carrier is a queue pair on one of the rails, or the control channel when no rail works at
 * both ends. When it fails, each end makes sure that nothing more is received by it (the pair is in
 * ERROR and drained), and says LEFT with the number of frames and writes that it has taken. From
 * the two, both choose the next carrier alike; what was not taken is sent again, in order.
 *
 *   SETTLED -> LEAVING (ends and drains its pair) -> GONE_FROM (LEFT is said)
 *           -> PAIRED (has the next pair, PAIR is said) -> MEETING (rdma_cm connects it)
 *           -> JOINED (connected, MET is said) -> SETTLED
 *
 * Invariant: what has not been taken by the peer is in the send slots and stages; so requests are
 * taken exactly once, whatever becomes of their acknowledgements.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef SHL_TRANSPORT_VERBS_MOVE_H
#define SHL_TRANSPORT_VERBS_MOVE_H

#include "transport/verbs/verbs_wire.h"

struct shl_verbs_link;

/* Carriers: a rail, or one of these. */
#define SHL_VERBS_CHANNEL SHL_VERBS_RAILS
#define SHL_VERBS_NOWHERE (SHL_VERBS_RAILS + 1) /* between two */

enum shl_verbs_step {
    SHL_VERBS_SETTLED,
    SHL_VERBS_LEAVING,
    SHL_VERBS_GONE_FROM,
    SHL_VERBS_PAIRED,
    SHL_VERBS_MEETING,
    SHL_VERBS_JOINED
};

struct shl_verbs_move {
    enum shl_verbs_step step;
    uint64_t life;     /* carriers so far, counted alike at both ends */
    uint64_t since_ns; /* when the step LEAVING began, or SETTLED */
    uint32_t looks;    /* LEAVING: how often completions were looked for */
    bool from_channel; /* LEAVING, GONE_FROM: the channel, not a pair */
    bool lasted;       /* the same: a pair, which has carried for a second or more */
    uint32_t returned; /* to be told: these rails, as bits, work again */
    uint32_t rail;     /* PAIRED to JOINED: the next carrier */
    /* Rails, as bits, that do not serve this peer: no way to it is known, or pairs could not be
     * made although there is one. Others failed while they carried (direct.bad). */
    uint32_t missing, unfit;
    uint32_t tries;              /* that led to no rail, of a link that never had one */
    uint64_t retry_ns, pause_ns; /* while the channel carries, or rails are out: try again */
    struct shl_verbs_record left, pair, met; /* our words */
    bool peer_left, peer_paired, peer_met;   /* the peer's */
    uint8_t peer_rails;
    uint32_t peer_taken;
    struct shl_verbs_record peer_pair;
    bool peer_joined;
};

/* A record that is being received, one that is being sent, and what else is to be said. */
struct shl_verbs_channel {
    struct shl_verbs_record in;
    uint8_t *in_body; /* NULL: nothing of it is wanted */
    uint32_t in_bytes;
    struct shl_verbs_record out;
    const uint8_t *out_body;
    uint32_t out_bytes; /* of record and body, already sent */
    bool busy;          /* `out` is not sent whole */
    bool blocked;       /* the socket takes no more now */
    bool broken;        /* nor ever */
    bool left_due, pair_due, met_due, bye_due;
    uint32_t next;  /* the number of the request to send next, while the channel carries */
    uint32_t taken; /* told to the peer */
};

/* ---- verbs_move.c ---------------------------------------------------------------------------- */

/* A rail does not work for this link: whatever goes by it goes another way from now on. Before a
 * link is up, it fails. */
void shl_verbs_rail_fail(struct shl_verbs_link *link, uint32_t rail, const char *format, ...)
    __attribute__((format(printf, 3, 4), cold));
/* A rail is out: try again after a pause, which grows while trouble goes on. */
void shl_verbs_retry_later(struct shl_verbs_link *link);
/* Ways to the peer are looked for by these rails, as bits. */
void shl_verbs_move_ask(struct shl_verbs_link *link, uint32_t asked);
/* They are found by these: use them, if a rail is gained. */
void shl_verbs_move_found(struct shl_verbs_link *link, uint32_t found);
/* These have carried something: frames go by one of them, if they went by the channel. */
void shl_verbs_move_proved(struct shl_verbs_link *link, uint32_t proved);
/* These were not found; `in_vain`: none was. The link may fail. */
void shl_verbs_move_missed(struct shl_verbs_link *link, uint32_t missed, bool in_vain);
/* Go on with a move, and begin one that is due; returns how much was done. */
unsigned shl_verbs_move_advance(struct shl_verbs_link *link, uint64_t now_ns);
/* The peer's word about a move. */
void shl_verbs_on_move(struct shl_verbs_link *link, const struct shl_verbs_record *record);

/* ---- verbs_channel.c ------------------------------------------------------------------------- */

/* Take what has come by the control channel; returns the number of records. */
unsigned shl_verbs_channel_read(struct shl_verbs_link *link);
/* Send what is to be said, as far as the socket takes it; returns the number of records. */
unsigned shl_verbs_channel_write(struct shl_verbs_link *link);

#endif
