/*
 * Conformance of the simulated transport, on a calm network and on a bad one by turns.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "conformance/suite.h"
#include "transport/sim/sim_transport.h"

#define MICRO 1000u

static enum shoal_status prepare(struct world *world)
{
    struct shl_sim_options options = {
        .seed = world->seed,
        .nodes = world->size,
        .link = {.delay_min_ns = 2 * MICRO, .delay_max_ns = 2 * MICRO},
        .retransmit_ns = 500 * MICRO,
    };
    if (world->seed % 3 != 0) { /* packets overtake, get lost, come twice */
        options.link.delay_max_ns = 200 * MICRO;
        options.link.loss_ppm = 50000;
        options.link.duplicate_ppm = 50000;
    }
    if (world->seed % 2 == 0)
        options.bytes_per_second = 1000000000;
    struct shl_sim_network *network;
    SHL_TRY(shl_sim_network_create(&options, &network));
    shl_sim_transport_place(network, SHL_SIM_NODE_OF_RANK);
    world->ops = &shl_transport_sim;
    world->state = network;
    return SHOAL_OK;
}

static bool idle(struct world *world)
{
    return shl_sim_network_advance(world->state);
}

static void cleanup(struct world *world)
{
    shl_sim_transport_place(NULL, SHL_SIM_NODE_OF_RANK);
    shl_sim_network_destroy(world->state);
}

static void crash(struct world *world, uint32_t rank)
{
    shl_sim_network_crash(world->state, rank);
}

int main(void)
{
    static const struct conformance_adapter adapter = {
        .name = "sim",
        .seeds = 12,
        .prepare = prepare,
        .idle = idle,
        .cleanup = cleanup,
        .crash = crash,
    };
    return conformance_run(&adapter);
}
