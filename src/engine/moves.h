/*
 * Moves: bytes from any place of one rank's memory to any place of another's, many at once. What
 * the state that follows members is carried by. Path: from elastic/state/, next
 * collectives/reshard.h.
 *
 * Every rank gives the same list, but for the places: `src` is looked at on rank `from` only, `dst`
 * on rank `to` only. Lists that differ otherwise are a mismatch, as in any operation. Places belong
 * to the operation until it is over; sources may not overlap with targets.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef SHL_ENGINE_MOVES_H
#define SHL_ENGINE_MOVES_H

#include "engine/comm.h"

struct shl_move {
    const void *src;
    void *dst;
    uint64_t bytes;
    uint32_t from, to;
    uint32_t lot; /* 0, or as shl_reshard_run's */
};

/* shl_moves_start - begin them. The list is borrowed for the call only. */
enum shoal_status shl_moves_start(struct shoal_comm *comm, const struct shl_move *moves,
                                  size_t count, struct shoal_request **request);

/* shl_moves_wait - until they are done, or given up when the communicator's time for an operation
 * has passed. The request is gone afterwards. */
enum shoal_status shl_moves_wait(struct shoal_request *request);

/* Both at once. */
enum shoal_status shl_moves_run(struct shoal_comm *comm, const struct shl_move *moves,
                                size_t count);

#endif
