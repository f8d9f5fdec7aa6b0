/*
 * Verdicts: the agreement that a rank is lost.
 *
 * Whoever sees it floods a verdict with the cause; the first one that reaches a rank counts there.
 *
 * Invariant: on_lost is called once for each lost rank, after the verdict went on to others.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "control/control_internal.h"
#include "core/log.h"

#include <stdio.h>
#include <string.h>

#define CAUSE_BYTES 480
#define VERDICT_BYTES (8 + 2 + CAUSE_BYTES)

void shl_verdict_pass(struct shl_control *control, uint32_t rank, enum shoal_status status,
                      const char *cause)
{
    char text[CAUSE_BYTES];
    uint8_t wire[VERDICT_BYTES];
    const struct shl_control_options *options = &control->options;
    const char *remark = NULL;
    if (control->lost[rank] || control->evicted)
        return;
    if (status == SHOAL_ERR_PEER && options->remark)
        remark = options->remark(options->arg, rank);
    struct shl_bytes out = shl_bytes_writer(wire, sizeof(wire));
    shl_bytes_put_u32(&out, rank);
    shl_bytes_put_u32(&out, (uint32_t)status);
    snprintf(text, sizeof(text), "%s%s%s", remark ? remark : "", remark ? "; " : "", cause);
    shl_bytes_put_string(&out, text);
    SHL_ASSERT(!out.failed);
    struct shl_packet *packet = shl_packet_create(control, (uint32_t)out.at);
    if (!packet)
        return; /* whatever made the caller see it will make it see it again */
    packet->kind = SHL_FRAME_VERDICT;
    memcpy(packet->payload, wire, out.at);
    shl_mesh_originate(control, packet);
}

/* Only codes that say that a peer is lost; a number from the wire is not trusted to be one. */
static enum shoal_status known_status(uint32_t wire)
{
    enum shoal_status status = (enum shoal_status)(int32_t)wire;
    switch (status) {
    case SHOAL_ERR_AUTH:
    case SHOAL_ERR_VERSION:
    case SHOAL_ERR_ABSENT:
    case SHOAL_ERR_INTERNAL:
        return status;
    default:
        return SHOAL_ERR_PEER;
    }
}

bool shl_verdict_apply(struct shl_control *control, const struct shl_packet *packet)
{
    struct shl_bytes in = shl_bytes_reader(packet->payload, packet->bytes);
    char cause[CAUSE_BYTES], seen[CAUSE_BYTES + 32], text[CAUSE_BYTES + 64];
    uint32_t rank = shl_bytes_get_u32(&in);
    enum shoal_status status = known_status(shl_bytes_get_u32(&in));
    shl_bytes_get_string(&in, cause, sizeof(cause));
    if (in.failed || rank >= control->options.size)
        return false;
    snprintf(seen, sizeof(seen), "seen by rank %u: %s", packet->origin, cause);
    snprintf(text, sizeof(text), "rank %u is lost, %s", rank, seen);
    if (rank == control->options.rank) {
        shl_verdict_evicted(control, text);
        return true;
    }
    if (control->lost[rank])
        return true;
    control->lost[rank] = 1;
    shl_log(SHL_LOG_WARN, "%s", text);
    if (control->session_of[rank] != UINT32_MAX)
        shl_session_end(&control->sessions[control->session_of[rank]], SHL_SESSION_LOST);
    shl_channel_fail(control, rank, text);
    shl_control_report(control, status, text);
    if (!control->evicted)
        control->options.on_lost(control->options.arg, rank, status, seen);
    return true;
}

void shl_verdict_evicted(struct shl_control *control, const char *cause)
{
    char text[CAUSE_BYTES + 128];
    if (control->evicted || control->stopping)
        return;
    control->evicted = true;
    snprintf(text, sizeof(text), "the other ranks have given this rank up: %s", cause);
    shl_log(SHL_LOG_WARN, "%s", text);
    control->lost[control->options.rank] = 1;
    for (uint32_t i = 0; i < control->session_count; i++)
        shl_session_end(&control->sessions[i], SHL_SESSION_LOST);
    shl_channel_fail(control, SHL_RANK_ANY, text);
    shl_control_report(control, SHOAL_ERR_PEER, text);
    control->options.on_lost(control->options.arg, control->options.rank, SHOAL_ERR_PEER, text);
}
