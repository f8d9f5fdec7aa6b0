/*
 * How many copies each member is to hold.
 *
 * All members the same, but for what hosts allow: where the copies of a shard go to different
 * hosts, a host takes each shard once at most, and where there are fewer hosts than copies, once at
 * least. A host that cannot take its members' part, or must take more, is settled with what it can,
 * and the rest is divided anew among the others: water filling.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "core/sys.h"
#include "elastic/shards/placement.h"

struct host {
    uint32_t members;
    bool settled;
    uint64_t copies;
};

/* Is one more host settled? */
static bool settle(const struct shl_placement *placement, struct host *hosts, uint64_t *rest,
                   uint64_t *members)
{
    bool one_each = placement->copies <= placement->hosts;
    for (uint32_t h = 0; h < placement->hosts; h++) {
        if (hosts[h].settled)
            continue;
        uint64_t part = *rest * hosts[h].members; /* times *members */
        uint64_t edge = (uint64_t)placement->shards * *members;
        if (one_each ? part <= edge : part >= edge)
            continue;
        hosts[h].settled = true;
        hosts[h].copies = placement->shards;
        *rest -= placement->shards;
        *members -= hosts[h].members;
        return true;
    }
    return false;
}

enum shoal_status shl_placement_quota(struct shl_placement *placement)
{
    uint64_t rest = (uint64_t)placement->shards * placement->copies;
    uint64_t members = placement->member_count;
    struct host *hosts = shl_mem->alloc(placement->hosts * sizeof(*hosts));
    if (!hosts)
        return shl_fail_errno("cannot allocate the quotas of %u hosts", placement->hosts);
    for (uint32_t m = 0; m < placement->member_count; m++)
        hosts[placement->members[m].host].members++;
    while (members > 0 && settle(placement, hosts, &rest, &members))
        ;
    for (uint32_t m = 0; m < placement->member_count; m++) {
        struct shl_placed_member *member = &placement->members[m];
        const struct host *host = &hosts[member->host];
        uint64_t copies = host->settled ? host->copies : rest;
        uint64_t among = host->settled ? host->members : members;
        member->low = (uint32_t)(copies / among);
        member->high = member->low + (copies % among != 0);
    }
    shl_mem->free(hosts);
    return SHOAL_OK;
}
