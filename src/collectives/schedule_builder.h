/*
 * Appends steps to a schedule; the only header an algorithm includes besides rank_map.h.
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

/* blocks and scratch must be set before the first step. */
void shl_build_blocks(struct shl_builder *builder, uint32_t blocks);
void shl_build_scratch(struct shl_builder *builder, uint32_t units);

uint32_t shl_build_send(struct shl_builder *builder, uint32_t peer, struct shl_span src);
uint32_t shl_build_recv(struct shl_builder *builder, uint32_t peer, struct shl_span dst);
uint32_t shl_build_recv_reduce(struct shl_builder *builder, uint32_t peer, struct shl_span dst,
                               struct shl_span src, unsigned flags);
uint32_t shl_build_reduce(struct shl_builder *builder, struct shl_span dst, struct shl_span src,
                          struct shl_span src2, unsigned flags);
uint32_t shl_build_copy(struct shl_builder *builder, struct shl_span dst, struct shl_span src);
/* dst == src in place is legal for copy: the executor skips it. */

/* The step last appended waits for `dep`. Duplicates are dropped. */
void shl_build_after(struct shl_builder *builder, uint32_t dep);

static inline struct shl_span shl_span(enum shl_buffer buffer, uint32_t first, uint32_t count)
{
    struct shl_span span = {first, count, (uint8_t)buffer};
    return span;
}

#endif
