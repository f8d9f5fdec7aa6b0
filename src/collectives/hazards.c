/*
 * Runs of units and their readers and writers. Path: schedule_builder.c calls it for every span.
 *
 * Invariant: unit 0 of a non-empty buffer always starts a run.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "collectives/hazards.h"

#include "core/array.h"
#include "core/sys.h"

enum shoal_status shl_hazards_init(struct shl_hazards *hazards, const uint32_t units[3])
{
    *hazards = (struct shl_hazards){.pool_count = 1}; /* cell 0 means none */
    for (int i = 0; i < 3; i++) {
        struct shl_hazard_buffer *buffer = &hazards->buffers[i];
        buffer->units = units[i];
        if (units[i] == 0)
            continue;
        buffer->starts = shl_mem->alloc(((size_t)units[i] / 64 + 1) * sizeof(uint64_t));
        /* Not zeroed: a slot is read only once its unit starts a run. */
        buffer->writer = shl_mem->resize(NULL, (size_t)units[i] * sizeof(uint32_t));
        buffer->readers = shl_mem->resize(NULL, (size_t)units[i] * sizeof(uint32_t));
        if (!buffer->starts || !buffer->writer || !buffer->readers) {
            shl_hazards_fini(hazards);
            return shl_fail(SHOAL_ERR_NOMEM, "no memory to track %u units of a schedule", units[i]);
        }
        buffer->starts[0] = 1;
        buffer->writer[0] = buffer->readers[0] = 0;
    }
    return SHOAL_OK;
}

void shl_hazards_fini(struct shl_hazards *hazards)
{
    for (int i = 0; i < 3; i++) {
        shl_mem->free(hazards->buffers[i].starts);
        shl_mem->free(hazards->buffers[i].writer);
        shl_mem->free(hazards->buffers[i].readers);
    }
    shl_mem->free(hazards->pool);
    *hazards = (struct shl_hazards){0};
}

static bool is_start(const struct shl_hazard_buffer *buffer, uint32_t unit)
{
    return buffer->starts[unit / 64] >> (unit % 64) & 1;
}

/* The run that holds `unit` starts where? */
static uint32_t run_start(const struct shl_hazard_buffer *buffer, uint32_t unit)
{
    uint32_t word = unit / 64;
    uint64_t bits = buffer->starts[word] & (UINT64_MAX >> (63 - unit % 64));
    while (bits == 0)
        bits = buffer->starts[--word];
    return word * 64 + 63 - (uint32_t)__builtin_clzll(bits);
}

/* First start after `unit` and before `end`, else `end`. */
static uint32_t next_start(const struct shl_hazard_buffer *buffer, uint32_t unit, uint32_t end)
{
    uint32_t at = unit + 1;
    while (at < end) {
        uint64_t bits = buffer->starts[at / 64] >> (at % 64);
        if (bits != 0) {
            at += (uint32_t)__builtin_ctzll(bits);
            return at < end ? at : end;
        }
        at = (at / 64 + 1) * 64;
    }
    return end;
}

static void split(struct shl_hazard_buffer *buffer, uint32_t unit)
{
    if (unit >= buffer->units || is_start(buffer, unit))
        return;
    uint32_t start = run_start(buffer, unit);
    buffer->writer[unit] = buffer->writer[start];
    buffer->readers[unit] = buffer->readers[start];
    buffer->starts[unit / 64] |= UINT64_C(1) << (unit % 64);
}

static enum shoal_status add_reader(struct shl_hazards *hazards, uint32_t *list, uint32_t step)
{
    SHL_TRY(shl_array_reserve(&hazards->pool, &hazards->pool_capacity, hazards->pool_count,
                              sizeof(*hazards->pool), "readers of a schedule"));
    hazards->pool[hazards->pool_count] = (struct shl_hazard_reader){step, *list};
    *list = hazards->pool_count++;
    return SHOAL_OK;
}

/* Readers of a run waited for its writer, so whoever waits for them need not name it. */
static void wait_for_run(const struct shl_hazards *hazards, const struct shl_hazard_buffer *buffer,
                         uint32_t start, uint32_t step, shl_hazard_fn wait, void *arg)
{
    bool others = false;
    for (uint32_t cell = buffer->readers[start]; cell; cell = hazards->pool[cell].next) {
        if (hazards->pool[cell].step == step)
            continue; /* it reads what it writes */
        wait(arg, hazards->pool[cell].step);
        others = true;
    }
    if (!others && buffer->writer[start])
        wait(arg, buffer->writer[start] - 1);
}

/* Readers of the INPUT that lies under a span of OUTPUT when the caller's buffers are the same. */
static void wait_for_input(struct shl_hazards *hazards, uint32_t step, struct shl_span span,
                           shl_hazard_fn wait, void *arg)
{
    struct shl_hazard_buffer *input = &hazards->buffers[SHL_INPUT];
    uint32_t first = span.first + hazards->output_shift, end = first + span.count;
    uint32_t low = hazards->input_shift, high = low + input->units;
    first = (first > low ? first : low) - low;
    end = end < high ? end : high;
    if (end <= low || first >= end - low)
        return;
    end -= low;
    split(input, first);
    split(input, end);
    for (uint32_t at = first; at < end; at = next_start(input, at, end)) {
        wait_for_run(hazards, input, at, step, wait, arg);
        input->readers[at] = 0; /* whoever writes here next waits for this step */
    }
}

enum shoal_status shl_hazards_read(struct shl_hazards *hazards, uint32_t step, struct shl_span span,
                                   shl_hazard_fn wait, void *arg)
{
    struct shl_hazard_buffer *buffer = &hazards->buffers[span.buffer];
    uint32_t end = span.first + span.count;
    split(buffer, span.first);
    split(buffer, end);
    for (uint32_t at = span.first; at < end; at = next_start(buffer, at, end)) {
        if (buffer->writer[at])
            wait(arg, buffer->writer[at] - 1);
        SHL_TRY(add_reader(hazards, &buffer->readers[at], step));
    }
    return SHOAL_OK;
}

enum shoal_status shl_hazards_write(struct shl_hazards *hazards, uint32_t step,
                                    struct shl_span span, bool own_input, shl_hazard_fn wait,
                                    void *arg)
{
    struct shl_hazard_buffer *buffer = &hazards->buffers[span.buffer];
    uint32_t end = span.first + span.count;
    split(buffer, span.first);
    split(buffer, end);
    for (uint32_t at = span.first; at < end; at = next_start(buffer, at, end)) {
        wait_for_run(hazards, buffer, at, step, wait, arg);
        if (at != span.first) /* the units written are one run from now on */
            buffer->starts[at / 64] &= ~(UINT64_C(1) << (at % 64));
    }
    buffer->writer[span.first] = step + 1;
    buffer->readers[span.first] = 0;
    if (span.buffer == SHL_OUTPUT && !own_input)
        wait_for_input(hazards, step, span, wait, arg);
    return SHOAL_OK;
}
