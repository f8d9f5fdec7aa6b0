/*
 * Encoding and checking of frame headers.
 *
 * Invariant: a decoded frame can be acted upon without further checks of its fields.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "control/frame.h"

#define MAGIC 0x464c4853u /* "SHLF" */

void shl_frame_encode(const struct shl_frame *frame, uint8_t wire[SHL_FRAME_BYTES])
{
    struct shl_bytes out = shl_bytes_writer(wire, SHL_FRAME_BYTES);
    shl_bytes_put_u32(&out, MAGIC);
    shl_bytes_put_u32(&out, frame->bytes);
    shl_bytes_put_u8(&out, frame->kind);
    shl_bytes_put_u8(&out, 0);
    shl_bytes_put_u16(&out, frame->type);
    shl_bytes_put_u32(&out, frame->origin);
    shl_bytes_put_u64(&out, frame->epoch);
    shl_bytes_put_u64(&out, frame->seq);
    shl_bytes_put_u64(&out, frame->ack);
    shl_bytes_put_u64(&out, frame->flood_seq);
    SHL_ASSERT(!out.failed && out.at == SHL_FRAME_BYTES);
}

static bool is_plausible(const struct shl_frame *frame, uint32_t size)
{
    switch (frame->kind) {
    case SHL_FRAME_RESUME:
    case SHL_FRAME_BEAT:
        return !frame->bytes && !frame->seq && !frame->flood_seq;
    case SHL_FRAME_FLOOD:
    case SHL_FRAME_VERDICT:
        return frame->bytes <= SHL_FRAME_PAYLOAD_MAX && frame->seq && frame->flood_seq &&
               frame->origin < size;
    case SHL_FRAME_GOODBYE:
        return !frame->bytes && frame->seq && !frame->flood_seq;
    default:
        return false;
    }
}

bool shl_frame_decode(const uint8_t wire[SHL_FRAME_BYTES], uint32_t size, struct shl_frame *frame)
{
    struct shl_bytes in = shl_bytes_reader(wire, SHL_FRAME_BYTES);
    if (shl_bytes_get_u32(&in) != MAGIC)
        return false;
    frame->bytes = shl_bytes_get_u32(&in);
    frame->kind = shl_bytes_get_u8(&in);
    uint8_t reserved = shl_bytes_get_u8(&in);
    frame->type = shl_bytes_get_u16(&in);
    frame->origin = shl_bytes_get_u32(&in);
    frame->epoch = shl_bytes_get_u64(&in);
    frame->seq = shl_bytes_get_u64(&in);
    frame->ack = shl_bytes_get_u64(&in);
    frame->flood_seq = shl_bytes_get_u64(&in);
    return !reserved && is_plausible(frame, size);
}
