/*
 * Simulated worlds for the conformance suite: a calm network and bad ones by turns.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "conformance/sim_world.h"

#include "conformance/suite.h"
#include "transport/sim/sim_transport.h"

#define MICRO 1000u

enum shoal_status sim_world_prepare(struct world *world)
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

bool sim_world_idle(struct world *world)
{
    return shl_sim_network_advance(world->state);
}

void sim_world_cleanup(struct world *world)
{
    shl_sim_transport_place(NULL, SHL_SIM_NODE_OF_RANK);
    shl_sim_network_destroy(world->state);
}

void sim_world_crash(struct world *world, uint32_t rank)
{
    shl_sim_network_crash(world->state, rank);
}
