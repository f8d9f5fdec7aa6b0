/*
 * The trace: what is posted and what comes of it is on record, in order, and the ring wraps.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "conformance/message.h"
#include "conformance/sim_world.h"
#include "transport/hook/hook.h"
#include "transport/sim/sim_transport.h"

static enum shoal_status prepare(struct world *world)
{
    const struct shl_transport_ops *ops;
    SHL_TRY(shl_hook_trace_wrap(&shl_transport_sim, &ops));
    SHL_TRY(sim_world_prepare(world));
    shl_sim_clock_install(world->state);
    world->ops = ops;
    return SHOAL_OK;
}

static void cleanup(struct world *world)
{
    shl_sim_clock_remove();
    sim_world_cleanup(world);
}

static const struct conformance_adapter adapter = {
    .name = "trace over sim",
    .prepare = prepare,
    .idle = sim_world_idle,
    .cleanup = cleanup,
    .crash = sim_world_crash,
};

/* Number of events of a kind about a message, and of the first the record. */
static unsigned count_events(const struct shl_transport *t, enum shl_hook_event event, uint64_t seq,
                             struct shl_hook_record *first)
{
    unsigned count = 0;
    struct shl_hook_record at;
    for (uint64_t i = 0; i < shl_hook_trace_count(t); i++) {
        if (!shl_hook_trace_at(t, i, &at) || at.event != event || at.tag.seq != seq)
            continue;
        if (count++ == 0 && first != NULL)
            *first = at;
    }
    return count;
}

static void transfers_are_on_record(void **state)
{
    (void)state;
    struct world *world = world_open(&adapter, 2, 3);
    for (uint64_t seq = 1; seq <= 20; seq++) {
        struct message_plan plan = {.from = 0, .to = 1, .seq = seq, .msg = 4, .bytes = 700 * seq};
        message_exchange(world, &plan);
        struct shl_hook_record posted, done;
        assert_int_equal(count_events(world->ranks[0].t, SHL_HOOK_SEND, seq, &posted), 1);
        assert_int_equal(count_events(world->ranks[0].t, SHL_HOOK_SENT, seq, &done), 1);
        assert_int_equal(posted.peer, 1);
        assert_int_equal(posted.bytes, 700 * seq);
        assert_int_equal(posted.tag.msg, 4);
        assert_int_equal(done.bytes, 700 * seq);
        assert_int_equal(done.status, SHOAL_OK);
        assert_int_equal(count_events(world->ranks[1].t, SHL_HOOK_RECV, seq, &posted), 1);
        assert_int_equal(count_events(world->ranks[1].t, SHL_HOOK_RECEIVED, seq, &done), 1);
        assert_int_equal(done.peer, 0);
        assert_true(done.time_ns >= posted.time_ns);
        assert_int_equal(count_events(world->ranks[1].t, SHL_HOOK_SENT, seq, NULL), 0);
    }
    world_close(world);
}

static void failures_are_on_record(void **state)
{
    (void)state;
    struct world *world = world_open(&adapter, 3, 3);
    struct message message;
    struct message_plan plan = {.from = 0, .to = 1, .seq = 1, .bytes = 50};
    message_make(world, &plan, &message);
    message_post_send(&message);
    world_settle(world);
    struct shl_transport *t = world->ranks[1].t;
    assert_true(count_events(t, SHL_HOOK_SEEN, 1, NULL) >= 1);
    world->ops->cancel(t, MESSAGE_COMM, 1);
    assert_int_equal(count_events(t, SHL_HOOK_CANCEL, 1, NULL), 1);

    struct shl_xfer bad = message.send;
    bad.peer = 99;
    assert_true(world->ops->send(t, &bad) < 0);
    struct shl_hook_record record;
    assert_int_equal(count_events(t, SHL_HOOK_SEND, 1, &record), 1);
    assert_true(record.status < 0);
    assert_int_equal(record.peer, 99);

    world->ranks[2].crashed = true;
    adapter.crash(world, 2);
    world_settle(world);
    assert_int_equal(count_events(t, SHL_HOOK_LOST, 0, &record), 1);
    assert_int_equal(record.peer, 2);
    assert_int_equal(record.status, SHOAL_ERR_PEER);
    world->ops->drop_peer(t, 2);
    assert_int_equal(count_events(t, SHL_HOOK_DROP, 0, &record), 1);
    world_close(world);
    message_free(&message);
}

static void ring_keeps_the_last(void **state)
{
    (void)state;
    struct world *world = world_open(&adapter, 2, 3);
    struct shl_transport *t = world->ranks[0].t;
    struct shl_hook_record record;
    assert_int_equal(shl_hook_trace_count(t), 0);
    assert_false(shl_hook_trace_at(t, 0, &record));
    for (uint64_t seq = 1; seq <= SHL_HOOK_TRACE_RECORDS + 10; seq++)
        world->ops->cancel(t, MESSAGE_COMM, seq);
    assert_int_equal(shl_hook_trace_count(t), SHL_HOOK_TRACE_RECORDS + 10);
    assert_false(shl_hook_trace_at(t, 9, &record));
    assert_true(shl_hook_trace_at(t, 10, &record));
    assert_int_equal(record.tag.seq, 11);
    assert_true(shl_hook_trace_at(t, SHL_HOOK_TRACE_RECORDS + 9, &record));
    assert_int_equal(record.tag.seq, SHL_HOOK_TRACE_RECORDS + 10);
    assert_false(shl_hook_trace_at(t, SHL_HOOK_TRACE_RECORDS + 10, &record));
    world_close(world);
}

struct lines {
    unsigned count;
    char last[200];
};

static void keep_line(void *arg, const char *text)
{
    struct lines *lines = arg;
    lines->count++;
    snprintf(lines->last, sizeof(lines->last), "%s", text);
}

static void print_is_text(void **state)
{
    (void)state;
    struct world *world = world_open(&adapter, 2, 3);
    struct message_plan plan = {.from = 1, .to = 0, .seq = 77, .msg = 5, .bytes = 123};
    message_exchange(world, &plan);
    struct lines lines = {0};
    shl_hook_trace_print(world->ranks[0].t, keep_line, &lines);
    assert_int_equal(lines.count, shl_hook_trace_count(world->ranks[0].t));
    assert_true(lines.count >= 2);
    assert_non_null(strstr(lines.last, "received"));
    assert_non_null(strstr(lines.last, "seq 77"));
    assert_non_null(strstr(lines.last, "123 bytes"));
    assert_null(strchr(lines.last, '\n'));
    world_close(world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(transfers_are_on_record),
        cmocka_unit_test(failures_are_on_record),
        cmocka_unit_test(ring_keeps_the_last),
        cmocka_unit_test(print_is_text),
    };
    return cmocka_run_group_tests_name("hook_trace", tests, NULL, NULL);
}
