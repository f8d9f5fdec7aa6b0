/*
 * Worlds whose ranks have real control objects: listeners, authenticated sessions, heartbeats, one
 * control thread a rank, all in this process. For adapters over tcp and shm as they are deployed.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef CONFORMANCE_CONTROL_WORLD_H
#define CONFORMANCE_CONTROL_WORLD_H

#include "conformance/world.h"

/* Functions of struct conformance_adapter, but for prepare, which takes the rest. `settings`:
 * "SHOAL_KEY=value" texts, NULL at the end. */
enum shoal_status control_world_prepare(struct world *world, const struct shl_transport_ops *ops,
                                        const char *const *settings);
enum shoal_status control_world_meet(struct world *world);
bool control_world_idle(struct world *world);
void control_world_cleanup(struct world *world);

#endif
