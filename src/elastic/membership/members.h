/*
 * Who is in a world: an ordered list of members, and sets of positions in such a list.
 *
 * A member is one life of one worker: its id is drawn at random when the life begins and is never
 * used again, so a worker that was evicted and comes back is another member. The position in a
 * view's list is the rank; survivors keep their order, joiners go to the end.
 *
 * Invariant: no list holds an id twice, and no list is longer than SHL_MEMBERS_MAX.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef SHL_ELASTIC_MEMBERSHIP_MEMBERS_H
#define SHL_ELASTIC_MEMBERSHIP_MEMBERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifndef SHL_MEMBERS_MAX /* the explorer (tests/sim) builds the core with fewer */
#define SHL_MEMBERS_MAX 1024u
#endif
#define SHL_SET_WORDS ((SHL_MEMBERS_MAX + 63) / 64)
#define SHL_MEMBER_ADDRESS_MAX 64u
#define SHL_MEMBER_NONE UINT32_MAX

struct shl_member {
    uint64_t id;           /* not 0 */
    bool leaving;          /* asked to leave; it is not evicted, and nobody fences it by force */
    uint8_t address_bytes; /* how to reach it; the membership core never looks inside */
    uint8_t address[SHL_MEMBER_ADDRESS_MAX];
};

struct shl_members {
    uint32_t count;
    struct shl_member at[SHL_MEMBERS_MAX];
};

/* Copies only what is there: a list is large. */
void shl_members_copy(struct shl_members *to, const struct shl_members *from);
uint32_t shl_members_find(const struct shl_members *members, uint64_t id); /* or NONE */
/* The same members in the same order have the same; others have not, but for chance. Not 0. */
uint64_t shl_members_hash(const struct shl_members *members);
/* false when it is full or holds the id already. */
bool shl_members_add(struct shl_members *members, const struct shl_member *member);

/* A set of positions. */
struct shl_set {
    uint64_t words[SHL_SET_WORDS];
};

static inline bool shl_set_has(const struct shl_set *set, uint32_t at)
{
    return set->words[at / 64] >> (at % 64) & 1;
}

static inline void shl_set_put(struct shl_set *set, uint32_t at)
{
    set->words[at / 64] |= 1ull << (at % 64);
}

static inline void shl_set_take(struct shl_set *set, uint32_t at)
{
    set->words[at / 64] &= ~(1ull << (at % 64));
}

uint32_t shl_set_count(const struct shl_set *set);
bool shl_set_empty(const struct shl_set *set);

#endif
