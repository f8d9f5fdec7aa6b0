/*
 * The journal of a coordinator, and what it and its clients say to each other: what a decoder
 * accepts lies within the input and is written back byte for byte.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "elastic/store/journal_image.h"
#include "elastic/store/wire.h"
#include "fuzz/fuzz.h"

#include <string.h>

static uint8_t again[SHL_STORE_FRAME_MAX];

static void check_range(const void *value, size_t size, const uint8_t *data, size_t bytes)
{
    const uint8_t *at = value;
    FUZZ_REQUIRE(size <= SHL_STORE_VALUE_MAX);
    FUZZ_REQUIRE(!size || (at >= data && at + size <= data + bytes));
}

static void check_journal(const uint8_t *data, size_t bytes)
{
    static const uint8_t job[16] = "job";
    struct shl_journal_image image;
    enum shl_journal_state state = shl_journal_read_image(data, bytes, job, &image);
    if (state != SHL_JOURNAL_WHOLE && state != SHL_JOURNAL_TORN)
        return;
    uint8_t head[SHL_JOURNAL_HEAD_BYTES], record[SHL_JOURNAL_RECORD_BYTES];
    check_range(image.value, image.size, data, bytes);
    FUZZ_REQUIRE(image.incarnation != 0);
    shl_journal_put_head(head, image.incarnation, job);
    FUZZ_REQUIRE(bytes >= sizeof(head) && memcmp(head, data, sizeof(head)) == 0);
    if (!image.version)
        return;
    shl_journal_put_record(record, image.version, image.value, image.size);
    FUZZ_REQUIRE(memcmp(record, image.value - sizeof(record), sizeof(record)) == 0);
}

static void check_wire(const uint8_t *data, size_t bytes)
{
    struct shl_store_request request;
    struct shl_store_answer reply;
    if (shl_store_get_request(data, bytes, &request)) {
        check_range(request.bytes, request.size, data, bytes);
        FUZZ_REQUIRE(shl_store_put_request(again, &request) == SHL_STORE_HEADER_BYTES + bytes);
        FUZZ_REQUIRE(memcmp(again + SHL_STORE_HEADER_BYTES, data, bytes) == 0);
    }
    if (shl_store_get_reply(data, bytes, &reply)) {
        check_range(reply.bytes, reply.size, data, bytes);
        FUZZ_REQUIRE(shl_store_put_reply(again, &reply) == SHL_STORE_HEADER_BYTES + bytes);
        FUZZ_REQUIRE(memcmp(again + SHL_STORE_HEADER_BYTES, data, bytes) == 0);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    uint32_t body;
    if (bytes >= SHL_STORE_HEADER_BYTES && shl_store_get_header(data, &body))
        FUZZ_REQUIRE(body >= SHL_STORE_BODY_MIN && body <= SHL_STORE_BODY_MAX);
    check_journal(data, bytes);
    check_wire(data, bytes);
    return 0;
}
