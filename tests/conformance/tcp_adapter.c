/*
 * Conformance of the tcp transport over loopback, with one flow and with several.
 *
 * Even seeds use three flows and small chunks, so that the frames of one message overtake each
 * other.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "conformance/suite.h"
#include "support/tcp_net.h"

#define YIELD_CALLS 32

struct state {
    struct shl_config config;
    struct tcp_net *net;
};

static enum shoal_status prepare(struct world *world)
{
    static const char *const one[] = {"SHOAL_DEAD_AFTER_MS=500", NULL};
    static const char *const several[] = {"SHOAL_DEAD_AFTER_MS=500", "SHOAL_TCP_FLOWS=3",
                                          "SHOAL_TCP_CHUNK_BYTES=70000", NULL};
    char *const nothing[] = {NULL};
    struct state *state = calloc(1, sizeof(*state));
    const char *const *settings = world->seed % 2 ? one : several;
    struct shl_config_options options = {.settings = settings, .environment = nothing};
    while (settings[options.setting_count])
        options.setting_count++;
    enum shoal_status status = shl_config_load(&options, &state->config);
    if (status < 0) {
        free(state);
        return status;
    }
    state->net = tcp_net_create(world->size, NULL, NULL);
    for (uint32_t i = 0; i < world->size; i++) {
        world->ranks[i].env.config = &state->config;
        world->ranks[i].env.control = tcp_net_control(state->net, i);
    }
    world->ops = &shl_transport_tcp;
    world->state = state;
    return SHOAL_OK;
}

/* The kernel moves bytes by itself, mostly while they are sent: something may always happen still,
 * and the processor is offered only now and then, because on a busy machine that is expensive. */
static bool idle(struct world *world)
{
    static unsigned calls;
    (void)world;
    if (++calls % YIELD_CALLS == 0)
        shl_time_kernel.yield();
    return true;
}

static void cleanup(struct world *world)
{
    struct state *state = world->state;
    tcp_net_destroy(state->net);
    shl_config_free(&state->config);
    free(state);
}

static void crash(struct world *world, uint32_t rank)
{
    struct state *state = world->state;
    tcp_net_refuse(state->net, rank);
    tcp_net_cut(world->ranks[rank].t, world->size);
}

int main(void)
{
    static const struct conformance_adapter adapter = {
        .name = "tcp",
        .seeds = 2,
        .prepare = prepare,
        .idle = idle,
        .cleanup = cleanup,
        .crash = crash,
    };
    return conformance_run(&adapter);
}
