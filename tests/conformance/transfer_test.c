/*
 * Conformance: what is sent arrives, once, whole, in its place, in whatever order it was posted.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "conformance/message.h"
#include "conformance/suite.h"

#define MIB ((uint64_t)1 << 20)

static size_t sizes_of(const struct world *world, uint64_t sizes[16])
{
    uint64_t eager = world->ops->eager_bytes;
    const uint64_t all[] = {0,       1,      7, 64, eager - 1, eager, eager + 1, 4 * eager + 5,
                            MIB + 3, 3 * MIB};
    memcpy(sizes, all, sizeof(all));
    return sizeof(all) / sizeof(all[0]);
}

enum posting { TOGETHER, SEND_FIRST, RECV_FIRST };

static void exchange_sizes(struct world *world, enum posting posting, bool sinks)
{
    uint64_t sizes[16];
    size_t count = sizes_of(world, sizes);
    for (size_t i = 0; i < count; i++) {
        struct message message;
        struct message_plan plan = {
            .from = i % 2, .to = 1 - i % 2, .seq = i + 1, .bytes = sizes[i], .sinks = sinks};
        message_make(world, &plan, &message);
        if (posting != RECV_FIRST)
            message_post_send(&message);
        if (posting == SEND_FIRST)
            world_settle(world);
        if (sizes[i] > world->ops->eager_bytes)
            CHECK(world, message.send_done == 0); /* nothing is posted that it could move to */
        message_post_recv(&message);
        if (posting == RECV_FIRST) {
            world_settle(world);
            CHECK(world, message.recv_done == 0 && message_untouched(&message));
            message_post_send(&message);
        }
        world_run(world, message_done, &message);
        message_verify(&message);
        world_settle(world);
        message_verify(&message); /* still once */
        message_free(&message);
    }
}

static void sizes(const struct conformance_adapter *adapter, uint64_t seed)
{
    struct world *world = world_open(adapter, 2, seed);
    exchange_sizes(world, TOGETHER, false);
    exchange_sizes(world, TOGETHER, true);
    world_close(world);
}

static void unexpected_first(const struct conformance_adapter *adapter, uint64_t seed)
{
    struct world *world = world_open(adapter, 2, seed);
    exchange_sizes(world, SEND_FIRST, false);
    exchange_sizes(world, SEND_FIRST, true);
    world_close(world);
}

static void posted_first(const struct conformance_adapter *adapter, uint64_t seed)
{
    struct world *world = world_open(adapter, 2, seed);
    exchange_sizes(world, RECV_FIRST, false);
    exchange_sizes(world, RECV_FIRST, true);
    world_close(world);
}

static void element_granularity(const struct conformance_adapter *adapter, uint64_t seed)
{
    struct world *world = world_open(adapter, 2, seed);
    uint64_t seq = 1;
    for (uint32_t elem_bytes = 1; elem_bytes <= 16; elem_bytes *= 2) {
        const uint64_t counts[] = {1, 3, 63, 1001, 40009};
        for (size_t i = 0; i < 5; i++) {
            struct message_plan plan = {.from = 0,
                                        .to = 1,
                                        .seq = seq++,
                                        .sinks = true,
                                        .bytes = counts[i] * elem_bytes,
                                        .elem_bytes = elem_bytes};
            message_exchange(world, &plan);
            plan.seq = seq++;
            plan.sinks = false;
            message_exchange(world, &plan);
        }
    }
    world_close(world);
}

static void misaligned_buffers(const struct conformance_adapter *adapter, uint64_t seed)
{
    struct world *world = world_open(adapter, 2, seed);
    uint64_t eager = world->ops->eager_bytes, seq = 1;
    for (size_t skew = 1; skew < 16; skew += 2) {
        const uint64_t bytes[] = {24, eager, 3 * eager + 8, 300000};
        for (size_t i = 0; i < 4; i++) {
            struct message_plan plan = {.from = 1,
                                        .to = 0,
                                        .seq = seq++,
                                        .bytes = bytes[i],
                                        .elem_bytes = 4,
                                        .send_skew = skew,
                                        .recv_skew = 16 - skew,
                                        .sinks = false};
            plan.bytes -= plan.bytes % 4;
            message_exchange(world, &plan);
            plan.seq = seq++;
            plan.sinks = true;
            message_exchange(world, &plan);
        }
    }
    world_close(world);
}

/* ---- many in flight ------------------------------------------------------------------------- */

static uint64_t some_size(struct world *world)
{
    uint64_t eager = world->ops->eager_bytes;
    switch (world_random(world, 5)) {
    case 0:
        return 0;
    case 1:
        return world_random(world, 64);
    case 2:
        return world_random(world, 2 * eager);
    case 3:
        return eager - 2 + world_random(world, 5);
    default:
        return world_random(world, 100000);
    }
}

/* Posts all ends of all messages in an order by chance, polling in between now and then. */
static void post_shuffled(struct world *world, struct message_set *set)
{
    size_t left = 2 * set->count;
    while (left > 0) {
        size_t pick = world_random(world, 2 * set->count);
        struct message *message = &set->messages[pick / 2];
        bool send = pick % 2 == 0;
        if (send ? message->send_posted : message->recv_posted)
            continue;
        if (send)
            message_post_send(message);
        else
            message_post_recv(message);
        left--;
        if (world_random(world, 8) == 0)
            world_poll(world);
    }
}

static void run_set(struct world *world, struct message_set *set)
{
    post_shuffled(world, set);
    world_run(world, message_set_done, set);
    world_settle(world);
    for (size_t i = 0; i < set->count; i++) {
        message_verify(&set->messages[i]);
        message_free(&set->messages[i]);
    }
}

static void shuffled_operations(const struct conformance_adapter *adapter, uint64_t seed)
{
    struct world *world = world_open(adapter, 3, seed);
    static struct message messages[240];
    struct message_set set = {messages, 240};
    for (uint32_t i = 0; i < set.count; i++) {
        uint32_t from = (uint32_t)world_random(world, 3);
        struct message_plan plan = {.from = from,
                                    .to = (from + 1 + i % 2) % 3,
                                    .seq = 1 + i / 24,
                                    .msg = i % 24,
                                    .bytes = some_size(world),
                                    .sinks = i % 3 == 0,
                                    .send_skew = i % 5,
                                    .recv_skew = i % 7};
        message_make(world, &plan, &messages[i]);
    }
    run_set(world, &set);
    world_close(world);
}

/* Operations of two communicators with equal numbers are told apart. */
static void communicators_are_apart(const struct conformance_adapter *adapter, uint64_t seed)
{
    struct world *world = world_open(adapter, 2, seed);
    struct message messages[2];
    struct message_set set = {messages, 2};
    for (uint32_t i = 0; i < 2; i++) {
        struct message_plan plan = {.from = 0, .to = 1, .seq = 1, .msg = 0, .bytes = 500};
        message_make(world, &plan, &messages[i]);
        messages[i].send.tag.comm = messages[i].recv.tag.comm = 100 + i;
        memset(messages[i].send.data, (int)(10 + i), 500);
    }
    message_post_send(&messages[0]);
    message_post_send(&messages[1]);
    message_post_recv(&messages[1]);
    message_post_recv(&messages[0]);
    world_run(world, message_set_done, &set);
    for (uint32_t i = 0; i < 2; i++) {
        CHECK_OK(world, messages[i].recv.status);
        for (size_t k = 0; k < 500; k++)
            CHECK(world, ((uint8_t *)messages[i].recv.data)[k] == 10 + i);
        message_free(&messages[i]);
    }
    world_close(world);
}

static void eight_peers(const struct conformance_adapter *adapter, uint64_t seed)
{
    struct world *world = world_open(adapter, 8, seed);
    static struct message messages[8 * 7 * 2];
    struct message_set set = {messages, 0};
    for (uint32_t from = 0; from < 8; from++) {
        for (uint32_t to = 0; to < 8; to++) {
            for (uint32_t msg = 0; msg < 2 && from != to; msg++) {
                struct message_plan plan = {.from = from,
                                            .to = to,
                                            .seq = 1,
                                            .msg = msg,
                                            .bytes = msg == 0 ? 100 : 50000 + from,
                                            .sinks = to % 2 == 0};
                message_make(world, &plan, &messages[set.count++]);
            }
        }
    }
    run_set(world, &set);
    world_close(world);
}

/* Both directions are full at once; whoever only writes until it has written all would block. */
static void large_both_ways(const struct conformance_adapter *adapter, uint64_t seed)
{
    struct world *world = world_open(adapter, 2, seed);
    static struct message messages[8];
    struct message_set set = {messages, 8};
    for (uint32_t i = 0; i < 8; i++) {
        struct message_plan plan = {.from = i % 2,
                                    .to = 1 - i % 2,
                                    .seq = 1,
                                    .msg = i / 2,
                                    .bytes = 2 * MIB + i,
                                    .sinks = i >= 6};
        message_make(world, &plan, &messages[i]);
    }
    run_set(world, &set);
    world_close(world);
}

/* Messages that nobody takes yet do not hold up the others. */
static void unwanted_does_not_block(const struct conformance_adapter *adapter, uint64_t seed)
{
    struct world *world = world_open(adapter, 2, seed);
    static struct message stuck[40];
    struct message_set set = {stuck, 40};
    for (uint32_t i = 0; i < set.count; i++) {
        struct message_plan plan = {.from = 0,
                                    .to = 1,
                                    .seq = 1,
                                    .msg = i,
                                    .bytes = i % 2 ? world->ops->eager_bytes : 200000};
        message_make(world, &plan, &stuck[i]);
        message_post_send(&stuck[i]);
    }
    struct message_plan plan = {.from = 0, .to = 1, .seq = 2, .bytes = MIB};
    message_exchange(world, &plan);
    plan = (struct message_plan){.from = 0, .to = 1, .seq = 3, .bytes = 8};
    message_exchange(world, &plan);
    for (size_t i = set.count; i-- > 0;)
        message_post_recv(&stuck[i]);
    world_run(world, message_set_done, &set);
    for (size_t i = 0; i < set.count; i++) {
        message_verify(&stuck[i]);
        message_free(&stuck[i]);
    }
    world_close(world);
}

/* An engine posts the next step from inside `done`. */
struct chain {
    struct message *messages;
    size_t count, sent, received;
};

static struct chain running;

static void chain_send_done(struct shl_xfer *xfer)
{
    ((struct message *)xfer->owner)->send_done++;
    if (++running.sent < running.count)
        message_post_send(&running.messages[running.sent]);
}

static void chain_recv_done(struct shl_xfer *xfer)
{
    ((struct message *)xfer->owner)->recv_done++;
    if (++running.received < running.count)
        message_post_recv(&running.messages[running.received]);
}

static void posting_inside_done(const struct conformance_adapter *adapter, uint64_t seed)
{
    struct world *world = world_open(adapter, 2, seed);
    static struct message messages[60];
    struct message_set set = {messages, 60};
    for (uint32_t i = 0; i < set.count; i++) {
        struct message_plan plan = {
            .from = 0, .to = 1, .seq = 1, .msg = i, .bytes = some_size(world)};
        message_make(world, &plan, &messages[i]);
        messages[i].send.done = chain_send_done;
        messages[i].recv.done = chain_recv_done;
    }
    running = (struct chain){messages, set.count, 0, 0};
    message_post_send(&messages[0]);
    message_post_recv(&messages[0]);
    world_run(world, message_set_done, &set);
    for (size_t i = 0; i < set.count; i++) {
        message_verify(&messages[i]);
        message_free(&messages[i]);
    }
    world_close(world);
}

static void explains_every_peer(const struct conformance_adapter *adapter, uint64_t seed)
{
    struct world *world = world_open(adapter, 3, seed);
    for (uint32_t i = 0; i < 3; i++) {
        for (uint32_t peer = 0; peer < 3; peer++) {
            char text[200];
            memset(text, '#', sizeof(text));
            world->ops->explain(world->ranks[i].t, peer, text, sizeof(text));
            CHECK(world, memchr(text, '\0', sizeof(text)) != NULL);
            CHECK(world, peer == i || text[0] != '\0');
            CHECK(world, strchr(text, '\n') == NULL);
            char tiny[4] = {'#', '#', '#', '#'};
            world->ops->explain(world->ranks[i].t, peer, tiny, 3);
            CHECK(world, memchr(tiny, '\0', 3) != NULL && tiny[3] == '#');
        }
    }
    world_close(world);
}

const struct conformance_test conformance_transfer_tests[] = {
    {"sizes", sizes},
    {"unexpected first", unexpected_first},
    {"posted first", posted_first},
    {"element granularity", element_granularity},
    {"misaligned buffers", misaligned_buffers},
    {"shuffled operations", shuffled_operations},
    {"communicators are apart", communicators_are_apart},
    {"eight peers", eight_peers},
    {"large both ways", large_both_ways},
    {"unwanted does not block", unwanted_does_not_block},
    {"posting inside done", posting_inside_done},
    {"explains every peer", explains_every_peer},
    {NULL, NULL},
};
