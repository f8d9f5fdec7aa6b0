/*
 * The contract between the engine and every transport.
 *
 * A transport moves messages between this rank and peers of one world. The engine posts sends and
 * receives (struct shl_xfer) and polls; the transport fills them in. One progress token guards an
 * engine and all its transports: every call below except open/close is made by its holder, so a
 * transport needs no locks of its own except towards threads it was handed channels by.
 *
 * Messages. A message is named by (peer, tag). Up to `eager_bytes` it may be sent at once and is
 * kept by the receiver until a matching receive is posted. A larger one moves only after the
 * receiver has posted: the transport announces posted receives to the sender by itself. So a
 * message always lands in its final place, or in the sink, and no message can block another.
 * Zero-byte messages are legal and carry synchronisation.
 *
 * Signatures. Every message, and every announcement, carries the signature of its operation. A
 * transport compares it with that of the posted transfer, and reports a difference (and any
 * message for which nothing is posted) through the environment's callbacks.
 *
 * Fencing. After cancel() has returned, no byte of that operation is placed in local memory, and
 * this process places none in a peer's. Late arrivals are asked about by `wanted` and dropped.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef SHL_TRANSPORT_H
#define SHL_TRANSPORT_H

#include "core/list.h"
#include "core/near.h"
#include "core/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct shl_config;
struct shl_memory;
struct shl_transport;

/* What ranks must agree on; compared field by field, so that the error can name the difference.
 * `call` packs collective (bits 0-7), dtype (8-15), op (16-31), root (32-63). */
struct shl_signature {
    uint64_t count;
    uint64_t call;
};

static inline bool shl_signature_equal(const struct shl_signature *a, const struct shl_signature *b)
{
    return a->count == b->count && a->call == b->call;
}

/* Names a message between two ranks: the `msg`-th from sender to receiver within operation `seq`
 * of communicator `comm`. */
struct shl_tag {
    uint64_t seq;
    uint32_t comm;
    uint32_t msg;
};

static inline bool shl_tag_equal(const struct shl_tag *a, const struct shl_tag *b)
{
    return a->seq == b->seq && a->comm == b->comm && a->msg == b->msg;
}

struct shl_xfer;

/*
 * Receives a piece of a message in transport memory: `bytes` bytes that belong at `offset` of the
 * message. Pieces of one message do not overlap and arrive in any order; offset and bytes are
 * multiples of the transfer's elem_bytes. The piece is only valid during the call.
 */
typedef void (*shl_sink_fn)(struct shl_xfer *xfer, uint64_t offset, const void *piece,
                            size_t bytes);

/*
 * One posted send or receive. Memory is the engine's; it must not move or change until `done`.
 * `status` is SHOAL_IN_PROGRESS until then.
 */
struct shl_xfer {
    struct shl_list link; /* the transport's, while posted */
    uint32_t peer;        /* world rank */
    struct shl_tag tag;
    struct shl_signature signature;
    void *data; /* send: source; receive: final place, unused when sink is set */
    uint64_t bytes;
    uint32_t elem_bytes;                 /* granularity of sink pieces, 1..16 */
    shl_sink_fn sink;                    /* receive only; NULL: place at data */
    void (*done)(struct shl_xfer *xfer); /* called from poll(), send() or recv(), exactly once,
                                            not after cancel() */
    void *owner;                         /* the engine's */
    enum shoal_status status;
    uint64_t moved_bytes; /* progress, for `why` */
    uint64_t scratch[6];  /* the transport's */
};

/*
 * Given by the engine at open; callbacks come only from inside transport calls. It outlives the
 * transport, which keeps the pointer: epoch and incarnation are agreed at the rendezvous, after
 * open and before attach, and are 0 until then.
 */
struct shl_transport_env {
    void *arg;
    const struct shl_config *config;
    uint32_t rank; /* world rank */
    uint32_t size;
    uint64_t epoch;
    uint64_t incarnation;        /* random, one a world; all ranks alike */
    struct shl_control *control; /* dials and accepts authenticated channels */
    struct shl_heap *heap;       /* the context's shareable memory; shm only */
    struct shl_memory *memory;   /* what the caller keeps, and may stay registered; NULL: nothing */
    shl_near_fn *near;           /* how near a device is to this thread; NULL: unknown */

    /* Does an earlier transport carry what goes to this peer? Both ends answer alike; asked from
     * attach on. NULL: none does. */
    bool (*carried)(void *arg, uint32_t peer);
    /* Is a message of this operation still of interest? false: drop it (aborted or finished). */
    bool (*wanted)(void *arg, const struct shl_tag *tag);
    /* A message came whose signature differs from what was posted, or that is not posted (yet).
     * The engine compares with its active operations and raises a mismatch. Cheap; may repeat. */
    void (*seen)(void *arg, uint32_t peer, const struct shl_tag *tag,
                 const struct shl_signature *signature);
    /* The peer is lost on this transport, with the cause in one line. */
    void (*lost)(void *arg, uint32_t peer, enum shoal_status status, const char *cause);
};

struct shl_transport_ops {
    const char *name;
    size_t eager_bytes;
    bool tells_places; /* a large message begins when its receiver has told where it goes */

    enum shoal_status (*open)(const struct shl_transport_env *env, struct shl_transport **t);
    void (*close)(struct shl_transport *t); /* cancels everything; never blocks on a peer */

    /* Write what peers need to reach this rank (at most `capacity` bytes); exchanged at
     * rendezvous. Returns its size. */
    size_t (*describe)(struct shl_transport *t, void *blob, size_t capacity);

    /* All ranks' descriptions are known: set reaches[peer] for peers this transport can carry.
     * Both sides of a pair must come to the same answer (the engine verifies). May block until
     * `deadline_ns`; a reason for each unreachable peer goes to the log. */
    enum shoal_status (*attach)(struct shl_transport *t, const void *const *blobs,
                                const size_t *blob_bytes, uint64_t deadline_ns, bool *reaches);

    /* Post. On error nothing is posted. Completion may be immediate (done called inside). */
    enum shoal_status (*send)(struct shl_transport *t, struct shl_xfer *xfer);
    enum shoal_status (*recv)(struct shl_transport *t, struct shl_xfer *xfer);

    /* Move what can be moved without waiting; returns the number of things that happened. */
    unsigned (*poll)(struct shl_transport *t);

    /* A file descriptor that becomes readable when poll() should run, -1: none. Level triggered;
     * only guaranteed between arm(true) and arm(false). arm(true) returns false when there is
     * already something to poll. */
    int (*wait_fd)(struct shl_transport *t);
    bool (*arm)(struct shl_transport *t, bool sleeping);

    /* Forget every transfer of (comm, seq); see Fencing above. Does not call done. */
    void (*cancel)(struct shl_transport *t, uint32_t comm, uint64_t seq);

    /* Call env->seen for every kept message of (comm, seq): the operation has just started here. */
    void (*review)(struct shl_transport *t, uint32_t comm, uint64_t seq);

    /* The engine gave the peer up: drop its connections and fail nothing further. */
    void (*drop_peer)(struct shl_transport *t, uint32_t peer);

    /* Text for `why` and `shoal info`: state of the link to one peer, in one line. */
    void (*explain)(struct shl_transport *t, uint32_t peer, char *text, size_t text_bytes);
};

extern const struct shl_transport_ops shl_transport_tcp;
extern const struct shl_transport_ops shl_transport_shm;
extern const struct shl_transport_ops shl_transport_verbs;

#endif
