/*
 * Which way ordinary buffers travel between members that share memory.
 *
 * No constant can say: it depends on whether the members' cores share a cache, on how many members
 * share a core, on pages, on the hypervisor's mood, and changes while a job runs. So member 0
 * times its operations, by kind and size; it uses the way that was fastest lately, and tries the
 * others now and then, as often as costs little. What it chose goes with its phase 0 to all
 * members, so that no further message is needed and all use the same way.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef SHL_ENGINE_WAYS_H
#define SHL_ENGINE_WAYS_H

#include "engine/comm.h"

/* An operation, as far as it matters here. */
struct shl_way_op {
    uint32_t collective; /* one that moves data */
    bool in_place;
    uint64_t bytes;            /* of the larger buffer */
    unsigned usable;           /* bits 1 << mode of the ways that all members can go; not 0 */
    enum shl_group_mode first; /* what to try first, when it is usable */
};

enum shoal_status shl_ways_create(struct shl_ways **ways);
void shl_ways_destroy(struct shl_ways *ways);

/* The way of the next operation of this kind: one of PULL, WINDOW and STREAM that is usable. */
enum shl_group_mode shl_ways_next(struct shl_ways *ways, const struct shl_way_op *op);

/* The way that such operations take at present, as far as known here. */
enum shl_group_mode shl_ways_usual(struct shl_ways *ways, const struct shl_way_op *op);

/* An operation took this long (member 0), or went this way (the others, who pass 0). */
void shl_ways_note(struct shl_ways *ways, const struct shl_way_op *op, enum shl_group_mode way,
                   uint64_t took_ns);

#endif
