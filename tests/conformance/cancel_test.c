/*
 * Conformance: after cancel, drop_peer or close nothing moves that must not, and the rest goes on.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "conformance/message.h"
#include "conformance/suite.h"

#define MIB ((uint64_t)1 << 20)

static void cancel_at(struct world *world, uint32_t rank, uint64_t seq)
{
    world_unwant(world, rank, MESSAGE_COMM, seq);
    world->ops->cancel(world->ranks[rank].t, MESSAGE_COMM, seq);
}

struct progress {
    const struct message *message;
    uint64_t bytes;
};

static bool moved_enough(void *arg)
{
    const struct progress *progress = arg;
    const struct message *message = progress->message;
    return message->recv.moved_bytes >= progress->bytes || message_done((void *)message);
}

static uint64_t checksum(const uint8_t *data, uint64_t bytes)
{
    uint64_t sum = 0;
    for (uint64_t i = 0; i < bytes; i++)
        sum = sum * 31 + data[i];
    return sum;
}

/* The receiver gives up in the middle and uses the buffer for something else. */
static void cancel_recv_fences(const struct conformance_adapter *adapter, uint64_t seed)
{
    struct world *world = world_open(adapter, 2, seed);
    for (uint64_t round = 0; round < 6; round++) {
        struct message message;
        struct message_plan plan = {.from = round % 2,
                                    .to = 1 - round % 2,
                                    .seq = 2 * round + 1,
                                    .bytes = 3 * MIB,
                                    .sinks = round >= 4};
        message_make(world, &plan, &message);
        message_post_send(&message);
        message_post_recv(&message);
        struct progress some = {&message, 1 + world_random(world, plan.bytes)};
        world_run(world, moved_enough, &some);
        unsigned done_before = message.recv_done;
        uint64_t poured_before = message.poured;
        cancel_at(world, plan.to, plan.seq);
        memset(message.recv_store, 0x77, plan.bytes);
        uint64_t sum = checksum(message.recv_store, plan.bytes + 128);

        world_settle(world); /* the sender still sends */
        CHECK(world, message.recv_done == done_before);
        CHECK(world, message.poured == poured_before);
        CHECK(world, checksum(message.recv_store, plan.bytes + 128) == sum);
        struct message_plan next = {
            .from = plan.from, .to = plan.to, .seq = plan.seq + 1, .bytes = MIB};
        message_exchange(world, &next);
        CHECK(world, checksum(message.recv_store, plan.bytes + 128) == sum);
        cancel_at(world, plan.from, plan.seq);
        world_settle(world);
        message_free(&message);
    }
    world_close(world);
}

/* The sender gives up in the middle and scribbles over its buffer: the receiver must not take that
 * for the message. */
static void cancel_send_fences(const struct conformance_adapter *adapter, uint64_t seed)
{
    struct world *world = world_open(adapter, 2, seed);
    for (uint64_t round = 0; round < 6; round++) {
        struct message message;
        struct message_plan plan = {
            .from = 0, .to = 1, .seq = 2 * round + 1, .bytes = 3 * MIB, .sinks = round % 2};
        message_make(world, &plan, &message);
        uint8_t *original = malloc(plan.bytes);
        memcpy(original, message.send.data, plan.bytes);
        message_post_recv(&message);
        message_post_send(&message);
        struct progress some = {&message, 1 + world_random(world, plan.bytes)};
        world_run(world, moved_enough, &some);
        unsigned sent_before = message.send_done;
        cancel_at(world, 0, plan.seq);
        memset(message.send.data, 0x77, plan.bytes);

        world_settle(world);
        CHECK(world, message.send_done == sent_before);
        if (message.recv_done > 0 && message.recv.status == SHOAL_OK) {
            memcpy(message.send.data, original, plan.bytes);
            message.send_done = 1;
            message.send.status = SHOAL_OK;
            message.send.moved_bytes = plan.bytes;
            message_verify(&message);
        }
        struct message_plan next = {.from = 0, .to = 1, .seq = plan.seq + 1, .bytes = MIB};
        message_exchange(world, &next);
        next.msg = 1;
        next.from = 1;
        next.to = 0;
        message_exchange(world, &next);
        cancel_at(world, 1, plan.seq);
        world_settle(world);
        free(original);
        message_free(&message);
    }
    world_close(world);
}

/* One of several operations is cancelled; the others do not notice. */
static void cancel_is_for_one_operation(const struct conformance_adapter *adapter, uint64_t seed)
{
    struct world *world = world_open(adapter, 2, seed);
    static struct message messages[60];
    for (uint32_t i = 0; i < 60; i++) {
        struct message_plan plan = {.from = i % 2,
                                    .to = 1 - i % 2,
                                    .seq = 1 + i % 3,
                                    .msg = i,
                                    .bytes = i % 5 == 0 ? 150000 : 37 * i,
                                    .sinks = i % 7 == 0};
        message_make(world, &plan, &messages[i]);
    }
    for (uint32_t i = 0; i < 60; i++) {
        message_post_send(&messages[i]);
        message_post_recv(&messages[59 - i]);
        if (world_random(world, 4) == 0)
            world_poll(world);
    }
    unsigned done[60];
    cancel_at(world, 0, 2);
    cancel_at(world, 1, 2);
    for (uint32_t i = 0; i < 60; i++)
        done[i] = messages[i].recv_done;
    for (uint32_t i = 0; i < 60; i++) /* a flow that was cut off in a message may first come back */
        if (messages[i].send.tag.seq != 2)
            world_run(world, message_done, &messages[i]);
    world_settle(world);
    for (uint32_t i = 0; i < 60; i++) {
        if (messages[i].send.tag.seq == 2)
            CHECK(world, messages[i].recv_done == done[i]);
        else
            message_verify(&messages[i]);
        message_free(&messages[i]);
    }
    world_close(world);
}

/* Not even a completion that was on its way is told. */
static void cancel_silences_done(const struct conformance_adapter *adapter, uint64_t seed)
{
    struct world *world = world_open(adapter, 2, seed);
    for (uint64_t seq = 1; seq <= 40; seq++) {
        struct message message;
        struct message_plan plan = {.from = 0, .to = 1, .seq = seq, .bytes = 64};
        message_make(world, &plan, &message);
        message_post_send(&message);
        message_post_recv(&message);
        for (uint64_t polls = world_random(world, 4); polls > 0; polls--)
            world_poll(world);
        cancel_at(world, 0, seq);
        cancel_at(world, 1, seq);
        unsigned sent = message.send_done, received = message.recv_done;
        world_settle(world);
        CHECK(world, message.send_done == sent && message.recv_done == received);
        CHECK(world, sent <= 1 && received <= 1);
        message_free(&message);
        world->ranks[0].unwanted_count = world->ranks[1].unwanted_count = 0;
    }
    world_close(world);
}

static void close_with_transfers_outstanding(const struct conformance_adapter *adapter,
                                             uint64_t seed)
{
    struct world *world = world_open(adapter, 3, seed);
    static struct message messages[24];
    for (uint32_t i = 0; i < 24; i++) {
        struct message_plan plan = {.from = i % 3,
                                    .to = (i + 1) % 3,
                                    .seq = 1,
                                    .msg = i,
                                    .bytes = i % 2 ? 500000 : 50,
                                    .sinks = i % 4 == 1};
        message_make(world, &plan, &messages[i]);
        if (i % 5 != 0)
            message_post_send(&messages[i]);
        if (i % 5 != 1)
            message_post_recv(&messages[i]);
    }
    for (uint64_t polls = world_random(world, 20); polls > 0; polls--)
        world_poll(world);
    unsigned done[24][2];
    for (uint32_t i = 0; i < 24; i++) {
        done[i][0] = messages[i].send_done;
        done[i][1] = messages[i].recv_done;
    }
    world_close(world);
    for (uint32_t i = 0; i < 24; i++) {
        assert_int_equal(messages[i].send_done, done[i][0]);
        assert_int_equal(messages[i].recv_done, done[i][1]);
        message_free(&messages[i]);
    }
}

static void dropped_peer_is_quiet(const struct conformance_adapter *adapter, uint64_t seed)
{
    struct world *world = world_open(adapter, 3, seed);
    static struct message messages[8];
    for (uint32_t i = 0; i < 8; i++) {
        struct message_plan plan = {
            .from = i % 2, .to = 1 - i % 2, .seq = 1, .msg = i, .bytes = i < 4 ? 2 * MIB : 100};
        message_make(world, &plan, &messages[i]);
        message_post_recv(&messages[i]);
        if (i % 4 < 3)
            message_post_send(&messages[i]);
    }
    for (uint64_t polls = world_random(world, 20); polls > 0; polls--)
        world_poll(world);
    world->ops->drop_peer(world->ranks[0].t, 1);
    unsigned done[8], lost = world->ranks[0].lost_calls[1];
    for (uint32_t i = 0; i < 8; i++)
        done[i] = i % 2 == 0 ? messages[i].send_done : messages[i].recv_done;
    struct message_plan plan = {.from = 0, .to = 2, .seq = 2, .bytes = MIB};
    message_exchange(world, &plan);
    plan = (struct message_plan){.from = 2, .to = 1, .seq = 2, .bytes = MIB};
    message_exchange(world, &plan);
    world_settle(world);
    CHECK(world, world->ranks[0].lost_calls[1] == lost);
    CHECK(world, world->ranks[0].lost[2] == 0 && world->ranks[2].lost_calls[1] == 0);
    for (uint32_t i = 0; i < 8; i++) {
        const struct shl_xfer *mine = i % 2 == 0 ? &messages[i].send : &messages[i].recv;
        unsigned now = i % 2 == 0 ? messages[i].send_done : messages[i].recv_done;
        /* What was complete may still be told; nothing is failed. */
        CHECK(world, now == done[i] || (now == 1 && mine->status == SHOAL_OK));
    }
    for (uint32_t i = 0; i < 3; i++)
        world->ops->cancel(world->ranks[i].t, MESSAGE_COMM, 1);
    world_close(world);
    for (uint32_t i = 0; i < 8; i++)
        message_free(&messages[i]);
}

struct survivors {
    struct world *world;
    uint32_t dead;
};

static bool all_know(void *arg)
{
    const struct survivors *survivors = arg;
    const struct world *world = survivors->world;
    for (uint32_t i = 0; i < world->size; i++) {
        if (i != survivors->dead && world->ranks[i].lost_calls[survivors->dead] == 0)
            return false;
    }
    return true;
}

static void crash_is_told_once(const struct conformance_adapter *adapter, uint64_t seed)
{
    if (adapter->crash == NULL)
        return;
    struct world *world = world_open(adapter, 4, seed);
    static struct message messages[24];
    for (uint32_t i = 0; i < 24; i++) {
        uint32_t from = i % 4;
        struct message_plan plan = {.from = from,
                                    .to = (from + 1 + i / 8) % 4,
                                    .seq = 1,
                                    .msg = i,
                                    .bytes = i % 3 ? 400000 : 64};
        message_make(world, &plan, &messages[i]);
        message_post_send(&messages[i]);
        message_post_recv(&messages[i]);
    }
    for (uint64_t polls = world_random(world, 12); polls > 0; polls--)
        world_poll(world);
    uint32_t dead = (uint32_t)world_random(world, 4);
    world->ranks[dead].crashed = true;
    adapter->crash(world, dead);
    struct survivors survivors = {world, dead};
    world_run(world, all_know, &survivors);
    world_settle(world);
    for (uint32_t i = 0; i < 24; i++) {
        struct message *message = &messages[i];
        bool with_dead = message->from == dead || message->to == dead;
        if (!with_dead || (message->to != dead && message->recv_done && !message->recv.status)) {
            message->send_done = 1; /* the dead rank's own end does not matter */
            message->send.status = SHOAL_OK;
            message->send.moved_bytes = message->send.bytes;
            message_verify(message);
        }
    }
    for (uint32_t i = 0; i < 4; i++) {
        for (uint32_t peer = 0; peer < 4 && i != dead; peer++)
            CHECK(world, world->ranks[i].lost_calls[peer] == (peer == dead));
        if (i != dead)
            world->ops->cancel(world->ranks[i].t, MESSAGE_COMM, 1);
    }
    /* Posting to the dead is an error, or waits for the engine's cancel; nothing worse. */
    uint32_t alive = (dead + 1) % 4;
    struct message late;
    struct message_plan plan = {.from = alive, .to = dead, .seq = 2, .bytes = 64};
    message_make(world, &plan, &late);
    (void)world->ops->send(world->ranks[alive].t, &late.send);
    world_settle(world);
    world_close(world);
    message_free(&late);
    for (uint32_t i = 0; i < 24; i++)
        message_free(&messages[i]);
}

const struct conformance_test conformance_cancel_tests[] = {
    {"cancel of a receive fences", cancel_recv_fences},
    {"cancel of a send fences", cancel_send_fences},
    {"cancel is for one operation", cancel_is_for_one_operation},
    {"cancel silences done", cancel_silences_done},
    {"close with transfers outstanding", close_with_transfers_outstanding},
    {"dropped peer is quiet", dropped_peer_is_quiet},
    {"crash is told once", crash_is_told_once},
    {NULL, NULL},
};
