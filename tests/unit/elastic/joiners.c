/*
 * SPDX-License-Identifier: Apache-2.0
 */
#include "unit/elastic/joiners.h"

#include "core/sys.h"
#include "support/test.h"

#include <stdio.h>

#define MS 1000000ull

static size_t make_blob(uint32_t rank, uint8_t *blob)
{
    size_t bytes = rank * 37 % 500;
    memset(blob, (int)rank, bytes);
    return bytes;
}

void *joiner_run(void *arg)
{
    struct joiner *joiner = arg;
    uint8_t blob[512];
    size_t bytes = make_blob(joiner->rank, blob);
    shl_time->sleep_ns(joiner->delay_ms * MS);
    joiner->status = shl_rendezvous_join(joiner->config, joiner->address, "job", joiner->key,
                                         joiner->rank, joiner->size, blob, bytes,
                                         shl_now_ns() + joiner->patience_ms * MS, &joiner->result);
    snprintf(joiner->detail, sizeof(joiner->detail), "%s", shl_error_text());
    return NULL;
}

void joiners_prepare(struct joiner *joiners, uint32_t size, const char *address,
                     const struct shl_config *config, const struct shl_key *key)
{
    for (uint32_t rank = 0; rank < size; rank++)
        joiners[rank] = (struct joiner){.address = address,
                                        .config = config,
                                        .key = key,
                                        .rank = rank,
                                        .size = size,
                                        .patience_ms = 30000};
}

void joiners_launch(struct joiner *joiners, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        assert_int_equal(pthread_create(&joiners[i].thread, NULL, joiner_run, &joiners[i]), 0);
}

void joiners_gather(struct joiner *joiners, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        pthread_join(joiners[i].thread, NULL);
}

void joiners_assert_met(struct joiner *joiners, uint32_t size)
{
    for (uint32_t i = 0; i < size; i++) {
        struct shl_rendezvous_result *result = &joiners[i].result;
        if (joiners[i].status != SHOAL_OK)
            fail_msg("rank %u: %s", i, joiners[i].detail);
        assert_int_equal(result->size, size);
        assert_true(result->incarnation != 0);
        assert_int_equal(result->incarnation, joiners[0].result.incarnation);
        assert_int_equal(result->epoch, joiners[0].result.epoch);
        for (uint32_t rank = 0; rank < size; rank++) {
            uint8_t blob[512];
            assert_int_equal(result->blob_bytes[rank], make_blob(rank, blob));
            assert_memory_equal(result->blobs[rank], blob, result->blob_bytes[rank]);
        }
    }
}

void joiners_release(struct joiner *joiners, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        if (joiners[i].status == SHOAL_OK)
            shl_rendezvous_result_free(&joiners[i].result);
}
