/*
 * See chunks.h.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "elastic/state/chunks.h"

#include "core/sys.h"

static uint64_t chunks_of(const struct shl_state_array *array)
{
    if (array->kind != SHOAL_STATE_REPLICATED)
        return 0;
    return (array->bytes + SHL_CHUNK_BYTES - 1) / SHL_CHUNK_BYTES;
}

enum shoal_status shl_chunks_make(const struct shl_state_array *arrays, uint32_t array_count,
                                  struct shl_chunks *chunks)
{
    struct shl_chunks made = {.count = 0};
    for (uint32_t i = 0; i < array_count; i++)
        made.count += chunks_of(&arrays[i]);
    made.at = shl_mem->alloc((made.count + 1) * sizeof(*made.at));
    if (!made.at)
        return shl_fail_errno("cannot allocate the list of %llu chunks",
                              (unsigned long long)made.count);
    struct shl_chunk *chunk = made.at;
    for (uint32_t i = 0; i < array_count; i++) {
        for (uint64_t k = 0; k < chunks_of(&arrays[i]); k++, chunk++) {
            uint64_t offset = k * SHL_CHUNK_BYTES, left = arrays[i].bytes - offset;
            uint64_t bytes = left < SHL_CHUNK_BYTES ? left : SHL_CHUNK_BYTES;
            *chunk = (struct shl_chunk){.array = i, .offset = offset, .bytes = bytes};
            made.bytes += bytes;
        }
    }
    *chunks = made;
    return SHOAL_OK;
}

void shl_chunks_free(struct shl_chunks *chunks)
{
    shl_mem->free(chunks->at);
    *chunks = (struct shl_chunks){.at = NULL};
}

uint64_t shl_chunks_stripe(const struct shl_chunks *chunks, uint32_t stripe, uint32_t stripes)
{
    /* A chunk belongs to the stripe in which its middle lies. */
    uint64_t begin = chunks->bytes / stripes * stripe + chunks->bytes % stripes * stripe / stripes;
    uint64_t at = 0;
    for (uint64_t i = 0; i < chunks->count; i++) {
        if (stripe < stripes && at + chunks->at[i].bytes / 2 >= begin)
            return i;
        at += chunks->at[i].bytes;
    }
    return chunks->count;
}

uint64_t shl_chunks_round(const struct shl_chunks *chunks, uint64_t first, uint64_t end)
{
    uint64_t bytes = 0, i = first;
    while (i < end && i - first < SHL_ROUND_CHUNKS && bytes < SHL_ROUND_BYTES)
        bytes += chunks->at[i++].bytes;
    return i;
}

uint64_t shl_chunks_piece(const struct shl_chunks *chunks, uint64_t first, uint64_t end,
                          uint64_t *bytes)
{
    uint64_t i = first;
    *bytes = 0;
    while (i < end && chunks->at[i].array == chunks->at[first].array &&
           chunks->at[i].offset == chunks->at[first].offset + *bytes)
        *bytes += chunks->at[i++].bytes;
    return i - first;
}
