/*
 * How an array is spread over ranks: the layouts of include/shoal/reshard.h, checked and made ready
 * for questions. Path: reshard.c walks two of them together.
 *
 * Invariant: runs are found in ascending order of elements, cover 0..total-1 without a gap (what
 * nobody holds is a run of SHL_NOBODY) and are not empty.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef SHL_COLLECTIVES_SPREAD_H
#define SHL_COLLECTIVES_SPREAD_H

#include "core/status.h"

#include <shoal/reshard.h>

#define SHL_NOBODY UINT32_MAX

struct shl_spread_part {
    uint64_t first, count; /* elements */
    uint64_t offset;       /* in the rank's buffer */
    uint32_t rank;
};

struct shl_spread {
    uint64_t total;
    uint64_t cycle; /* CYCLIC: elements dealt in one round; else 0 */
    uint64_t block; /* CYCLIC */
    uint32_t first_rank, size;
    struct shl_spread_part *parts; /* not CYCLIC: ascending, none empty */
    size_t part_count;
};

/* shl_spread_init - check a layout of `total` elements over `size` ranks. Allocates; ended by
 * shl_spread_fini, which is also legal when this has failed. `what` names it in errors. */
enum shoal_status shl_spread_init(struct shl_spread *spread, const struct shoal_layout *layout,
                                  uint64_t total, uint32_t size, const char *what);
void shl_spread_fini(struct shl_spread *spread);

/* Where a walk is; zero at its start. */
struct shl_spread_walk {
    size_t part;
};

/* shl_spread_run - the rest of the run that element `at` (below total) is in: its first is `at`.
 * A walk may only go forward. */
struct shl_spread_part shl_spread_run(const struct shl_spread *spread, struct shl_spread_walk *walk,
                                      uint64_t at);

/* Elements that a rank holds. */
uint64_t shl_spread_count(const struct shl_spread *spread, uint32_t rank);

/* Ranks with the same layout have the same hash. */
uint64_t shl_spread_hash(const struct shl_spread *spread);

#endif
