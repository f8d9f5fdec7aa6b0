/*
 * Writing in place: the queue pairs by which payload goes from the sender's memory to where the
 * receiver wants it, and the lives of these pairs.
 *
 * A late write would hurt, so who gives memory back ends his pairs, waits until they are drained,
 * and makes others (verbs_fence.c).
 *
 * Invariant: memory that a peer was invited to write to is given back only when the write has
 * landed, the peer has declined, or the pairs have been drained.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef SHL_TRANSPORT_VERBS_DIRECT_H
#define SHL_TRANSPORT_VERBS_DIRECT_H

#include "transport/verbs/verbs_cm.h"
#include "transport/verbs/verbs_rail.h"

#define SHL_VERBS_SLOTS 32  /* receive requests, and send requests, of a pair; a power of two */
#define SHL_VERBS_PLACES 32 /* announced to a peer at one time */

struct shl_verbs_link;
struct shl_verbs_note;

/* Where a peer writes a message. */
struct shl_verbs_place {
    struct shl_xfer *xfer; /* NULL: free */
    struct shl_verbs_hold *hold;
    uint32_t pieces_left;
    uint16_t generation;
    bool landed; /* found while the pair was drained; completes at the next poll */
};

/* A posted write, until it is known to be complete. */
struct shl_verbs_write {
    struct shl_xfer *xfer;
    uint32_t bytes;
};

/* A direct pair of a link; a rail has several of them where the fabric spreads flows. */
struct shl_verbs_lane {
    struct ibv_qp *qp; /* NULL: this rail is not used now */
    struct shl_verbs_join join;
    uint32_t recvs; /* receive requests that are posted */
    uint32_t requested, completed;
    uint32_t signalled;
    uint32_t pieces; /* of the message that is being cut, carried here and not told yet */
    bool proving;    /* a write of nothing is under way, which shows whether it carries */
    uint64_t quiet_ns;
    struct shl_verbs_write requests[SHL_VERBS_SLOTS];
};

/*
 * The direct pairs of a link. They have lives, counted alike at both ends: an end that must be sure
 * that nothing is written any more, or that has lost a rail, ends its pairs and makes those of the
 * next life, the other follows, and what was announced and has not landed is announced again.
 */
struct shl_verbs_direct {
    bool made;
    uint32_t first_psn;
    uint64_t life;
    bool up;           /* connected; false: the peer's end of this life is awaited, */
    bool joining;      /* or known, and rdma_cm connects them */
    bool reset_wanted; /* at the next poll */
    bool settle;       /* something was found complete while the pairs were drained */
    bool peer_reset;   /* the peer's end of the next life is known: */
    uint32_t peer_pairs[SHL_VERBS_LANES], peer_psn;
    uint32_t returned; /* to be told with the next reset: rails, as bits, that have come back */
    uint32_t bad;      /* rails that failed, as bits; */
    uint32_t unproved; /* those that have come back, and have not carried anything since */
    uint32_t places_used;
    uint32_t rail_count; /* that both have */
    /* Where writes have no immediate value, what is sent instead: by lane, SHL_VERBS_PLACES to
     * receive into and SHL_VERBS_SLOTS to send from. NULL: not so. */
    uint32_t *tokens;
    struct ibv_mr *tokens_mr[SHL_VERBS_RAILS];
    uint32_t qps;      /* lanes a rail, the lesser of what both want */
    uint32_t qps_told; /* of the peer's next life: for so many lanes a rail */
    struct shl_verbs_lane lanes[SHL_VERBS_LANES];
    struct shl_verbs_place places[SHL_VERBS_PLACES];
    struct shl_list serving; /* PLACEs for posted sends */
    uint64_t bytes_sent, bytes_received;
};

static inline uint32_t shl_verbs_rail_of(uint32_t lane)
{
    return lane % SHL_VERBS_RAILS;
}

/* ---- verbs_place.c: receiving in place */

/* Announce a place for a receive, or find that it has one; false: it needs windows. */
bool shl_verbs_place(struct shl_verbs_link *link, struct shl_xfer *xfer);
/* The receive has its place no more; the pair is reset if the peer may write there. */
void shl_verbs_unplace(struct shl_verbs_link *link, struct shl_xfer *xfer);
/* No rail is left: the message goes through windows. */
void shl_verbs_place_to_windows(struct shl_verbs_link *link, struct shl_verbs_place *place);
void shl_verbs_place_free(struct shl_verbs_link *link, struct shl_verbs_place *place);
void shl_verbs_say_place(struct shl_verbs_link *link, struct shl_verbs_place *place);
/* The place that an immediate value or frame names; NULL: none. */
struct shl_verbs_place *shl_verbs_place_named(struct shl_verbs_link *link, uint32_t name);
void shl_verbs_on_placed(struct shl_verbs_link *link, uint32_t immediate);
void shl_verbs_on_unplace(struct shl_verbs_link *link, const struct shl_verbs_frame *frame);

/* ---- verbs_direct.c: sending in place */

void shl_verbs_on_place(struct shl_verbs_link *link, const struct shl_verbs_frame *frame);
/* Use a PLACE, whose note is taken, for a posted send. */
void shl_verbs_direct_use(struct shl_verbs_link *link, struct shl_verbs_note *note,
                          struct shl_xfer *xfer);
unsigned shl_verbs_direct_flush(struct shl_verbs_link *link);
void shl_verbs_direct_arrive(struct shl_verbs_link *link, uint32_t index,
                             const struct ibv_wc *completion);
/* A rail does not work for this link: go on without. */
void shl_verbs_direct_distrust(struct shl_verbs_link *link, uint32_t rail);
/* The send is given up, and its memory with it. */
void shl_verbs_direct_forget(struct shl_verbs_link *link, struct shl_xfer *xfer);
/* The receiver wants the message through windows after all; false: the link has failed. */
bool shl_verbs_direct_undo(struct shl_verbs_link *link, struct shl_xfer *xfer);
/* Pairs by which the link writes in place. */
uint32_t shl_verbs_direct_lanes(const struct shl_verbs_direct *direct);
/* Is one of them on a rail that need not be proved? */
bool shl_verbs_direct_carries(const struct shl_verbs_direct *direct);
/* Complete what was found complete while the pair was drained. */
unsigned shl_verbs_direct_settle(struct shl_verbs_link *link);
void shl_verbs_say_unplace(struct shl_verbs_link *link, const struct shl_verbs_frame *place,
                           bool windows);

/* ---- verbs_token.c: what is told of writes without immediate values */

#define SHL_VERBS_TOKENS (SHL_VERBS_PLACES + SHL_VERBS_SLOTS) /* of a lane */

/* Memory for tokens on a rail, if it needs any. */
enum shoal_status shl_verbs_tokens_open(struct shl_verbs_link *link, uint32_t rail);
void shl_verbs_tokens_close(struct shl_verbs_link *link);
/* The piece for receive request `slot` of a lane, or for its send request `number`. */
struct ibv_sge shl_verbs_token_in(const struct shl_verbs_link *link, uint32_t index, uint32_t slot);
struct ibv_sge shl_verbs_token_out(struct shl_verbs_link *link, uint32_t index, uint32_t number,
                                   uint32_t value);
/* What the peer tells with a write that was received. */
uint32_t shl_verbs_told(const struct shl_verbs_link *link, const struct ibv_wc *completion);

/* ---- verbs_fence.c: the lives of direct pairs */

/* Nothing is written through the direct pair any more, in either direction; then begin another. */
void shl_verbs_direct_reset(struct shl_verbs_link *link);
/* Note what a completion of an ending pair says. */
void shl_verbs_direct_absorb(struct shl_verbs_link *link, uint32_t index,
                             const struct ibv_wc *completion);
/* End it for good. */
void shl_verbs_direct_shut(struct shl_verbs_link *link);
/* Has rdma_cm connected the pairs? Then the life begins. Returns how much was done. */
unsigned shl_verbs_direct_join(struct shl_verbs_link *link);
void shl_verbs_on_reset(struct shl_verbs_link *link, const struct shl_verbs_frame *frame);
void shl_verbs_on_resume(struct shl_verbs_link *link, const struct shl_verbs_frame *frame);

/* ---- verbs_return.c: rails that come back */

/* The peer says that these rails, as bits, work again; `proved`: have carried something. */
void shl_verbs_direct_trust(struct shl_verbs_link *link, uint32_t rails, bool proved);
/* They do as seen from here: use them, and tell the peer. */
void shl_verbs_direct_return(struct shl_verbs_link *link, uint32_t rails);
/* The peer's ends are connected: see whether those rails carry that have come back. */
void shl_verbs_direct_prove(struct shl_verbs_link *link);
/* A lane has carried its write of nothing. */
void shl_verbs_direct_proved(struct shl_verbs_link *link, struct shl_verbs_lane *lane);

#endif
