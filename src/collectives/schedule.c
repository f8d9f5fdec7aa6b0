/*
 * Freeing schedules, and where their units lie in a caller's buffers.
 *
 * Invariant: offsets never decrease with the unit number and never pass the end of the buffer, so
 * any span is one range, possibly empty.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "collectives/schedule.h"

#include "core/sys.h"

#define CACHE_LINE_BYTES 64

void shl_schedule_free(struct shl_schedule *schedule)
{
    if (!schedule)
        return;
    shl_mem->free(schedule->steps);
    shl_mem->free(schedule->deps);
    shl_mem->free(schedule->nexts);
    shl_mem->free(schedule->extents);
    shl_mem->free(schedule);
}

static uint64_t divide_up(uint64_t value, uint64_t by)
{
    return value / by + (value % by != 0);
}

struct shl_layout shl_layout_make(const struct shl_schedule *schedule, uint64_t call_count,
                                  uint32_t elem_bytes)
{
    struct shl_layout layout = {.count = call_count, .chunks = schedule->chunks};
    uint64_t line = elem_bytes < CACHE_LINE_BYTES ? CACHE_LINE_BYTES / elem_bytes : 1;
    if (schedule->collective == SHOAL_REDUCE_SCATTER || schedule->collective == SHOAL_ALLGATHER) {
        layout.count = call_count * schedule->rank_count;
        layout.block_elems = call_count; /* the caller fixed it */
    } else {
        layout.block_elems = divide_up(divide_up(call_count, schedule->blocks), line) * line;
    }
    layout.chunk_elems = divide_up(divide_up(layout.block_elems, schedule->chunks), line) * line;
    return layout;
}

uint64_t shl_layout_offset(const struct shl_layout *layout, enum shl_buffer buffer, uint32_t unit)
{
    uint64_t within = unit % layout->chunks * layout->chunk_elems;
    if (within > layout->block_elems)
        within = layout->block_elems;
    uint64_t offset = unit / layout->chunks * layout->block_elems + within;
    return buffer != SHL_SCRATCH && offset > layout->count ? layout->count : offset;
}

uint64_t shl_layout_length(const struct shl_layout *layout, const struct shl_span *span)
{
    /* `like` counts in the larger buffer; INPUT stands for it here, as only scratch differs. */
    return shl_layout_offset(layout, SHL_INPUT, span->like + span->count) -
           shl_layout_offset(layout, SHL_INPUT, span->like);
}
