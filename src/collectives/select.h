/*
 * What selection offers beside shl_select (schedule.h): reading SHOAL_ALGORITHM.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef SHL_COLLECTIVES_SELECT_H
#define SHL_COLLECTIVES_SELECT_H

#include "collectives/schedule.h"

#define SHL_NAME_BYTES 64 /* of a collective or an algorithm, with the terminating zero */

/*
 * shl_forced_find - which algorithm a text like "allreduce=ring,broadcast=binomial" forces for a
 * collective; NULL when none. The last one wins. The whole text is checked.
 *
 * Errors  SHOAL_ERR_CONFIG names the bad word and the nearest good one
 */
enum shoal_status shl_forced_find(const char *forced, enum shoal_collective collective,
                                  const struct shl_algorithm **algorithm);

/* shl_forced_check - SHOAL_OK, or SHOAL_ERR_CONFIG with what is wrong with SHOAL_ALGORITHM. */
enum shoal_status shl_forced_check(const char *forced);

#endif
