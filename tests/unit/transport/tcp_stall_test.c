/*
 * Flows that stall are replaced while the link is in use, whichever rank's kernel says so, and what
 * is sent meanwhile arrives once and whole.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "control/sock.h"
#include "support/test.h"
#include "transport/tcp/tcp_channel.h"
#include "unit/transport/tcp_world.h"

#include <netinet/tcp.h>

#define MESSAGES 120u
#define RUNS 4u
#define LOOK_EVERY 40 /* checks of whether all is done */

static const char *const two_flows[] = {"SHOAL_TCP_FLOWS=2", "SHOAL_TCP_CHUNK_BYTES=65536", NULL};
static const struct tcp_setup setup = {.settings = two_flows};

static struct world *world;
static uint32_t stalling; /* a bit for each rank whose sockets say that they stall */
static uint32_t told;     /* times that one said so */

/* While the network is cut the requests for connections wait, and what is up carries on. */
static struct {
    const struct shl_tcp_channels *through;
    bool on;
    uint32_t count;
    struct request {
        struct shl_control *control;
        uint32_t index;
        uint64_t deadline_ns;
        shl_channel_fn ready;
        void *arg;
    } held[SHL_TCP_FLOWS_MAX];
} cut;

static enum shoal_status dial_if_not_cut(struct shl_control *control, uint32_t peer,
                                         enum shl_channel_kind kind, uint32_t index,
                                         uint64_t deadline_ns, shl_channel_fn ready, void *arg)
{
    if (!cut.on || kind != SHL_CHANNEL_TCP_DATA || peer != 1)
        return cut.through->dial(control, peer, kind, index, deadline_ns, ready, arg);
    assert_true(cut.count < SHL_TCP_FLOWS_MAX);
    cut.held[cut.count++] = (struct request){control, index, deadline_ns, ready, arg};
    return SHOAL_OK;
}

static void mend(void)
{
    cut.on = false;
    for (uint32_t i = 0; i < cut.count; i++) {
        struct request *held = &cut.held[i];
        ASSERT_OK(cut.through->dial(held->control, 1, SHL_CHANNEL_TCP_DATA, held->index,
                                    held->deadline_ns, held->ready, held->arg));
    }
    cut.count = 0;
}

static bool belongs(uint32_t rank, int fd)
{
    const struct shl_tcp_link *link = tcp_world_link(world, rank, 1 - rank);
    for (uint32_t i = 0; link && i < link->flow_count; i++)
        if (link->flows[i].fd == fd)
            return true;
    return false;
}

static int stalling_sometimes(int fd, int level, int name, void *value, socklen_t *bytes)
{
    int result = shl_sock_kernel.getsockopt(fd, level, name, value, bytes);
    if (result < 0 || level != IPPROTO_TCP || name != TCP_INFO)
        return result;
    struct tcp_info *info = value;
    for (uint32_t rank = 0; rank < 2; rank++)
        if (stalling >> rank & 1 && belongs(rank, fd)) {
            info->tcpi_unacked = info->tcpi_retransmits = 1;
            told++;
        }
    return 0;
}

static uint64_t breaks(void)
{
    return tcp_world_link(world, 0, 1)->flow_breaks + tcp_world_link(world, 1, 0)->flow_breaks;
}

struct storm {
    struct message_set set;
    unsigned checks;
};

/* Looks at the sockets as if it was about to sleep. */
static bool done_or_look(void *arg)
{
    struct storm *storm = arg;
    for (uint32_t rank = 0; rank < 2 && storm->checks % LOOK_EVERY == 0; rank++) {
        struct shl_transport *t = world->ranks[rank].t;
        t->look_ns = 0;
        (void)world->ops->arm(t, true);
        (void)world->ops->arm(t, false);
    }
    storm->checks++;
    if (cut.on)
        CHECK(world, breaks() == 0);
    return message_set_done(&storm->set);
}

static void exchange(uint64_t seq)
{
    static struct message messages[MESSAGES];
    struct storm storm = {{messages, MESSAGES}, 0};
    for (uint32_t i = 0; i < MESSAGES; i++) {
        struct message_plan plan;
        tcp_world_plan(world, seq, i, &plan);
        message_make(world, &plan, &messages[i]);
        message_post_recv(&messages[i]);
        message_post_send(&messages[i]);
    }
    world_run(world, done_or_look, &storm);
    for (uint32_t i = 0; i < MESSAGES; i++) {
        message_verify(&messages[i]);
        message_free(&messages[i]);
    }
}

static void under_stalls(uint32_t ranks)
{
    struct shl_sys_sock sock = shl_sock_kernel;
    sock.getsockopt = stalling_sometimes;
    shl_sock = &sock;
    for (uint64_t run = 0; run < RUNS; run++) {
        world = tcp_world_open(&setup, 2, run);
        stalling = 0;
        exchange(1); /* up */
        uint32_t made = tcp_net_connections(tcp_world_net(world));
        assert_int_equal(breaks(), 0);
        stalling = ranks;
        told = 0;
        exchange(2);
        CHECK(world, told > 0);
        stalling = 0;
        exchange(3);
        CHECK(world, breaks() > 0);
        CHECK(world, tcp_net_connections(tcp_world_net(world)) > made);
        for (uint32_t rank = 0; rank < 2; rank++)
            CHECK(world, !world->ranks[rank].lost_calls[1 - rank]);
        world_close(world);
    }
    shl_sock = &shl_sock_kernel;
}

static void the_lower_rank_dials(void **unused)
{
    (void)unused;
    under_stalls(1);
}

static void the_higher_rank_knocks(void **unused)
{
    (void)unused;
    under_stalls(2);
}

static void both_do(void **unused)
{
    (void)unused;
    under_stalls(3);
}

/* A knock tells of one flow; and until others are up, which may take another cut, there are only
 * these. */
static void a_knock_takes_nothing_away(void **unused)
{
    struct shl_sys_sock sock = shl_sock_kernel;
    struct shl_tcp_channels channels;
    uint64_t seq = 1;
    (void)unused;
    sock.getsockopt = stalling_sometimes;
    shl_sock = &sock;
    stalling = 0;
    world = tcp_world_open(&setup, 2, 1);
    cut.through = shl_tcp_channels;
    channels = *cut.through;
    channels.dial = dial_if_not_cut;
    shl_tcp_channels = &channels;
    exchange(seq++);
    stalling = 2;
    cut.on = true;
    while (cut.count < 2) /* as many as there are flows */
        exchange(seq++);
    exchange(seq++);
    stalling = 0;
    mend();
    while (breaks() == 0)
        exchange(seq++);
    for (uint32_t rank = 0; rank < 2; rank++)
        CHECK(world, !world->ranks[rank].lost_calls[1 - rank]);
    shl_tcp_channels = cut.through;
    world_close(world);
    shl_sock = &shl_sock_kernel;
}

/* Looking alone changes nothing. */
static void what_flows_is_left_alone(void **unused)
{
    (void)unused;
    world = tcp_world_open(&setup, 2, 1);
    exchange(1);
    uint32_t made = tcp_net_connections(tcp_world_net(world));
    exchange(2);
    assert_int_equal(tcp_net_connections(tcp_world_net(world)), made);
    assert_int_equal(breaks(), 0);
    world_close(world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_lower_rank_dials),
        cmocka_unit_test(the_higher_rank_knocks),
        cmocka_unit_test(both_do),
        cmocka_unit_test(a_knock_takes_nothing_away),
        cmocka_unit_test(what_flows_is_left_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
