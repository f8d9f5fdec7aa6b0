/*
 * The mutual challenge-response that opens every connection, whatever its kind. Sans-IO: the
 * caller moves the bytes, this decides.
 *
 *   dialler  -> acceptor   HELLO   magic, version, kind, index, job hash, rank, incarnation, epoch,
 *                                  nonce_d
 *   acceptor -> dialler    PROOF   rank, version, nonce_a, HMAC(key, "acceptor" | all of the above)
 *   dialler  -> acceptor   PROOF   HMAC(key, "dialler" | all of the above)
 *
 * All three have fixed size in every version of the protocol. A dialler of another version that
 * names the right job is answered with a proof and no more, so that it can say which version it
 * met. Nothing else is parsed before the peer's MAC has been verified, in
 * constant time; the role label in the MAC defeats reflection, the fresh nonces defeat replay. A
 * wrong peer gets no answer and the connection is closed. Without a secret the key is the job name:
 * it then protects against mistakes only. There is no encryption: an attacker on the path is not
 * covered. Source: HMAC, RFC 2104; mutual authentication, ISO/IEC 9798-4.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef SHL_CONTROL_HANDSHAKE_H
#define SHL_CONTROL_HANDSHAKE_H

#include "core/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SHL_PROTOCOL_VERSION 5
#define SHL_RANK_ANY UINT32_MAX /* the rendezvous server is no rank */
#define SHL_HELLO_BYTES 96
#define SHL_PROOF_ACCEPTOR_BYTES 72
#define SHL_PROOF_DIALLER_BYTES 32

struct shl_hello {
    uint16_t version;
    uint8_t kind; /* enum shl_channel_kind */
    uint32_t index;
    uint32_t rank;        /* the dialler's */
    uint32_t target_rank; /* whom it means to reach */
    uint64_t incarnation, epoch;
    uint8_t job[16]; /* truncated SHA-256 of the job name */
    uint8_t nonce[32];
};

struct shl_key {
    uint8_t bytes[32];
    bool secret; /* derived from a secret, not from the job name alone */
};

/* Derived from the secret and the job name; of the job name alone when secret is NULL. */
enum shoal_status shl_key_derive(const void *secret, size_t secret_bytes, const char *job,
                                 struct shl_key *key);

enum shl_handshake_result { SHL_HANDSHAKE_MORE, SHL_HANDSHAKE_DONE, SHL_HANDSHAKE_REFUSED };

/* One side of one handshake. Feed what was received, send what `out` says. */
struct shl_handshake {
    const struct shl_key *key;
    bool dialler;
    int stage;
    struct shl_hello hello;
    uint32_t acceptor_rank;
    uint8_t acceptor_nonce[32];
    uint8_t in[SHL_HELLO_BYTES];
    size_t in_bytes, in_need;
    uint8_t out[SHL_HELLO_BYTES];
    size_t out_bytes;         /* to be sent; the caller sets it to 0 after sending */
    enum shoal_status status; /* when refused: SHOAL_ERR_AUTH or SHOAL_ERR_VERSION */
    char cause[160];          /* when refused: why; never sent to the peer */
};

/* The dialler fills `hello` except version and nonce. */
enum shoal_status shl_handshake_dial(struct shl_handshake *hs, const struct shl_key *key,
                                     const struct shl_hello *hello);
/* `expect`: the acceptor's own job, rank, incarnation and epoch (0: not known yet, any). */
enum shoal_status shl_handshake_accept(struct shl_handshake *hs, const struct shl_key *key,
                                       const struct shl_hello *expect);
/* Consume up to `bytes`; *used says how many (never more than the handshake needs). */
enum shl_handshake_result shl_handshake_feed(struct shl_handshake *hs, const void *data,
                                             size_t bytes, size_t *used);

#endif
