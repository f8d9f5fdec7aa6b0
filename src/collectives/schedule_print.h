/*
 * Schedules as text, for people and for golden files. The format is stable: a change of it is a
 * change of every golden file.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef SHL_COLLECTIVES_SCHEDULE_PRINT_H
#define SHL_COLLECTIVES_SCHEDULE_PRINT_H

#include "collectives/schedule.h"

#include <stdio.h>

#define SHL_STEP_TEXT_BYTES 192

const char *shl_step_kind_string(uint8_t kind); /* "recv_reduce" */
const char *shl_buffer_string(uint8_t buffer);  /* "scratch" */

/* shl_step_text - "recv_reduce output[2] = message(1) + input[2], final": operands in the order in
 * which they combine. text has SHL_STEP_TEXT_BYTES bytes. */
void shl_step_text(const struct shl_step *step, char *text);

/* shl_schedule_print - a heading and one line a step, with what it waits for. */
void shl_schedule_print(const struct shl_schedule *schedule, FILE *stream);

#endif
