/*
 * The bounded cursor over wire bytes.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "core/bytes.h"

#include <string.h>

/* Where a cursor over nothing points: NULL must not be counted from, not even by zero. */
static uint8_t nothing;

struct shl_bytes shl_bytes_writer(void *data, size_t size)
{
    return (struct shl_bytes){.data = data ? data : &nothing, .size = size};
}

struct shl_bytes shl_bytes_reader(const void *data, size_t size)
{
    return shl_bytes_writer((void *)(uintptr_t)data, size); /* readers never write */
}

/* The one place where the bound is checked; NULL also for a cursor that has failed before. */
static uint8_t *advance(struct shl_bytes *cursor, size_t bytes)
{
    if (cursor->failed || bytes > shl_bytes_left(cursor)) {
        cursor->failed = true;
        return NULL;
    }
    uint8_t *here = cursor->data + cursor->at;
    cursor->at += bytes;
    return here;
}

static void put_integer(struct shl_bytes *out, uint64_t value, size_t bytes)
{
    uint8_t *at = advance(out, bytes);
    for (size_t i = 0; at && i < bytes; i++)
        at[i] = (uint8_t)(value >> (8 * i));
}

static uint64_t get_integer(struct shl_bytes *in, size_t bytes)
{
    const uint8_t *at = advance(in, bytes);
    uint64_t value = 0;
    for (size_t i = 0; at && i < bytes; i++)
        value |= (uint64_t)at[i] << (8 * i);
    return value;
}

void shl_bytes_put_u8(struct shl_bytes *out, uint8_t value)
{
    put_integer(out, value, 1);
}

void shl_bytes_put_u16(struct shl_bytes *out, uint16_t value)
{
    put_integer(out, value, 2);
}

void shl_bytes_put_u32(struct shl_bytes *out, uint32_t value)
{
    put_integer(out, value, 4);
}

void shl_bytes_put_u64(struct shl_bytes *out, uint64_t value)
{
    put_integer(out, value, 8);
}

void shl_bytes_put(struct shl_bytes *out, const void *data, size_t bytes)
{
    uint8_t *at = advance(out, bytes);
    if (at && bytes)
        memcpy(at, data, bytes);
}

void shl_bytes_put_string(struct shl_bytes *out, const char *text)
{
    size_t length = strlen(text);
    if (length > UINT16_MAX || length + 2 > shl_bytes_left(out)) {
        out->failed = true; /* before the length is written: no half strings */
        return;
    }
    shl_bytes_put_u16(out, (uint16_t)length);
    shl_bytes_put(out, text, length);
}

uint8_t shl_bytes_get_u8(struct shl_bytes *in)
{
    return (uint8_t)get_integer(in, 1);
}

uint16_t shl_bytes_get_u16(struct shl_bytes *in)
{
    return (uint16_t)get_integer(in, 2);
}

uint32_t shl_bytes_get_u32(struct shl_bytes *in)
{
    return (uint32_t)get_integer(in, 4);
}

uint64_t shl_bytes_get_u64(struct shl_bytes *in)
{
    return get_integer(in, 8);
}

void shl_bytes_get(struct shl_bytes *in, void *data, size_t bytes)
{
    const uint8_t *at = advance(in, bytes);
    if (!bytes)
        return;
    if (at)
        memcpy(data, at, bytes);
    else
        memset(data, 0, bytes);
}

const uint8_t *shl_bytes_take(struct shl_bytes *in, size_t bytes)
{
    return advance(in, bytes);
}

void shl_bytes_get_string(struct shl_bytes *in, char *text, size_t capacity)
{
    if (capacity)
        text[0] = 0;
    size_t length = shl_bytes_get_u16(in);
    const uint8_t *at = advance(in, length);
    if (!at)
        return;
    if (length >= capacity || memchr(at, 0, length)) {
        in->failed = true;
        return;
    }
    memcpy(text, at, length);
    text[length] = 0;
}
