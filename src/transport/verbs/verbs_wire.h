/*
 * Every byte that two verbs transports exchange: frames on the queue pair, and on the control
 * channel the greeting that brings the pair up, and records that move frames to another carrier.
 *
 * A frame is one SEND. Large payload never travels in frames: it is WRITTEN into a window that the
 * receiver granted, or into the place in memory where it belongs, and the immediate value of the
 * write names the window or the place. Devices without immediate values (iWARP) send a frame after
 * a write into a window, and the value itself, four bytes, after one into a place.
 *
 * Frames are laid out as a little-endian machine has them; others are refused by the greeting.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef SHL_TRANSPORT_VERBS_WIRE_H
#define SHL_TRANSPORT_VERBS_WIRE_H

#include "transport/transport.h"
#include "transport/verbs/verbs_port.h"

#define SHL_VERBS_EAGER_BYTES 8192
#define SHL_VERBS_MAGIC 0x53485645u /* also tells byte orders apart */
#define SHL_VERBS_VERSION 10
#define SHL_VERBS_BLOB_VERSION 4 /* of descriptions, which builds without RDMA publish as well */
#define SHL_VERBS_QPS_MAX 4      /* direct queue pairs on each rail */
/* Lane l of a link is direct pair l / SHL_VERBS_RAILS of rail l modulo SHL_VERBS_RAILS. */
#define SHL_VERBS_LANES (SHL_VERBS_RAILS * SHL_VERBS_QPS_MAX)
#define SHL_VERBS_NONCE_BYTES 16

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
    SHL_VERBS_RESUME,    /* mine is connected; what I did not PLACE again has landed */
    SHL_VERBS_WROTE      /* `length` bytes are in `window`, where writes have no immediate value */
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
    uint32_t key;     /* RESET; a GRANT's key is that of all windows, which is told once */
    uint32_t window;  /* GRANT, RELEASE: its name, and the immediate value of the write */
    uint32_t keys[SHL_VERBS_RAILS];
};
/* PLACE: `address`, `keys` by rail, `window` names the place, `offset` is the life. UNPLACE:
 * `window`. RESET: one for each queue pair of a rail; `offset` is the new life, `window` which
 * one of a rail it is about, `keys` these by rail (0: none), `key` their first packet number,
 * `length`: rails, as bits, that have come back. RESUME: `offset`. */
_Static_assert(sizeof(struct shl_verbs_frame) == 96, "frames have no padding");

/*
 * A message that goes to a place is cut into pieces, which any rail may carry. The last thing that
 * a rail writes of it has an immediate value: the generation of the place (bits 16-31), whether a
 * READY about this message was sent and may come later (bit 15), how many pieces this rail carried
 * (bits 5-14), and the place (bits 0-4).
 */
#define SHL_VERBS_READY_SENT 0x8000u
#define SHL_VERBS_PIECES_MAX 256
#define SHL_VERBS_PIECE_BYTES_MIN 131072u

static inline uint64_t shl_verbs_piece_bytes(uint64_t bytes)
{
    uint64_t piece = (bytes + SHL_VERBS_PIECES_MAX - 1) / SHL_VERBS_PIECES_MAX;
    piece = (piece + 4095) / 4096 * 4096;
    return piece > SHL_VERBS_PIECE_BYTES_MIN ? piece : SHL_VERBS_PIECE_BYTES_MIN;
}

static inline uint32_t shl_verbs_piece_count(uint64_t bytes)
{
    uint64_t piece = shl_verbs_piece_bytes(bytes);
    return (uint32_t)((bytes + piece - 1) / piece);
}

/* How a rail is reached. */
struct shl_verbs_end {
    uint32_t mtu_bytes, lid;
    uint32_t port; /* at which it listens for rdma_cm; 0: it does not, */
    uint32_t reserved;
    uint8_t gid[16]; /* and this is an address then */
};

/* Sent by both sides over the control channel, before anything else. */
struct shl_verbs_greeting {
    uint32_t magic, version;
    uint64_t epoch, incarnation;
    uint32_t queue_pair, first_psn; /* 0: none before the link is used */
    uint32_t mtu_bytes, lid, kind;
    uint32_t rail_count;
    uint32_t qps; /* direct pairs a rail that it wants */
    uint32_t reserved;
    uint8_t gid[16];
    uint32_t direct_psn, window_key;             /* the remote key of the windows */
    uint8_t nonce[SHL_VERBS_NONCE_BYTES];        /* which proofs by rdma_cm cover */
    struct shl_verbs_end rails[SHL_VERBS_RAILS]; /* of the direct pairs */
    uint32_t pairs[SHL_VERBS_LANES];             /* direct pairs by lane; 0: none */
};
_Static_assert(sizeof(struct shl_verbs_greeting) == 288, "greetings have no padding");

/* Then single bytes, in this order; REFUSED at any time. */
enum shl_verbs_word {
    SHL_VERBS_CONNECTED = 'C', /* my queue pairs receive and send */
    SHL_VERBS_PROVED = 'P',    /* a frame went each way */
    SHL_VERBS_REFUSED = 'R'    /* this pair of ranks uses another transport */
};

/*
 * Then records. LEFT, PAIR and MET move the frames to another carrier, a rail or the channel
 * itself (verbs_move.h); FRAME, WRITE and TAKEN are what would go over a queue pair.
 */
enum shl_verbs_record_type {
    SHL_VERBS_BYE = 'B',   /* I close in good order */
    SHL_VERBS_LEFT = 'L',  /* my end has ended and is drained; I took so many, and have `rails` */
    SHL_VERBS_PAIR = 'Q',  /* my end of the next pair; `pair` 0: I have none */
    SHL_VERBS_MET = 'M',   /* it is connected; `pair` 0: it cannot be */
    SHL_VERBS_FRAME = 'F', /* a frame follows, of `length` bytes */
    SHL_VERBS_WRITE = 'W', /* what belongs in window `name` follows, `length` bytes */
    SHL_VERBS_TAKEN = 'T'  /* nothing but `taken` */
};

struct shl_verbs_record {
    uint8_t type;
    uint8_t rails;    /* LEFT: that work, as bits */
    uint8_t returned; /* LEFT: that work again, as bits */
    uint8_t reserved;
    uint32_t length;
    uint32_t taken; /* frames and writes, in total */
    uint32_t pair, psn, key;
    uint32_t name;
    uint32_t reserved2;
    uint64_t life; /* LEFT, PAIR, MET: of the carrier that is to come */
};
_Static_assert(sizeof(struct shl_verbs_record) == 40, "records have no padding");

#endif
