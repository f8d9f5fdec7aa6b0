/*
 * Proof that a set of schedules, one of each rank, does what its collective promises.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef SHL_COLLECTIVES_SCHEDULE_CHECK_H
#define SHL_COLLECTIVES_SCHEDULE_CHECK_H

#include "collectives/schedule.h"

/*
 * shl_schedule_check - prove all ranks' schedules together, in place and out of place:
 *   - spans lie in their buffers, INPUT is not written, unused buffers are not touched;
 *   - every message has a receiver that expects the same units of data;
 *   - steps of a rank that touch the same memory, one of them writing, are ordered;
 *   - there is no deadlock even if no message can be buffered;
 *   - every result holds each contribution exactly once, combined by the same expression on every
 *     rank (so bit for bit equal), in rank order where the algorithm claims it, and is marked
 *     FINAL exactly once, when it is complete; broadcast and allgather put every unit in its place;
 *   - no rank completes before every rank has started.
 *
 * schedules  by rank; rank_count of them
 * Errors     SHOAL_ERR_INTERNAL: the first finding, with rank, step and units in its detail
 * Threads    any
 * Cost       about steps^2 / 64 words a rank for the order, and units * ranks words
 */
enum shoal_status shl_schedule_check(struct shl_schedule *const *schedules, uint32_t rank_count);

/* shl_algorithm_build_all - one schedule a rank; shape->rank is ignored. Freed by ..._free_all. */
enum shoal_status shl_algorithm_build_all(const struct shl_algorithm *algorithm,
                                          const struct shl_shape *shape,
                                          struct shl_schedule ***schedules);
void shl_schedule_free_all(struct shl_schedule **schedules, uint32_t rank_count);

/* shl_algorithm_prove - build for every rank, check, free. */
enum shoal_status shl_algorithm_prove(const struct shl_algorithm *algorithm,
                                      const struct shl_shape *shape);

#endif
