/*
 * Virtual ranks: engines over the simulated network, in one thread, with an in-process bus in the
 * place of the control mesh.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef TESTS_SIM_WORLD_H
#define TESTS_SIM_WORLD_H

#include "engine/comm.h"
#include "transport/sim/sim_network.h"

#include <shoal/shoal.h>

#define SIM_WORLD_MAX 64

struct sim_world;

struct sim_world_rank {
    struct sim_world *world;
    struct shl_engine *engine;
    struct shoal_comm *comm;
};

struct sim_world {
    uint32_t size;
    struct shl_config config;
    struct shl_sim_network *network;
    struct sim_world_rank ranks[SIM_WORLD_MAX];
    bool dead[SIM_WORLD_MAX];
};

/* `settings`: NULL-terminated "SHOAL_KEY=value" strings, may be NULL. Fails the test on error. */
struct sim_world *sim_world_create(uint32_t size, uint64_t seed, const char *const *settings);
void sim_world_destroy(struct sim_world *world);

/* Poll everyone until nothing happens, then let time pass; until `done` or virtual `limit_ns` from
 * now. Returns whether done. */
bool sim_world_run(struct sim_world *world, bool (*done)(void *arg), void *arg, uint64_t limit_ns);

/* The rank stops for ever; the others are told so after `after_ns` as control would. */
void sim_world_kill(struct sim_world *world, uint32_t rank, const char *cause);

/* Start `call` on a rank; fails the test on error. */
struct shoal_request *sim_world_start(struct sim_world *world, uint32_t rank,
                                      const struct shoal_call *call);
/* Are the requests of all living ranks complete? NULL entries count as complete. */
bool sim_world_wait(struct sim_world *world, struct shoal_request **requests, uint64_t limit_ns);
void sim_world_free(struct sim_world *world, struct shoal_request **requests);

#endif
