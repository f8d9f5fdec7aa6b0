/*
 * A bounded cursor over wire bytes, little endian. The only way that bytes from a peer are parsed.
 *
 * Invariant: once a read or write does not fit, `failed` stays set and nothing moves any more, so
 * callers may check once at the end.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef SHL_CORE_BYTES_H
#define SHL_CORE_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct shl_bytes {
    uint8_t *data;
    size_t size; /* bytes that may be read or written */
    size_t at;
    bool failed;
};

struct shl_bytes shl_bytes_writer(void *data, size_t size);
struct shl_bytes shl_bytes_reader(const void *data, size_t size);

void shl_bytes_put_u8(struct shl_bytes *out, uint8_t value);
void shl_bytes_put_u16(struct shl_bytes *out, uint16_t value);
void shl_bytes_put_u32(struct shl_bytes *out, uint32_t value);
void shl_bytes_put_u64(struct shl_bytes *out, uint64_t value);
void shl_bytes_put(struct shl_bytes *out, const void *data, size_t bytes);
void shl_bytes_put_string(struct shl_bytes *out, const char *text); /* u16 length, no zero */

uint8_t shl_bytes_get_u8(struct shl_bytes *in); /* 0 when failed */
uint16_t shl_bytes_get_u16(struct shl_bytes *in);
uint32_t shl_bytes_get_u32(struct shl_bytes *in);
uint64_t shl_bytes_get_u64(struct shl_bytes *in);
void shl_bytes_get(struct shl_bytes *in, void *data, size_t bytes); /* zeros when failed */
/* Points into the buffer; NULL when fewer bytes are left. */
const uint8_t *shl_bytes_take(struct shl_bytes *in, size_t bytes);
/* Copies a string of u16 length and ends it with zero; fails when it does not fit in `capacity` or
 * contains a zero byte. */
void shl_bytes_get_string(struct shl_bytes *in, char *text, size_t capacity);

static inline size_t shl_bytes_left(const struct shl_bytes *bytes)
{
    return bytes->size - bytes->at;
}

#endif
