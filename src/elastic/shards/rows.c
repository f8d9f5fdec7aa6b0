/*
 * Rows of the table. See placement.h.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "elastic/samples/permutation.h"
#include "elastic/shards/placement.h"

#include <string.h>

uint32_t shl_row_held(const struct shl_placement *placement, const uint32_t *row)
{
    uint32_t count = 0;
    while (count < placement->width && row[count] != SHL_NO_MEMBER)
        count++;
    return count;
}

bool shl_row_has(const struct shl_placement *placement, const uint32_t *row, uint32_t member)
{
    for (uint32_t k = 0; k < placement->width; k++)
        if (row[k] == member)
            return true;
    return false;
}

bool shl_row_had(const struct shl_placement *placement, uint32_t shard, uint32_t member)
{
    return shl_row_has(placement, &placement->before[(size_t)shard * placement->width], member);
}

uint32_t shl_row_on_host(const struct shl_placement *placement, const uint32_t *row, uint32_t host)
{
    uint32_t count = 0;
    for (uint32_t k = 0; k < placement->width && row[k] != SHL_NO_MEMBER; k++)
        count += placement->members[row[k]].host == host;
    return count;
}

uint32_t shl_row_hosts(const struct shl_placement *placement, const uint32_t *row)
{
    uint32_t count = 0;
    for (uint32_t k = 0; k < placement->width && row[k] != SHL_NO_MEMBER; k++) {
        bool first = true;
        for (uint32_t j = 0; j < k; j++)
            first &= placement->members[row[j]].host != placement->members[row[k]].host;
        count += first;
    }
    return count;
}

/* ---- changes, and what they count -------------------------------------------------------------
 */

static uint32_t *pair(const struct shl_placement *placement, uint32_t one, uint32_t other)
{
    return &placement->pairs[(size_t)one * placement->member_count + other];
}

static void count_pairs(const struct shl_placement *placement, const uint32_t *row, uint32_t member,
                        uint32_t by)
{
    for (uint32_t k = 0; placement->pairs && k < placement->width; k++) {
        if (row[k] == SHL_NO_MEMBER || row[k] == member)
            continue;
        *pair(placement, member, row[k]) += by;
        *pair(placement, row[k], member) += by;
    }
}

uint64_t shl_row_meets(const struct shl_placement *placement, const uint32_t *row, uint32_t except,
                       uint32_t member)
{
    uint64_t count = 0;
    for (uint32_t k = 0; placement->pairs && k < placement->width; k++)
        if (k != except && row[k] != SHL_NO_MEMBER)
            count += *pair(placement, member, row[k]);
    return count;
}

void shl_row_add(struct shl_placement *placement, uint32_t *row, uint32_t member)
{
    row[shl_row_held(placement, row)] = member;
    placement->members[member].load++;
    count_pairs(placement, row, member, 1);
}

void shl_row_drop(struct shl_placement *placement, uint32_t *row, uint32_t at)
{
    uint32_t last = shl_row_held(placement, row) - 1;
    placement->members[row[at]].load--;
    count_pairs(placement, row, row[at], UINT32_MAX);
    memmove(&row[at], &row[at + 1], (last - at) * sizeof(*row));
    row[last] = SHL_NO_MEMBER;
}

void shl_row_replace(struct shl_placement *placement, uint32_t *row, uint32_t at, uint32_t member)
{
    placement->members[row[at]].load--;
    count_pairs(placement, row, row[at], UINT32_MAX);
    row[at] = member;
    placement->members[member].load++;
    count_pairs(placement, row, member, 1);
}

bool shl_row_may_replace(const struct shl_placement *placement, uint32_t *row, uint32_t at,
                         uint32_t member)
{
    uint32_t giver = row[at];
    if (shl_row_has(placement, row, member))
        return false;
    row[at] = member;
    bool legal = shl_row_hosts(placement, row) >= placement->spread;
    row[at] = giver;
    return legal;
}

uint64_t shl_row_taste(const struct shl_placement *placement, uint32_t shard, uint32_t member)
{
    return shl_mix64(placement->members[member].id ^
                     shl_mix64(shard + UINT64_C(0x9e3779b97f4a7c15)));
}
