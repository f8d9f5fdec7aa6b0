/*
 * Who reaches whom in a view, as members report it, and the smallest eviction that leaves all
 * others connected.
 *
 * Each member reports the row of those that it has not heard from for too long or whose connection
 * broke. A pair is broken when either side says so: a link that works one way only is broken.
 *
 * Invariant: members with equal matrices choose the same eviction.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef SHL_ELASTIC_MEMBERSHIP_REACH_H
#define SHL_ELASTIC_MEMBERSHIP_REACH_H

#include "elastic/membership/members.h"

struct shl_reach {
    uint32_t count;                        /* members of the view */
    uint32_t broken;                       /* rows that are not empty */
    uint64_t numbers[SHL_MEMBERS_MAX];     /* of the newest row taken from each */
    struct shl_set rows[SHL_MEMBERS_MAX];  /* [i]: whom member i says that it does not reach */
    struct shl_set pairs[SHL_MEMBERS_MAX]; /* [i]: with whom it makes a broken pair */
};

/* A new view: nobody misses anybody. */
void shl_reach_reset(struct shl_reach *reach, uint32_t count);

/* Takes a row unless a newer one of that member is known; rows travel on paths that reorder.
 * Returns whether anything changed. */
bool shl_reach_report(struct shl_reach *reach, uint32_t from, uint64_t number,
                      const struct shl_set *row);

bool shl_reach_broken(const struct shl_reach *reach); /* any pair is */

/*
 * shl_reach_evict - members whose removal leaves no broken pair; as few as can be found.
 *
 * Exact up to SHL_REACH_EXACT_MAX evicted, greedy beyond. Of equal choices the one that keeps who
 * reports: the first to notice a dead member makes one broken pair with it, and the dead one says
 * nothing. Then the one that keeps lower positions. `keep`: a position that must stay, or
 * SHL_MEMBER_NONE.
 */
#define SHL_REACH_EXACT_MAX 12u
void shl_reach_evict(const struct shl_reach *reach, uint32_t keep, struct shl_set *evicted);

#endif
