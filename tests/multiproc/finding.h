/*
 * The first wrong element that a member has seen, in memory that members and the test share.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef TESTS_MULTIPROC_FINDING_H
#define TESTS_MULTIPROC_FINDING_H

#include "support/test.h"

#include <shoal/shoal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

struct finding {
    bool wrong;
    char what[160];
};

static inline void finding_keep(struct finding *finding, const char *what, uint64_t step,
                                uint64_t i, double value)
{
    if (!finding->wrong)
        snprintf(finding->what, sizeof(finding->what), "%s[%llu] is %f in step %llu", what,
                 (unsigned long long)i, value, (unsigned long long)step);
    finding->wrong = true;
}

static inline void finding_fail(const struct finding *finding, const char *story, uint32_t slot)
{
    if (finding->wrong)
        fail_msg("%s: member %u: %s", story, slot, finding->what);
}

/* An element of an array of state, as the steps that were committed make it. */
static inline double finding_big_value(uint64_t step, uint64_t i)
{
    return (double)step * 1e6 + (double)i;
}

/* What a member owns of such an array is of `step`; it is made that of the next. */
static inline int finding_big_next(struct finding *finding, double *big,
                                   const struct shoal_state_range *ranges, size_t count,
                                   uint64_t step)
{
    for (size_t r = 0; r < count; r++)
        for (uint64_t i = ranges[r].first, k = 0; k < ranges[r].count; k++, i++) {
            if (big[i] != finding_big_value(step, i)) {
                finding_keep(finding, "big", step, i, big[i]);
                return SHOAL_ERR_INTERNAL;
            }
            big[i] = finding_big_value(step + 1, i);
        }
    return SHOAL_OK;
}

static inline float finding_small_value(uint64_t step, uint64_t i)
{
    return (float)(step * 1000 + i);
}

#endif
