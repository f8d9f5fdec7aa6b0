/*
 * Messages of the rendezvous: a join that the server reads, a reply that a client reads. Lengths
 * inside may lie.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "elastic/rendezvous_internal.h"
#include "fuzz/fuzz.h"

#include <string.h>

static void check_join(const uint8_t *body, size_t bytes)
{
    struct shl_rendezvous_join join;
    if (!shl_rendezvous_get_join(body, bytes, &join))
        return;
    const uint8_t *blob = join.blob;
    FUZZ_REQUIRE(join.blob_bytes <= SHL_RENDEZVOUS_BLOB_MAX);
    FUZZ_REQUIRE(blob >= body && blob + join.blob_bytes == body + bytes);
    size_t capacity = SHL_RENDEZVOUS_HEADER_BYTES + bytes;
    uint8_t *again = malloc(capacity);
    FUZZ_REQUIRE(again != NULL);
    FUZZ_REQUIRE(shl_rendezvous_put_join(again, capacity, &join) == capacity);
    struct shl_rendezvous_join twice;
    FUZZ_REQUIRE(shl_rendezvous_get_join(again + SHL_RENDEZVOUS_HEADER_BYTES, bytes, &twice));
    FUZZ_REQUIRE(twice.rank == join.rank && twice.size == join.size);
    FUZZ_REQUIRE(memcmp(twice.blob, join.blob, join.blob_bytes) == 0);
    free(again);
}

static void check_reply(const uint8_t *body, size_t bytes)
{
    struct shl_rendezvous_result result;
    shl_error_set("");
    enum shoal_status status = shl_rendezvous_get_reply(body, bytes, &result);
    if (status < 0) {
        FUZZ_REQUIRE(shl_error_text()[0] != 0);
        return;
    }
    FUZZ_REQUIRE(result.size > 0);
    uint64_t sum = 0;
    for (uint32_t rank = 0; rank < result.size; rank++) {
        for (size_t i = 0; i < result.blob_bytes[rank]; i++)
            sum += result.blobs[rank][i]; /* all of it can be read */
        FUZZ_REQUIRE(sum <= (uint64_t)bytes * 255);
    }
    shl_rendezvous_result_free(&result);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    uint32_t announced;
    if (bytes >= SHL_RENDEZVOUS_HEADER_BYTES &&
        shl_rendezvous_get_header(data, SHL_RENDEZVOUS_BLOB_MAX, &announced))
        FUZZ_REQUIRE(announced <= SHL_RENDEZVOUS_BLOB_MAX);
    check_join(data, bytes);
    check_reply(data, bytes);
    return 0;
}
