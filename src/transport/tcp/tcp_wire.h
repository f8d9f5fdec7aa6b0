/*
 * Every byte that a TCP link puts on the wire. Path: tcp_pull.c encodes, tcp_parse.c decodes.
 *
 * A frame is a header of 64 bytes, then `length` bytes of payload; a CHUNK that is not void ends
 * with a trailer of 8 bytes. Integers are little endian. docs/protocol.md has the table.
 *
 * Invariant: a header that shl_tcp_header_decode accepted holds only values that its type allows;
 * what depends on the state of the link (sequence, ack, credit, tag, offset) is checked there.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef SHL_TRANSPORT_TCP_WIRE_H
#define SHL_TRANSPORT_TCP_WIRE_H

#include "transport/transport.h"

#define SHL_TCP_HEADER_BYTES 64
#define SHL_TCP_TRAILER_BYTES 8
#define SHL_TCP_EAGER_BYTES 16384           /* largest payload of an EAGER */
#define SHL_TCP_PUSH_BYTES 65536            /* largest message sent without an announcement */
#define SHL_TCP_CHUNK_BYTES_MAX 1073741824u /* largest payload of one CHUNK */
#define SHL_TCP_ELEM_BYTES_MAX 16

enum shl_tcp_frame_type {
    SHL_TCP_EAGER = 1,    /* a whole small message, of which the sender has a copy */
    SHL_TCP_ANNOUNCE = 2, /* a receive is posted: send the message of this tag */
    SHL_TCP_CHUNK = 3,    /* a piece of an announced message; PUSH: a whole one, not announced */
    SHL_TCP_ASK = 4,      /* a send is posted that may not start: announce the receive */
    SHL_TCP_ACK = 5,      /* nothing but ack and credit; takes no sequence number */
    SHL_TCP_BYE = 6       /* the sender closes the link; nothing follows */
};

enum shl_tcp_frame_flags {
    SHL_TCP_VOID = 1,   /* cancelled: only takes its number. EAGER keeps its payload, which counts
                           against the credit; CHUNK has neither payload nor trailer */
    SHL_TCP_ANSWER = 2, /* ANNOUNCE: only of use to a send already posted; else not to be kept */
    SHL_TCP_AGAIN = 4,  /* ASK: an earlier announcement may have been dropped, repeat it */
    SHL_TCP_PUSH = 8    /* CHUNK: was not announced */
};

struct shl_tcp_header {
    uint8_t type;
    uint8_t flags;
    uint8_t elem_bytes; /* ANNOUNCE: chunks are cut at multiples of it; else 0 */
    uint32_t length;    /* payload bytes */
    uint32_t epoch;     /* low half of the world's */
    uint32_t sequence;  /* number of this frame on the link; 0 in ACK */
    uint32_t ack;       /* all the receiver's frames before this one have arrived */
    uint16_t blocks;    /* blocks that the receiver's EAGER frames may take in total */
    uint16_t slots;     /* PUSH frames that the receiver may send in total */
    struct shl_tag tag;
    struct shl_signature signature;
    uint64_t offset; /* CHUNK: in the message; ANNOUNCE, ASK: bytes of the message */
};

/* What follows the payload of a CHUNK. A cancelled send cannot take back the bytes that its header
 * promised, so it fills them with zeros and says so here. */
enum shl_tcp_trailer { SHL_TCP_TRAILER_VALID = 0x600d0001, SHL_TCP_TRAILER_VOID = 0x600d0002 };

void shl_tcp_header_encode(const struct shl_tcp_header *header, uint8_t *bytes);

/* shl_tcp_header_decode - parse and check 64 bytes. false: `cause` says in one line what is wrong
 * and nothing else is written. */
bool shl_tcp_header_decode(const uint8_t *bytes, uint32_t epoch, struct shl_tcp_header *header,
                           char *cause, size_t cause_bytes);

void shl_tcp_trailer_encode(enum shl_tcp_trailer trailer, uint8_t *bytes);
/* 0 when the bytes are no trailer. */
uint32_t shl_tcp_trailer_decode(const uint8_t *bytes);

/* "CHUNK" */
const char *shl_tcp_type_name(uint8_t type);

#endif
