/*
 * Every rank in a thread of its own, as in life: storms and sleeps, connections handed over by
 * another thread. What ThreadSanitizer is run on.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "support/random.h"
#include "unit/transport/tcp_world.h"

#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>

#define MESSAGES 60
#define SLEEP_MS 5

static const char *const one_flow[] = {"SHOAL_TCP_FLOWS=1", NULL};
static const char *const three_flows[] = {"SHOAL_TCP_FLOWS=3", "SHOAL_TCP_CHUNK_BYTES=40000", NULL};

struct job {
    struct world *world;
    uint32_t rank;
    uint64_t random;
    struct message *messages; /* of all ranks; this one touches its own ends */
    atomic_uint *finished;
};

static bool own_ends_done(const struct job *job)
{
    for (uint32_t i = 0; i < MESSAGES; i++) {
        const struct message *message = &job->messages[i];
        if ((message->from == job->rank && !message->send_done) ||
            (message->to == job->rank && !message->recv_done))
            return false;
    }
    return true;
}

static void nap(const struct job *job, struct shl_transport *t)
{
    const struct shl_transport_ops *ops = job->world->ops;
    if (ops->arm(t, true)) {
        struct pollfd wait = {.fd = ops->wait_fd(t), .events = POLLIN};
        poll(&wait, 1, SLEEP_MS);
    }
    ops->arm(t, false);
}

static void *live(void *arg)
{
    struct job *job = arg;
    struct shl_transport *t = job->world->ranks[job->rank].t;
    uint32_t start = (uint32_t)(shl_test_random(&job->random) % MESSAGES);
    for (uint32_t i = 0; i < MESSAGES; i++) {
        struct message *message = &job->messages[(start + i * 7) % MESSAGES];
        if (message->from == job->rank)
            message_post_send(message);
        if (message->to == job->rank)
            message_post_recv(message);
        if (shl_test_random(&job->random) % 4 == 0)
            job->world->ops->poll(t);
    }
    bool told = false;
    while (atomic_load(job->finished) < job->world->size) {
        if (job->world->ops->poll(t) == 0)
            nap(job, t);
        if (!told && own_ends_done(job)) {
            atomic_fetch_add(job->finished, 1);
            told = true;
        }
    }
    return NULL;
}

static void storm(const struct tcp_setup *setup, uint32_t size, uint64_t seed)
{
    struct world *world = tcp_world_open(setup, size, seed);
    struct message messages[MESSAGES];
    struct job jobs[WORLD_RANKS_MAX];
    pthread_t threads[WORLD_RANKS_MAX];
    atomic_uint finished = 0;
    for (uint32_t i = 0; i < MESSAGES; i++) {
        struct message_plan plan;
        tcp_world_plan(world, 1, i, &plan);
        message_make(world, &plan, &messages[i]);
    }
    for (uint32_t i = 0; i < size; i++) {
        jobs[i] = (struct job){world, i, seed + i, messages, &finished};
        assert_int_equal(pthread_create(&threads[i], NULL, live, &jobs[i]), 0);
    }
    for (uint32_t i = 0; i < size; i++)
        pthread_join(threads[i], NULL);
    for (uint32_t i = 0; i < MESSAGES; i++) {
        message_verify(&messages[i]);
        message_free(&messages[i]);
    }
    world_close(world);
}

static void ranks_in_threads(void **unused)
{
    const struct tcp_setup setups[] = {{.settings = one_flow}, {.settings = three_flows}};
    uint64_t seed = shl_test_seed();
    (void)unused;
    for (uint32_t run = 0; run < 8; run++)
        storm(&setups[run % 2], 2 + run, seed + run);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ranks_in_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
