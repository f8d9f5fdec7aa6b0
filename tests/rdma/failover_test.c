/*
 * Links whose rails fail: pairs break, ports go down and return, until no rail is left. What is
 * under way arrives once and whole, and nobody is lost.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "rdma/in_place_world.h"

#include "control/sock.h"

#include <stdio.h>

/* ---- in place ------------------------------------------------------------------------------ */

/* Pairs that fail cost others, and no byte. */
static void a_broken_direct_pair_is_replaced(void **state)
{
    struct world *world = world_open(&adapter, 2, 1);
    (void)state;
    hold_retries(world);
    world->ranks[0].t->register_bytes = world->ranks[1].t->register_bytes = 64 * KIB;
    for (uint32_t broken = 0; broken < 2; broken++) {
        struct parcel parcel = {.bytes = 8 * MIB};
        uint64_t sent = link_of(world, 0, 1)->direct.bytes_sent;
        parcel_post(world, broken, &parcel);
        while (link_of(world, 0, 1)->direct.bytes_sent == sent)
            world_poll(world);
        struct shl_verbs_link *link = link_of(world, broken, 1 - broken);
        break_pair(link->direct.lanes[first_rail(link)].qp);
        world_run(world, message_done, &parcel.message);
        parcel_check(world, &parcel);
        world_run(world, has_begun, &(struct life){world, broken + 1});
    }
    CHECK(world, world->ranks[0].lost_calls[1] == 0 && world->ranks[1].lost_calls[0] == 0);
    world_close(world);
}

static void rails_share_a_message(void **state)
{
    struct world *world = world_open(&adapter, 2, 1);
    struct shl_verbs_link *sender = link_of(world, 0, 1);
    (void)state;
    world->ranks[0].t->register_bytes = world->ranks[1].t->register_bytes = 64 * KIB;
    CHECK(world, sender->direct.rail_count == RAILS);
    /* From one piece to some hundred, with a rest or without. */
    const uint64_t sizes[] = {64 * KIB, 256 * KIB, 384 * KIB, 8 * MIB, 40 * MIB + 1};
    for (uint32_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        struct parcel parcel = {.bytes = sizes[i]};
        parcel_move(world, i, &parcel);
    }
    for (uint32_t rail = 0; rail < RAILS; rail++)
        CHECK(world, sender->direct.lanes[rail].requested > 8);
    world_close(world);
}

static void a_rail_that_fails_is_left(void **state)
{
    struct world *world = world_open(&adapter, 2, 1);
    struct shl_verbs_link *sender = link_of(world, 0, 1), *receiver = link_of(world, 1, 0);
    (void)state;
    hold_retries(world);
    world->ranks[0].t->register_bytes = world->ranks[1].t->register_bytes = 64 * KIB;
    struct parcel parcel = {.bytes = 8 * MIB};
    parcel_post(world, 0, &parcel);
    while (sender->direct.bytes_sent == 0)
        world_poll(world);
    break_pair(sender->direct.lanes[1].qp);
    world_run(world, message_done, &parcel.message);
    parcel_check(world, &parcel);
    world_run(world, has_begun, &(struct life){world, 1});
    for (uint32_t rail = 0; rail < RAILS; rail++) {
        CHECK(world, (sender->direct.lanes[rail].qp == NULL) == (rail == 1));
        CHECK(world, (receiver->direct.lanes[rail].qp == NULL) == (rail == 1));
    }
    parcel_move(world, 1, &parcel);
    CHECK(world, world->ranks[0].lost_calls[1] == 0 && world->ranks[1].lost_calls[0] == 0);
    world_close(world);
}

static bool rail_is_left(void *arg)
{
    struct world *world = arg;
    return !link_of(world, 0, 1)->direct.lanes[1].qp && !link_of(world, 1, 0)->direct.lanes[1].qp &&
           link_of(world, 0, 1)->direct.up && link_of(world, 1, 0)->direct.up;
}

static bool rail_is_back(void *arg)
{
    struct world *world = arg;
    return link_of(world, 0, 1)->direct.lanes[1].qp && link_of(world, 1, 0)->direct.lanes[1].qp &&
           link_of(world, 0, 1)->direct.up && link_of(world, 1, 0)->direct.up;
}

/* A port goes down while messages go, and comes back: all arrive, and the rail is used again. */
static void a_port_goes_down_and_returns(void **state)
{
    if (!ports_can_flap)
        return;
    (void)state;
    struct world *world = world_open(&adapter, 2, 1);
    world->ranks[0].t->register_bytes = world->ranks[1].t->register_bytes = 64 * KIB;
    struct parcel parcel = {.bytes = 16 * MIB};
    parcel_post(world, 0, &parcel);
    while (link_of(world, 0, 1)->direct.bytes_sent == 0)
        world_poll(world);
    assert_int_equal(system("ip link set v1 down"), 0);
    world_run(world, message_done, &parcel.message);
    parcel_check(world, &parcel);
    world_run(world, rail_is_left, world);
    parcel_move(world, 1, &parcel);
    assert_int_equal(system("ip link set v1 up"), 0);
    world_run(world, rail_is_back, world);
    parcel_move(world, 2, &parcel);
    CHECK(world, link_of(world, 0, 1)->direct.lanes[1].requested > 0);
    CHECK(world, world->ranks[0].lost_calls[1] == 0 && world->ranks[1].lost_calls[0] == 0);
    world_close(world);
}

/* ---- frames -------------------------------------------------------------------------------- */

#define STREAM 48

/* Messages of all kinds in both directions; every other one is posted by its receiver first. */
static void stream_post(struct world *world, uint64_t seq, struct message *messages)
{
    static const uint64_t sizes[] = {0, 8, 500, 8192, 8193, 70000, 300000, 2 * MIB};
    for (uint32_t i = 0; i < STREAM; i++) {
        const struct message_plan plan = {.from = i / 8 % 2,
                                          .to = 1 - i / 8 % 2,
                                          .seq = seq,
                                          .msg = i,
                                          .bytes = sizes[i % 8],
                                          .sinks = i % 3 == 0};
        message_make(world, &plan, &messages[i]);
        if (i % 2)
            message_post_recv(&messages[i]);
        message_post_send(&messages[i]);
        if (i % 2 == 0)
            message_post_recv(&messages[i]);
    }
}

static void stream_finish(struct world *world, struct message *messages)
{
    struct message_set set = {messages, STREAM};
    world_run(world, message_set_done, &set);
    for (uint32_t i = 0; i < STREAM; i++) {
        message_verify(&messages[i]);
        message_free(&messages[i]);
    }
}

struct moves {
    struct world *world;
    uint64_t life;
};

static bool has_moved(void *arg)
{
    const struct moves *moves = arg;
    const struct shl_verbs_link *a = link_of(moves->world, 0, 1), *b = link_of(moves->world, 1, 0);
    return a->move.life == moves->life && b->move.life == moves->life && a->rail == b->rail &&
           a->rail != SHL_VERBS_NOWHERE;
}

static struct world *open_world(void)
{
    struct world *world = world_open(&adapter, 2, 1);
    world->ranks[0].t->register_bytes = world->ranks[1].t->register_bytes = 64 * KIB;
    return world;
}

/* The pair for frames breaks at one end or the other, early or late in a stream of messages. */
static void frames_move_to_another_rail(void **state)
{
    static struct message messages[STREAM];
    (void)state;
    for (uint32_t polls = 0; polls < 6; polls++) {
        struct world *world = open_world();
        hold_retries(world);
        for (uint32_t round = 0; round < RAILS - 1; round++) {
            uint32_t end = (round + polls) % 2;
            stream_post(world, round + 1, messages);
            for (uint32_t i = 0; i < polls; i++)
                world_poll(world);
            break_pair(link_of(world, end, 1 - end)->qp);
            stream_finish(world, messages);
            world_run(world, has_moved, &(struct moves){world, round + 1});
            CHECK(world, link_of(world, 0, 1)->rail == round + 1);
        }
        CHECK(world, nobody_is_lost(world));
        world_close(world);
    }
}

static bool is_drained(void *link)
{
    return ((struct shl_verbs_link *)link)->posted_recvs == 0;
}

/* What is still to be said about the last move comes before what is said about the next. */
static void words_about_moves_keep_their_order(void **state)
{
    struct world *world = open_world();
    struct shl_verbs_link *link = link_of(world, 0, 1);
    (void)state;
    hold_retries(world);
    link->channel.broken = link->channel.met_due = true; /* it cannot be said now */
    break_pair(link->qp);
    world_run(world, is_drained, link);
    for (uint32_t i = 0; i < 2 * SHL_VERBS_LOOKS; i++)
        world_poll(world);
    CHECK(world, link->move.step == SHL_VERBS_LEAVING && !link->channel.left_due);
    link->channel.broken = link->channel.met_due = false;
    world_run(world, has_moved, &(struct moves){world, 1});
    CHECK(world, nobody_is_lost(world));
    world_close(world);
}

/* Break one pair for frames after the other. */
static void leave_all_rails(struct world *world)
{
    hold_retries(world);
    for (uint32_t rail = 0; rail < RAILS; rail++) {
        break_pair(link_of(world, rail % 2, 1 - rail % 2)->qp);
        world_run(world, has_moved, &(struct moves){world, rail + 1});
    }
    CHECK(world, link_of(world, 0, 1)->rail == SHL_VERBS_CHANNEL);
}

static bool all_rails_are_back(void *arg)
{
    struct world *world = arg;
    for (uint32_t rank = 0; rank < 2; rank++) {
        const struct shl_verbs_link *link = link_of(world, rank, 1 - rank);
        if (link->rail >= RAILS || !link->direct.up ||
            shl_verbs_direct_lanes(&link->direct) != RAILS * qps)
            return false;
    }
    return true;
}

/* With large messages under way that were to be written in place. After a while rails are tried
 * again, and used. */
static void the_channel_carries_when_no_rail_is_left(void **state)
{
    static struct message messages[STREAM];
    struct world *world = open_world();
    const struct shl_verbs_link *sender = link_of(world, 0, 1);
    (void)state;
    hold_retries(world);
    for (uint32_t round = 0; round < RAILS; round++) {
        struct parcel parcel = {.bytes = 8 * MIB};
        uint64_t sent = sender->direct.bytes_sent;
        parcel_post(world, 1000 + round, &parcel);
        stream_post(world, round + 2, messages);
        while (sender->direct.bytes_sent == sent && !message_done(&parcel.message))
            world_poll(world);
        break_pair(link_of(world, round % 2, 1 - round % 2)->qp);
        world_run(world, message_done, &parcel.message);
        parcel_check(world, &parcel);
        stream_finish(world, messages);
    }
    link_of(world, 0, 1)->move.retry_ns = link_of(world, 1, 0)->move.retry_ns = 0;
    world_run(world, all_rails_are_back, world);
    uint64_t in_place = sender->direct.bytes_sent;
    struct parcel parcel = {.bytes = 8 * MIB};
    parcel_move(world, 2000, &parcel);
    CHECK(world, sender->direct.bytes_sent == in_place + 8 * MIB);
    CHECK(world, nobody_is_lost(world));
    world_close(world);
}

/* What the receiver has given up changes nothing when it comes by the channel. */
static void a_cancelled_receiver_is_left_alone_by_the_channel(void **state)
{
    struct world *world = open_world();
    struct parcel parcel = {.bytes = 8 * MIB};
    (void)state;
    leave_all_rails(world);
    parcel_post(world, 0, &parcel);
    while (parcel.message.recv.moved_bytes == 0)
        world_poll(world);
    world_unwant(world, 1, MESSAGE_COMM, 1);
    world->ops->cancel(world->ranks[1].t, MESSAGE_COMM, 1);
    memset(parcel.message.recv.data, 0x77, parcel.bytes);
    struct message_plan next = {.from = 0, .to = 1, .seq = 2, .bytes = MIB};
    message_exchange(world, &next);
    for (uint64_t i = 0; i < parcel.bytes; i++)
        CHECK(world, ((uint8_t *)parcel.message.recv.data)[i] == 0x77);
    CHECK(world, nobody_is_lost(world));
    world->ops->cancel(world->ranks[0].t, MESSAGE_COMM, 1);
    message_free(&parcel.message);
    world_close(world);
}

static bool link_is_gone(void *link)
{
    return ((struct shl_verbs_link *)link)->state == SHL_VERBS_GONE;
}

/* What was reported sent is there after the sender has closed. */
static void a_peer_that_closes_by_the_channel_says_goodbye(void **state)
{
    struct world *world = open_world();
    struct message message;
    const struct message_plan plan = {.from = 0, .to = 1, .seq = 1, .bytes = 4000};
    (void)state;
    leave_all_rails(world);
    message_make(world, &plan, &message);
    message_post_send(&message);
    CHECK(world, message.send_done == 1);
    world->ops->close(world->ranks[0].t);
    world->ranks[0].t = NULL;
    world->ranks[0].crashed = true;
    world_run(world, link_is_gone, link_of(world, 1, 0));
    message_post_recv(&message);
    message_verify(&message);
    CHECK(world, world->ranks[1].lost_calls[0] == 0);
    message_free(&message);
    world_close(world);
}

/* ---- ports --------------------------------------------------------------------------------- */

static void set_ports(const char *what)
{
    for (int i = 0; i < RAILS; i++) {
        char command[64];
        snprintf(command, sizeof(command), "ip link set v%d %s", i, what);
        assert_int_equal(system(command), 0);
    }
}

static void the_first_port_goes_down_and_returns(void **state)
{
    if (!ports_can_flap)
        return;
    (void)state;
    struct world *world = open_world();
    struct parcel parcel = {.bytes = 16 * MIB};
    parcel_post(world, 0, &parcel);
    while (link_of(world, 0, 1)->direct.bytes_sent == 0)
        world_poll(world);
    assert_int_equal(system("ip link set v0 down"), 0);
    world_run(world, message_done, &parcel.message);
    parcel_check(world, &parcel);
    world_run(world, has_moved, &(struct moves){world, 1});
    assert_int_equal(system("ip link set v0 up"), 0);
    world_run(world, all_rails_are_back, world);
    parcel_move(world, 1, &parcel);
    CHECK(world, nobody_is_lost(world));
    world_close(world);
}

static bool channel_carries(void *arg)
{
    struct world *world = arg;
    return link_of(world, 0, 1)->rail == SHL_VERBS_CHANNEL &&
           link_of(world, 1, 0)->rail == SHL_VERBS_CHANNEL;
}

static void all_ports_go_down_and_return(void **state)
{
    static struct message messages[STREAM];
    if (!ports_can_flap)
        return;
    (void)state;
    struct world *world = open_world();
    stream_post(world, 1, messages);
    set_ports("down");
    stream_finish(world, messages);
    world_run(world, channel_carries, world);
    stream_post(world, 2, messages);
    stream_finish(world, messages);
    set_ports("up");
    world_run(world, all_rails_are_back, world);
    stream_post(world, 3, messages);
    stream_finish(world, messages);
    CHECK(world, nobody_is_lost(world));
    world_close(world);
}

/* ---- peers that do not keep to it ------------------------------------------------------------ */

static void say(const struct shl_verbs_link *link, const struct shl_verbs_record *record)
{
    assert_int_equal(shl_sock->send(link->fd, record, sizeof(*record), MSG_NOSIGNAL),
                     sizeof(*record));
}

static void illegal_records_lose_the_link(void **state)
{
    static const struct shl_verbs_record illegal[] = {
        {.type = 0},
        {.type = 'x'},
        {.type = SHL_VERBS_PAIR, .life = 1},
        {.type = SHL_VERBS_MET, .life = 1},
        {.type = SHL_VERBS_LEFT, .life = 0},
        {.type = SHL_VERBS_LEFT, .life = 2},
        {.type = SHL_VERBS_LEFT, .life = 1, .length = 1},
        {.type = SHL_VERBS_LEFT, .life = 1, .taken = 0x7fffffff, .rails = 1},
        {.type = SHL_VERBS_FRAME, .length = sizeof(struct shl_verbs_frame)},
        {.type = SHL_VERBS_WRITE},
    };
    (void)state;
    for (uint32_t i = 0; i < sizeof(illegal) / sizeof(illegal[0]); i++) {
        struct world *world = open_world();
        say(link_of(world, 0, 1), &illegal[i]);
        world_run(world, link_is_lost, link_of(world, 1, 0));
        CHECK(world, world->ranks[1].lost_calls[0] == 1);
        world_close(world);
    }
}

static void illegal_payload_by_the_channel_loses_the_link(void **state)
{
    static const struct shl_verbs_record illegal[] = {
        {.type = SHL_VERBS_FRAME, .length = SHL_VERBS_SLOT_BYTES + 1},
        {.type = SHL_VERBS_WRITE, .name = 3, .length = 1},
        {.type = SHL_VERBS_WRITE, .name = 0xffffffff},
        {.type = SHL_VERBS_TAKEN, .taken = 0x12345678},
    };
    (void)state;
    for (uint32_t i = 0; i < sizeof(illegal) / sizeof(illegal[0]); i++) {
        struct world *world = open_world();
        leave_all_rails(world);
        say(link_of(world, 0, 1), &illegal[i]);
        world_run(world, link_is_lost, link_of(world, 1, 0));
        CHECK(world, world->ranks[1].lost_calls[0] == 1);
        world_close(world);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(a_broken_direct_pair_is_replaced, set_up),
        cmocka_unit_test_setup(rails_share_a_message, set_up),
        cmocka_unit_test_setup(a_rail_that_fails_is_left, set_up),
        cmocka_unit_test_setup(a_port_goes_down_and_returns, set_up),
        cmocka_unit_test_setup(frames_move_to_another_rail, set_up),
        cmocka_unit_test_setup(words_about_moves_keep_their_order, set_up),
        cmocka_unit_test_setup(the_channel_carries_when_no_rail_is_left, set_up),
        cmocka_unit_test_setup(a_cancelled_receiver_is_left_alone_by_the_channel, set_up),
        cmocka_unit_test_setup(a_peer_that_closes_by_the_channel_says_goodbye, set_up),
        cmocka_unit_test_setup(the_first_port_goes_down_and_returns, set_up),
        cmocka_unit_test_setup(all_ports_go_down_and_return, set_up),
        cmocka_unit_test_setup(illegal_records_lose_the_link, set_up),
        cmocka_unit_test_setup(illegal_payload_by_the_channel_loses_the_link, set_up),
    };
    begin();
    return cmocka_run_group_tests_name("verbs_failover", tests, NULL, NULL);
}
