/*
 * Placing shards behind the C ABI: checks. Path: next elastic/shards/placement.h.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "elastic/shards/placement.h"

#include "api/context.h"

enum shoal_status shoal_place(const struct shoal_place_options *options, uint64_t *holders,
                              struct shoal_place_result *result)
{
    struct shoal_place_options given = {0};
    struct shoal_place_result counted = {0};
    if (!options || !holders)
        return shl_fail(SHOAL_ERR_INVALID, "options or the table of holders is NULL");
    SHL_TRY(shl_copy_options(&given, sizeof(given), options));
    if (given.shards == 0 || given.shards > SHOAL_PLACE_SHARDS_MAX ||
        given.replicas > SHOAL_PLACE_REPLICAS_MAX)
        return shl_fail(
            SHOAL_ERR_INVALID, "%u shards with %u replicas; there may be 1 to %u, with 0 to %d",
            given.shards, given.replicas, SHOAL_PLACE_SHARDS_MAX, SHOAL_PLACE_REPLICAS_MAX);
    if (given.member_count == 0 || given.member_count > SHL_PLACE_MEMBERS_MAX || !given.members)
        return shl_fail(SHOAL_ERR_INVALID, "%u members at %p; there may be 1 to %u",
                        given.member_count, (const void *)given.members, SHL_PLACE_MEMBERS_MAX);
    if (result) /* Refused before anything is changed. */
        SHL_TRY(shl_give_struct(result, &counted, sizeof(counted)));
    SHL_TRY(shl_place(&given, holders, &counted));
    return result ? shl_give_struct(result, &counted, sizeof(counted)) : SHOAL_OK;
}
