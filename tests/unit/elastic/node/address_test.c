/*
 * Members' addresses: what is put is got, what does not fit is left out, what is wrong is refused.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "elastic/node/address.h"

#include "support/test.h"

#include <sched.h>

static struct shl_sockaddr tcp(const char *host, uint16_t port)
{
    struct shl_sockaddr addr;
    assert_true(shl_sockaddr_parse(host, port, &addr));
    return addr;
}

static void what_is_put_is_got(void **state)
{
    (void)state;
    struct shl_node_address address = {.host = 77, .domain = 78, .count = 3}, got;
    struct shl_member member = {.id = 1};
    address.tcp[0] = tcp("10.1.2.3", 4000);
    address.tcp[1] = tcp("fd00::5", 4001);
    address.tcp[2] = tcp("127.0.0.1", 4002);
    shl_node_address_put(&member, &address);
    assert_true(shl_node_address_get(&member, &got));
    assert_int_equal(got.host, 77);
    assert_int_equal(got.domain, 78);
    assert_int_equal(got.count, 3);
    for (uint32_t i = 0; i < 3; i++) {
        char put_text[SHL_SOCK_TEXT_BYTES], got_text[SHL_SOCK_TEXT_BYTES];
        shl_sockaddr_format(&address.tcp[i], put_text, sizeof(put_text));
        shl_sockaddr_format(&got.tcp[i], got_text, sizeof(got_text));
        assert_string_equal(put_text, got_text);
    }
}

/* Members of one machine fail together, unless somebody knows better. */
static void domains_are_machines_or_as_named(void **state)
{
    (void)state;
    uint64_t machine, again, other, node, rack;
    ASSERT_OK(shl_node_address_domain("", &machine));
    ASSERT_OK(shl_node_address_domain("node-1", &node));
    ASSERT_OK(shl_node_address_domain("rack-1", &rack));
    assert_true(machine != node && node != rack);
    ASSERT_OK(shl_node_address_domain("node-1", &again));
    assert_true(node == again);
    if (unshare(CLONE_NEWNET | CLONE_NEWUTS) != 0)
        TEST_SKIP("no namespaces here");
    ASSERT_OK(shl_node_address_domain("", &other));
    assert_true(machine == other);
}

static void what_does_not_fit_is_left_out(void **state)
{
    (void)state;
    struct shl_node_address address = {.host = 1, .count = SHL_DIAL_CANDIDATES}, got;
    struct shl_member member = {.id = 1};
    for (uint32_t i = 0; i < SHL_DIAL_CANDIDATES; i++)
        address.tcp[i] = tcp("fd00::1:2:3", (uint16_t)(1000 + i));
    shl_node_address_put(&member, &address);
    assert_true(member.address_bytes <= SHL_MEMBER_ADDRESS_MAX);
    assert_true(shl_node_address_get(&member, &got));
    assert_int_equal(got.count, 2);
    assert_int_equal(shl_sockaddr_port(&got.tcp[1]), 1001);
}

/* Every prefix, and every byte changed: refused or read, never more than is there. */
static void what_is_wrong_is_refused(void **state)
{
    (void)state;
    struct shl_node_address address = {.host = 5, .count = 1}, got = {.host = 9};
    struct shl_member member = {.id = 1}, broken;
    address.tcp[0] = tcp("10.0.0.1", 1);
    shl_node_address_put(&member, &address);
    for (uint8_t bytes = 0; bytes < member.address_bytes; bytes++) {
        broken = member;
        broken.address_bytes = bytes;
        bool whole = bytes == 17; /* a host without an address */
        assert_int_equal(shl_node_address_get(&broken, &got), whole);
    }
    broken = member;
    broken.address[0] = 1;
    assert_false(shl_node_address_get(&broken, &got));
    broken = member;
    broken.address[17] = 5;
    assert_false(shl_node_address_get(&broken, &got));
}

static void loopback_is_for_the_same_host(void **state)
{
    (void)state;
    struct shl_node_address address = {.host = 5, .count = 2};
    struct shl_dial_target target;
    address.tcp[0] = tcp("127.0.0.1", 1);
    address.tcp[1] = tcp("10.0.0.1", 2);
    shl_node_address_target(&address, 3, 5, &target);
    assert_int_equal(target.count, 1);
    assert_int_equal(target.addresses[0].any.sa_family, AF_UNIX);
    shl_node_address_target(&address, 3, 6, &target);
    assert_int_equal(target.count, 1);
    assert_int_equal(shl_sockaddr_port(&target.addresses[0]), 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_put_is_got),
        cmocka_unit_test(what_does_not_fit_is_left_out),
        cmocka_unit_test(what_is_wrong_is_refused),
        cmocka_unit_test(loopback_is_for_the_same_host),
        cmocka_unit_test(domains_are_machines_or_as_named), /* last: its host is another then */
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
