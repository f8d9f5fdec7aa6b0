/*
 * Peers that break the rules, devices that fail in odd ways, and processes that hold what a rank
 * has closed. Nobody writes where he should not, nobody waits for long, nobody is lost without
 * need.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "rdma/in_place_world.h"

#include "core/sys.h"

#include <errno.h>
#include <sys/epoll.h>
#include <unistd.h>

/* ---- peers that grant or announce twice ------------------------------------------------------ */

static struct shl_verbs_window *window_of(struct world *world, const struct message *message)
{
    struct shl_transport *t = world->ranks[1].t;
    for (uint32_t i = 0; i < SHL_VERBS_WINDOWS; i++)
        if (t->windows[i].xfer == &message->recv)
            return &t->windows[i];
    fail_msg("no window is granted");
    return NULL;
}

static struct shl_verbs_place *place_of(struct world *world)
{
    struct shl_verbs_link *link = link_of(world, 1, 0);
    for (uint32_t i = 0; i < SHL_VERBS_PLACES; i++)
        if (link->direct.places[i].xfer)
            return &link->direct.places[i];
    fail_msg("no place is announced");
    return NULL;
}

/* What rank 1 says a second time about a message of rank 0, which it has posted. */
static void grant_again(struct world *world, struct message *message)
{
    shl_verbs_say_grant(link_of(world, 1, 0), &message->recv, window_of(world, message));
}

static void grant_nothing(struct world *world, struct message *message)
{
    struct shl_verbs_window nothing = *window_of(world, message);
    nothing.offset = nothing.length;
    nothing.length = 0;
    shl_verbs_say_grant(link_of(world, 1, 0), &message->recv, &nothing);
}

static void announce_again(struct world *world, struct message *message)
{
    (void)message;
    shl_verbs_say_place(link_of(world, 1, 0), place_of(world));
}

static void announce_what_is_granted(struct world *world, struct message *message)
{
    const struct shl_verbs_frame frame = {.type = SHL_VERBS_PLACE,
                                          .tag = message->recv.tag,
                                          .signature = message->recv.signature,
                                          .bytes = message->recv.bytes,
                                          .address = (uintptr_t)message->recv.data};
    struct shl_verbs_link *link = link_of(world, 1, 0);
    shl_list_append(&link->outbox, &shl_verbs_note_new(link, &frame)->link);
}

static void who_tells_of_a_message_twice_is_lost(void **state)
{
    static const struct {
        void (*say)(struct world *world, struct message *message);
        bool in_place;
    } lies[] = {{grant_again, false},
                {grant_nothing, false},
                {announce_what_is_granted, false},
                {announce_again, true}};
    (void)state;
    for (uint32_t i = 0; i < 2 * sizeof(lies) / sizeof(lies[0]); i++) {
        bool send_first = i % 2;
        struct world *world = world_open(&adapter, 2, 1);
        struct message message;
        const struct message_plan plan = {.from = 0, .to = 1, .seq = 1, .bytes = 100000};
        world->ranks[1].t->register_bytes = lies[i / 2].in_place ? 64 * KIB : UINT64_MAX;
        message_make(world, &plan, &message);
        if (send_first)
            message_post_send(&message);
        message_post_recv(&message); /* tells of it at once */
        lies[i / 2].say(world, &message);
        shl_verbs_flush(link_of(world, 1, 0));
        if (!send_first) {
            for (int polls = 0; polls < 100; polls++)
                (void)world->ops->poll(world->ranks[0].t);
            if (link_of(world, 0, 1)->state == SHL_VERBS_UP)
                message_post_send(&message);
        }
        world_run(world, link_is_lost, link_of(world, 0, 1));
        CHECK(world, world->ranks[0].lost_calls[1] == 1);
        for (uint32_t rank = 0; rank < 2; rank++) {
            world_unwant(world, rank, MESSAGE_COMM, 1);
            world->ops->cancel(world->ranks[rank].t, MESSAGE_COMM, 1);
        }
        message_free(&message);
        world_close(world);
    }
}

/* ---- receive requests that cannot be posted -------------------------------------------------- */

static const struct ibv_qp *full;

static int refuse_receives(struct ibv_qp *qp, struct ibv_recv_wr *chain, struct ibv_recv_wr **bad)
{
    return qp == full ? ENOMEM : verbs->post_recv(qp, chain, bad);
}

/* A lane whose device takes no receive request any more is left; the peer and the message stay. */
static void a_lane_that_takes_no_receives_is_left(void **state)
{
    (void)state;
    struct shl_verbs_sys table = *shl_verbs;
    table.post_recv = refuse_receives;
    struct world *world = world_open(&adapter, 2, 1);
    shl_verbs = &table;
    world->ranks[0].t->register_bytes = world->ranks[1].t->register_bytes = 64 * KIB;
    full = link_of(world, 1, 0)->direct.lanes[1].qp;
    struct parcel parcel = {.bytes = 8 * MIB};
    parcel_move(world, 0, &parcel);
    world_run(world, has_begun, &(struct life){world, 1});
    CHECK(world, link_of(world, 1, 0)->direct.lanes[1].qp == NULL);
    CHECK(world, nobody_is_lost(world));
    full = NULL;
    parcel_move(world, 1, &parcel);
    world_close(world);
}

/* ---- devices that tell nothing --------------------------------------------------------------- */

/* Sleeping takes no time in this thread, and is counted. */
static _Thread_local uint64_t slept_ns;
static _Thread_local bool counting;
static atomic_bool mute;
static const struct ibv_context *mute_device;

static uint64_t now_with_sleep(void)
{
    return shl_time_kernel.now_ns() + slept_ns;
}

static void count_sleep(uint64_t ns)
{
    if (counting)
        slept_ns += ns;
    else
        shl_time_kernel.sleep_ns(ns);
}

static int poll_unless_mute(struct ibv_cq *cq, int capacity, struct ibv_wc *completions)
{
    return mute && cq->context == mute_device ? 0 : verbs->poll_cq(cq, capacity, completions);
}

/* All links of rank 0 have their pairs, those that are first used now, too. */
static bool all_have_pairs(void *arg)
{
    struct world *world = arg;
    for (uint32_t peer = 1; peer < world->size; peer++) {
        const struct shl_verbs_link *a = link_of(world, 0, peer), *b = link_of(world, peer, 0);
        if (a->rail >= RAILS || b->rail >= RAILS || !a->direct.up || !b->direct.up ||
            shl_verbs_direct_lanes(&a->direct) == 0)
            return false;
    }
    return true;
}

/* Rank 0 gives up what all peers may be writing, and one of its devices tells of nothing. That
 * costs the time that one pair may take to drain, not once for each peer. */
static void a_mute_device_is_waited_for_once(void **state)
{
    enum { PEERS = 5 };
    static struct message messages[PEERS];
    static struct shl_sys_time table;
    struct shl_verbs_sys hooked = *shl_verbs;
    (void)state;
    table = shl_time_kernel;
    table.now_ns = now_with_sleep;
    table.sleep_ns = count_sleep;
    hooked.poll_cq = poll_unless_mute;
    shl_verbs = &hooked;
    shl_time = &table;
    struct world *world = world_open(&adapter, PEERS + 1, 1);
    world->ranks[0].t->register_bytes = 64 * KIB;
    mute_device = world->ranks[0].t->rails[1].context;
    uint64_t lives[PEERS];
    for (uint32_t i = 0; i < PEERS; i++) {
        const struct message_plan plan = {.from = i + 1, .to = 0, .seq = 3, .bytes = 8};
        message_exchange(world, &plan);
    }
    world_run(world, all_have_pairs, world);
    for (uint32_t i = 0; i < PEERS; i++) {
        const struct message_plan plan = {.from = i + 1, .to = 0, .seq = 1, .bytes = 100000};
        message_make(world, &plan, &messages[i]);
        message_post_recv(&messages[i]);
        CHECK(world, link_of(world, 0, i + 1)->direct.places_used == 1);
        lives[i] = link_of(world, 0, i + 1)->direct.life;
    }
    world_unwant(world, 0, MESSAGE_COMM, 1);
    mute = counting = true;
    world->ops->cancel(world->ranks[0].t, MESSAGE_COMM, 1);
    counting = false;
    CHECK(world, slept_ns > 0 && slept_ns < UINT64_C(1500000000));
    for (uint32_t i = 0; i < PEERS; i++)
        CHECK(world, link_of(world, 0, i + 1)->direct.life == lives[i] + 1);
    /* Nor is anybody lost by it; and a device that speaks again is waited for again. */
    mute = false;
    for (uint32_t i = 0; i < PEERS; i++) {
        const struct message_plan next = {.from = i + 1, .to = 0, .seq = 2, .bytes = MIB};
        message_exchange(world, &next);
        CHECK(world, world->ranks[0].lost_calls[i + 1] == 0);
        message_free(&messages[i]);
    }
    CHECK(world, !world->ranks[0].t->rails[1].mute);
    world_close(world);
    shl_time = &shl_time_kernel;
    slept_ns = 0;
}

/* ---- sockets that a child still holds -------------------------------------------------------- */

static bool hears_of(struct world *world, uint32_t rank, uint32_t peer)
{
    struct epoll_event events[16];
    int count = epoll_wait(world->ranks[rank].t->epoll_fd, events, 16, 0);
    for (int i = 0; i < count; i++)
        if (events[i].data.u64 == peer)
            return true;
    return false;
}

static void drop(struct world *world)
{
    world->ops->drop_peer(world->ranks[0].t, 1);
}

static bool peer_is_gone(void *arg)
{
    return link_of(arg, 0, 1)->state != SHL_VERBS_UP;
}

/* Rank 1 closes; rank 0 closes its socket when it has read the goodbye. */
static void hear_goodbye(struct world *world)
{
    world->ops->close(world->ranks[1].t);
    world->ranks[1].t = NULL;
    world->ranks[1].crashed = true;
    world_run(world, peer_is_gone, world);
}

/* A copy of the socket, as a forked child has it, keeps neither the connection open nor the epoll
 * set ready. */
static void a_socket_that_a_child_holds_is_closed_all_the_same(void **state)
{
    void (*const ways[])(struct world *) = {drop, hear_goodbye};
    (void)state;
    for (uint32_t way = 0; way < 2; way++) {
        struct world *world = world_open(&adapter, 2, 1);
        int child = dup(link_of(world, 0, 1)->fd);
        assert_true(child >= 0);
        ways[way](world);
        CHECK(world, link_of(world, 0, 1)->fd < 0);
        if (world->ranks[1].t) {
            world_run(world, link_is_lost, link_of(world, 1, 0));
            world->ops->drop_peer(world->ranks[1].t, 0);
        }
        CHECK(world, !hears_of(world, 0, 1));
        close(child);
        world_close(world);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(who_tells_of_a_message_twice_is_lost, set_up),
        cmocka_unit_test_setup(a_lane_that_takes_no_receives_is_left, set_up),
        cmocka_unit_test_setup(a_mute_device_is_waited_for_once, set_up),
        cmocka_unit_test_setup(a_socket_that_a_child_holds_is_closed_all_the_same, set_up),
    };
    begin();
    return cmocka_run_group_tests_name("verbs_faults", tests, NULL, NULL);
}
