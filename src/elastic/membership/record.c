/*
 * Wire form of the record; the byte table is in docs/membership.md.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "elastic/membership/record.h"

#include <string.h>

#define MAGIC 0x4d4c4853u /* "SHLM" */
#define VERSION 2u /* of all that is in it, the members' addresses (node/address.c) included */

void shl_record_copy(struct shl_record *to, const struct shl_record *from)
{
    to->phase = from->phase;
    to->mode = from->mode;
    to->epoch = from->epoch;
    to->view_epoch = from->view_epoch;
    to->writer = from->writer;
    to->proposal = from->proposal;
    to->attempts = from->attempts;
    shl_members_copy(&to->view, &from->view);
    shl_members_copy(&to->next, &from->next);
    to->decision = from->decision;
}

void shl_member_put(struct shl_bytes *out, const struct shl_member *member)
{
    shl_bytes_put_u64(out, member->id);
    shl_bytes_put_u8(out, member->leaving);
    shl_bytes_put_u8(out, member->address_bytes);
    shl_bytes_put(out, member->address, member->address_bytes);
}

bool shl_member_get(struct shl_bytes *in, struct shl_member *member)
{
    memset(member, 0, sizeof(*member));
    member->id = shl_bytes_get_u64(in);
    uint8_t leaving = shl_bytes_get_u8(in);
    member->address_bytes = shl_bytes_get_u8(in);
    if (in->failed || !member->id || leaving > 1 || member->address_bytes > SHL_MEMBER_ADDRESS_MAX)
        return false;
    member->leaving = leaving;
    shl_bytes_get(in, member->address, member->address_bytes);
    return !in->failed;
}

static void put_members(struct shl_bytes *out, const struct shl_members *members)
{
    shl_bytes_put_u32(out, members->count);
    for (uint32_t i = 0; i < members->count; i++)
        shl_member_put(out, &members->at[i]);
}

static bool ids_differ(const struct shl_members *members)
{
    for (uint32_t i = 1; i < members->count; i++)
        for (uint32_t j = 0; j < i; j++)
            if (members->at[i].id == members->at[j].id)
                return false;
    return true;
}

static bool get_members(struct shl_bytes *in, struct shl_members *members)
{
    members->count = 0;
    uint32_t count = shl_bytes_get_u32(in);
    if (in->failed || count > SHL_MEMBERS_MAX)
        return false;
    for (; members->count < count; members->count++)
        if (!shl_member_get(in, &members->at[members->count]))
            return false;
    return ids_differ(members);
}

static void put_decision(struct shl_bytes *out, const struct shl_decision *decision)
{
    shl_bytes_put_u64(out, decision->settled);
    shl_bytes_put_u64(out, decision->started);
    shl_bytes_put_u64(out, decision->redo_from);
    shl_bytes_put_u64(out, decision->retry);
    shl_bytes_put_u64(out, decision->step);
    shl_bytes_put_u64(out, decision->position);
    for (uint32_t i = 0; i < shl_decision_ops(decision); i++) {
        shl_bytes_put_u8(out, decision->outcomes[i]);
        shl_bytes_put_u16(out, decision->sources[i]);
    }
}

static bool get_decision(struct shl_bytes *in, struct shl_decision *decision, uint32_t members)
{
    memset(decision, 0, sizeof(*decision));
    decision->settled = shl_bytes_get_u64(in);
    decision->started = shl_bytes_get_u64(in);
    decision->redo_from = shl_bytes_get_u64(in);
    decision->retry = shl_bytes_get_u64(in);
    decision->step = shl_bytes_get_u64(in);
    decision->position = shl_bytes_get_u64(in);
    if (in->failed || decision->started < decision->settled ||
        decision->started - decision->settled > SHL_OPS_MAX)
        return false;
    for (uint32_t i = 0; i < shl_decision_ops(decision); i++) {
        decision->outcomes[i] = shl_bytes_get_u8(in);
        decision->sources[i] = shl_bytes_get_u16(in);
    }
    return !in->failed && shl_decision_valid(decision, members);
}

void shl_record_put(struct shl_bytes *out, const struct shl_record *record)
{
    shl_bytes_put_u32(out, MAGIC);
    shl_bytes_put_u16(out, VERSION);
    shl_bytes_put_u8(out, (uint8_t)record->phase);
    shl_bytes_put_u8(out, (uint8_t)record->mode);
    shl_bytes_put_u64(out, record->epoch);
    shl_bytes_put_u64(out, record->view_epoch);
    shl_bytes_put_u64(out, record->writer);
    shl_bytes_put_u64(out, record->proposal);
    shl_bytes_put_u32(out, record->attempts);
    put_members(out, &record->view);
    put_members(out, &record->next);
    put_decision(out, &record->decision);
}

/* What the phase promises about epochs and lists. */
static bool consistent(const struct shl_record *record)
{
    if (!record->view.count || !record->writer)
        return false;
    switch (record->phase) {
    case SHL_PHASE_FORMING:
        return !record->view_epoch && !record->next.count;
    case SHL_PHASE_COMMITTED:
        return record->epoch && record->view_epoch == record->epoch && !record->next.count;
    default:
        return record->view_epoch && record->view_epoch < record->epoch && record->next.count;
    }
}

bool shl_record_get(struct shl_bytes *in, struct shl_record *record)
{
    if (shl_bytes_get_u32(in) != MAGIC || shl_bytes_get_u16(in) != VERSION)
        return false;
    uint8_t phase = shl_bytes_get_u8(in), mode = shl_bytes_get_u8(in);
    if (in->failed || phase < SHL_PHASE_FORMING || phase > SHL_PHASE_PREPARED ||
        mode < SHL_STEP_RETAIN || mode > SHL_STEP_ABORT)
        return false;
    record->phase = phase;
    record->mode = mode;
    record->epoch = shl_bytes_get_u64(in);
    record->view_epoch = shl_bytes_get_u64(in);
    record->writer = shl_bytes_get_u64(in);
    record->proposal = shl_bytes_get_u64(in);
    record->attempts = shl_bytes_get_u32(in);
    return get_members(in, &record->view) && get_members(in, &record->next) &&
           get_decision(in, &record->decision, record->view.count) && consistent(record);
}
