/*
 * The plan of a reshard: one rank's schedule, from two spreads. Path: engine/reshard.c asks for it,
 * exec.c carries it out.
 *
 * A run is what is contiguous in both layouts: one holder before, one after. What keeps its rank is
 * copied, everything else is sent once, straight from input to output: so the bytes between ranks
 * are the least possible. Where the runs of a pair of ranks are short they travel as one message,
 * packed and unpacked through scratch. Runs of one lot do, too, up to SHL_RESHARD_LOT_MAX: where
 * they lie together on a rank they leave, or land, as they are. A closing round of tokens makes
 * every rank's end depend on every rank's start, as in all schedules.
 *
 * Spans are explicit (struct shl_extent), since the two buffers have no units in common.
 *
 * Invariant: runs, their order, and what is packed follow from the spreads alone, so both ends of a
 * message agree; so does the limit on runs, which fails on all ranks alike.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef SHL_COLLECTIVES_RESHARD_H
#define SHL_COLLECTIVES_RESHARD_H

#include "collectives/schedule.h"
#include "collectives/spread.h"

#define SHL_RESHARD_RUNS_MAX (1u << 22)
#define SHL_RESHARD_LOT_MAX (1u << 20) /* elements in a message of several runs of a lot */

struct shl_reshard_shape {
    const struct shl_spread *from, *to; /* of the same total and size */
    uint32_t rank;
    uint64_t pack_below; /* elements; a pair's runs that are shorter on average are packed */
};

/* shl_reshard_build - Errors: SHOAL_ERR_INVALID: an element that nobody has; _UNSUPPORTED: too many
 * runs; _NOMEM. Freed by shl_schedule_free. */
enum shoal_status shl_reshard_build(const struct shl_reshard_shape *shape,
                                    struct shl_schedule **schedule);

struct shl_reshard_run {
    uint64_t src, dst, count; /* src matters only on rank `from`, dst only on `to` */
    uint32_t from, to;
    uint32_t lot; /* not 0: runs of a pair in the same one follow each other, maybe on both ranks */
};

/* shl_runs_build - the same for runs that are given, alike on all ranks but for src and dst. */
enum shoal_status shl_runs_build(const struct shl_reshard_run *runs, size_t run_count,
                                 uint32_t size, uint32_t rank, uint64_t pack_below,
                                 struct shl_schedule **schedule);

#endif
