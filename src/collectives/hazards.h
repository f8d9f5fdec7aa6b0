/*
 * Finds which earlier steps a step must wait for: who last wrote, and who has read since, each unit
 * of each buffer. Buffers are kept as runs of units with the same history, so a step costs as much
 * as the number of runs it touches, not of units.
 *
 * In place, INPUT and OUTPUT are the same memory, so a write of OUTPUT also waits for readers of
 * the INPUT beneath it. INPUT itself is never written.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef SHL_COLLECTIVES_HAZARDS_H
#define SHL_COLLECTIVES_HAZARDS_H

#include "collectives/schedule.h"

/* One buffer: a bit marks the first unit of a run, and that unit's slot has the run's history. */
struct shl_hazard_buffer {
    uint32_t units;
    uint64_t *starts;
    uint32_t *writer;  /* step + 1; 0: none */
    uint32_t *readers; /* index into the pool of struct shl_hazard_reader; 0: none */
};

/* A list cell. Cells are never changed once linked, so runs that were one run share their tails. */
struct shl_hazard_reader {
    uint32_t step;
    uint32_t next;
};

struct shl_hazards {
    struct shl_hazard_buffer buffers[3]; /* by enum shl_buffer */
    struct shl_hazard_reader *pool;
    uint32_t pool_count;
    size_t pool_capacity;
    /* Where INPUT lies in OUTPUT's units (allgather), or OUTPUT in INPUT's (reduce-scatter). */
    uint32_t input_shift, output_shift;
};

/* units[] by enum shl_buffer. On error nothing is left allocated. */
enum shoal_status shl_hazards_init(struct shl_hazards *hazards, const uint32_t units[3]);
void shl_hazards_fini(struct shl_hazards *hazards);

/* Called once for each step to wait for; the same step may be reported several times. */
typedef void (*shl_hazard_fn)(void *arg, uint32_t earlier);

enum shoal_status shl_hazards_read(struct shl_hazards *hazards, uint32_t step, struct shl_span span,
                                   shl_hazard_fn wait, void *arg);

/* own_input: the step copies INPUT to its own place in OUTPUT, which in place does nothing. */
enum shoal_status shl_hazards_write(struct shl_hazards *hazards, uint32_t step,
                                    struct shl_span span, bool own_input, shl_hazard_fn wait,
                                    void *arg);

#endif
