/*
 * Membership messages and the register's record: what a decoder accepts stays within its bounds and
 * is written back byte for byte.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "elastic/membership/message.h"
#include "fuzz/fuzz.h"

#include <string.h>

static struct shl_record record;
static struct shl_message message;
static uint8_t again[SHL_MESSAGE_BYTES_MAX];

static void check_members(const struct shl_members *members)
{
    FUZZ_REQUIRE(members->count <= SHL_MEMBERS_MAX);
    for (uint32_t i = 0; i < members->count; i++) {
        FUZZ_REQUIRE(members->at[i].id != 0);
        FUZZ_REQUIRE(members->at[i].address_bytes <= SHL_MEMBER_ADDRESS_MAX);
        FUZZ_REQUIRE(shl_members_find(members, members->at[i].id) == i);
    }
}

static void check_record(void)
{
    check_members(&record.view);
    check_members(&record.next);
    FUZZ_REQUIRE(record.view.count > 0);
    FUZZ_REQUIRE(shl_decision_ops(&record.decision) <= SHL_OPS_MAX);
    FUZZ_REQUIRE(shl_decision_valid(&record.decision, record.view.count));
    if (record.phase == SHL_PHASE_PREPARED)
        FUZZ_REQUIRE(record.next.count > 0 && record.view_epoch < record.epoch);
    else
        FUZZ_REQUIRE(record.next.count == 0);
}

static void check_message(void)
{
    FUZZ_REQUIRE(message.from != 0);
    if (message.kind == SHL_MESSAGE_RECORD)
        check_record();
    if (message.kind == SHL_MESSAGE_ACK)
        FUZZ_REQUIRE(shl_report_valid(&message.report));
    if (message.kind == SHL_MESSAGE_REACH)
        FUZZ_REQUIRE(message.row_count > 0 && message.row_count <= SHL_MEMBERS_MAX);
    if (message.kind == SHL_MESSAGE_JOIN)
        FUZZ_REQUIRE(message.joiner.id == message.from);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    if (shl_message_get(data, bytes, &record, &message)) {
        check_message();
        FUZZ_REQUIRE(shl_message_put(again, sizeof(again), &message) == bytes);
        FUZZ_REQUIRE(memcmp(again, data, bytes) == 0);
    }
    struct shl_bytes in = shl_bytes_reader(data, bytes);
    if (shl_record_get(&in, &record)) {
        struct shl_bytes out = shl_bytes_writer(again, sizeof(again));
        check_record();
        shl_record_put(&out, &record);
        FUZZ_REQUIRE(!out.failed && out.at == in.at && memcmp(again, data, in.at) == 0);
    }
    return 0;
}
