/*
 * Reading and writing the bytes of a journal.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "elastic/store/journal_image.h"

#include "core/bytes.h"
#include "elastic/store/store.h"

#include <string.h>

#define HEAD_MAGIC 0x4a4c4853u   /* "SHLJ" */
#define RECORD_MAGIC 0x564c4853u /* "SHLV" */
#define FORMAT 1
#define CASTAGNOLI 0x82f63b78u /* reflected */

/* A bit at a time: a journal is written at view changes and at no other time. */
static uint32_t crc32c(const void *data, size_t bytes)
{
    const uint8_t *at = data;
    uint32_t crc = UINT32_MAX;
    for (size_t i = 0; i < bytes; i++) {
        crc ^= at[i];
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (CASTAGNOLI & (0 - (crc & 1)));
    }
    return ~crc;
}

void shl_journal_put_head(uint8_t head[SHL_JOURNAL_HEAD_BYTES], uint64_t incarnation,
                          const uint8_t job[16])
{
    struct shl_bytes out = shl_bytes_writer(head, SHL_JOURNAL_HEAD_BYTES);
    shl_bytes_put_u32(&out, HEAD_MAGIC);
    shl_bytes_put_u16(&out, FORMAT);
    shl_bytes_put_u16(&out, 0);
    shl_bytes_put_u64(&out, incarnation);
    shl_bytes_put(&out, job, 16);
    shl_bytes_put_u32(&out, crc32c(head, out.at));
    SHL_ASSERT(!out.failed);
}

void shl_journal_put_record(uint8_t record[SHL_JOURNAL_RECORD_BYTES], uint64_t version,
                            const void *value, size_t size)
{
    struct shl_bytes out = shl_bytes_writer(record, SHL_JOURNAL_RECORD_BYTES);
    shl_bytes_put_u32(&out, RECORD_MAGIC);
    shl_bytes_put_u32(&out, (uint32_t)size);
    shl_bytes_put_u64(&out, version);
    shl_bytes_put_u32(&out, crc32c(value, size));
    shl_bytes_put_u32(&out, crc32c(record, out.at));
    SHL_ASSERT(!out.failed);
}

static enum shl_journal_state read_head(struct shl_bytes *in, const uint8_t job[16],
                                        struct shl_journal_image *image)
{
    const uint8_t *head = in->data;
    uint8_t owner[16];
    bool ours = shl_bytes_get_u32(in) == HEAD_MAGIC;
    uint16_t format = shl_bytes_get_u16(in);
    uint16_t zero = shl_bytes_get_u16(in);
    image->incarnation = shl_bytes_get_u64(in);
    shl_bytes_get(in, owner, sizeof(owner));
    uint32_t check = shl_bytes_get_u32(in);
    if (!ours)
        return SHL_JOURNAL_NONE;
    /* The check stands in the same place in every format, so that a flipped bit is no format. */
    if (in->failed || check != crc32c(head, SHL_JOURNAL_HEAD_BYTES - 4))
        return SHL_JOURNAL_DAMAGED;
    if (format != FORMAT)
        return SHL_JOURNAL_OTHER;
    if (zero || !image->incarnation)
        return SHL_JOURNAL_DAMAGED;
    return memcmp(owner, job, sizeof(owner)) ? SHL_JOURNAL_FOREIGN : SHL_JOURNAL_WHOLE;
}

static enum shl_journal_state read_record(struct shl_bytes *in, struct shl_journal_image *image)
{
    const uint8_t *record = in->data + in->at;
    if (shl_bytes_left(in) < SHL_JOURNAL_RECORD_BYTES)
        return SHL_JOURNAL_TORN;
    uint32_t magic = shl_bytes_get_u32(in), size = shl_bytes_get_u32(in);
    uint64_t version = shl_bytes_get_u64(in);
    uint32_t value_check = shl_bytes_get_u32(in), check = shl_bytes_get_u32(in);
    if (magic != RECORD_MAGIC || check != crc32c(record, SHL_JOURNAL_RECORD_BYTES - 4) ||
        size > SHL_STORE_VALUE_MAX || version <= image->version)
        return SHL_JOURNAL_DAMAGED;
    if (shl_bytes_left(in) < size)
        return SHL_JOURNAL_TORN;
    const uint8_t *value = shl_bytes_take(in, size);
    if (value_check != crc32c(value, size))
        return SHL_JOURNAL_DAMAGED;
    image->version = version;
    image->value = value;
    image->size = size;
    return SHL_JOURNAL_WHOLE;
}

enum shl_journal_state shl_journal_read_image(const uint8_t *data, size_t bytes,
                                              const uint8_t job[16],
                                              struct shl_journal_image *image)
{
    struct shl_bytes in = shl_bytes_reader(data, bytes);
    memset(image, 0, sizeof(*image));
    enum shl_journal_state state = read_head(&in, job, image);
    while (state == SHL_JOURNAL_WHOLE && shl_bytes_left(&in))
        state = read_record(&in, image);
    return state;
}
