/*
 * The wire cursor: whatever is read in whatever order, it stays inside its bytes, and once a read
 * did not fit it neither moves nor gives anything but zeros.
 *
 * The input is two halves: the reads to make, and the bytes to read from.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "core/bytes.h"
#include "fuzz/fuzz.h"

#include <string.h>

static void read_some(struct shl_bytes *in, uint8_t kind)
{
    char text[33];
    uint8_t copy[64];
    uint64_t number = 0;
    const uint8_t *taken = NULL;
    bool failed_before = in->failed;
    memset(copy, 0xee, sizeof(copy));
    switch (kind % 7) {
    case 0:
        number = shl_bytes_get_u8(in);
        break;
    case 1:
        number = shl_bytes_get_u16(in);
        break;
    case 2:
        number = shl_bytes_get_u32(in);
        break;
    case 3:
        number = shl_bytes_get_u64(in);
        break;
    case 4:
        shl_bytes_get(in, copy, kind / 7);
        FUZZ_REQUIRE(!in->failed || kind / 7 == 0 || copy[0] == 0);
        break;
    case 5:
        taken = shl_bytes_take(in, kind / 7);
        FUZZ_REQUIRE(taken == NULL || !in->failed);
        break;
    default:
        memset(text, 'x', sizeof(text));
        shl_bytes_get_string(in, text, sizeof(text));
        FUZZ_REQUIRE(memchr(text, 0, sizeof(text)) != NULL);
        break;
    }
    FUZZ_REQUIRE(!failed_before || (in->failed && number == 0 && taken == NULL));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    size_t half = bytes / 2;
    struct shl_bytes in = shl_bytes_reader(data + half, bytes - half);
    for (size_t i = 0; i < half; i++) {
        size_t before = in.at;
        bool failed_before = in.failed;
        read_some(&in, data[i]);
        FUZZ_REQUIRE(in.at <= in.size && in.at >= before);
        FUZZ_REQUIRE(!failed_before || in.at == before);
        FUZZ_REQUIRE(shl_bytes_left(&in) == in.size - in.at);
    }
    return 0;
}
