/*
 * The register's record: the whole truth about a job's membership, in one value that is replaced
 * by compare-and-swap at view changes and at no other time.
 *
 *   FORMING    the first members gather; `epoch` is the highest that any of them has ever seen
 *   COMMITTED  `view` is in force since `epoch`; `decision` settled what the view before left open
 *   PREPARED   `next` is proposed as the view of `epoch`; `view` is fenced. `decision` is still
 *              that of `view`, for members that missed its commit
 *
 * Invariant: each write of a job raises `epoch` or the count of forming members, so of each epoch
 * there is one proposal, and at most one view.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef SHL_ELASTIC_MEMBERSHIP_RECORD_H
#define SHL_ELASTIC_MEMBERSHIP_RECORD_H

#include "core/bytes.h"
#include "elastic/membership/members.h"
#include "elastic/membership/outcome.h"

enum shl_phase { SHL_PHASE_FORMING = 1, SHL_PHASE_COMMITTED = 2, SHL_PHASE_PREPARED = 3 };

struct shl_record {
    enum shl_phase phase;
    enum shl_step_mode mode;
    uint64_t epoch;
    uint64_t view_epoch; /* when `view` was committed; 0 while forming; below epoch if PREPARED */
    uint64_t writer;     /* the member that wrote this */
    uint64_t proposal;   /* its number for it: how a writer knows its own write again */
    uint32_t attempts;   /* proposals since the last commit; paces those that compete */
    struct shl_members view;
    struct shl_members next; /* PREPARED only: survivors in their order, then joiners */
    struct shl_decision decision;
};

#define SHL_RECORD_BYTES_MAX                                                                       \
    (64u + 2u * SHL_MEMBERS_MAX * (8u + 2u + SHL_MEMBER_ADDRESS_MAX) + 64u + SHL_OPS_MAX * 3u)

void shl_record_copy(struct shl_record *to, const struct shl_record *from);

void shl_record_put(struct shl_bytes *out, const struct shl_record *record);
/* false, with the cursor failed or not, when the bytes are no record: every count, enumeration and
 * relation is checked. The record is then undefined. */
bool shl_record_get(struct shl_bytes *in, struct shl_record *record);

/* Of members and reports, which messages carry too. */
void shl_member_put(struct shl_bytes *out, const struct shl_member *member);
bool shl_member_get(struct shl_bytes *in, struct shl_member *member);

#endif
