/*
 * Positions and records as bytes; docs/samples.md has the table.
 *
 * Invariant: what a decoder accepts is encoded to the same bytes again.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "elastic/samples/position.h"

#define MAGIC_POSITION 0x50534853u /* "SHSP" */
#define MAGIC_RECORD 0x52534853u   /* "SHSR" */
#define VERSION 1
#define PLACES_MAX (UINT64_C(1) << 62)

_Static_assert(4 + 2 + 4 * 8 + 4 + 16 * SHOAL_SAMPLES_SPANS_MAX <= SHOAL_SAMPLES_BYTES_MAX,
               "a position fits");

static void put_places(struct shl_bytes *out, const struct shl_places_list *list)
{
    shl_bytes_put_u32(out, list->count);
    for (uint32_t i = 0; i < list->count; i++) {
        shl_bytes_put_u64(out, list->at[i].first);
        shl_bytes_put_u64(out, list->at[i].count);
    }
}

/* Ascending, not empty, with a gap between any two, and all below `end`. */
static bool get_places(struct shl_bytes *in, struct shl_places_list *list, uint64_t end)
{
    uint64_t free_from = 0; /* the next span may begin here */
    list->count = shl_bytes_get_u32(in);
    if (list->count > SHOAL_SAMPLES_SPANS_MAX)
        return false;
    for (uint32_t i = 0; i < list->count; i++) {
        uint64_t first = shl_bytes_get_u64(in), count = shl_bytes_get_u64(in);
        if (count == 0 || first < free_from || first >= end || count > end - first)
            return false;
        list->at[i] = (struct shl_places){first, count};
        free_from = first + count + 1;
    }
    return !in->failed;
}

static struct shl_bytes begin(void *data, uint32_t magic, uint64_t stream)
{
    struct shl_bytes out = shl_bytes_writer(data, SHOAL_SAMPLES_BYTES_MAX);
    shl_bytes_put_u32(&out, magic);
    shl_bytes_put_u16(&out, VERSION);
    shl_bytes_put_u64(&out, stream);
    return out;
}

static bool begins(struct shl_bytes *in, uint32_t magic, uint64_t *stream)
{
    bool known = shl_bytes_get_u32(in) == magic && shl_bytes_get_u16(in) == VERSION;
    *stream = shl_bytes_get_u64(in);
    return known && !in->failed;
}

size_t shl_record_encode(const struct shl_samples_record *record, uint64_t stream, void *data)
{
    struct shl_bytes out = begin(data, MAGIC_RECORD, stream);
    shl_bytes_put_u64(&out, record->step);
    shl_bytes_put_u64(&out, record->data_epoch);
    put_places(&out, &record->consumed);
    return out.at;
}

bool shl_record_decode(const void *data, size_t bytes, struct shl_samples_record *record,
                       uint64_t *stream)
{
    struct shl_bytes in = shl_bytes_reader(data, bytes);
    if (!begins(&in, MAGIC_RECORD, stream))
        return false;
    record->step = shl_bytes_get_u64(&in);
    record->data_epoch = shl_bytes_get_u64(&in);
    return get_places(&in, &record->consumed, PLACES_MAX) && shl_bytes_left(&in) == 0;
}

size_t shl_position_encode(const struct shl_samples_position *position, uint64_t stream, void *data)
{
    struct shl_bytes out = begin(data, MAGIC_POSITION, stream);
    shl_bytes_put_u64(&out, position->step);
    shl_bytes_put_u64(&out, position->data_epoch);
    shl_bytes_put_u64(&out, position->cursor);
    put_places(&out, &position->skipped);
    return out.at;
}

bool shl_position_decode(const void *data, size_t bytes, struct shl_samples_position *position,
                         uint64_t *stream)
{
    struct shl_bytes in = shl_bytes_reader(data, bytes);
    if (!begins(&in, MAGIC_POSITION, stream))
        return false;
    position->step = shl_bytes_get_u64(&in);
    position->data_epoch = shl_bytes_get_u64(&in);
    position->cursor = shl_bytes_get_u64(&in);
    /* What was not consumed right before the cursor would lie behind it. */
    uint64_t end = position->cursor > 0 ? position->cursor - 1 : 0;
    return position->cursor <= PLACES_MAX && get_places(&in, &position->skipped, end) &&
           shl_bytes_left(&in) == 0;
}
