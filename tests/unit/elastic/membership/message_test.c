/*
 * Messages and records on the wire: round trips, every truncation, and values out of bounds.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "elastic/membership/message.h"
#include "support/test.h"

static struct shl_record record, decoded;
static struct shl_message message, received;
static uint8_t wire[SHL_MESSAGE_BYTES_MAX], again[SHL_MESSAGE_BYTES_MAX];

static void fill_record(void)
{
    memset(&record, 0, sizeof(record));
    record.phase = SHL_PHASE_PREPARED;
    record.mode = SHL_STEP_ABORT;
    record.epoch = 12;
    record.view_epoch = 9;
    record.writer = 101;
    record.proposal = 4;
    record.attempts = 3;
    for (uint64_t id = 101; id < 104; id++) {
        struct shl_member member = {.id = id, .leaving = id == 103, .address_bytes = 3};
        memcpy(member.address, "abc", 3);
        assert_true(shl_members_add(&record.view, &member));
        assert_false(shl_members_add(&record.view, &member));
    }
    shl_members_copy(&record.next, &record.view);
    record.next.count = 2;
    record.decision = (struct shl_decision){.settled = 5, .started = 7, .step = 2, .position = 8};
    record.decision.outcomes[0] = SHL_OUTCOME_FORWARD;
    record.decision.sources[0] = 2;
    record.decision.outcomes[1] = SHL_OUTCOME_REDO;
}

static size_t encode(void)
{
    size_t bytes = shl_message_put(wire, sizeof(wire), &message);
    assert_true(bytes > 0);
    return bytes;
}

static bool decode(size_t bytes)
{
    return shl_message_get(wire, bytes, &decoded, &received);
}

static void round_trip(void)
{
    size_t bytes = encode();
    assert_true(decode(bytes));
    assert_int_equal(shl_message_put(again, sizeof(again), &received), bytes);
    assert_memory_equal(again, wire, bytes);
    for (size_t cut = 0; cut < bytes; cut++)
        assert_false(decode(cut));
    assert_false(decode(bytes + 1));
    assert_int_equal(shl_message_put(again, bytes - 1, &message), 0);
}

static void begin(enum shl_message_kind kind, uint64_t epoch, uint64_t version)
{
    message = (struct shl_message){
        .kind = kind, .from = 101, .incarnation = 77, .epoch = epoch, .version = version};
}

static void records(void **state)
{
    (void)state;
    fill_record();
    begin(SHL_MESSAGE_RECORD, 0, 6);
    message.record = &record;
    round_trip();
    assert_true(decode(encode()));
    assert_int_equal(decoded.epoch, 12);
    assert_int_equal(decoded.view.count, 3);
    assert_true(decoded.view.at[2].leaving);
    assert_memory_equal(decoded.view.at[1].address, "abc", 3);
    assert_int_equal(decoded.decision.sources[0], 2);
}

static void others(void **state)
{
    (void)state;
    begin(SHL_MESSAGE_ACK, 12, 0);
    message.report = (struct shl_report){.settled = 3, .started = 5, .step = 1, .position = 9};
    message.report.ops[1] = SHL_OP_HELD | SHL_OP_COPY;
    round_trip();
    message.report.gives_up = true;
    round_trip();
    assert_true(received.report.gives_up);
    begin(SHL_MESSAGE_REACH, 9, 17);
    message.row_count = 70;
    shl_set_put(&message.row, 0);
    shl_set_put(&message.row, 69);
    round_trip();
    assert_true(decode(encode()) && shl_set_has(&received.row, 69));
    begin(SHL_MESSAGE_JOIN, 0, 0);
    message.ready = true;
    message.joiner = (struct shl_member){.id = 101, .address_bytes = SHL_MEMBER_ADDRESS_MAX};
    round_trip();
    begin(SHL_MESSAGE_LEAVE, 9, 0);
    round_trip();
}

static void refused(size_t at, uint8_t value)
{
    size_t bytes = encode();
    wire[at] = value;
    assert_false(decode(bytes));
}

static void bad_headers(void **state)
{
    (void)state;
    begin(SHL_MESSAGE_LEAVE, 9, 0);
    refused(0, 1); /* version */
    refused(0, 3);
    refused(1, 0);
    refused(1, 6); /* kind */
    message.from = 0;
    assert_false(decode(encode()));
    begin(SHL_MESSAGE_LEAVE, 0, 0);
    assert_false(decode(encode()));
    begin(SHL_MESSAGE_LEAVE, 9, 1);
    assert_false(decode(encode()));
    begin(SHL_MESSAGE_JOIN, 0, 0);
    message.joiner.id = 102; /* not its sender */
    assert_false(decode(encode()));
    message.joiner = (struct shl_member){.id = 101, .leaving = true};
    assert_false(decode(encode()));
}

static bool record_accepted(void)
{
    struct shl_bytes out = shl_bytes_writer(wire, sizeof(wire));
    shl_record_put(&out, &record);
    struct shl_bytes in = shl_bytes_reader(wire, out.at);
    return shl_record_get(&in, &decoded) && !shl_bytes_left(&in);
}

/* Members of another version could not read its addresses. */
static void records_of_another_version(void **state)
{
    (void)state;
    fill_record();
    assert_true(record_accepted());
    size_t at = sizeof(uint32_t); /* after the magic */
    assert_int_equal(wire[at], 2);
    for (uint8_t version = 0; version < 5; version++) {
        struct shl_bytes in = shl_bytes_reader(wire, sizeof(wire));
        wire[at] = version;
        assert_int_equal(shl_record_get(&in, &decoded), version == 2);
    }
}

static void records_that_contradict_themselves(void **state)
{
    (void)state;
    fill_record();
    assert_true(record_accepted());
    record.view_epoch = 12; /* a proposal is above the view */
    assert_false(record_accepted());
    fill_record();
    record.phase = SHL_PHASE_COMMITTED;
    assert_false(record_accepted());
    fill_record();
    record.next.count = 0;
    assert_false(record_accepted());
    fill_record();
    record.view.at[2].id = 101;
    assert_false(record_accepted());
    fill_record();
    record.view.at[2].id = 0;
    assert_false(record_accepted());
    fill_record();
    record.decision.sources[0] = 3;
    assert_false(record_accepted());
    fill_record();
    record.decision.outcomes[1] = SHL_OUTCOME_DISPUTED + 1;
    assert_false(record_accepted());
    fill_record();
    record.mode = 3;
    assert_false(record_accepted());
    fill_record();
    record.writer = 0;
    assert_false(record_accepted());
    fill_record();
    record.decision.redo_from = 8;
    assert_false(record_accepted());
}

static void the_largest_record_fits(void **state)
{
    (void)state;
    fill_record();
    record.view.count = record.next.count = 0;
    struct shl_member member = {.address_bytes = SHL_MEMBER_ADDRESS_MAX};
    for (member.id = 1; member.id <= SHL_MEMBERS_MAX; member.id++) {
        assert_true(shl_members_add(&record.view, &member));
        assert_true(shl_members_add(&record.next, &member));
    }
    assert_false(shl_members_add(&record.view, &member));
    record.decision = (struct shl_decision){.started = SHL_OPS_MAX};
    memset(record.decision.outcomes, SHL_OUTCOME_REDO, SHL_OPS_MAX);
    begin(SHL_MESSAGE_RECORD, 0, 6);
    message.record = &record;
    assert_true(decode(encode()));
    assert_int_equal(decoded.next.count, SHL_MEMBERS_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(records),
        cmocka_unit_test(others),
        cmocka_unit_test(bad_headers),
        cmocka_unit_test(records_of_another_version),
        cmocka_unit_test(records_that_contradict_themselves),
        cmocka_unit_test(the_largest_record_fits),
    };
    return cmocka_run_group_tests_name("message", tests, NULL, NULL);
}
