/*
 * The first wrong element that a member has seen, in memory that members and the test share.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef TESTS_MULTIPROC_FINDING_H
#define TESTS_MULTIPROC_FINDING_H

#include "support/test.h"

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

static inline float finding_small_value(uint64_t step, uint64_t i)
{
    return (float)(step * 1000 + i);
}

#endif
