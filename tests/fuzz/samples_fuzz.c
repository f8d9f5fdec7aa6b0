/*
 * Records of commits and saved positions: what a decoder accepts is encoded to the same bytes, and
 * a record that a position accepts consumes as many samples as it lists, once.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "elastic/samples/position.h"
#include "fuzz/fuzz.h"

#include <string.h>

static struct shl_samples_position position, before;
static struct shl_samples_record record;
static uint8_t again[SHOAL_SAMPLES_BYTES_MAX];

static uint64_t consumed(const struct shl_samples_position *at)
{
    return at->cursor - shl_position_skipped(at);
}

/* A position that has consumed two runs of 100 places takes whatever the record says. */
static void apply(void)
{
    const uint64_t total = 100;
    uint64_t sum = 0;
    position = (struct shl_samples_position){.step = record.step,
                                             .data_epoch = record.data_epoch,
                                             .cursor = 50,
                                             .skipped = {.count = 2, .at = {{3, 10}, {20, 5}}}};
    before = position;
    for (uint32_t i = 0; i < record.consumed.count; i++)
        sum += record.consumed.at[i].count;
    if (shl_position_apply(&position, &record, total) != SHOAL_OK) {
        FUZZ_REQUIRE(memcmp(&position, &before, sizeof(position)) == 0);
        return;
    }
    bool ended = position.data_epoch != before.data_epoch;
    FUZZ_REQUIRE((ended ? total : consumed(&position)) == consumed(&before) + sum);
    FUZZ_REQUIRE(shl_position_apply(&position, &record, total) != SHOAL_OK);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    uint64_t stream;
    if (shl_position_decode(data, bytes, &position, &stream)) {
        FUZZ_REQUIRE(shl_position_encode(&position, stream, again) == bytes);
        FUZZ_REQUIRE(memcmp(again, data, bytes) == 0);
    }
    if (shl_record_decode(data, bytes, &record, &stream)) {
        FUZZ_REQUIRE(shl_record_encode(&record, stream, again) == bytes);
        FUZZ_REQUIRE(memcmp(again, data, bytes) == 0);
        apply();
    }
    return 0;
}
