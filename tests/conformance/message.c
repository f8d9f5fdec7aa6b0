/*
 * Messages of the conformance suite.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "conformance/message.h"

#define GUARD_BYTES 64
#define GUARD 0xa5
#define BLANK 0x11

static uint8_t pattern(const struct message *message, uint64_t offset)
{
    const struct shl_tag *tag = &message->send.tag;
    uint64_t mixed = (tag->seq * 31 + tag->msg) * 31 + message->from * 17 + message->to;
    mixed = (mixed + offset + (offset >> 8) * 3) * 0x9e3779b97f4a7c15u;
    return (uint8_t)(mixed >> 56);
}

static uint8_t *send_at(const struct message *message)
{
    return message->send_store + GUARD_BYTES + message->send_skew;
}

static uint8_t *recv_at(const struct message *message)
{
    return message->recv_store + GUARD_BYTES + message->recv_skew;
}

static void on_send_done(struct shl_xfer *xfer)
{
    struct message *message = xfer->owner;
    CHECK(message->world, xfer == &message->send);
    CHECK(message->world, xfer->status != SHOAL_IN_PROGRESS);
    message->send_done++;
}

static void on_recv_done(struct shl_xfer *xfer)
{
    struct message *message = xfer->owner;
    CHECK(message->world, xfer == &message->recv);
    CHECK(message->world, xfer->status != SHOAL_IN_PROGRESS);
    message->recv_done++;
}

/* Adds, so that a piece that comes twice makes a wrong sum. */
static void on_piece(struct shl_xfer *xfer, uint64_t offset, const void *piece, size_t bytes)
{
    struct message *message = xfer->owner;
    CHECK(message->world, bytes > 0 && offset + bytes <= xfer->bytes);
    CHECK(message->world, offset % xfer->elem_bytes == 0 && bytes % xfer->elem_bytes == 0);
    CHECK(message->world, message->recv_done == 0);
    uint8_t *into = recv_at(message) + offset;
    for (size_t i = 0; i < bytes; i++)
        into[i] = (uint8_t)(into[i] + ((const uint8_t *)piece)[i]);
    message->poured += bytes;
}

static uint8_t *store_make(struct world *world, uint64_t bytes, uint8_t fill, size_t skew)
{
    uint8_t *store = malloc(bytes + 2 * GUARD_BYTES + skew);
    CHECK(world, store != NULL);
    memset(store, GUARD, bytes + 2 * GUARD_BYTES + skew);
    memset(store + GUARD_BYTES + skew, fill, bytes);
    return store;
}

void message_make(struct world *world, const struct message_plan *plan, struct message *message)
{
    *message = (struct message){.world = world, .from = plan->from, .to = plan->to};
    message->sinks = plan->sinks;
    message->send_skew = plan->send_skew;
    message->recv_skew = plan->recv_skew;
    message->send_store = store_make(world, plan->bytes, 0, plan->send_skew);
    message->recv_store = store_make(world, plan->bytes, BLANK, plan->recv_skew);
    struct shl_xfer xfer = {
        .tag = {.seq = plan->seq, .comm = MESSAGE_COMM, .msg = plan->msg},
        .signature = {.count = plan->bytes, .call = 0x0102},
        .bytes = plan->bytes,
        .elem_bytes = plan->elem_bytes == 0 ? 1 : plan->elem_bytes,
        .owner = message,
        .status = SHOAL_IN_PROGRESS,
    };
    message->send = message->recv = xfer;
    message->send.peer = plan->to;
    message->send.data = plan->bytes == 0 ? NULL : send_at(message);
    message->send.done = on_send_done;
    message->recv.peer = plan->from;
    message->recv.data = plan->bytes == 0 || plan->sinks ? NULL : recv_at(message);
    message->recv.sink = plan->sinks ? on_piece : NULL;
    message->recv.done = on_recv_done;
    for (uint64_t i = 0; i < plan->bytes; i++)
        send_at(message)[i] = pattern(message, i);
}

void message_free(struct message *message)
{
    free(message->send_store);
    free(message->recv_store);
    message->send_store = message->recv_store = NULL;
}

void message_post_send(struct message *message)
{
    struct world *world = message->world;
    CHECK_OK(world, world->ops->send(world->ranks[message->from].t, &message->send));
    message->send_posted = true;
}

void message_post_recv(struct message *message)
{
    struct world *world = message->world;
    CHECK_OK(world, world->ops->recv(world->ranks[message->to].t, &message->recv));
    message->recv_posted = true;
}

bool message_done(void *arg)
{
    const struct message *message = arg;
    return message->send_done > 0 && message->recv_done > 0;
}

static bool guards_hold(const struct message *message)
{
    const uint8_t *end = recv_at(message) + message->recv.bytes;
    for (size_t i = 0; i < GUARD_BYTES; i++) {
        if (message->recv_store[i] != GUARD || end[i] != GUARD)
            return false;
    }
    return true;
}

void message_verify(const struct message *message)
{
    struct world *world = message->world;
    CHECK(world, message->send_done == 1 && message->recv_done == 1);
    CHECK_OK(world, message->send.status);
    CHECK_OK(world, message->recv.status);
    CHECK(world, message->send.moved_bytes == message->send.bytes);
    CHECK(world, message->recv.moved_bytes == message->recv.bytes);
    CHECK(world, message->poured == (message->sinks ? message->recv.bytes : 0));
    const uint8_t *got = recv_at(message), *sent = send_at(message);
    uint8_t base = message->sinks ? BLANK : 0;
    for (uint64_t i = 0; i < message->recv.bytes; i++) {
        uint8_t expected = pattern(message, i);
        if (got[i] == (uint8_t)(expected + base) && sent[i] == expected)
            continue;
        print_error("byte %llu of %llu from rank %u to %u\n", (unsigned long long)i,
                    (unsigned long long)message->recv.bytes, message->from, message->to);
        CHECK(world, sent[i] == expected);
        CHECK(world, got[i] == (uint8_t)(expected + base));
    }
    CHECK(world, guards_hold(message));
}

bool message_untouched(const struct message *message)
{
    const uint8_t *got = recv_at(message);
    for (uint64_t i = 0; i < message->recv.bytes; i++) {
        if (got[i] != BLANK)
            return false;
    }
    return message->poured == 0 && guards_hold(message);
}

bool message_set_done(void *arg)
{
    const struct message_set *set = arg;
    for (size_t i = 0; i < set->count; i++) {
        if (!message_done(&set->messages[i]))
            return false;
    }
    return true;
}

void message_exchange(struct world *world, const struct message_plan *plan)
{
    struct message message;
    message_make(world, plan, &message);
    message_post_send(&message);
    message_post_recv(&message);
    world_run(world, message_done, &message);
    message_verify(&message);
    message_free(&message);
}
