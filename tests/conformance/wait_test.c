/*
 * Conformance: a rank that sleeps on wait_fd between arm(true) and arm(false) is woken by whatever
 * needs its poll.
 *
 * The sleeper lives in a thread of its own and owns its transport, as a process would. A lost
 * wake-up shows as a sleep that reaches its limit although a message is under way.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "conformance/message.h"
#include "conformance/suite.h"

#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>

#define ROUNDS 400
#define SLEEP_LIMIT_MS 10000

struct sleeper {
    struct world *world;
    struct message *messages;
    atomic_uint received; /* messages that have come whole */
    atomic_bool overslept;
    unsigned sleeps;
};

static void on_sleeper_recv(struct shl_xfer *xfer)
{
    struct message *message = xfer->owner;
    message->recv_done++;
}

/* Sleeps whenever poll has nothing; true unless the limit passed. */
static bool nap(struct sleeper *sleeper, struct shl_transport *t)
{
    const struct shl_transport_ops *ops = sleeper->world->ops;
    bool woken = true;
    if (ops->arm(t, true)) {
        struct pollfd wait = {.fd = ops->wait_fd(t), .events = POLLIN};
        woken = poll(&wait, 1, SLEEP_LIMIT_MS) > 0;
        sleeper->sleeps++;
    }
    ops->arm(t, false);
    return woken;
}

static void *sleep_and_receive(void *arg)
{
    struct sleeper *sleeper = arg;
    const struct shl_transport_ops *ops = sleeper->world->ops;
    struct shl_transport *t = sleeper->world->ranks[1].t;
    for (unsigned i = 0; i < ROUNDS && !sleeper->overslept; i++) {
        struct message *message = &sleeper->messages[i];
        if (ops->recv(t, &message->recv) < 0)
            break;
        while (message->recv_done == 0 && !sleeper->overslept) {
            if (ops->poll(t) == 0 && !nap(sleeper, t))
                sleeper->overslept = true;
        }
        atomic_fetch_add(&sleeper->received, 1);
    }
    return NULL;
}

/* Rank 0 sends each message at another moment of the other's falling asleep. */
static void send_with_pauses(struct world *world, struct sleeper *sleeper)
{
    for (unsigned i = 0; i < ROUNDS && !sleeper->overslept; i++) {
        message_post_send(&sleeper->messages[i]);
        struct message *message = &sleeper->messages[i];
        while (!sleeper->overslept &&
               (atomic_load(&sleeper->received) <= i || message->send_done == 0))
            world->ops->poll(world->ranks[0].t);
        uint64_t spin_ns = world_random(world, 100) == 0 ? 2000000 : world_random(world, 60000);
        uint64_t until_ns = shl_now_ns() + spin_ns;
        while (shl_now_ns() < until_ns)
            world->ops->poll(world->ranks[0].t);
    }
}

static void sleepers_wake(const struct conformance_adapter *adapter, uint64_t seed)
{
    struct world *world = world_open(adapter, 2, seed);
    for (uint32_t i = 0; i < 2; i++) {
        if (world->ops->wait_fd(world->ranks[i].t) < 0) {
            world_close(world); /* sleeps by other means */
            return;
        }
    }
    static struct message messages[ROUNDS];
    struct sleeper sleeper = {.world = world, .messages = messages};
    for (uint32_t i = 0; i < ROUNDS; i++) {
        struct message_plan plan = {
            .from = 0, .to = 1, .seq = 1 + i, .bytes = i % 3 ? 8 * (i % 100) : 100000};
        message_make(world, &plan, &messages[i]);
        messages[i].recv.done = on_sleeper_recv;
    }
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, sleep_and_receive, &sleeper), 0);
    send_with_pauses(world, &sleeper);
    pthread_join(thread, NULL);
    CHECK(world, !sleeper.overslept);
    CHECK(world, sleeper.received == ROUNDS);
    CHECK(world, sleeper.sleeps > 0);
    for (uint32_t i = 0; i < ROUNDS; i++) {
        message_verify(&messages[i]);
        message_free(&messages[i]);
    }
    world_close(world);
}

/* With something to poll, arm(true) says no, or the descriptor is ready at once. */
static void arm_refuses_when_due(const struct conformance_adapter *adapter, uint64_t seed)
{
    struct world *world = world_open(adapter, 2, seed);
    struct shl_transport *t = world->ranks[1].t;
    int fd = world->ops->wait_fd(t);
    for (uint64_t seq = 1; seq <= 20 && fd >= 0; seq++) {
        struct message message;
        struct message_plan plan = {.from = 0, .to = 1, .seq = seq, .bytes = 64};
        message_make(world, &plan, &message);
        message_post_recv(&message);
        while (world->ops->poll(t) > 0)
            continue;
        bool armed_before = seq % 2 == 0 && world->ops->arm(t, true);
        message_post_send(&message);
        while (message.send_done == 0)
            world->ops->poll(world->ranks[0].t);
        if (armed_before || world->ops->arm(t, true)) {
            struct pollfd wait = {.fd = fd, .events = POLLIN};
            CHECK(world, poll(&wait, 1, SLEEP_LIMIT_MS) == 1);
        }
        world->ops->arm(t, false);
        world_run(world, message_done, &message);
        message_verify(&message);
        message_free(&message);
    }
    world_close(world);
}

const struct conformance_test conformance_wait_tests[] = {
    {"sleepers wake", sleepers_wake},
    {"arm refuses when due", arm_refuses_when_due},
    {NULL, NULL},
};
