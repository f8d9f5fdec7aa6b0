/*
 * Frames of a session, and the packets that floods travel in.
 *
 * Every frame has a header of SHL_FRAME_BYTES and up to SHL_FRAME_PAYLOAD_MAX bytes of payload.
 *
 *   0  u32 magic      8  u8 kind, u8 0, u16 type   16 u64 epoch   32 u64 ack (highest received)
 *   4  u32 payload   12  u32 origin                24 u64 seq     40 u64 flood_seq (of the origin)
 *
 * Numbered frames have seq > 0, are kept until acknowledged and are sent again after a reconnect.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef SHL_CONTROL_FRAME_H
#define SHL_CONTROL_FRAME_H

#include "control/control.h"
#include "core/list.h"

#define SHL_FRAME_BYTES 48
#define SHL_FRAME_PAYLOAD_MAX SHL_CONTROL_PAYLOAD_MAX

enum shl_frame_kind {
    SHL_FRAME_RESUME = 1,  /* first on every connection: ack says what to send again */
    SHL_FRAME_BEAT = 2,    /* alive; also carries acknowledgements */
    SHL_FRAME_FLOOD = 3,   /* numbered; for on_message on every rank */
    SHL_FRAME_VERDICT = 4, /* numbered; a flood that says that a rank is lost */
    SHL_FRAME_GOODBYE = 5  /* numbered, and the last: the sender leaves */
};

struct shl_frame {
    uint32_t bytes;
    uint8_t kind;
    uint16_t type;
    uint32_t origin;
    uint64_t epoch, seq, ack, flood_seq;
};

void shl_frame_encode(const struct shl_frame *frame, uint8_t wire[SHL_FRAME_BYTES]);
/* False when no version of Shoal would have sent it to a rank of a world of `size`. */
bool shl_frame_decode(const uint8_t wire[SHL_FRAME_BYTES], uint32_t size, struct shl_frame *frame);

/* A packet waits in the queue of each session that it must travel over: one link a session, so
 * that nothing needs to be allocated for forwarding. */
struct shl_packet_link {
    struct shl_list link;
    struct shl_packet *packet;
    uint64_t seq; /* in that session */
};

struct shl_packet {
    struct shl_list command; /* in the inbox of the control thread */
    uint32_t references;     /* only the control thread's business */
    uint32_t bytes;
    uint8_t kind;
    uint16_t type;
    uint32_t origin;
    uint64_t flood_seq;
    uint8_t *payload;
    struct shl_packet_link links[]; /* by session */
};

#endif
