/*
 * The bytes of a coordinator's journal: a head, then each value that the register had, newest last.
 *
 *   head    u32 magic "SHLJ", u16 format 1, u16 0, u64 incarnation, 16 bytes job, u32 check
 *   record  u32 magic "SHLV", u32 bytes, u64 version, u32 check of the value, u32 check of these
 *           20 bytes; then the value
 *
 * Checks are CRC-32C. Integers are little endian.
 *
 * A write that a crash cut short leaves a file that ends inside its last record: that record was
 * never acknowledged and does not count. Everything else that is not as it was written is damage,
 * which may have hit an acknowledged value. Going on from an older one would repeat epochs, so a
 * damaged journal counts as lost.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef SHL_ELASTIC_STORE_JOURNAL_IMAGE_H
#define SHL_ELASTIC_STORE_JOURNAL_IMAGE_H

#include <stddef.h>
#include <stdint.h>

#define SHL_JOURNAL_HEAD_BYTES 36u
#define SHL_JOURNAL_RECORD_BYTES 24u

enum shl_journal_state {
    SHL_JOURNAL_WHOLE = 1,
    SHL_JOURNAL_TORN = 2,    /* whole up to its last record, which was cut short */
    SHL_JOURNAL_DAMAGED = 3, /* something that was written is not there any more */
    SHL_JOURNAL_FOREIGN = 4, /* of another job */
    SHL_JOURNAL_OTHER = 5,   /* in a format that this version does not know */
    SHL_JOURNAL_NONE = 6     /* does not begin as journals do */
};

struct shl_journal_image {
    uint64_t incarnation;
    uint64_t version;     /* of the newest value; 0: there is none */
    const uint8_t *value; /* points into the data */
    size_t size;
};

/* The image is valid when the result is WHOLE or TORN. */
enum shl_journal_state shl_journal_read_image(const uint8_t *data, size_t bytes,
                                              const uint8_t job[16],
                                              struct shl_journal_image *image);

void shl_journal_put_head(uint8_t head[SHL_JOURNAL_HEAD_BYTES], uint64_t incarnation,
                          const uint8_t job[16]);
void shl_journal_put_record(uint8_t record[SHL_JOURNAL_RECORD_BYTES], uint64_t version,
                            const void *value, size_t size);

#endif
