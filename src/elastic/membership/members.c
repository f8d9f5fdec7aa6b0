/*
 * Lists of members and sets of positions.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "elastic/membership/members.h"

#include "elastic/samples/permutation.h"

#include <string.h>

void shl_members_copy(struct shl_members *to, const struct shl_members *from)
{
    to->count = from->count;
    memmove(to->at, from->at, from->count * sizeof(from->at[0]));
}

uint32_t shl_members_find(const struct shl_members *members, uint64_t id)
{
    for (uint32_t i = 0; i < members->count; i++)
        if (members->at[i].id == id)
            return i;
    return SHL_MEMBER_NONE;
}

uint64_t shl_members_hash(const struct shl_members *members)
{
    uint64_t hash = shl_mix64(members->count);
    for (uint32_t i = 0; i < members->count; i++)
        hash = shl_mix64(hash ^ members->at[i].id) + i;
    return hash ? hash : 1;
}

bool shl_members_add(struct shl_members *members, const struct shl_member *member)
{
    if (members->count == SHL_MEMBERS_MAX ||
        shl_members_find(members, member->id) != SHL_MEMBER_NONE)
        return false;
    members->at[members->count++] = *member;
    return true;
}

uint32_t shl_set_count(const struct shl_set *set)
{
    uint32_t count = 0;
    for (size_t i = 0; i < SHL_SET_WORDS; i++)
        count += (uint32_t)__builtin_popcountll(set->words[i]);
    return count;
}

bool shl_set_empty(const struct shl_set *set)
{
    uint64_t any = 0;
    for (size_t i = 0; i < SHL_SET_WORDS; i++)
        any |= set->words[i];
    return !any;
}
