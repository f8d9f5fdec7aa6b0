/*
 * Direct forms inside one host: a group of ranks that see each other's slots and memory.
 *
 * A group is the members of one communicator when all of them share memory. Its one primitive is
 * the exchange: each member publishes up to SHL_GROUP_PAYLOAD_BYTES together with the operation's
 * signature, and reads what all others published for the same (seq, phase). One exchange is one
 * cache-line transfer each way when the payload is small. Signature agreement, the small-message
 * path, barriers and the direct reductions are all built from it.
 *
 * Slots are reused SHL_GROUP_SLOTS phases later; `finish` tells the others that this member has
 * read everything of operations up to seq. The engine keeps at most SHL_GROUP_OPS operations of
 * one communicator in flight, so slots cannot be overrun.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef SHL_TRANSPORT_GROUP_H
#define SHL_TRANSPORT_GROUP_H

#include "transport/transport.h"

#define SHL_GROUP_PAYLOAD_BYTES 8192
#define SHL_GROUP_PHASES 4 /* phases of one operation, 0..3 */
#define SHL_GROUP_OPS 4    /* operations of one communicator in flight in a group */
#define SHL_GROUP_SLOTS (SHL_GROUP_PHASES * SHL_GROUP_OPS)

struct shl_group;

/* Where a member's buffer can be found by the others. */
struct shl_group_buffer {
    uint64_t address;     /* in the member's own address space */
    uint64_t heap_offset; /* in its shareable heap; UINT64_MAX: ordinary memory */
    uint64_t bytes;
};

struct shl_group_peek {
    const struct shl_signature *signature; /* in shared memory: compare, do not keep */
    const void *payload;
    uint32_t bytes;
};

/* Each member reserves slots in its shared memory and publishes the returned name (`slots_offset`;
 * opaque) in the communicator's set-up exchange. Unreserve after the group, if one was created, is
 * destroyed; the slots stay readable until every member has finished what was posted. */
enum shoal_status shl_group_reserve(struct shl_transport *shm, uint64_t *slots_offset);
void shl_group_unreserve(struct shl_transport *shm, uint64_t slots_offset);

/*
 * members       world ranks in communicator order, `count` of them; `me` is my index
 * slots_offsets each member's slots, by index
 */
enum shoal_status shl_group_create(struct shl_transport *shm, const uint32_t *members,
                                   uint32_t count, uint32_t me, const uint64_t *slots_offsets,
                                   struct shl_group **group);
void shl_group_destroy(struct shl_group *group);

/* May this member post phases of `seq`? false while some member has not finished the operation that
 * used these slots before (seq - SHL_GROUP_OPS). Cheap when the members keep pace. */
bool shl_group_ready(struct shl_group *group, uint64_t seq);

/* Publish. Only after shl_group_ready(seq); phases of one operation in ascending order. */
void shl_group_post(struct shl_group *group, uint64_t seq, unsigned phase,
                    const struct shl_signature *signature, const void *payload, uint32_t bytes);

/* false: that member has not posted (seq, phase) yet. The view stays valid until finish(seq). */
bool shl_group_peek(struct shl_group *group, uint32_t member, uint64_t seq, unsigned phase,
                    struct shl_group_peek *peek);

/* How far a look at the others has come; begins as zero. */
struct shl_group_look {
    uint32_t cursor;      /* members seen */
    uint64_t differences; /* not 0: some member's signature is another */
};

/* Has every other member posted (seq, phase)? Resumes where the last call stopped, and compares
 * signatures on the way, when they are in the cache. Never true while a slot makes no sense; its
 * member is then given up. After a false answer the transport's arm(true) refuses when
 * the missing post has come meanwhile. */
bool shl_group_gathered(struct shl_group *group, uint64_t seq, unsigned phase,
                        const struct shl_signature *signature, struct shl_group_look *look);

/* After a false answer, where ranks share cores: may a member that has not posted be waiting for
 * the caller's core? Members learn of each other's cores by this call, so it is a hint. */
bool shl_group_waits_for_core(struct shl_group *group, uint64_t seq, unsigned phase,
                              const struct shl_group_look *look);

/* This member will not look at operations <= seq again. Call it before destroy too, for all that
 * was posted, and for operations that are given up. */
void shl_group_finish(struct shl_group *group, uint64_t seq);

/* A member may be asleep: ring its doorbell if it says so. Called after post. */
void shl_group_wake(struct shl_group *group);

/* Describe a local buffer for publication. */
void shl_group_describe(struct shl_group *group, const void *buffer, uint64_t bytes,
                        struct shl_group_buffer *description);

/* Pointer through which a member's published buffer can be read and written here, NULL when it is
 * ordinary memory. Mapped on first use and kept. */
void *shl_group_map(struct shl_group *group, uint32_t member,
                    const struct shl_group_buffer *buffer);

/* Copy from a member's ordinary memory (process_vm_readv). SHOAL_ERR_UNSUPPORTED when the probe at
 * set-up failed for any member: then nobody uses it. */
bool shl_group_can_pull(const struct shl_group *group);
enum shoal_status shl_group_pull(struct shl_group *group, uint32_t member, uint64_t address,
                                 void *out, size_t bytes);

#endif
