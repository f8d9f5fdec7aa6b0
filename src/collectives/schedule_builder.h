/*
 * Appends steps to a schedule; algorithms include this, rank_map.h and phases.h, nothing else.
 *
 * A step is made to wait for every earlier step whose spans it must not overtake, both in place and
 * out of place, so an algorithm says what moves where and the order follows from the data. Only an
 * order that data do not show (tokens) is named with shl_build_after.
 *
 * Each append returns the step's index, to be named as a dependency later. SHL_NONE is ignored
 * where a dependency is expected. Errors (out of memory, more steps than SHL_STEPS_MAX) stick in
 * the builder and are returned by shl_schedule_build.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef SHL_COLLECTIVES_SCHEDULE_BUILDER_H
#define SHL_COLLECTIVES_SCHEDULE_BUILDER_H

#include "collectives/schedule.h"

#define SHL_NONE UINT32_MAX
#define SHL_STEPS_MAX (1u << 22)
#define SHL_RANKS_MAX (1u << 20)
#define SHL_UNITS_MAX (1u << 24) /* ranks times chunks, so that building always ends soon */

/* blocks and scratch must be set before the first step. */
void shl_build_blocks(struct shl_builder *builder, uint32_t blocks);
void shl_build_scratch(struct shl_builder *builder, uint32_t units);

uint32_t shl_build_send(struct shl_builder *builder, uint32_t peer, struct shl_span src);
uint32_t shl_build_recv(struct shl_builder *builder, uint32_t peer, struct shl_span dst);
uint32_t shl_build_recv_reduce(struct shl_builder *builder, uint32_t peer, struct shl_span dst,
                               struct shl_span src, unsigned flags);
uint32_t shl_build_reduce(struct shl_builder *builder, struct shl_span dst, struct shl_span src,
                          struct shl_span src2, unsigned flags);
/* dst == src in place is legal for copy: the executor skips it (but not what FINAL asks for). */
uint32_t shl_build_copy(struct shl_builder *builder, struct shl_span dst, struct shl_span src,
                        unsigned flags);

/* The step last appended waits for `dep`. Duplicates are dropped. */
void shl_build_after(struct shl_builder *builder, uint32_t dep);

/* Fills in the successor lists from deps; shl_schedule_build does it last. */
enum shoal_status shl_build_successors(struct shl_schedule *schedule);

static inline struct shl_span shl_span(enum shl_buffer buffer, uint32_t first, uint32_t count)
{
    struct shl_span span = {first, count, 0, (uint8_t)buffer}; /* append fills `like` in */
    return span;
}

/* Scratch that holds data of the larger buffer's unit `like` and those after it. */
static inline struct shl_span shl_scratch(uint32_t first, uint32_t count, uint32_t like)
{
    struct shl_span span = {first, count, like, SHL_SCRATCH};
    return span;
}

/* The zero-byte message. */
static inline struct shl_span shl_token(void)
{
    struct shl_span span = {0, 0, 0, SHL_OUTPUT};
    return span;
}

/* The builders, one a line of the registry: shl_build_<collective>_<name>. */
#define SHL_ALGORITHM(which, algorithm_name, ...)                                                  \
    enum shoal_status shl_build_##which##_##algorithm_name(const struct shl_shape *shape,          \
                                                           struct shl_builder *builder);
#include "collectives/algorithms.def"
#undef SHL_ALGORITHM

#endif
