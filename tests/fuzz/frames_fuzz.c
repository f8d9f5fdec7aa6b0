/*
 * Headers of sessions and of TCP links: what the decoder accepts, the encoder writes back byte for
 * byte, so nothing that a peer sent is taken for something else.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "control/frame.h"
#include "fuzz/fuzz.h"
#include "transport/tcp/tcp_wire.h"

#include <string.h>

static void check_session(const uint8_t *wire, uint32_t size)
{
    struct shl_frame frame;
    uint8_t again[SHL_FRAME_BYTES];
    if (!shl_frame_decode(wire, size, &frame))
        return;
    FUZZ_REQUIRE(frame.bytes <= SHL_FRAME_PAYLOAD_MAX);
    if (frame.kind == SHL_FRAME_FLOOD || frame.kind == SHL_FRAME_VERDICT)
        FUZZ_REQUIRE(frame.origin < size && frame.seq > 0);
    shl_frame_encode(&frame, again);
    FUZZ_REQUIRE(memcmp(again, wire, sizeof(again)) == 0);
}

static void check_link(const uint8_t *wire, uint32_t epoch)
{
    struct shl_tcp_header header;
    uint8_t again[SHL_TCP_HEADER_BYTES];
    char cause[160] = "";
    if (!shl_tcp_header_decode(wire, epoch, &header, cause, sizeof(cause))) {
        FUZZ_REQUIRE(cause[0] != 0 && memchr(cause, 0, sizeof(cause)) != NULL);
        return;
    }
    FUZZ_REQUIRE(header.epoch == epoch && header.length <= SHL_TCP_CHUNK_BYTES_MAX);
    FUZZ_REQUIRE(strcmp(shl_tcp_type_name(header.type), "unknown") != 0);
    shl_tcp_header_encode(&header, again);
    FUZZ_REQUIRE(memcmp(again, wire, sizeof(again)) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    if (bytes >= SHL_FRAME_BYTES)
        check_session(data, 1 + data[bytes - 1] % 64u);
    if (bytes >= SHL_TCP_HEADER_BYTES) {
        uint32_t epoch;
        memcpy(&epoch, data + 8, sizeof(epoch)); /* lets the checks behind the epoch be reached */
        check_link(data, epoch);
        check_link(data, 1);
    }
    return 0;
}
