/*
 * What each end of a pair shows the other in the private data of rdma_cm: that it knows the secret
 * of the job, and what it means.
 *
 * The nonces are told over the control connection, one an end and link, so each end challenges the
 * other before it is called. The MAC of a call covers the nonce of who is called, that of an answer
 * both; the role makes what is reflected useless, nonce and life what is recorded, and the rest
 * that a proof for one pair, rank, world or purpose serves no other.
 *
 * Invariant: nothing of a call is acted upon before its MAC has been verified.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef SHL_TRANSPORT_VERBS_PROOF_H
#define SHL_TRANSPORT_VERBS_PROOF_H

#include "core/status.h"
#include "transport/verbs/verbs_wire.h"

#include <stdbool.h>

struct shl_verbs_join;

#define SHL_VERBS_MAC_BYTES 32

/* Private data of a call and of its answer. */
struct shl_verbs_call {
    uint32_t magic;
    uint16_t version;
    uint8_t direct, index; /* a lane, else the pair for frames of this rail */
    uint32_t rank, life;   /* of who shows it */
    uint8_t mac[SHL_VERBS_MAC_BYTES];
};
_Static_assert(sizeof(struct shl_verbs_call) == 48, "InfiniBand's connection manager takes 56");

/* What the MAC is computed over. */
struct shl_verbs_proof {
    char role[16]; /* of who shows it: "rdma_cm caller" or "rdma_cm called" */
    uint32_t magic, version;
    uint32_t channel_kind; /* of the control connection by which the nonces came */
    uint32_t direct, index, life;
    uint32_t caller, called; /* ranks */
    uint64_t incarnation, epoch;
    uint8_t called_nonce[SHL_VERBS_NONCE_BYTES];
    uint8_t caller_nonce[SHL_VERBS_NONCE_BYTES]; /* a call: zeros, it may overtake the greeting */
};
_Static_assert(sizeof(struct shl_verbs_proof) == 96, "proofs have no padding");

/* shl_verbs_proof_fill - for a pair of this rank, of which `mine` is shown by it, else by the peer;
 * the lower rank calls. */
void shl_verbs_proof_fill(const struct shl_verbs_join *join, bool mine,
                          struct shl_verbs_proof *proof);
/* What this rank shows. */
enum shoal_status shl_verbs_proof_show(const struct shl_verbs_join *join,
                                       struct shl_verbs_call *call);
/* Is it from the peer of this pair, about this pair? */
bool shl_verbs_proof_holds(const struct shl_verbs_join *join, const struct shl_verbs_call *call);

#endif
