/*
 * Which proposals are allowed: by default a view continues only with a majority of the one before,
 * or with half of it, which then is the half that reaches the store.
 *
 * Uniqueness does not depend on this: compare-and-swap alone makes the next view unique. The policy
 * says which part of a partitioned job is worth going on.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef SHL_ELASTIC_MEMBERSHIP_POLICY_H
#define SHL_ELASTIC_MEMBERSHIP_POLICY_H

#include <stdbool.h>
#include <stdint.h>

enum shl_partition_policy {
    SHL_PARTITION_MAJORITY = 1, /* more than half of the last committed view, or exactly half */
    SHL_PARTITION_ANY = 2       /* whoever reaches the store */
};

/* `view` members in the last committed view, of which `alive` are not evicted; `next` in the
 * proposed one, joiners included. */
static inline bool shl_policy_allows(enum shl_partition_policy policy, uint32_t view,
                                     uint32_t alive, uint32_t next, uint32_t world_min)
{
    if (!alive || next < world_min)
        return false;
    return policy == SHL_PARTITION_ANY || 2 * alive >= view;
}

#endif
