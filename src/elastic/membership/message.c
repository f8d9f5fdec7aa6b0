/*
 * Wire form of membership messages; the byte table is in docs/membership.md.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "elastic/membership/message.h"

#include <string.h>

static void put_report(struct shl_bytes *out, const struct shl_report *report)
{
    shl_bytes_put_u64(out, report->settled);
    shl_bytes_put_u64(out, report->started);
    shl_bytes_put_u64(out, report->step);
    shl_bytes_put_u64(out, report->step_last);
    shl_bytes_put_u64(out, report->step_first);
    shl_bytes_put_u64(out, report->position);
    shl_bytes_put_u8(out, report->gives_up);
    shl_bytes_put(out, report->ops, shl_report_ops(report));
}

static bool get_report(struct shl_bytes *in, struct shl_report *report)
{
    report->settled = shl_bytes_get_u64(in);
    report->started = shl_bytes_get_u64(in);
    report->step = shl_bytes_get_u64(in);
    report->step_last = shl_bytes_get_u64(in);
    report->step_first = shl_bytes_get_u64(in);
    report->position = shl_bytes_get_u64(in);
    uint8_t gives_up = shl_bytes_get_u8(in);
    report->gives_up = gives_up == 1;
    if (in->failed || gives_up > 1 || report->started < report->settled ||
        report->started - report->settled > SHL_OPS_MAX)
        return false;
    shl_bytes_get(in, report->ops, shl_report_ops(report));
    return !in->failed && shl_report_valid(report);
}

static uint32_t row_bytes(uint32_t members)
{
    return (members + 7) / 8;
}

static void put_row(struct shl_bytes *out, const struct shl_set *row, uint32_t count)
{
    shl_bytes_put_u32(out, count);
    for (uint32_t i = 0; i < row_bytes(count); i++)
        shl_bytes_put_u8(out, (uint8_t)(row->words[i / 8] >> (8 * (i % 8))));
}

static bool get_row(struct shl_bytes *in, struct shl_set *row, uint32_t *count)
{
    *count = shl_bytes_get_u32(in);
    if (in->failed || !*count || *count > SHL_MEMBERS_MAX)
        return false;
    for (uint32_t i = 0; i < row_bytes(*count); i++)
        row->words[i / 8] |= (uint64_t)shl_bytes_get_u8(in) << (8 * (i % 8));
    for (uint32_t i = *count; i < 8 * row_bytes(*count); i++)
        if (shl_set_has(row, i))
            return false;
    return !in->failed;
}

size_t shl_message_put(void *wire, size_t capacity, const struct shl_message *message)
{
    struct shl_bytes out = shl_bytes_writer(wire, capacity);
    shl_bytes_put_u8(&out, SHL_MESSAGE_VERSION);
    shl_bytes_put_u8(&out, (uint8_t)message->kind);
    shl_bytes_put_u64(&out, message->from);
    shl_bytes_put_u64(&out, message->incarnation);
    shl_bytes_put_u64(&out, message->epoch);
    shl_bytes_put_u64(&out, message->version);
    if (message->kind == SHL_MESSAGE_RECORD)
        shl_record_put(&out, message->record);
    if (message->kind == SHL_MESSAGE_ACK)
        put_report(&out, &message->report);
    if (message->kind == SHL_MESSAGE_REACH)
        put_row(&out, &message->row, message->row_count);
    if (message->kind == SHL_MESSAGE_JOIN) {
        shl_bytes_put_u8(&out, message->ready);
        shl_member_put(&out, &message->joiner);
    }
    return out.failed ? 0 : out.at;
}

static bool get_join(struct shl_bytes *in, struct shl_message *message)
{
    uint8_t ready = shl_bytes_get_u8(in);
    message->ready = ready == 1;
    return ready <= 1 && shl_member_get(in, &message->joiner) &&
           message->joiner.id == message->from && !message->joiner.leaving;
}

static bool get_body(struct shl_bytes *in, struct shl_record *record, struct shl_message *message)
{
    switch (message->kind) {
    case SHL_MESSAGE_RECORD:
        message->record = record;
        return !message->epoch && message->version && shl_record_get(in, record);
    case SHL_MESSAGE_ACK:
        return message->epoch && !message->version && get_report(in, &message->report);
    case SHL_MESSAGE_REACH:
        return message->epoch && message->version &&
               get_row(in, &message->row, &message->row_count);
    case SHL_MESSAGE_JOIN:
        return !message->epoch && !message->version && get_join(in, message);
    case SHL_MESSAGE_LEAVE:
        return message->epoch && !message->version;
    }
    return false;
}

bool shl_message_get(const void *wire, size_t bytes, struct shl_record *record,
                     struct shl_message *message)
{
    struct shl_bytes in = shl_bytes_reader(wire, bytes);
    memset(message, 0, sizeof(*message));
    if (shl_bytes_get_u8(&in) != SHL_MESSAGE_VERSION)
        return false;
    message->kind = (enum shl_message_kind)shl_bytes_get_u8(&in);
    message->from = shl_bytes_get_u64(&in);
    message->incarnation = shl_bytes_get_u64(&in);
    message->epoch = shl_bytes_get_u64(&in);
    message->version = shl_bytes_get_u64(&in);
    return !in.failed && message->from && get_body(&in, record, message) && !shl_bytes_left(&in);
}
