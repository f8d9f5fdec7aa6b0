/*
 * Storms of random messages over tcp: whatever the sizes, the order of posting, the number of flows
 * and the connections that break meanwhile, every message arrives exactly once and whole.
 *
 * A failure prints the seed; SHOAL_TEST_SEED repeats it.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "support/random.h"
#include "unit/transport/tcp_world.h"

#define RUNS 4

/* A frame that is cut must come again as a whole, so chunks are smaller than most cuts. */
static const char *const one_flow[] = {"SHOAL_TCP_FLOWS=1", "SHOAL_TCP_CHUNK_BYTES=100000", NULL};
static const char *const three_flows[] = {"SHOAL_TCP_FLOWS=3", "SHOAL_TCP_CHUNK_BYTES=50000", NULL};
static const char *const many_flows[] = {"SHOAL_TCP_FLOWS=16", "SHOAL_TCP_CHUNK_BYTES=10001", NULL};

static const struct tcp_setup calm[] = {
    {.settings = one_flow}, {.settings = three_flows}, {.settings = many_flows}};

static void every_message_arrives(void **unused)
{
    uint64_t seed = shl_test_seed();
    (void)unused;
    for (uint32_t run = 0; run < RUNS; run++) {
        struct world *world = tcp_world_open(&calm[run % 3], 2 + run % 7, seed + run);
        for (uint64_t seq = 1; seq <= 3; seq++)
            tcp_world_storm(world, seq, 30);
        world_close(world);
    }
}

static void storm_through_cuts(const char *const *settings, enum tcp_cut cut, uint64_t cut_min,
                               uint64_t cut_max)
{
    uint64_t seed = shl_test_seed();
    struct tcp_setup setup = {
        .settings = settings, .cut_min = cut_min, .cut_max = cut_max, .cut = cut};
    for (uint32_t run = 0; run < RUNS; run++) {
        struct world *world = tcp_world_open(&setup, 2 + run % 3, seed + run);
        for (uint64_t seq = 1; seq <= 3; seq++)
            tcp_world_storm(world, seq, 25);
        CHECK(world, tcp_world_cuts(world) > 0);
        for (uint32_t i = 0; i < world->size; i++)
            for (uint32_t peer = 0; peer < world->size; peer++)
                CHECK(world, world->ranks[i].lost_calls[peer] == 0);
        tcp_world_calm(world);
        world_close(world);
    }
}

static void survives_cuts_of_its_only_flow(void **unused)
{
    (void)unused;
    storm_through_cuts(one_flow, TCP_CUT_BOTH, 1, 600000);
}

static void survives_cuts_of_many_flows(void **unused)
{
    (void)unused;
    storm_through_cuts(three_flows, TCP_CUT_BOTH, 1, 300000);
    storm_through_cuts(many_flows, TCP_CUT_BOTH, 1, 200000);
}

/* Connections that hardly carry a header before they break. */
static void survives_cuts_within_headers(void **unused)
{
    uint64_t seed = shl_test_seed();
    struct tcp_setup setup = {.settings = one_flow, .cut_min = 1, .cut_max = 400};
    (void)unused;
    for (uint32_t run = 0; run < RUNS; run++) {
        struct world *world = tcp_world_open(&setup, 2, seed + run);
        struct message_plan plan = {.from = run % 2, .to = 1 - run % 2};
        for (uint64_t seq = 1; seq <= 20; seq++) {
            plan.seq = seq;
            plan.bytes = world_random(world, 100);
            message_exchange(world, &plan);
        }
        CHECK(world, tcp_world_cuts(world) > 5);
        tcp_world_calm(world);
        world_close(world);
    }
}

/* Only one end notices: the lower rank dials anew by itself, the higher one must knock. */
static void survives_cuts_that_one_end_notices(void **unused)
{
    (void)unused;
    storm_through_cuts(one_flow, TCP_CUT_LOWER, 100000, 1000000);
    storm_through_cuts(one_flow, TCP_CUT_HIGHER, 200000, 1000000);
    storm_through_cuts(three_flows, TCP_CUT_LOWER, 100000, 1000000);
}

/* Operations are cancelled on both sides while connections break; the buffers are scribbled over
 * and must stay as they are. */
static void cancel_among_cuts(void **unused)
{
    uint64_t seed = shl_test_seed();
    struct tcp_setup setup = {.settings = three_flows, .cut_min = 1000, .cut_max = 400000};
    (void)unused;
    for (uint32_t run = 0; run < RUNS; run++) {
        struct world *world = tcp_world_open(&setup, 2, seed + run);
        struct message messages[30];
        for (uint32_t i = 0; i < 30; i++) {
            struct message_plan plan;
            tcp_world_plan(world, 1 + i % 2, i, &plan);
            message_make(world, &plan, &messages[i]);
            message_post_send(&messages[i]);
            message_post_recv(&messages[i]);
        }
        for (uint64_t polls = world_random(world, 400); polls; polls--)
            if (!world_poll(world))
                world->adapter->idle(world);
        for (uint32_t rank = 0; rank < 2; rank++) {
            world_unwant(world, rank, MESSAGE_COMM, 2);
            world->ops->cancel(world->ranks[rank].t, MESSAGE_COMM, 2);
        }
        for (uint32_t i = 0; i < 30; i++) {
            if (messages[i].send.tag.seq == 1)
                continue;
            memset(messages[i].recv_store, 0x42, messages[i].recv.bytes);
            memset(messages[i].send_store, 0x24, messages[i].send.bytes);
        }
        for (uint32_t i = 0; i < 30; i += 2)
            world_run(world, message_done, &messages[i]);
        tcp_world_storm(world, 3, 20);
        for (uint32_t i = 0; i < 30; i++) {
            const struct message *message = &messages[i];
            if (message->send.tag.seq == 1) {
                message_verify(message);
                continue;
            }
            for (uint64_t at = 0; at < message->recv.bytes; at++)
                CHECK(world, message->recv_store[at] == 0x42);
        }
        tcp_world_calm(world);
        world_close(world);
        for (uint32_t i = 0; i < 30; i++)
            message_free(&messages[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_message_arrives),
        cmocka_unit_test(survives_cuts_of_its_only_flow),
        cmocka_unit_test(survives_cuts_of_many_flows),
        cmocka_unit_test(survives_cuts_within_headers),
        cmocka_unit_test(survives_cuts_that_one_end_notices),
        cmocka_unit_test(cancel_among_cuts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
