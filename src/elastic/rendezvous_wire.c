/*
 * Messages of the rendezvous.
 *
 *   join    u32 magic, u32 bytes | instance[16], u32 rank, u32 size, u64 digest, u32 patience_ms,
 *           u32 blob bytes, 4 zero bytes, blob
 *   reply   u32 magic, u32 bytes | u32 status, then either a text (u16 length) or
 *           u64 incarnation, u64 epoch, u32 size, size times (u32 bytes, blob)
 *
 * Invariant: a length is checked against what is there before anything is allocated for it.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "core/sys.h"
#include "elastic/rendezvous_internal.h"

#include <stdio.h>
#include <string.h>

#define MAGIC 0x524c4853u /* "SHLR" */

void shl_rendezvous_put_header(uint8_t header[SHL_RENDEZVOUS_HEADER_BYTES], uint32_t bytes)
{
    struct shl_bytes out = shl_bytes_writer(header, SHL_RENDEZVOUS_HEADER_BYTES);
    shl_bytes_put_u32(&out, MAGIC);
    shl_bytes_put_u32(&out, bytes);
}

bool shl_rendezvous_get_header(const uint8_t header[SHL_RENDEZVOUS_HEADER_BYTES], uint32_t max,
                               uint32_t *bytes)
{
    struct shl_bytes in = shl_bytes_reader(header, SHL_RENDEZVOUS_HEADER_BYTES);
    uint32_t magic = shl_bytes_get_u32(&in);
    *bytes = shl_bytes_get_u32(&in);
    return magic == MAGIC && *bytes <= max;
}

size_t shl_rendezvous_put_join(uint8_t *wire, size_t capacity,
                               const struct shl_rendezvous_join *join)
{
    struct shl_bytes out = shl_bytes_writer(wire, capacity);
    shl_rendezvous_put_header(wire, SHL_RENDEZVOUS_JOIN_BYTES + join->blob_bytes);
    out.at = SHL_RENDEZVOUS_HEADER_BYTES;
    shl_bytes_put(&out, join->instance, sizeof(join->instance));
    shl_bytes_put_u32(&out, join->rank);
    shl_bytes_put_u32(&out, join->size);
    shl_bytes_put_u64(&out, join->digest);
    shl_bytes_put_u32(&out, join->patience_ms);
    shl_bytes_put_u32(&out, join->blob_bytes);
    shl_bytes_put_u32(&out, 0);
    shl_bytes_put(&out, join->blob, join->blob_bytes);
    SHL_ASSERT(!out.failed);
    return out.at;
}

bool shl_rendezvous_get_join(const uint8_t *body, size_t bytes, struct shl_rendezvous_join *join)
{
    struct shl_bytes in = shl_bytes_reader(body, bytes);
    shl_bytes_get(&in, join->instance, sizeof(join->instance));
    join->rank = shl_bytes_get_u32(&in);
    join->size = shl_bytes_get_u32(&in);
    join->digest = shl_bytes_get_u64(&in);
    join->patience_ms = shl_bytes_get_u32(&in);
    join->blob_bytes = shl_bytes_get_u32(&in);
    (void)shl_bytes_get_u32(&in);
    join->blob = shl_bytes_take(&in, join->blob_bytes);
    return !in.failed && !shl_bytes_left(&in) && join->blob_bytes <= SHL_RENDEZVOUS_BLOB_MAX;
}

void shl_rendezvous_reply_release(struct shl_rendezvous_reply *reply)
{
    if (reply && --reply->references == 0)
        shl_mem->free(reply);
}

struct shl_rendezvous_reply *shl_rendezvous_reply_error(enum shoal_status status, const char *text)
{
    char line[SHL_RENDEZVOUS_TEXT_MAX];
    snprintf(line, sizeof(line), "%s", text);
    size_t body = 4 + 2 + strlen(line), bytes = SHL_RENDEZVOUS_HEADER_BYTES + body;
    struct shl_rendezvous_reply *reply = shl_mem->alloc(sizeof(*reply) + bytes);
    if (!reply)
        return NULL;
    reply->references = 1;
    reply->bytes = bytes;
    shl_rendezvous_put_header(reply->data, (uint32_t)body);
    struct shl_bytes out = shl_bytes_writer(reply->data + SHL_RENDEZVOUS_HEADER_BYTES, body);
    shl_bytes_put_u32(&out, (uint32_t)status);
    shl_bytes_put_string(&out, line);
    return reply;
}

static enum shoal_status get_error(struct shl_bytes *in, uint32_t wire_status)
{
    char text[SHL_RENDEZVOUS_TEXT_MAX];
    enum shoal_status status = (enum shoal_status)(int32_t)wire_status;
    shl_bytes_get_string(in, text, sizeof(text));
    if (in->failed || !text[0] || status > SHOAL_ERR_INVALID || status < SHOAL_ERR_INTERNAL)
        return shl_fail(SHOAL_ERR_INTERNAL, "the rendezvous sent an answer that cannot be read");
    return shl_fail(status, "%s", text);
}

enum shoal_status shl_rendezvous_get_reply(const uint8_t *body, size_t bytes,
                                           struct shl_rendezvous_result *result)
{
    struct shl_bytes in = shl_bytes_reader(body, bytes);
    struct shl_rendezvous_result read = {0};
    uint32_t wire_status = shl_bytes_get_u32(&in);
    if (wire_status)
        return get_error(&in, wire_status);
    read.incarnation = shl_bytes_get_u64(&in);
    read.epoch = shl_bytes_get_u64(&in);
    read.size = shl_bytes_get_u32(&in);
    if (in.failed || !read.size || read.size > shl_bytes_left(&in) / 4)
        return shl_fail(SHOAL_ERR_INTERNAL, "the rendezvous sent an answer that cannot be read");
    read.blobs = shl_mem->alloc(read.size * sizeof(*read.blobs));
    read.blob_bytes = shl_mem->alloc(read.size * sizeof(*read.blob_bytes));
    uint8_t *storage = shl_mem->alloc(shl_bytes_left(&in)); /* of all blobs, and their lengths */
    if (!read.blobs || !read.blob_bytes || !storage) {
        shl_mem->free(storage);
        shl_mem->free(read.blob_bytes);
        shl_mem->free(read.blobs);
        return shl_fail(SHOAL_ERR_NOMEM, "no memory for the addresses of %u ranks", read.size);
    }
    uint8_t *at = storage;
    for (uint32_t rank = 0; rank < read.size; rank++) {
        read.blobs[rank] = at;
        read.blob_bytes[rank] = shl_bytes_get_u32(&in);
        const uint8_t *blob = shl_bytes_take(&in, read.blob_bytes[rank]);
        if (!blob)
            break;
        memcpy(at, blob, read.blob_bytes[rank]);
        at += read.blob_bytes[rank];
    }
    if (in.failed || shl_bytes_left(&in)) {
        shl_rendezvous_result_free(&read);
        return shl_fail(SHOAL_ERR_INTERNAL, "the rendezvous sent an answer that cannot be read");
    }
    *result = read;
    return SHOAL_OK;
}

void shl_rendezvous_result_free(struct shl_rendezvous_result *result)
{
    if (result->blobs)
        shl_mem->free(result->blobs[0]); /* all blobs share one allocation */
    shl_mem->free(result->blobs);
    shl_mem->free(result->blob_bytes);
    memset(result, 0, sizeof(*result));
}
