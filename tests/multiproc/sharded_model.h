/*
 * Members with sharded arrays, every element of which is a function of the steps that were
 * committed, so any that is of another version, or of two, shows.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef TESTS_MULTIPROC_SHARDED_MODEL_H
#define TESTS_MULTIPROC_SHARDED_MODEL_H

#include "multiproc/finding.h"
#include "multiproc/members.h"

#define FLOATS (SHARDS * 256) /* all shards are alike */
#define SMALL 700             /* fewer elements than shards */
#define SHARDS 512
#define SHARD_BYTES (256 * sizeof(double))
#define SMALL_BYTES (SMALL * sizeof(float))

struct told {
    _Atomic uint32_t lost; /* SHOAL_ERR_STATE_LOST so far */
    _Atomic uint32_t settled;
    _Atomic uint64_t moved, handed;
    uint64_t lost_elements, refreshed, owned, received;
    uint64_t kept; /* owned when its loop ended, and of the last version that was committed */
    struct finding finding;
};

/* Of the job under way, in memory that its members share. */
struct sharded_job {
    uint32_t replicas;        /* as in shoal_state_options */
    _Atomic uint32_t leavers; /* a bit for each slot */
    uint64_t leave_at;        /* the step in which these slots are to leave; 0: none */
    uint32_t leave_then;
    _Atomic uint32_t lacks; /* slot + 1 of who has no memory left that is shared */
    struct told told[MEMBERS_MAX];
};

extern struct sharded_job *shared;
extern const char *const sharded_shm[], *const sharded_tcp[]; /* settings */

/* Makes `shared`; sharded_end unmaps it. */
struct members_job sharded_make_job(uint32_t start, uint32_t replicas, const char *const *settings);
void sharded_end(void);
void sharded_check_member(const struct members *members, uint32_t slot, const char *story);
/* Until the slot's member has brought state to the members of so many views. */
void sharded_await_settled(const struct members *members, uint32_t slot, uint32_t settled);
void sharded_await_left(const struct members *members, uint32_t slot);
/* A whole job of four, of which slot 1 dies at its k-th call of that kind, and wants to leave in
 * step leave_at (0: never). What the others have then is of one version: of the step that was
 * committed last. Without replicas they may have to be told that something is lost, once and all
 * alike. */
void sharded_kill_at(const char *call, unsigned k, uint32_t replicas, unsigned leave_at);

#endif
