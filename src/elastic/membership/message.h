/*
 * What members tell each other during a change, and its wire form.
 *
 *   RECORD   the newest record known to the sender, with its version: PREPARE and COMMIT are this
 *   ACK      the sender has fenced the view before proposal `epoch`, and what it came to
 *   REACH    whom the sender does not reach, in the view of `epoch`
 *   JOIN     a learner wants in; `ready` once it has caught up
 *   LEAVE    a member wants out
 *
 * All may be lost, repeated, delayed and reordered. Who sent one is proved by the session that
 * carried it, not by the message: the receiver compares `from` with that.
 *
 * Invariant: what the decoder accepts, the encoder writes back byte for byte.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef SHL_ELASTIC_MEMBERSHIP_MESSAGE_H
#define SHL_ELASTIC_MEMBERSHIP_MESSAGE_H

#include "elastic/membership/record.h"

enum shl_message_kind {
    SHL_MESSAGE_RECORD = 1,
    SHL_MESSAGE_ACK = 2,
    SHL_MESSAGE_REACH = 3,
    SHL_MESSAGE_JOIN = 4,
    SHL_MESSAGE_LEAVE = 5
};

struct shl_message {
    enum shl_message_kind kind;
    uint64_t from;
    uint64_t incarnation;      /* of the store that the sender knows */
    uint64_t epoch;            /* ACK: of the proposal. REACH, LEAVE: of the view. Others: 0 */
    uint64_t version;          /* RECORD: the register's. REACH: number of the row. Others: 0 */
    bool ready;                /* JOIN */
    struct shl_member joiner;  /* JOIN */
    struct shl_set row;        /* REACH */
    uint32_t row_count;        /* REACH: members of the view */
    struct shl_report report;  /* ACK */
    struct shl_record *record; /* RECORD; where the decoder stores it */
};

#define SHL_MESSAGE_VERSION 2u /* the first byte, in all versions */
#define SHL_MESSAGE_BYTES_MAX (64u + SHL_RECORD_BYTES_MAX)

/* Bytes written; 0 when they do not fit. */
size_t shl_message_put(void *wire, size_t capacity, const struct shl_message *message);
/* false when the bytes are no message. `record` receives that of a RECORD and is undefined after
 * any other. */
bool shl_message_get(const void *wire, size_t bytes, struct shl_record *record,
                     struct shl_message *message);

#endif
