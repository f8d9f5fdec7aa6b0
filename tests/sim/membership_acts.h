/*
 * What tests do to a world of members, and what must hold when nothing is wrong any more.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef SIM_MEMBERSHIP_ACTS_H
#define SIM_MEMBERSHIP_ACTS_H

#include "sim/membership_world.h"

uint64_t world_bit(uint32_t life);

struct world_options world_plain(uint32_t slots); /* all there, retained steps, no bad paths */
struct world *world_formed(const struct world_options *options); /* it runs, and steps go on */
void world_run_for(struct world *world, uint64_t ms);

/* What slot `a` says does not reach slot `b`, for so long. */
void world_cut(struct world *world, uint32_t a, uint32_t b, bool both, uint64_t ns);

/* Somebody, if it is in a step, cannot finish it. */
void world_wish(struct world *world);

/* The deadline of an operation of somebody passes. Only outside of steps: in a step its program
 * would have to say what becomes of it. */
void world_be_late(struct world *world);

/* Steps go on, in one view that all its members share. */
void world_check_alive(struct world *world, uint64_t steps_before);

#endif
