/*
 * Simulated worlds for the conformance suite: what the adapters over the simulated transport share.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef CONFORMANCE_SIM_WORLD_H
#define CONFORMANCE_SIM_WORLD_H

#include "conformance/world.h"

/* The functions of struct conformance_adapter; world->ops is the simulated transport's. */
enum shoal_status sim_world_prepare(struct world *world);
bool sim_world_idle(struct world *world);
void sim_world_cleanup(struct world *world);
void sim_world_crash(struct world *world, uint32_t rank);

#endif
