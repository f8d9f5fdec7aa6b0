/*
 * Messages of the conformance suite: both ends of a transfer, with contents that can be checked.
 *
 * Every byte depends on sender, receiver, tag and place, so that a byte which ends up elsewhere is
 * found. Guard bytes surround the receive buffer.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef CONFORMANCE_MESSAGE_H
#define CONFORMANCE_MESSAGE_H

#include "conformance/world.h"

struct message {
    struct world *world;
    uint32_t from, to;
    struct shl_xfer send, recv;
    bool send_posted, recv_posted;
    unsigned send_done, recv_done;
    bool sinks;                  /* receive through a sink, which adds what it gets to the buffer */
    uint64_t poured;             /* bytes that the sink got */
    size_t send_skew, recv_skew; /* how far from alignment the buffers start */
    uint8_t *send_store, *recv_store;
};

struct message_plan {
    uint32_t from, to;
    uint64_t seq;
    uint32_t msg;
    uint64_t bytes;
    uint32_t elem_bytes; /* 0: 1 */
    bool sinks;
    size_t send_skew, recv_skew;
};

#define MESSAGE_COMM 7u

/* message_make - buffers filled and transfers set up, nothing posted. */
void message_make(struct world *world, const struct message_plan *plan, struct message *message);
void message_free(struct message *message);

void message_post_send(struct message *message);
void message_post_recv(struct message *message);

/* Both ends have completed. */
bool message_done(void *message);

/* message_verify - complete with OK exactly once on both ends, contents right, guards untouched. */
void message_verify(const struct message *message);

/* The receive buffer still holds what message_make put there. */
bool message_untouched(const struct message *message);

/* All of an array of messages. */
struct message_set {
    struct message *messages;
    size_t count;
};
bool message_set_done(void *set);

/* message_exchange - post both ends of one message, run until done, verify, free. */
void message_exchange(struct world *world, const struct message_plan *plan);

#endif
