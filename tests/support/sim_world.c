/*
 * See sim_world.h. The bus delivers at once, in an order that is the same on every run.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "support/sim_world.h"

#include "support/test.h"
#include "transport/sim/sim_transport.h"

#include <stdlib.h>
#include <string.h>

static enum shoal_status bus_flood(void *arg, uint16_t type, const void *payload, size_t bytes)
{
    struct sim_world_rank *from = arg;
    struct sim_world *world = from->world;
    uint32_t origin = (uint32_t)(from - world->ranks);
    for (uint32_t i = 0; i < world->size && !world->dead[origin]; i++)
        if (!world->dead[i])
            shl_engine_mail(world->ranks[i].engine, origin, type, payload, bytes);
    return SHOAL_OK;
}

static void create_rank(struct sim_world *world, uint32_t rank)
{
    struct sim_world_rank *self = &world->ranks[rank];
    struct shl_engine_options options = {.config = &world->config,
                                         .bus = {self, bus_flood},
                                         .rank = rank,
                                         .size = world->size,
                                         .local_ranks = 1,
                                         .cores = 1,
                                         .threadless = true};
    self->world = world;
    assert_int_equal(shl_engine_create(&options, &self->engine), SHOAL_OK);
    assert_int_equal(shl_engine_open(self->engine, &shl_transport_sim), SHOAL_OK);
}

static void attach_all(struct sim_world *world)
{
    static uint8_t blobs[SIM_WORLD_MAX][256];
    const void *pointers[SIM_WORLD_MAX];
    size_t bytes[SIM_WORLD_MAX];
    for (uint32_t i = 0; i < world->size; i++) {
        struct shl_engine_transport *slot = &world->ranks[i].engine->transports[0];
        pointers[i] = blobs[i];
        bytes[i] = slot->ops->describe(slot->t, blobs[i], sizeof(blobs[i]));
    }
    for (uint32_t i = 0; i < world->size; i++) {
        struct shl_engine *engine = world->ranks[i].engine;
        assert_int_equal(shl_engine_attach(engine, 1, 7, 0, pointers, bytes, UINT64_MAX), SHOAL_OK);
        assert_int_equal(shl_engine_start(engine), SHOAL_OK);
    }
}

static void create_comm(struct sim_world *world, uint32_t rank)
{
    uint32_t members[SIM_WORLD_MAX];
    for (uint32_t i = 0; i < world->size; i++)
        members[i] = i;
    struct shl_comm_options options = {
        .members = members, .size = world->size, .rank = rank, .op_timeout_ms = 1000};
    struct sim_world_rank *self = &world->ranks[rank];
    assert_int_equal(shl_comm_create(self->engine, &options, &self->comm), SHOAL_OK);
}

struct sim_world *sim_world_create(uint32_t size, uint64_t seed, const char *const *settings)
{
    struct sim_world *world = calloc(1, sizeof(*world));
    char *no_environment[] = {NULL};
    size_t count = 0;
    while (settings && settings[count])
        count++;
    struct shl_config_options sources = {
        .settings = settings, .setting_count = count, .environment = no_environment};
    assert_int_equal(shl_config_load(&sources, &world->config), SHOAL_OK);
    struct shl_sim_options options = {
        .seed = seed,
        .nodes = size,
        .link = {.delay_min_ns = 1000, .delay_max_ns = 200000, .loss_ppm = 1000},
        .retransmit_ns = 1000000};
    assert_int_equal(shl_sim_network_create(&options, &world->network), SHOAL_OK);
    shl_sim_clock_install(world->network);
    shl_sim_transport_place(world->network, SHL_SIM_NODE_OF_RANK);
    world->size = size;
    for (uint32_t i = 0; i < size; i++)
        create_rank(world, i);
    attach_all(world);
    for (uint32_t i = 0; i < size; i++)
        create_comm(world, i);
    return world;
}

void sim_world_destroy(struct sim_world *world)
{
    for (uint32_t i = 0; i < world->size; i++) {
        world->dead[i] = true; /* Nothing that is said now is heard. */
        shl_comm_free(world->ranks[i].comm);
        shl_engine_destroy(world->ranks[i].engine);
    }
    shl_sim_clock_remove();
    shl_sim_network_destroy(world->network);
    shl_config_free(&world->config);
    free(world);
}

static unsigned poll_all(struct sim_world *world)
{
    unsigned events = 0;
    for (uint32_t i = 0; i < world->size; i++)
        if (!world->dead[i])
            events += shl_engine_poll(world->ranks[i].engine);
    return events;
}

bool sim_world_run(struct sim_world *world, bool (*done)(void *arg), void *arg, uint64_t limit_ns)
{
    uint64_t end_ns = shl_sim_network_now_ns(world->network) + limit_ns;
    while (true) {
        while (poll_all(world) > 0)
            ;
        if (done(arg))
            return true;
        uint64_t now_ns = shl_sim_network_now_ns(world->network);
        if (now_ns >= end_ns)
            return false;
        for (uint32_t i = 0; i < world->size; i++)
            if (!world->dead[i])
                shl_incident_check_deadlines(world->ranks[i].engine, now_ns);
        if (!shl_sim_network_advance(world->network))
            shl_sim_network_advance_to(world->network, now_ns + 1000000);
    }
}

void sim_world_kill(struct sim_world *world, uint32_t rank, const char *cause)
{
    world->dead[rank] = true;
    shl_sim_network_crash(world->network, rank);
    for (uint32_t i = 0; i < world->size; i++)
        if (!world->dead[i])
            shl_engine_lost(world->ranks[i].engine, rank, SHOAL_ERR_PEER, cause);
}

struct shoal_request *sim_world_start(struct sim_world *world, uint32_t rank,
                                      const struct shoal_call *call)
{
    struct shoal_request *request;
    assert_int_equal(shl_request_start(world->ranks[rank].comm, call, &request), SHOAL_OK);
    return request;
}

struct waiting {
    struct sim_world *world;
    struct shoal_request **requests;
};

static bool all_complete(void *arg)
{
    const struct waiting *waiting = arg;
    for (uint32_t i = 0; i < waiting->world->size; i++)
        if (!waiting->world->dead[i] && waiting->requests[i] &&
            waiting->requests[i]->status == SHOAL_IN_PROGRESS)
            return false;
    return true;
}

bool sim_world_wait(struct sim_world *world, struct shoal_request **requests, uint64_t limit_ns)
{
    struct waiting waiting = {world, requests};
    return sim_world_run(world, all_complete, &waiting, limit_ns);
}

void sim_world_free(struct sim_world *world, struct shoal_request **requests)
{
    for (uint32_t i = 0; i < world->size; i++)
        if (requests[i] && requests[i]->status != SHOAL_IN_PROGRESS)
            shl_request_free(requests[i]);
}
