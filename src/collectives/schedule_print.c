/*
 * Text form of steps and schedules.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "collectives/schedule_print.h"

#define SPAN_TEXT_BYTES 48

const char *shl_step_kind_string(uint8_t kind)
{
    static const char *const names[SHL_STEP_KIND_COUNT] = {"send", "recv", "recv_reduce", "reduce",
                                                           "copy"};
    return kind < SHL_STEP_KIND_COUNT ? names[kind] : "unknown";
}

const char *shl_buffer_string(uint8_t buffer)
{
    static const char *const names[] = {"input", "output", "scratch"};
    return buffer <= SHL_SCRATCH ? names[buffer] : "unknown";
}

/* "output[4..7]"; for scratch also the units whose data it holds: "scratch[0..1] for 4..5". */
static void span_text(const struct shl_span *span, char *text)
{
    int used;
    if (span->count == 0) {
        snprintf(text, SPAN_TEXT_BYTES, "token");
        return;
    }
    if (span->count == 1)
        used =
            snprintf(text, SPAN_TEXT_BYTES, "%s[%u]", shl_buffer_string(span->buffer), span->first);
    else
        used = snprintf(text, SPAN_TEXT_BYTES, "%s[%u..%u]", shl_buffer_string(span->buffer),
                        span->first, span->first + span->count - 1);
    if (span->buffer == SHL_SCRATCH && used > 0 && used < SPAN_TEXT_BYTES)
        snprintf(text + used, SPAN_TEXT_BYTES - (size_t)used, " for %u", span->like);
}

void shl_step_text(const struct shl_step *step, char *text)
{
    char dst[SPAN_TEXT_BYTES], a[SPAN_TEXT_BYTES], b[SPAN_TEXT_BYTES];
    const char *final = step->flags & SHL_STEP_FINAL ? ", final" : "";
    bool swap = step->flags & SHL_STEP_SWAP;
    span_text(&step->dst, dst);
    span_text(&step->src, a);
    span_text(&step->src2, b);
    if (step->kind == SHL_STEP_RECV_REDUCE)
        snprintf(b, sizeof(b), "message(%u)", step->peer);
    switch (step->kind) {
    case SHL_STEP_SEND:
        snprintf(text, SHL_STEP_TEXT_BYTES, "send %s to %u", a, step->peer);
        break;
    case SHL_STEP_RECV:
        snprintf(text, SHL_STEP_TEXT_BYTES, "recv %s from %u", dst, step->peer);
        break;
    case SHL_STEP_COPY:
        snprintf(text, SHL_STEP_TEXT_BYTES, "copy %s = %s%s", dst, a, final);
        break;
    default:
        snprintf(text, SHL_STEP_TEXT_BYTES, "%s %s = %s + %s%s", shl_step_kind_string(step->kind),
                 dst, swap ? b : a, swap ? a : b, final);
    }
}

void shl_schedule_print(const struct shl_schedule *schedule, FILE *stream)
{
    char text[SHL_STEP_TEXT_BYTES];
    fprintf(stream, "%s %s, rank %u of %u, root %u, %u blocks of %u chunks, %u scratch units\n",
            shoal_collective_string((enum shoal_collective)schedule->collective),
            schedule->algorithm->name, schedule->rank, schedule->rank_count, schedule->root,
            schedule->blocks, schedule->chunks, schedule->scratch_units);
    for (uint32_t i = 0; i < schedule->step_count; i++) {
        const struct shl_step *step = &schedule->steps[i];
        shl_step_text(step, text);
        fprintf(stream, "%5u  %s", i, text);
        for (uint32_t d = 0; d < step->dep_count; d++)
            fprintf(stream, "%s%u", d ? ", " : "; after ", schedule->deps[step->first_dep + d]);
        fputc('\n', stream);
    }
}
