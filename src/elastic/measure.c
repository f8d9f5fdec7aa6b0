/*
 * Costs for the selection of algorithms: rank 0 measures with one rank of its host and one of
 * another, and tells everyone, so that all choose alike. Path: from world.c, once a world.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "elastic/world.h"
#include "engine/probe.h"

#include "core/log.h"
#include "topology/topology.h"

#define PROBE_TIMEOUT_NS 2000000000ull

/* The lowest rank on rank 0's host, or on another; UINT32_MAX: there is none. */
static uint32_t partner(const struct shoal_comm *comm, bool local)
{
    for (uint32_t i = 1; i < comm->size; i++)
        if ((comm->host_of[i] == comm->host_of[0]) == local)
            return i;
    return UINT32_MAX;
}

static void probe(struct shoal_comm *comm, bool local, double *alpha_s, double *beta_s_per_byte)
{
    uint32_t other = partner(comm, local);
    if (other == UINT32_MAX || (comm->rank != 0 && comm->rank != other))
        return;
    uint32_t peer = comm->rank == 0 ? other : 0;
    if (shl_probe_link(comm, peer, comm->rank == 0, PROBE_TIMEOUT_NS, alpha_s, beta_s_per_byte) !=
        SHOAL_OK)
        shl_log(SHL_LOG_INFO, "costs were not measured with rank %u: %s", peer, shl_error_text());
}

static bool tells_places(const struct shoal_comm *comm)
{
    uint32_t other = partner(comm, false);
    return other != UINT32_MAX && shl_engine_ops(comm->engine, comm->members[other])->tells_places;
}

enum shoal_status shl_world_measure(struct shoal_comm *comm)
{
    /* The broadcast itself is selected by the engine's costs, which must still be everyone's. */
    struct shl_costs costs = comm->engine->costs;
    if (comm->size < 2)
        return SHOAL_OK;
    const struct shl_costs *known = comm->world->options.costs;
    if (known) {
        costs = *known;
    } else {
        probe(comm, true, &costs.alpha_local_s, &costs.beta_local_s_per_byte);
        probe(comm, false, &costs.alpha_net_s, &costs.beta_net_s_per_byte);
    }
    if (comm->rank == 0 && !known) {
        costs.gamma_s_per_byte = shl_probe_reduce();
        costs.cores_per_host = shl_topology()->usable_cpus;
        costs.net_places = tells_places(comm);
    }
    struct shoal_call call = {.struct_size = sizeof(call),
                              .collective = SHOAL_BROADCAST,
                              .dtype = SHOAL_U8,
                              .count = sizeof(costs),
                              .send = &costs,
                              .recv = &costs};
    SHL_TRY(shl_request_run(comm, &call, comm->world->options.init_timeout_ms * 1000000));
    comm->engine->costs = costs;
    shl_log(SHL_LOG_INFO,
            "costs: local %.2f us + %.3f ns/KiB, net %.2f us + %.3f ns/KiB, reduce %.3f ns/KiB",
            costs.alpha_local_s * 1e6, costs.beta_local_s_per_byte * 1e9 * 1024,
            costs.alpha_net_s * 1e6, costs.beta_net_s_per_byte * 1e9 * 1024,
            costs.gamma_s_per_byte * 1e9 * 1024);
    return SHOAL_OK;
}
