/*
 * Every byte that two verbs transports exchange: frames on the queue pair, and the greeting on the
 * control channel that brings the pair up.
 *
 * A frame is one SEND. Large payload never travels in frames: it is WRITTEN into a window that the
 * receiver granted, or into the place in memory where it belongs, and the immediate value of the
 * write names the window or the place.
 *
 * Frames are laid out as a little-endian machine has them; others are refused by the greeting.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef SHL_TRANSPORT_VERBS_WIRE_H
#define SHL_TRANSPORT_VERBS_WIRE_H

#include "transport/transport.h"

#define SHL_VERBS_EAGER_BYTES 8192
#define SHL_VERBS_MAGIC 0x53485645u /* also tells byte orders apart */
#define SHL_VERBS_VERSION 2

enum shl_verbs_frame_type {
    SHL_VERBS_EAGER = 1, /* a whole small message: the frame is followed by its payload */
    SHL_VERBS_READY,     /* the sender has posted this message, and needs windows for it */
    SHL_VERBS_ANNOUNCE,  /* the receiver has posted this message */
    SHL_VERBS_GRANT,     /* the same, and a window for `bytes` bytes at `offset` of it */
    SHL_VERBS_RELEASE,   /* the sender will not use this window */
    SHL_VERBS_CREDIT,    /* nothing but the credits that every frame carries */
    SHL_VERBS_PLACE,     /* the receiver has posted this message: write it to `address` */
    SHL_VERBS_UNPLACE,   /* the sender will not write there; `length` not 0: but wants windows */
    SHL_VERBS_RESET,     /* my direct queue pair is another one from now on */
    SHL_VERBS_RESUME     /* mine is connected; what I did not PLACE again has landed */
};

struct shl_verbs_frame {
    uint8_t type;
    uint8_t reserved[3];
    uint32_t length; /* EAGER: of the payload. GRANT: of the window */
    uint32_t taken;  /* receive requests consumed and posted again, in total */
    uint32_t unkept; /* EAGER messages that need no memory any more, in total */
    struct shl_tag tag;
    struct shl_signature signature;
    uint64_t bytes;   /* of the whole message */
    uint64_t offset;  /* GRANT */
    uint64_t address; /* GRANT: where to write */
    uint32_t key;     /* GRANT: the memory's remote key */
    uint32_t window;  /* GRANT, RELEASE: its name, and the immediate value of the write */
};
/* PLACE: address, key, `window` names the place, `offset` is the life. UNPLACE: `window`.
 * RESET: `offset` is the new life, `window` the queue pair, `key` its first packet number.
 * RESUME: `offset`. */
_Static_assert(sizeof(struct shl_verbs_frame) == 80, "frames have no padding");

/* In the immediate value of a write to a place: a READY about this message was sent, and may come
 * later than the write. */
#define SHL_VERBS_READY_SENT 0x8000u

/* Sent by both sides over the control channel, before anything else. */
struct shl_verbs_greeting {
    uint32_t magic, version;
    uint64_t epoch, incarnation;
    uint32_t queue_pair, first_psn;
    uint32_t mtu_bytes, lid, kind;
    uint32_t direct_pair, direct_psn;
    uint32_t reserved;
    uint8_t gid[16];
};
_Static_assert(sizeof(struct shl_verbs_greeting) == 72, "greetings have no padding");

/* Then single bytes, in this order; REFUSED and BYE at any time. */
enum shl_verbs_word {
    SHL_VERBS_CONNECTED = 'C', /* my queue pair receives and sends */
    SHL_VERBS_PROVED = 'P',    /* a frame went each way */
    SHL_VERBS_REFUSED = 'R',   /* this pair of ranks uses another transport */
    SHL_VERBS_BYE = 'B'        /* I close in good order */
};

#endif
