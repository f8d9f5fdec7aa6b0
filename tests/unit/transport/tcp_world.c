/*
 * Worlds of tcp transports for unit tests.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "unit/transport/tcp_world.h"

#include "unit/transport/tcp_proxy.h"

#define YIELD_CALLS 32

struct state {
    unsigned idles;
    struct shl_config config;
    struct tcp_net *net;
    struct tcp_proxy *proxy;
};

static struct tcp_setup next_setup; /* of the world being opened */

static enum shoal_status prepare(struct world *world)
{
    struct state *state = calloc(1, sizeof(*state));
    assert_non_null(state);
    tcp_net_config(&state->config, next_setup.settings);
    if (next_setup.cut_max)
        state->proxy = tcp_proxy_create(world->seed, &next_setup);
    state->net = tcp_net_create(world->size, state->proxy ? tcp_proxy_connect : NULL, state->proxy);
    for (uint32_t i = 0; i < world->size; i++) {
        world->ranks[i].env.config = &state->config;
        world->ranks[i].env.control = tcp_net_control(state->net, i);
    }
    world->ops = &shl_transport_tcp;
    world->state = state;
    return SHOAL_OK;
}

static bool idle(struct world *world)
{
    struct state *state = world->state;
    if (state->proxy)
        tcp_proxy_step(state->proxy);
    else if (++state->idles % YIELD_CALLS == 0)
        shl_time_kernel.yield(); /* rarely: on a busy machine it is expensive */
    return true;
}

static void cleanup(struct world *world)
{
    struct state *state = world->state;
    tcp_net_destroy(state->net);
    if (state->proxy)
        tcp_proxy_destroy(state->proxy);
    shl_config_free(&state->config);
    free(state);
}

struct world *tcp_world_open(const struct tcp_setup *setup, uint32_t size, uint64_t seed)
{
    static const struct conformance_adapter adapter = {
        .name = "tcp", .seeds = 1, .prepare = prepare, .idle = idle, .cleanup = cleanup};
    next_setup = *setup;
    return world_open(&adapter, size, seed);
}

struct tcp_net *tcp_world_net(struct world *world)
{
    struct state *state = world->state;
    return state->net;
}

uint32_t tcp_world_cuts(const struct world *world)
{
    const struct state *state = world->state;
    return tcp_proxy_cuts(state->proxy);
}

void tcp_world_calm(struct world *world)
{
    struct state *state = world->state;
    tcp_proxy_calm(state->proxy);
}

struct shl_tcp_link *tcp_world_link(struct world *world, uint32_t rank, uint32_t peer)
{
    return world->ranks[rank].t->peers[peer].link;
}

void tcp_world_plan(struct world *world, uint64_t seq, uint32_t msg, struct message_plan *plan)
{
    static const uint32_t elems[] = {1, 2, 3, 4, 8, 12, 16};
    static const uint64_t limits[] = {
        64, 2000, SHL_TCP_EAGER_BYTES + 2, SHL_TCP_PUSH_BYTES + 2, 150000, 900000};
    uint32_t elem_bytes = elems[world_random(world, 7)];
    uint64_t bytes = world_random(world, limits[world_random(world, 6)]);
    memset(plan, 0, sizeof(*plan));
    plan->from = (uint32_t)world_random(world, world->size);
    plan->to = (plan->from + 1 + (uint32_t)world_random(world, world->size - 1)) % world->size;
    plan->seq = seq;
    plan->msg = msg;
    plan->bytes = bytes - bytes % elem_bytes;
    plan->elem_bytes = elem_bytes;
    plan->sinks = world_random(world, 2);
    plan->send_skew = world_random(world, 17);
    plan->recv_skew = world_random(world, 17);
}

static void post_in_random_order(struct world *world, struct message *messages, uint32_t count)
{
    uint32_t left = 2 * count;
    while (left) {
        uint32_t start = (uint32_t)world_random(world, 2 * count);
        for (uint32_t i = start;; i++) {
            struct message *message = &messages[i / 2 % count];
            if (i % 2 ? message->recv_posted : message->send_posted)
                continue;
            if (i % 2)
                message_post_recv(message);
            else
                message_post_send(message);
            break;
        }
        left--;
        for (uint64_t polls = world_random(world, 3); polls; polls--)
            if (!world_poll(world))
                world->adapter->idle(world);
    }
}

void tcp_world_storm(struct world *world, uint64_t seq, uint32_t count)
{
    struct message *messages = calloc(count, sizeof(*messages));
    struct message_set set = {messages, count};
    assert_non_null(messages);
    for (uint32_t i = 0; i < count; i++) {
        struct message_plan plan;
        tcp_world_plan(world, seq, i, &plan);
        message_make(world, &plan, &messages[i]);
    }
    post_in_random_order(world, messages, count);
    world_run(world, message_set_done, &set);
    for (uint32_t i = 0; i < count; i++) {
        message_verify(&messages[i]);
        message_free(&messages[i]);
    }
    free(messages);
}
