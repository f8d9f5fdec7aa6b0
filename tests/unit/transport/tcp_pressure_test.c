/*
 * A receiver that posts late, or not in the order of sending: what is kept for it is bounded, the
 * senders wait, and nothing waits for ever.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "support/fault.h"
#include "support/test.h"
#include "unit/transport/tcp_world.h"

static const char *const settings[] = {"SHOAL_TCP_FLOWS=2", NULL};
static const struct tcp_setup setup = {.settings = settings};

/* With the link up: what follows needs no time but that of the kernel. */
static struct world *open_world(void)
{
    struct world *world = tcp_world_open(&setup, 2, 1);
    struct message_plan plan = {.from = 0, .to = 1, .seq = 1000, .bytes = 8};
    message_exchange(world, &plan);
    return world;
}

static struct message *make_messages(struct world *world, uint32_t count, uint64_t bytes)
{
    struct message *messages = calloc(count, sizeof(*messages));
    assert_non_null(messages);
    for (uint32_t i = 0; i < count; i++) {
        struct message_plan plan = {
            .from = 0, .to = 1, .seq = 1, .msg = i, .bytes = bytes, .sinks = i % 3 == 0};
        message_make(world, &plan, &messages[i]);
    }
    return messages;
}

static void verify_and_free(struct message *messages, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        message_verify(&messages[i]);
        message_free(&messages[i]);
    }
    free(messages);
}

static uint32_t sent(const struct message *messages, uint32_t count)
{
    uint32_t done = 0;
    for (uint32_t i = 0; i < count; i++)
        done += messages[i].send_done;
    return done;
}

/* Nothing is posted at the receiver: exactly as much is sent as it has room for. */
static void unposted(uint64_t bytes, uint32_t count, uint32_t room)
{
    struct world *world = open_world();
    struct message *messages = make_messages(world, count, bytes);
    struct message_set set = {messages, count};
    for (uint32_t i = 0; i < count; i++)
        message_post_send(&messages[i]);
    world_settle(world);
    CHECK(world, sent(messages, count) == room);
    CHECK(world, tcp_world_link(world, 1, 0)->kept_count == room);
    /* Last sent, first wanted: these never had credit, so they must be asked for. */
    for (uint32_t i = count; i > 0; i--) {
        message_post_recv(&messages[i - 1]);
        world_run(world, message_done, &messages[i - 1]);
    }
    CHECK(world, message_set_done(&set));
    CHECK(world, tcp_world_link(world, 1, 0)->kept_count == 0);
    CHECK(world, tcp_world_link(world, 0, 1)->starved == 0);
    verify_and_free(messages, count);
    world_close(world);
}

static void small_messages_wait_for_room(void **unused)
{
    (void)unused;
    unposted(0, 2000, SHL_TCP_KEPT_BLOCKS);
    unposted(8, 2000, SHL_TCP_KEPT_BLOCKS);
    unposted(SHL_TCP_KEPT_BLOCK_BYTES + 1, 400, SHL_TCP_KEPT_BLOCKS / 2);
    unposted(SHL_TCP_EAGER_BYTES, 60, 16);
}

static void medium_messages_wait_for_room(void **unused)
{
    (void)unused;
    unposted(SHL_TCP_EAGER_BYTES + 1, 60, SHL_TCP_KEPT_SLOTS);
    unposted(SHL_TCP_PUSH_BYTES, 60, SHL_TCP_KEPT_SLOTS);
}

/* The credit that the receiver gives back lets waiting messages go without being asked for. */
static void room_comes_back(void **unused)
{
    struct world *world = open_world();
    const uint32_t count = 3000;
    struct message *messages = make_messages(world, count, 100);
    struct message_set set = {messages, count};
    (void)unused;
    for (uint32_t i = 0; i < count; i++)
        message_post_send(&messages[i]);
    world_settle(world);
    for (uint32_t i = 0; i < count; i++)
        message_post_recv(&messages[i]);
    world_run(world, message_set_done, &set);
    verify_and_free(messages, count);
    world_close(world);
}

/* More receives posted at once than the sender can keep announcements of, or the window frames. */
static void announcements_beyond_the_table(void **unused)
{
    struct world *world = open_world();
    const uint32_t count = 3 * SHL_TCP_NOTICES_MAX;
    struct message *messages = make_messages(world, count, SHL_TCP_PUSH_BYTES + 16);
    struct message_set set = {messages, count};
    (void)unused;
    for (uint32_t i = 0; i < count; i++)
        message_post_recv(&messages[i]);
    world_settle(world);
    CHECK(world, tcp_world_link(world, 0, 1)->notice_count == SHL_TCP_NOTICES_MAX);
    CHECK(world, tcp_world_link(world, 0, 1)->announces_lost);
    for (uint32_t i = count; i > 0; i--)
        message_post_send(&messages[i - 1]);
    world_run(world, message_set_done, &set);
    verify_and_free(messages, count);
    world_close(world);
}

/* More sends that ask than the receiver can keep questions of. */
static void questions_beyond_the_table(void **unused)
{
    struct world *world = open_world();
    const uint32_t count = 3 * SHL_TCP_NOTICES_MAX;
    (void)unused;
    for (int large = 0; large < 2; large++) {
        struct message *messages = make_messages(world, count, large ? 70000 : 40);
        struct message_set set = {messages, count};
        for (uint32_t i = 0; i < count; i++) {
            messages[i].send.tag.seq = messages[i].recv.tag.seq = 1 + (uint64_t)large;
            message_post_send(&messages[i]);
        }
        world_settle(world);
        for (uint32_t i = count; i > 0; i--)
            message_post_recv(&messages[i - 1]);
        world_run(world, message_set_done, &set);
        for (uint32_t i = 0; i < count; i++)
            message_free(&messages[i]);
        free(messages);
    }
    CHECK(world, tcp_world_link(world, 1, 0)->asks_lost);
    world_close(world);
}

/* Entries that outlived their operation make room for new ones. */
static void stale_entries_are_purged(void **unused)
{
    struct world *world = open_world();
    const uint32_t count = SHL_TCP_NOTICES_MAX;
    struct message *messages = make_messages(world, count, 100000);
    (void)unused;
    for (uint32_t i = 0; i < count; i++)
        message_post_recv(&messages[i]);
    world_settle(world);
    CHECK(world, tcp_world_link(world, 0, 1)->notice_count == count);
    world_unwant(world, 0, MESSAGE_COMM, 1);
    struct message_plan plan = {.from = 0, .to = 1, .seq = 2, .bytes = 100000};
    struct message fresh;
    message_make(world, &plan, &fresh);
    message_post_recv(&fresh);
    world_settle(world);
    CHECK(world, tcp_world_link(world, 0, 1)->notice_count == 1);
    CHECK(world, !tcp_world_link(world, 0, 1)->announces_lost);
    message_post_send(&fresh);
    world_run(world, message_done, &fresh);
    message_verify(&fresh);
    message_free(&fresh);
    world->ops->cancel(world->ranks[1].t, MESSAGE_COMM, 1);
    world_close(world);
    for (uint32_t i = 0; i < count; i++)
        message_free(&messages[i]);
    free(messages);
}

/* A receiver that does not poll at all: the sender's memory is bounded, too, and all its calls
 * return. */
static void receiver_that_does_not_poll(void **unused)
{
    const uint32_t count = 500;
    (void)unused;
    shl_fault_install();
    struct world *world = open_world();
    struct message *messages = make_messages(world, count, SHL_TCP_EAGER_BYTES);
    struct message_set set = {messages, count};
    shl_fault_arm(SHL_FAULT_MEM, 0);
    for (uint32_t i = 0; i < count; i++)
        message_post_send(&messages[i]);
    for (int polls = 0; polls < 1000; polls++)
        world->ops->poll(world->ranks[0].t);
    assert_int_equal(shl_fault_calls(), 0);
    CHECK(world, sent(messages, count) < 100);
    for (uint32_t i = 0; i < count; i++)
        message_post_recv(&messages[i]);
    world_run(world, message_set_done, &set);
    assert_int_equal(shl_fault_calls(), 0);
    verify_and_free(messages, count);
    world_close(world);
    shl_fault_remove();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(small_messages_wait_for_room),
        cmocka_unit_test(medium_messages_wait_for_room),
        cmocka_unit_test(room_comes_back),
        cmocka_unit_test(announcements_beyond_the_table),
        cmocka_unit_test(questions_beyond_the_table),
        cmocka_unit_test(stale_entries_are_purged),
        cmocka_unit_test(receiver_that_does_not_poll),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
