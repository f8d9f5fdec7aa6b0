/*
 * What ranks of one host see of each other: the layout of shared memory, and its memory order.
 *
 * Invariant: every byte here has one writer, the rank whose area it lies in. Peers map it read
 * only. So a peer that dies, stops or goes mad can spoil its own words only, and a rank that has
 * left a function stores nothing anywhere else.
 *
 * A rank's area is a memfd of its own, apart from the heap: what a rank wrote last stays there for
 * its peers after it has closed and its heap is used for something else. It holds one header; one
 * block for each local rank, with what it tells that rank as a sender and as a receiver; and sets
 * of slots, one for each communicator.
 *
 * Memory. An area is sparse: a page exists once it is touched. A pair of ranks that exchanges small
 * messages touches a page of words and up to 32 KiB of ring each way; streaming adds 256 KiB; a
 * communicator 4 KiB, and up to 128 KiB for payloads that do not fit in the slots' own lines.
 *
 * Who publishes what, before what ("release" and "acquire" pair up across two processes):
 *  1. Records. The sender writes the payload, the header, a zero `stamp` where the next record will
 *     begin, then the stamp (release). The receiver reads the stamp (acquire), then the rest. It
 *     polls nothing but the stamp at its position, which is zero or current: the zero was written
 *     before the stamp that led there.
 *  2. Room. The receiver copies a record out, then publishes `moved` (release). The sender reads
 *     it (acquire) before it overwrites. `credits` and `cells_read` work alike.
 *  3. Cells. Like records: bytes, head, stamp (release).
 *  4. Offers. `valid` names the generation before the record that offers it is published. A sender
 *     that cancels clears it, then fences, then gives its buffer back. The receiver reads the
 *     buffer, fences (acquire), then reads `valid`: unchanged means that all it read was sound.
 *  5. Replies. `start` before `word` (release). DONE is stored after the last read of the sender's
 *     memory, so a sender that sees it may reuse the buffer.
 *  6. Sleep. A sleeper stores `sleeping`, fences (sequentially consistent), then looks once more
 *     for work. A publisher publishes, fences, then reads `sleeping`. One of the two sees the
 *     other (Dekker), so no doorbell is lost.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef SHL_TRANSPORT_SHM_LAYOUT_H
#define SHL_TRANSPORT_SHM_LAYOUT_H

#include "transport/group.h"
#include "transport/transport.h"

#include <stdatomic.h>

#define SHL_SHM_LINE 64u
#define SHL_SHM_PAGE 4096u
#define SHL_SHM_RING_BYTES 32768u
#define SHL_SHM_EAGER_BYTES 4096u
#define SHL_SHM_CELLS 8u
#define SHL_SHM_CELL_BYTES 32768u
#define SHL_SHM_CREDITS 64u           /* messages that a receiver keeps for one peer */
#define SHL_SHM_OFFERS 64u            /* large messages to one peer under way */
#define SHL_SHM_OFFER_ON_DEMAND 63u   /* the last one only answers a demand */
#define SHL_SHM_MAGIC 0x5348c1f55a11u /* first word of an area */

/* One cache line; the payload follows and may go on into the next lines. */
struct shl_shm_record {
    _Atomic uint64_t stamp; /* 1 + position of this record in the endless ring; 0: not yet */
    struct shl_tag tag;
    struct shl_signature signature;
    uint32_t bytes; /* of payload */
    uint16_t offer;
    uint8_t kind;
    uint8_t on_demand; /* answers a demand: neither counted nor kept */
    uint8_t payload[16];
};

#define SHL_SHM_RECORD_HEAD_BYTES 48u

enum shl_shm_kind {
    SHL_SHM_PAD = 1,      /* skip to the start of the ring */
    SHL_SHM_DATA = 2,     /* a whole message */
    SHL_SHM_OFFER = 3,    /* payload: struct shl_shm_offer */
    SHL_SHM_DEMAND = 4,   /* is this tag posted? payload: uint32_t generation */
    SHL_SHM_ANNOUNCE = 5, /* a large receive of this tag is posted */
};

/* A large message: where its bytes are in the sender. */
struct shl_shm_offer {
    uint64_t bytes;
    uint64_t address;     /* in the sender's address space */
    uint64_t heap_offset; /* in its heap, or UINT64_MAX */
    uint32_t generation;  /* of the offer's index */
    uint32_t reserved;
};

enum shl_shm_reply_state {
    SHL_SHM_NO_REPLY = 0,
    SHL_SHM_GRANTED = 1, /* stream it through the cells, from `start` on */
    SHL_SHM_DONE = 2,    /* have it all; to a demand: it is posted */
    SHL_SHM_REFUSED = 3, /* not wanted any more; to a demand: it is not posted */
};

/* A receiver's answer to one offer. word: generation << 32 | elem_bytes << 8 | state. */
struct shl_shm_reply {
    _Atomic uint64_t word;
    _Atomic uint64_t start;
};

struct shl_shm_cell_head {
    _Alignas(
        SHL_SHM_LINE) _Atomic uint64_t stamp; /* 1 + index of this cell in the endless stream */
    uint64_t offset;                          /* in the message */
    uint32_t generation;
    uint32_t bytes;
    uint16_t offer;
};

#define SHL_SHM_REPLY_TO_DEMAND SHL_SHM_OFFERS

/* What one rank tells one other. Lines of different roles are 128 bytes apart, since processors
 * fetch lines in pairs. */
struct shl_shm_block {
    /* As a receiver. */
    _Alignas(SHL_SHM_PAGE) _Atomic uint64_t moved; /* bytes of the ring that were copied out */
    _Atomic uint64_t credits;                      /* messages that are not kept any more */
    _Atomic uint64_t cells_read;                   /* cells that may be written again */
    _Atomic uint64_t posts; /* counts receives posted since a demand failed */
    _Alignas(2 * SHL_SHM_LINE) struct shl_shm_reply replies[SHL_SHM_OFFERS + 1];
    /* As a sender. */
    _Alignas(2 *
             SHL_SHM_LINE) _Atomic uint64_t valid[SHL_SHM_OFFERS]; /* generation, 0: withdrawn */
    struct shl_shm_cell_head heads[SHL_SHM_CELLS];
    _Alignas(SHL_SHM_PAGE) uint8_t ring[SHL_SHM_RING_BYTES];
    uint8_t cells[SHL_SHM_CELLS][SHL_SHM_CELL_BYTES];
};

/* Bits of `sleeping`. */
#define SHL_SHM_ASLEEP 1u       /* ring for anything new */
#define SHL_SHM_ASLEEP_SENDS 2u /* and for room and replies: sends are waiting */

struct shl_shm_header {
    _Alignas(SHL_SHM_PAGE) uint64_t magic;
    uint64_t nonce; /* proves that what a peer mapped is this */
    _Alignas(2 * SHL_SHM_LINE) _Atomic uint32_t sleeping;
};

_Static_assert(sizeof(struct shl_shm_record) == SHL_SHM_LINE, "a record begins one line");
_Static_assert(offsetof(struct shl_shm_record, payload) == SHL_SHM_RECORD_HEAD_BYTES, "layout");
_Static_assert(sizeof(struct shl_shm_cell_head) == SHL_SHM_LINE, "heads do not share lines");
_Static_assert(offsetof(struct shl_shm_block, ring) == SHL_SHM_PAGE, "control fits one page");
_Static_assert(sizeof(struct shl_shm_block) % SHL_SHM_PAGE == 0, "blocks can be mapped alone");
_Static_assert(sizeof(struct shl_shm_header) == SHL_SHM_PAGE, "the header is one page");
_Static_assert(SHL_SHM_RING_BYTES >= 4 * SHL_SHM_EAGER_BYTES, "the largest record must fit");
_Static_assert(ATOMIC_LLONG_LOCK_FREE == 2, "atomics in shared memory must not take locks");

#define SHL_SHM_SETS 1024u /* communicators of one world with direct forms */
#define SHL_SHM_INLINE_BYTES 96u

/* One exchange of a group: the pair of lines that is fetched together. */
struct shl_shm_slot {
    _Alignas(2 * SHL_SHM_LINE) _Atomic uint64_t flag; /* 1 + sequence * phases + phase */
    _Atomic uint64_t progress; /* operations that the writer finished << 16 | payload bytes */
    struct shl_signature signature;
    uint8_t payload[SHL_SHM_INLINE_BYTES]; /* or in the body, when it does not fit */
};

/* One member's side of a group. */
struct shl_shm_set {
    _Alignas(SHL_SHM_PAGE) struct shl_shm_slot slots[SHL_GROUP_SLOTS];
    _Alignas(2 * SHL_SHM_LINE) _Atomic uint64_t finished; /* 1 + sequence: for who lags behind */
    _Atomic uint64_t generation;                          /* changes when the set is used anew */
    /* 1 + the core it waited on last; 0: not known. A hint: read often, written where it moves. */
    _Alignas(2 * SHL_SHM_LINE) _Atomic uint32_t core;
    _Alignas(SHL_SHM_PAGE) uint8_t bodies[SHL_GROUP_SLOTS][SHL_GROUP_PAYLOAD_BYTES];
};

_Static_assert(sizeof(struct shl_shm_slot) == 2 * SHL_SHM_LINE, "one pair of lines a slot");

static inline uint64_t shl_shm_block_offset(uint32_t index)
{
    return sizeof(struct shl_shm_header) + (uint64_t)index * sizeof(struct shl_shm_block);
}

static inline uint64_t shl_shm_set_offset(uint32_t locals, uint32_t set)
{
    return shl_shm_block_offset(locals) + (uint64_t)set * sizeof(struct shl_shm_set);
}

static inline uint64_t shl_shm_area_bytes(uint32_t locals)
{
    return shl_shm_set_offset(locals, SHL_SHM_SETS);
}

#endif
