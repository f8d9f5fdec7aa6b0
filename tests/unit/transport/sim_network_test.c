/*
 * The simulated network: order of events, links, crashes, duplicates, bandwidth, determinism.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "core/sys.h"
#include "transport/sim/sim_network.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define MICRO 1000u

static const struct shl_sim_options calm = {
    .seed = 1,
    .nodes = 3,
    .link = {.delay_min_ns = 10 * MICRO, .delay_max_ns = 10 * MICRO},
    .retransmit_ns = 1000 * MICRO,
};

struct pair {
    struct shl_sim_network *network;
    struct shl_sim_port *a, *b; /* on nodes 0 and 1 */
};

static struct pair make_pair(const struct shl_sim_options *options)
{
    struct pair pair;
    assert_int_equal(shl_sim_network_create(options, &pair.network), SHOAL_OK);
    assert_int_equal(shl_sim_port_open(pair.network, 0, &pair.a), SHOAL_OK);
    assert_int_equal(shl_sim_port_open(pair.network, 1, &pair.b), SHOAL_OK);
    return pair;
}

static void send_number(struct pair *pair, uint64_t number)
{
    assert_int_equal(
        shl_sim_port_send(pair->a, 1, shl_sim_port_id(pair->b), &number, sizeof(number), NULL, 0),
        SHOAL_OK);
}

/* The number of the next packet at `port`; UINT64_MAX: none. */
static uint64_t receive_number(struct shl_sim_network *network, struct shl_sim_port *port)
{
    struct shl_sim_packet *packet = shl_sim_port_receive(port);
    if (packet == NULL)
        return UINT64_MAX;
    uint64_t number = UINT64_MAX - 1;
    if (packet->kind == SHL_SIM_DATA)
        memcpy(&number, packet->data, sizeof(number));
    shl_sim_packet_release(network, packet);
    return number;
}

static void equal_delays_keep_order(void **state)
{
    (void)state;
    struct pair pair = make_pair(&calm);
    assert_int_equal(shl_sim_network_next_ns(pair.network), UINT64_MAX);
    for (uint64_t i = 0; i < 100; i++)
        send_number(&pair, i);
    assert_int_equal(shl_sim_network_next_ns(pair.network), 10 * MICRO);
    assert_false(shl_sim_port_ready(pair.b));
    assert_true(shl_sim_network_advance(pair.network));
    assert_int_equal(shl_sim_network_now_ns(pair.network), 10 * MICRO);
    for (uint64_t i = 0; i < 100; i++)
        assert_int_equal(receive_number(pair.network, pair.b), i);
    assert_int_equal(receive_number(pair.network, pair.b), UINT64_MAX);
    assert_false(shl_sim_network_advance(pair.network));
    shl_sim_network_destroy(pair.network);
}

static void packet_holds_head_and_body(void **state)
{
    (void)state;
    struct pair pair = make_pair(&calm);
    char head[] = "head", body[5000];
    memset(body, 'b', sizeof(body));
    assert_int_equal(
        shl_sim_port_send(pair.a, 1, shl_sim_port_id(pair.b), head, 4, body, sizeof(body)),
        SHOAL_OK);
    memset(body, 'x', sizeof(body)); /* the network has its copy */
    assert_true(shl_sim_network_advance(pair.network));
    struct shl_sim_packet *packet = shl_sim_port_receive(pair.b);
    assert_non_null(packet);
    assert_int_equal(packet->bytes, 4 + sizeof(body));
    assert_int_equal((uintptr_t)packet->data % 16, 0);
    assert_memory_equal(packet->data, "head", 4);
    for (size_t i = 0; i < sizeof(body); i++)
        assert_int_equal(packet->data[4 + i], 'b');
    assert_int_equal(packet->from_node, 0);
    assert_int_equal(packet->from_port, shl_sim_port_id(pair.a));
    shl_sim_packet_release(pair.network, packet);
    shl_sim_network_destroy(pair.network);
}

/* Runs a noisy exchange; counts arrivals of each number and whether any overtook another. */
static uint64_t noisy_run(uint64_t seed, unsigned copies[200], bool *overtaken)
{
    struct shl_sim_options options = calm;
    options.seed = seed;
    options.link.delay_max_ns = 500 * MICRO;
    options.link.loss_ppm = 200000;
    options.link.duplicate_ppm = 300000;
    struct pair pair = make_pair(&options);
    memset(copies, 0, 200 * sizeof(*copies));
    *overtaken = false;
    for (uint64_t i = 0; i < 200; i++)
        send_number(&pair, i);
    uint64_t highest = 0, time = 0;
    while (shl_sim_network_advance(pair.network)) {
        assert_true(shl_sim_network_now_ns(pair.network) >= time);
        time = shl_sim_network_now_ns(pair.network);
        uint64_t number;
        while ((number = receive_number(pair.network, pair.b)) != UINT64_MAX) {
            assert_true(number < 200);
            copies[number]++;
            *overtaken |= number < highest;
            highest = number > highest ? number : highest;
        }
    }
    uint64_t hash = shl_sim_network_trace_hash(pair.network);
    shl_sim_network_destroy(pair.network);
    return hash;
}

static void noisy_link_loses_nothing(void **state)
{
    (void)state;
    unsigned copies[200], repeated = 0;
    bool overtaken;
    noisy_run(7, copies, &overtaken);
    for (size_t i = 0; i < 200; i++) {
        assert_in_range(copies[i], 1, 2);
        repeated += copies[i] == 2;
    }
    assert_true(overtaken);
    assert_in_range(repeated, 20, 120);
}

static void same_seed_same_trace(void **state)
{
    (void)state;
    unsigned copies[200];
    bool overtaken;
    uint64_t first = noisy_run(42, copies, &overtaken);
    assert_int_equal(noisy_run(42, copies, &overtaken), first);
    assert_int_not_equal(noisy_run(43, copies, &overtaken), first);
}

static void cut_link_holds_until_healed(void **state)
{
    (void)state;
    struct pair pair = make_pair(&calm);
    send_number(&pair, 1); /* under way when the link is cut */
    shl_sim_network_cut(pair.network, 0, 1, true);
    send_number(&pair, 2);
    while (shl_sim_network_advance(pair.network))
        continue;
    assert_false(shl_sim_port_ready(pair.b));
    /* Others still talk. */
    struct shl_sim_port *c;
    assert_int_equal(shl_sim_port_open(pair.network, 2, &c), SHOAL_OK);
    assert_int_equal(shl_sim_port_send(c, 1, shl_sim_port_id(pair.b), &(uint64_t){3}, 8, NULL, 0),
                     SHOAL_OK);
    assert_true(shl_sim_network_advance(pair.network));
    assert_int_equal(receive_number(pair.network, pair.b), 3);

    uint64_t healed_ns = shl_sim_network_now_ns(pair.network);
    shl_sim_network_cut(pair.network, 0, 1, false);
    assert_true(shl_sim_network_advance(pair.network));
    assert_int_equal(shl_sim_network_now_ns(pair.network), healed_ns + 1010 * MICRO);
    assert_int_equal(receive_number(pair.network, pair.b), 1);
    assert_int_equal(receive_number(pair.network, pair.b), 2);
    shl_sim_network_destroy(pair.network);
}

static void links_have_two_directions(void **state)
{
    (void)state;
    struct pair pair = make_pair(&calm);
    struct shl_sim_link link = shl_sim_network_link(pair.network, 0, 1);
    link.cut = true;
    shl_sim_network_set_link(pair.network, 0, 1, &link);
    assert_false(shl_sim_network_link(pair.network, 1, 0).cut);
    send_number(&pair, 1);
    assert_int_equal(
        shl_sim_port_send(pair.b, 0, shl_sim_port_id(pair.a), &(uint64_t){2}, 8, NULL, 0),
        SHOAL_OK);
    while (shl_sim_network_advance(pair.network))
        continue;
    assert_int_equal(receive_number(pair.network, pair.a), 2);
    assert_false(shl_sim_port_ready(pair.b));
    shl_sim_network_destroy(pair.network);
}

static void crash_tells_others_and_silences(void **state)
{
    (void)state;
    struct pair pair = make_pair(&calm);
    for (uint64_t i = 0; i < 64; i++)
        send_number(&pair, i);
    shl_sim_network_crash(pair.network, 0);
    assert_false(shl_sim_network_alive(pair.network, 0));
    send_number(&pair, 64); /* goes nowhere */
    unsigned data = 0, resets = 0;
    while (shl_sim_network_advance(pair.network)) {
        struct shl_sim_packet *packet;
        while ((packet = shl_sim_port_receive(pair.b)) != NULL) {
            resets += packet->kind == SHL_SIM_RESET;
            data += packet->kind == SHL_SIM_DATA;
            assert_int_equal(packet->from_node, 0);
            shl_sim_packet_release(pair.network, packet);
        }
    }
    assert_int_equal(resets, 1);
    assert_in_range(data, 10, 54); /* each packet under way had an even chance */
    assert_false(shl_sim_port_ready(pair.a));

    struct shl_sim_port *again;
    assert_int_equal(shl_sim_port_open(pair.network, 0, &again), SHOAL_ERR_PEER);
    shl_sim_network_restart(pair.network, 0);
    assert_int_equal(shl_sim_port_open(pair.network, 0, &again), SHOAL_OK);
    assert_int_not_equal(shl_sim_port_id(again), shl_sim_port_id(pair.a));
    /* The old port stays closed and packets for it go nowhere. */
    assert_int_equal(
        shl_sim_port_send(pair.b, 0, shl_sim_port_id(pair.a), &(uint64_t){5}, 8, NULL, 0),
        SHOAL_OK);
    assert_int_equal(
        shl_sim_port_send(pair.b, 0, shl_sim_port_id(again), &(uint64_t){6}, 8, NULL, 0), SHOAL_OK);
    assert_true(shl_sim_network_advance(pair.network));
    assert_int_equal(receive_number(pair.network, again), 6);
    assert_false(shl_sim_port_ready(pair.a));
    shl_sim_network_destroy(pair.network);
}

static void bandwidth_spaces_packets(void **state)
{
    (void)state;
    struct shl_sim_options options = calm;
    options.bytes_per_second = 8000000; /* 8 bytes take a microsecond */
    struct pair pair = make_pair(&options);
    for (uint64_t i = 0; i < 10; i++)
        send_number(&pair, i);
    assert_int_equal(shl_sim_port_free_ns(pair.a), 10 * MICRO);
    assert_int_equal(shl_sim_port_free_ns(pair.b), 0);
    for (uint64_t i = 0; i < 10; i++) {
        assert_true(shl_sim_network_advance(pair.network));
        assert_int_equal(shl_sim_network_now_ns(pair.network), (11 + i) * MICRO);
        assert_int_equal(receive_number(pair.network, pair.b), i);
    }
    shl_sim_network_destroy(pair.network);
}

static void clock_is_the_library_clock(void **state)
{
    (void)state;
    struct pair pair = make_pair(&calm);
    shl_sim_clock_install(pair.network);
    assert_int_equal(shl_now_ns(), 0);
    send_number(&pair, 1);
    shl_time->sleep_ns(4 * MICRO);
    assert_int_equal(shl_now_ns(), 4 * MICRO);
    assert_false(shl_sim_port_ready(pair.b));
    assert_int_equal(shl_sim_network_wake(pair.network, 7 * MICRO), SHOAL_OK);
    shl_time->yield();
    assert_int_equal(shl_now_ns(), 7 * MICRO);
    shl_sim_network_advance_to(pair.network, 20 * MICRO);
    assert_int_equal(shl_now_ns(), 20 * MICRO);
    assert_int_equal(receive_number(pair.network, pair.b), 1);
    shl_sim_clock_remove();
    assert_ptr_equal(shl_time, &shl_time_kernel);
    shl_sim_network_destroy(pair.network);
}

static void bad_arguments_are_named(void **state)
{
    (void)state;
    struct shl_sim_network *network = NULL;
    struct shl_sim_options options = calm;
    options.nodes = 0;
    assert_int_equal(shl_sim_network_create(&options, &network), SHOAL_ERR_INVALID);
    options = calm;
    options.link.delay_min_ns = options.link.delay_max_ns + 1;
    assert_int_equal(shl_sim_network_create(&options, &network), SHOAL_ERR_INVALID);
    options = calm;
    options.link.loss_ppm = SHL_SIM_MILLION;
    assert_int_equal(shl_sim_network_create(&options, &network), SHOAL_ERR_INVALID);
    assert_null(network);
    struct pair pair = make_pair(&calm);
    struct shl_sim_port *port = NULL;
    assert_int_equal(shl_sim_port_open(pair.network, 3, &port), SHOAL_ERR_INVALID);
    assert_null(port);
    assert_int_equal(shl_sim_port_send(pair.a, 3, 1, NULL, 0, NULL, 0), SHOAL_ERR_INVALID);
    shl_sim_network_destroy(pair.network);
    shl_sim_network_destroy(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equal_delays_keep_order),
        cmocka_unit_test(packet_holds_head_and_body),
        cmocka_unit_test(noisy_link_loses_nothing),
        cmocka_unit_test(same_seed_same_trace),
        cmocka_unit_test(cut_link_holds_until_healed),
        cmocka_unit_test(links_have_two_directions),
        cmocka_unit_test(crash_tells_others_and_silences),
        cmocka_unit_test(bandwidth_spaces_packets),
        cmocka_unit_test(clock_is_the_library_clock),
        cmocka_unit_test(bad_arguments_are_named),
    };
    return cmocka_run_group_tests_name("sim_network", tests, NULL, NULL);
}
