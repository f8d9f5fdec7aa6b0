/*
 * Data movement of group operations, in pieces short enough to watch for abort between them.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef SHL_ENGINE_GROUP_MOVE_H
#define SHL_ENGINE_GROUP_MOVE_H

#include "engine/comm.h"

/* Payloads up to this travel in the slots. */
#define SHL_GROUP_INLINE_BYTES 8192

/* INLINE: combine or copy what phase 0 brought. */
void shl_move_inline(struct shoal_request *request);

/* DIRECT, PULL: one piece of the stage after phase `request->group.phase`; *done: the stage is. */
enum shoal_status shl_move_step(struct shoal_request *request, bool *done);

/* Is there data to move after this phase, or was it the last? */
bool shl_move_has_stage(const struct shoal_request *request, unsigned phase);

/* Should results bypass the cache? Only when they are too large for it, and not in place: then
 * their lines are there already. */
bool shl_move_streams(const struct shoal_comm *comm, const struct shoal_call *call);

#endif
