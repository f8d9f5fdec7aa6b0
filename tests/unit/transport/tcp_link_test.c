/*
 * The life of links: opened by either side, closed in good order, lost within bounded time, and
 * what their state says of themselves.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "support/fault.h"
#include "support/test.h"
#include "unit/transport/tcp_world.h"

#include <poll.h>
#include <sys/socket.h>

#define MIB ((uint64_t)1 << 20)

static const char *const one_flow[] = {"SHOAL_TCP_FLOWS=1", "SHOAL_DEAD_AFTER_MS=400",
                                       "SHOAL_INIT_TIMEOUT_MS=300", NULL};
static const char *const four_flows[] = {"SHOAL_TCP_FLOWS=4", "SHOAL_TCP_CHUNK_BYTES=65536",
                                         "SHOAL_DEAD_AFTER_MS=400", NULL};
static const struct tcp_setup single = {.settings = one_flow};
static const struct tcp_setup several = {.settings = four_flows};

/* ---- opening ------------------------------------------------------------------------------ */

struct sight {
    struct world *world;
    uint32_t at, from;
};

static bool was_seen(void *arg)
{
    const struct sight *sight = arg;
    return sight->world->ranks[sight->at].seen_count > 0;
}

/* A rank that never used the link is told what a peer sends it, whichever of the two dials. */
static void either_side_opens(void **unused)
{
    (void)unused;
    for (uint32_t from = 0; from < 2; from++) {
        struct world *world = tcp_world_open(&single, 2, 1);
        struct message_plan plan = {.from = from, .to = 1 - from, .seq = 1, .bytes = 8};
        struct message message;
        struct sight sight = {world, 1 - from, from};
        message_make(world, &plan, &message);
        message_post_send(&message);
        world_run(world, was_seen, &sight);
        CHECK(world, world_saw(world, 1 - from, from, &message.send.tag, &message.send.signature));
        message_post_recv(&message);
        world_run(world, message_done, &message);
        message_verify(&message);
        message_free(&message);
        world_close(world);
    }
}

static void nothing_is_dialled_before_use(void **unused)
{
    struct world *world = tcp_world_open(&several, 4, 1);
    struct message_plan plan = {.from = 3, .to = 1, .seq = 1, .bytes = 5 * MIB};
    (void)unused;
    world_settle(world);
    assert_int_equal(tcp_net_connections(tcp_world_net(world)), 0);
    message_exchange(world, &plan);
    assert_in_range(tcp_net_connections(tcp_world_net(world)), 1, 5); /* four flows, one knock */
    assert_null(tcp_world_link(world, 0, 1));
    world_close(world);
}

/* Where all peers share memory no link is ever made, and this is polled at each turn of a wait. */
static void without_links_polling_costs_no_call(void **unused)
{
    (void)unused;
    shl_fault_install();
    struct world *world = tcp_world_open(&several, 3, 1);
    world_settle(world);
    shl_fault_arm(SHL_FAULT_FD | SHL_FAULT_SOCK, 0);
    for (int i = 0; i < 100; i++)
        for (uint32_t rank = 0; rank < 3; rank++)
            world->ops->poll(world->ranks[rank].t);
    assert_int_equal(shl_fault_calls(), 0);
    world_close(world);
    shl_fault_remove();
}

/* All flows of a link carry a large message. */
static void flows_share_the_work(void **unused)
{
    struct world *world = tcp_world_open(&several, 2, 1);
    struct message_plan plan = {.from = 0, .to = 1, .seq = 1, .bytes = 8 * MIB};
    (void)unused;
    message_exchange(world, &plan);
    assert_int_equal(tcp_world_link(world, 0, 1)->flows_up, 4);
    assert_true(tcp_world_link(world, 0, 1)->frames_sent >= 8 * MIB / 65536);
    world_close(world);
}

static void bad_arguments(void **unused)
{
    struct world *world = tcp_world_open(&single, 2, 1);
    struct message message;
    struct message_plan plan = {.from = 0, .to = 1, .seq = 1, .bytes = 8};
    (void)unused;
    message_make(world, &plan, &message);
    message.send.peer = 0;
    ASSERT_STATUS(SHOAL_ERR_INVALID, world->ops->send(world->ranks[0].t, &message.send));
    message.send.peer = 2;
    ASSERT_STATUS(SHOAL_ERR_INVALID, world->ops->send(world->ranks[0].t, &message.send));
    ASSERT_DETAIL("rank 2");
    message.recv.elem_bytes = 17;
    ASSERT_STATUS(SHOAL_ERR_INVALID, world->ops->recv(world->ranks[1].t, &message.recv));
    world->ops->drop_peer(world->ranks[0].t, 2);
    world->ops->drop_peer(world->ranks[0].t, 0);
    message_free(&message);
    world_close(world);
    world = NULL;
    shl_transport_tcp.close(NULL);
}

/* ---- closing ------------------------------------------------------------------------------ */

/* The transport is closed by the test; world_close must not do it again. */
static void close_rank(struct world *world, uint32_t rank)
{
    world->ops->close(world->ranks[rank].t);
    world->ranks[rank].t = NULL;
    world->ranks[rank].crashed = true;
}

static bool rank_0_knows(void *arg)
{
    const struct world *world = arg;
    return tcp_world_link((struct world *)world, 0, 1)->state >= SHL_TCP_GONE;
}

/* What was sent last arrives although its sender has closed at once; then the link is gone, which
 * is no loss, and using it is an error. */
static void last_words_arrive(void **unused)
{
    (void)unused;
    for (uint32_t run = 0; run < 20; run++) {
        struct world *world = tcp_world_open(run % 2 ? &single : &several, 2, run);
        struct message messages[5];
        struct message_plan plan = {.from = 1, .to = 0, .seq = 1, .bytes = 8};
        message_exchange(world, &plan);
        plan.seq = 2;
        for (uint32_t i = 0; i < 5; i++) {
            plan.msg = i;
            plan.bytes = 3000 * i;
            message_make(world, &plan, &messages[i]);
            message_post_send(&messages[i]);
            while (!messages[i].send_done)
                world->ops->poll(world->ranks[1].t);
        }
        close_rank(world, 1);
        /* Sending into the closed connection must not cost what is still to be read. */
        struct message late;
        plan.from = 0, plan.to = 1, plan.seq = 3;
        message_make(world, &plan, &late);
        if (run % 4 < 2)
            (void)world->ops->send(world->ranks[0].t, &late.send);
        world->ops->cancel(world->ranks[0].t, MESSAGE_COMM, 3);
        world_run(world, rank_0_knows, world);
        assert_int_equal(tcp_world_link(world, 0, 1)->state, SHL_TCP_GONE);
        assert_int_equal(world->ranks[0].lost_calls[1], 0);
        for (uint32_t i = 0; i < 5; i++) {
            message_post_recv(&messages[i]);
            message_verify(&messages[i]);
            message_free(&messages[i]);
        }
        late.send.tag.seq = late.recv.tag.seq = 4;
        ASSERT_STATUS(SHOAL_ERR_PEER, world->ops->send(world->ranks[0].t, &late.send));
        late.recv.peer = 1;
        ASSERT_STATUS(SHOAL_ERR_PEER, world->ops->recv(world->ranks[0].t, &late.recv));
        ASSERT_DETAIL("rank 1 has closed its link");
        message_free(&late);
        world_close(world);
    }
}

static bool lost_at_0(void *arg)
{
    const struct world *world = arg;
    return world->ranks[0].lost_calls[1] > 0;
}

/* Closing while the other side waits for something is a loss for it. */
static void closing_on_a_waiting_peer(void **unused)
{
    struct world *world = tcp_world_open(&single, 2, 1);
    struct message message;
    struct message_plan plan = {.from = 1, .to = 0, .seq = 1, .bytes = 8};
    (void)unused;
    message_exchange(world, &plan);
    plan.seq = 2;
    message_make(world, &plan, &message);
    message_post_recv(&message);
    close_rank(world, 1);
    world_run(world, lost_at_0, world);
    assert_non_null(
        strstr(tcp_world_link(world, 0, 1)->cause, "closed its link with 1 transfers pending"));
    world->ops->cancel(world->ranks[0].t, MESSAGE_COMM, 2);
    message_free(&message);
    world_close(world);
}

/* ---- loss --------------------------------------------------------------------------------- */

/* Nobody answers the dial: an error when the time is up, with what to change. */
static void never_reached(void **unused)
{
    (void)unused;
    for (uint32_t rank = 0; rank < 2; rank++) {
        struct world *world = tcp_world_open(&single, 2, 1);
        struct message message;
        struct message_plan plan = {.from = rank, .to = 1 - rank, .seq = 1, .bytes = 8};
        message_make(world, &plan, &message);
        if (rank == 0) /* the higher rank waits for a connection that nobody makes */
            tcp_net_refuse(tcp_world_net(world), 1);
        world->ranks[1 - rank].crashed = true;
        message_post_send(&message);
        uint64_t start_ns = shl_now_ns();
        while (world->ranks[rank].lost_calls[1 - rank] == 0 &&
               shl_now_ns() - start_ns < 20 * UINT64_C(1000000000))
            world_poll(world);
        assert_int_equal(world->ranks[rank].lost[1 - rank], SHOAL_ERR_PEER);
        const char *cause = tcp_world_link(world, rank, 1 - rank)->cause;
        assert_non_null(strstr(cause, rank == 0 ? "refused" : "SHOAL_INIT_TIMEOUT_MS"));
        ASSERT_STATUS(SHOAL_ERR_PEER, world->ops->send(world->ranks[rank].t, &message.send));
        world->ops->cancel(world->ranks[rank].t, MESSAGE_COMM, 1);
        message_free(&message);
        world_close(world);
    }
}

/* The peer's process dies in the middle of a message: told once, in bounded time, on either side.
 */
static void killed_in_the_middle(void **unused)
{
    (void)unused;
    for (uint32_t run = 0; run < 8; run++) {
        struct world *world = tcp_world_open(run % 2 ? &single : &several, 2, run);
        uint32_t dead = run / 2 % 2, alive = 1 - dead;
        struct message message;
        struct message_plan plan = {
            .from = run / 4, .to = 1 - run / 4, .seq = 1, .bytes = 16 * MIB, .sinks = run % 2};
        message_make(world, &plan, &message);
        message_post_send(&message);
        message_post_recv(&message);
        while (message.recv.moved_bytes == 0 && message.recv_done == 0)
            world_poll(world);
        tcp_net_refuse(tcp_world_net(world), dead);
        tcp_net_cut(world->ranks[dead].t, 2);
        world->ranks[dead].crashed = true;
        uint64_t start_ns = shl_now_ns();
        while (world->ranks[alive].lost_calls[dead] == 0 &&
               shl_now_ns() - start_ns < 20 * UINT64_C(1000000000))
            world_poll(world);
        assert_int_equal(world->ranks[alive].lost_calls[dead], 1);
        world_settle(world);
        assert_int_equal(world->ranks[alive].lost_calls[dead], 1);
        for (uint32_t rank = 0; rank < 2; rank++)
            world->ops->cancel(world->ranks[rank].t, MESSAGE_COMM, 1);
        message_free(&message);
        world_close(world);
    }
}

/* One flow fails for good: the others carry on. */
static void works_with_fewer_flows(void **unused)
{
    struct world *world = tcp_world_open(&several, 2, 1);
    struct message_plan plan = {.from = 0, .to = 1, .seq = 1, .bytes = MIB};
    (void)unused;
    message_exchange(world, &plan);
    tcp_net_refuse(tcp_world_net(world), 1); /* what breaks is not replaced */
    for (uint32_t left = 3; left > 0; left--) {
        shutdown(tcp_world_link(world, 0, 1)->flows[left].fd, SHUT_RDWR);
        plan.seq++;
        plan.bytes = 4 * MIB;
        message_exchange(world, &plan);
        while (tcp_world_link(world, 0, 1)->flows_up > left)
            world_poll(world);
        assert_int_equal(world->ranks[0].lost_calls[1] + world->ranks[1].lost_calls[0], 0);
    }
    world_close(world);
}

/* ---- sleeping and telling ----------------------------------------------------------------- */

/* A sender whose socket is full sleeps until the receiver makes room. */
static void sleeps_while_blocked(void **unused)
{
    struct world *world = tcp_world_open(&single, 2, 1);
    struct message message;
    struct message_plan plan = {.from = 0, .to = 1, .seq = 1, .bytes = 64 * MIB};
    struct shl_transport *t = world->ranks[0].t;
    (void)unused;
    message_make(world, &plan, &message);
    message_post_recv(&message);
    message_post_send(&message);
    while (message.recv.moved_bytes == 0)
        world_poll(world);
    while (world->ops->poll(t) > 0)
        continue;
    assert_true(world->ops->arm(t, true));
    struct pollfd wait = {.fd = world->ops->wait_fd(t), .events = POLLIN};
    assert_int_equal(poll(&wait, 1, 0), 0);
    while (poll(&wait, 1, 0) == 0)
        world->ops->poll(world->ranks[1].t);
    world->ops->arm(t, false);
    world_run(world, message_done, &message);
    message_verify(&message);
    message_free(&message);
    world_close(world);
}

/* In the middle of a chunk a sleeper is woken for a good part of it, or for what is left: never
 * later, and for single bytes again afterwards. */
static void wakes_for_pieces_of_a_chunk(void **unused)
{
    struct world *world = tcp_world_open(&single, 2, 1);
    struct message message;
    struct message_plan plan = {.from = 0, .to = 1, .seq = 1, .bytes = 4 * MIB + 12345};
    struct shl_transport *sender = world->ranks[0].t, *receiver = world->ranks[1].t;
    struct pollfd wait = {.fd = world->ops->wait_fd(receiver), .events = POLLIN};
    uint32_t most = 0;
    (void)unused;
    message_make(world, &plan, &message);
    message_post_recv(&message);
    message_post_send(&message);
    while (!message_done(&message)) {
        world->ops->poll(sender);
        bool quiet = world->ops->arm(receiver, true);
        const struct shl_tcp_link *link = tcp_world_link(world, 1, 0);
        if (link && link->flows[0].fd >= 0) {
            const struct shl_tcp_flow *flow = &link->flows[0];
            uint32_t left = flow->chunk.active ? flow->chunk.length - flow->chunk.at : 0;
            CHECK(world, flow->wake_bytes == 1 || flow->wake_bytes <= left);
            most = flow->wake_bytes > most ? flow->wake_bytes : most;
        }
        if (!quiet || poll(&wait, 1, 0) > 0)
            world->ops->poll(receiver);
        world->ops->arm(receiver, false);
    }
    CHECK(world, most > 1);
    CHECK(world, tcp_world_link(world, 1, 0)->flows[0].wake_bytes == 1);
    message_verify(&message);
    message_free(&message);
    world_close(world);
}

static void explains(void **unused)
{
    struct world *world = tcp_world_open(&several, 2, 1);
    struct message_plan plan = {.from = 0, .to = 1, .seq = 1, .bytes = MIB};
    char text[600], tiny[10];
    (void)unused;
    world->ops->explain(world->ranks[0].t, 1, text, sizeof(text));
    assert_string_equal(text, "tcp to rank 1: not used yet");
    world->ops->explain(world->ranks[0].t, 77, text, sizeof(text));
    message_exchange(world, &plan);
    world->ops->explain(world->ranks[0].t, 1, text, sizeof(text));
    assert_non_null(strstr(text, "tcp to rank 1: up, 4 of 4 flows up, 0 transfers posted"));
    world->ops->explain(world->ranks[0].t, 1, tiny, sizeof(tiny));
    assert_int_equal(strlen(tiny), sizeof(tiny) - 1);
    world->ops->drop_peer(world->ranks[0].t, 1);
    world->ops->explain(world->ranks[0].t, 1, text, sizeof(text));
    assert_non_null(strstr(text, "lost, 0 of 4 flows up"));
    assert_non_null(strstr(text, "last error: given up"));
    world_close(world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(either_side_opens),
        cmocka_unit_test(nothing_is_dialled_before_use),
        cmocka_unit_test(without_links_polling_costs_no_call),
        cmocka_unit_test(flows_share_the_work),
        cmocka_unit_test(bad_arguments),
        cmocka_unit_test(last_words_arrive),
        cmocka_unit_test(closing_on_a_waiting_peer),
        cmocka_unit_test(never_reached),
        cmocka_unit_test(killed_in_the_middle),
        cmocka_unit_test(works_with_fewer_flows),
        cmocka_unit_test(sleeps_while_blocked),
        cmocka_unit_test(wakes_for_pieces_of_a_chunk),
        cmocka_unit_test(explains),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
