/*
 * Encoding and decoding of requests and replies.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "elastic/store/wire.h"

#define MAGIC 0x534c4853u /* "SHLS" */

enum kind { KIND_READ = 1, KIND_SWAP = 2 };

static size_t put(uint8_t *wire, uint64_t id, uint8_t kind, uint64_t incarnation, uint64_t version,
                  const void *value, size_t size)
{
    struct shl_bytes out = shl_bytes_writer(wire, SHL_STORE_FRAME_MAX);
    shl_bytes_put_u32(&out, MAGIC);
    shl_bytes_put_u32(&out, (uint32_t)(SHL_STORE_BODY_MIN + size));
    shl_bytes_put_u64(&out, id);
    shl_bytes_put_u8(&out, kind);
    shl_bytes_put_u64(&out, incarnation);
    shl_bytes_put_u64(&out, version);
    if (size)
        shl_bytes_put(&out, value, size);
    SHL_ASSERT(!out.failed);
    return out.at;
}

size_t shl_store_put_request(uint8_t *wire, const struct shl_store_request *request)
{
    return put(wire, request->id, request->swap ? KIND_SWAP : KIND_READ, request->incarnation,
               request->version, request->bytes, request->swap ? request->size : 0);
}

size_t shl_store_put_reply(uint8_t *wire, const struct shl_store_answer *reply)
{
    return put(wire, reply->id, (uint8_t)reply->result, reply->incarnation, reply->version,
               reply->bytes, reply->size);
}

bool shl_store_get_header(const uint8_t header[SHL_STORE_HEADER_BYTES], uint32_t *body_bytes)
{
    struct shl_bytes in = shl_bytes_reader(header, SHL_STORE_HEADER_BYTES);
    uint32_t magic = shl_bytes_get_u32(&in);
    *body_bytes = shl_bytes_get_u32(&in);
    return magic == MAGIC && *body_bytes >= SHL_STORE_BODY_MIN && *body_bytes <= SHL_STORE_BODY_MAX;
}

/* A body of either kind; false: too short or too long. */
static bool get(const uint8_t *body, size_t bytes, uint8_t *kind, struct shl_store_answer *all)
{
    struct shl_bytes in = shl_bytes_reader(body, bytes);
    all->id = shl_bytes_get_u64(&in);
    *kind = shl_bytes_get_u8(&in);
    all->incarnation = shl_bytes_get_u64(&in);
    all->version = shl_bytes_get_u64(&in);
    all->size = shl_bytes_left(&in);
    all->bytes = shl_bytes_take(&in, all->size);
    return !in.failed && all->size <= SHL_STORE_VALUE_MAX;
}

bool shl_store_get_request(const uint8_t *body, size_t bytes, struct shl_store_request *request)
{
    struct shl_store_answer all;
    uint8_t kind;
    if (!get(body, bytes, &kind, &all) || (kind != KIND_READ && kind != KIND_SWAP) ||
        (kind == KIND_READ && all.size))
        return false;
    *request = (struct shl_store_request){.id = all.id,
                                          .swap = kind == KIND_SWAP,
                                          .incarnation = all.incarnation,
                                          .version = all.version,
                                          .bytes = all.bytes,
                                          .size = all.size};
    return true;
}

bool shl_store_get_reply(const uint8_t *body, size_t bytes, struct shl_store_answer *reply)
{
    uint8_t result;
    if (!get(body, bytes, &result, reply) ||
        (result != SHL_STORE_OK && result != SHL_STORE_CONFLICT) || !reply->incarnation)
        return false;
    reply->result = (enum shl_store_result)result;
    return true;
}
