/*
 * Checks that the calls of elastic worlds share.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef SHL_API_WORLD_H
#define SHL_API_WORLD_H

#include <shoal/elastic.h>

enum shoal_status shl_check_world(const struct shoal_world *world);
/* By the view that the program knows. */
enum shoal_status shl_check_world_call(struct shoal_world *world, const struct shoal_call *call);
/* The same of a weighted mean. */
enum shoal_status shl_check_world_mean(struct shoal_world *world, const struct shoal_call *call,
                                       double weight);

#endif
