/*
 * Addresses as text, ranges of ranks, the published address on the wire, and what connections are
 * told.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "control/control.h"
#include "control/ranges.h"
#include "control/sock.h"
#include "support/test.h"

#include <netinet/in.h>
#include <netinet/tcp.h>

static void hosts_and_ports_are_split(void **state)
{
    static const struct {
        const char *text, *host;
        uint16_t port;
    } good[] = {
        {"10.0.0.1:29500", "10.0.0.1", 29500},   {"[::1]:5", "::1", 5},
        {"node-3.svc:0", "node-3.svc", 0},       {"*:65535", "*", 65535},
        {"[fe80::1%eth0]:7", "fe80::1%eth0", 7},
    };
    static const char *const bad[] = {"",       ":5",      "host",    "host:",   "host:65536",
                                      "host:x", "host:-1", "[::1",    "[::1]",   "[::1]x5",
                                      "::1",    "[]:5",    "host:+5", "host:5 ", "host:000005"};
    (void)state;
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        char host[64];
        uint16_t port;
        ASSERT_OK(shl_sock_split(good[i].text, -1, host, sizeof(host), &port));
        assert_string_equal(host, good[i].host);
        assert_int_equal(port, good[i].port);
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        char host[64];
        uint16_t port;
        if (shl_sock_split(bad[i], -1, host, sizeof(host), &port) != SHOAL_ERR_INVALID)
            fail_msg("\"%s\" was accepted", bad[i]);
    }
}

static void a_port_may_have_a_default(void **state)
{
    char host[64], small[4];
    uint16_t port;
    (void)state;
    ASSERT_OK(shl_sock_split("host", 9, host, sizeof(host), &port));
    assert_int_equal(port, 9);
    ASSERT_OK(shl_sock_split("[::1]", 9, host, sizeof(host), &port));
    assert_string_equal(host, "::1");
    ASSERT_OK(shl_sock_split("fd00::1", 9, host, sizeof(host), &port));
    assert_string_equal(host, "fd00::1");
    ASSERT_STATUS(SHOAL_ERR_INVALID, shl_sock_split("host", 9, small, sizeof(small), &port));
}

static void numeric_addresses_survive_a_round_trip(void **state)
{
    static const char *const texts[] = {"127.0.0.1:80", "[::1]:80", "[fd00::1234]:1",
                                        "255.255.255.255:65535", "0.0.0.0:0"};
    (void)state;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        char host[64], again[SHL_SOCK_TEXT_BYTES];
        uint16_t port;
        struct shl_sockaddr addr;
        ASSERT_OK(shl_sock_split(texts[i], -1, host, sizeof(host), &port));
        assert_true(shl_sockaddr_parse(host, port, &addr));
        assert_int_equal(shl_sockaddr_port(&addr), port);
        shl_sockaddr_format(&addr, again, sizeof(again));
        assert_string_equal(again, texts[i]);
    }
}

static void names_are_no_numbers(void **state)
{
    static const char *const names[] = {
        "localhost", "10.0.0", "1.2.3.4.5", "::g", "", "fe80::1%no-such-interface", "10.0.0.1%lo"};
    struct shl_sockaddr addr;
    (void)state;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        assert_false(shl_sockaddr_parse(names[i], 1, &addr));
    assert_true(shl_sockaddr_parse("fe80::1%lo", 1, &addr));
    char text[SHL_SOCK_TEXT_BYTES];
    shl_sockaddr_format(&addr, text, sizeof(text));
    assert_string_equal(text, "[fe80::1%lo]:1");
}

static void loopback_is_recognised(void **state)
{
    static const struct {
        const char *host;
        bool loopback;
    } hosts[] = {{"127.0.0.1", true},
                 {"127.9.9.9", true},
                 {"128.0.0.1", false},
                 {"::1", true},
                 {"::2", false},
                 {"::ffff:127.0.0.1", true},
                 {"::ffff:10.0.0.1", false},
                 {"0.0.0.0", false}};
    struct shl_sockaddr addr;
    (void)state;
    for (size_t i = 0; i < sizeof(hosts) / sizeof(hosts[0]); i++) {
        assert_true(shl_sockaddr_parse(hosts[i].host, 0, &addr));
        assert_int_equal(shl_sockaddr_is_loopback(&addr), hosts[i].loopback);
    }
}

static void abstract_names_fit_or_are_refused(void **state)
{
    char name[128], text[SHL_SOCK_TEXT_BYTES];
    struct shl_sockaddr addr;
    (void)state;
    ASSERT_OK(shl_sockaddr_unix("shoal-1", &addr));
    shl_sockaddr_format(&addr, text, sizeof(text));
    assert_string_equal(text, "@shoal-1");
    memset(name, 'x', sizeof(name));
    name[107] = '\0';
    ASSERT_OK(shl_sockaddr_unix(name, &addr));
    name[107] = 'x';
    name[108] = '\0';
    ASSERT_STATUS(SHOAL_ERR_INVALID, shl_sockaddr_unix(name, &addr));
    ASSERT_STATUS(SHOAL_ERR_INVALID, shl_sockaddr_unix("", &addr));
}

/* ---- ranges ------------------------------------------------------------------------------ */

static bool in_mask(const void *arg, uint32_t rank)
{
    return *(const uint64_t *)arg >> rank & 1;
}

static void ranges_are_compact(void **state)
{
    static const struct {
        uint64_t mask;
        uint32_t size, count;
        const char *text;
    } cases[] = {{0, 8, 0, ""},       {1, 8, 1, "0"},     {0xe4, 8, 4, "2, 5-7"},
                 {0xff, 8, 8, "0-7"}, {0x3, 2, 2, "0-1"}, {0x155, 9, 5, "0, 2, 4, 6, 8"}};
    char text[64];
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_int_equal(
            shl_ranges_format(in_mask, &cases[i].mask, cases[i].size, text, sizeof(text)),
            cases[i].count);
        assert_string_equal(text, cases[i].text);
    }
    uint64_t every_other = 0x5555555555555555u;
    assert_int_equal(shl_ranges_format(in_mask, &every_other, 64, text, 20), 32);
    assert_string_equal(text, "0, 2, 4, 6, 8, ...");
}

/* ---- the published address --------------------------------------------------------------- */

static struct shl_control_address fullest_address(void)
{
    struct shl_control_address address = {.count = SHL_CONTROL_ADDRESSES, .pid = UINT64_MAX};
    for (uint32_t i = 0; i < address.count; i++)
        memset(address.text[i], 'a' + (int)i, sizeof(address.text[i]) - 1);
    memset(address.unix_name, 'u', sizeof(address.unix_name) - 1);
    memset(address.host_id, 'h', sizeof(address.host_id) - 1);
    return address;
}

static void an_address_survives_the_wire(void **state)
{
    struct shl_control_address address = fullest_address(), read;
    uint8_t wire[SHL_CONTROL_ADDRESS_BYTES];
    struct shl_bytes out = shl_bytes_writer(wire, sizeof(wire));
    (void)state;
    shl_control_address_put(&out, &address);
    assert_false(out.failed); /* so the fullest fits */
    struct shl_bytes in = shl_bytes_reader(wire, out.at);
    assert_true(shl_control_address_get(&in, &read));
    assert_memory_equal(&read, &address, sizeof(read));
    for (size_t bytes = 0; bytes < out.at; bytes++) {
        in = shl_bytes_reader(wire, bytes);
        assert_false(shl_control_address_get(&in, &read));
    }
    wire[0] = SHL_CONTROL_ADDRESSES + 1;
    in = shl_bytes_reader(wire, out.at);
    assert_false(shl_control_address_get(&in, &read));
}

/* ---- connections ---------------------------------------------------------------------------- */

static const char *algorithm; /* that the kernel uses */
static const char *chosen;    /* by us; NULL: none was */
static bool steady;

static int tell(int fd, int level, int name, void *value, socklen_t *bytes)
{
    (void)fd;
    assert_true(level == IPPROTO_TCP && name == TCP_CONGESTION);
    assert_true(strlen(algorithm) < *bytes);
    memset(value, 0, *bytes);
    memcpy(value, algorithm, strlen(algorithm));
    return 0;
}

static int hear(int fd, int level, int name, const void *value, socklen_t bytes)
{
    (void)fd;
    (void)bytes;
    assert_int_equal(level, IPPROTO_TCP);
    if (name == TCP_CONGESTION)
        chosen = value;
    steady = steady || name == TCP_THIN_LINEAR_TIMEOUTS;
    return 0;
}

/* Only an algorithm under which the pace cannot be kept is replaced. */
static void a_steady_pace_costs_the_algorithm_where_it_must(void **state)
{
    static const struct {
        const char *algorithm, *chosen;
    } cases[] = {{"cubic", NULL}, {"reno", NULL}, {"dctcp", NULL}, {"bbr", "reno"}};
    (void)state;
    struct shl_sys_sock sock = shl_sock_kernel;
    sock.getsockopt = tell;
    sock.setsockopt = hear;
    shl_sock = &sock;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        algorithm = cases[i].algorithm;
        chosen = NULL;
        steady = false;
        shl_sock_keep_pace(7);
        assert_true(steady && !chosen == !cases[i].chosen);
        if (chosen)
            assert_string_equal(chosen, cases[i].chosen);
    }
    shl_sock = &shl_sock_kernel;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hosts_and_ports_are_split),
        cmocka_unit_test(a_port_may_have_a_default),
        cmocka_unit_test(numeric_addresses_survive_a_round_trip),
        cmocka_unit_test(names_are_no_numbers),
        cmocka_unit_test(loopback_is_recognised),
        cmocka_unit_test(abstract_names_fit_or_are_refused),
        cmocka_unit_test(ranges_are_compact),
        cmocka_unit_test(an_address_survives_the_wire),
        cmocka_unit_test(a_steady_pace_costs_the_algorithm_where_it_must),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
