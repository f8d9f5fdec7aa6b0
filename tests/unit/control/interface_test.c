/*
 * Interface selection on hosts that do not exist.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "control/interface.h"

#include "support/fault.h"
#include "support/test.h"

#include <stdio.h>

struct host {
    struct shl_interface list[16];
    uint32_t count;
};

static void add(struct host *host, const char *name, const char *address, bool up)
{
    struct shl_interface *one = &host->list[host->count++];
    memset(one, 0, sizeof(*one));
    snprintf(one->name, sizeof(one->name), "%s", name);
    assert_true(shl_sockaddr_parse(address, 0, &one->addr));
    one->up = one->carrier = up;
    one->loopback = strcmp(name, "lo") == 0;
}

static struct host make_host(void)
{
    struct host host = {.count = 0};
    add(&host, "lo", "127.0.0.1", true);         /* 0 */
    add(&host, "eth0", "10.0.0.5", true);        /* 1 */
    add(&host, "eth10", "10.1.0.5", true);       /* 2 */
    add(&host, "docker0", "172.17.0.1", true);   /* 3 */
    add(&host, "ib0", "192.168.7.3", true);      /* 4 */
    add(&host, "eth1", "10.2.0.5", false);       /* 5 */
    add(&host, "lo", "::1", true);               /* 6 */
    add(&host, "eth0", "fd00::5", true);         /* 7 */
    add(&host, "veth12ab", "169.254.3.4", true); /* 8 */
    add(&host, "br-0c1d", "172.18.0.1", true);   /* 9 */
    return host;
}

/* The chosen indices as text, "1 2 4"; the error's detail when there is one. */
static const char *choose(const char *spec, bool loopback_only)
{
    static char text[600];
    struct host host = make_host();
    uint32_t chosen[16], count = 0;
    if (shl_interface_select(host.list, host.count, spec, loopback_only, chosen, 16, &count) < 0) {
        snprintf(text, sizeof(text), "%s", shl_error_text());
        return text;
    }
    text[0] = '\0';
    for (uint32_t i = 0; i < count; i++)
        snprintf(text + strlen(text), sizeof(text) - strlen(text), "%s%u", i ? " " : "", chosen[i]);
    return text;
}

static void by_default_no_surprise(void **state)
{
    (void)state;
    /* Up, not made by a container engine, loopback last. */
    assert_string_equal(choose("", false), "1 2 4 7 0 6");
}

static void without_carrier_comes_later(void **state)
{
    struct host host = make_host();
    uint32_t chosen[16], count;
    (void)state;
    host.list[1].carrier = false; /* a link that came up a moment ago */
    ASSERT_OK(shl_interface_select(host.list, host.count, "", false, chosen, 16, &count));
    assert_int_equal(count, 6);
    assert_int_equal(chosen[0], 2);
    assert_int_equal(chosen[3], 1);
    assert_int_equal(chosen[4], 0); /* but before loopback */
}

static void without_a_secret_only_loopback(void **state)
{
    (void)state;
    assert_string_equal(choose("", true), "0 6");
    assert_string_equal(choose("lo", true), "0 6");
    assert_string_equal(choose("::1/128", true), "6");
    assert_non_null(strstr(choose("eth0", true), "SHOAL_SECRET_FILE"));
}

static void by_prefix(void **state)
{
    (void)state;
    assert_string_equal(choose("eth", false), "1 2 7");
    assert_string_equal(choose("eth1", false), "2"); /* eth1 itself is down */
    assert_string_equal(choose("ib,eth0", false), "4 1 7");
}

static void by_exact_name(void **state)
{
    (void)state;
    assert_string_equal(choose("=eth0", false), "1 7");
    assert_string_equal(choose("=eth0,eth10", false), "1 7 2"); /* the marker holds on */
    assert_non_null(strstr(choose("=eth", false), "selects no usable address"));
    assert_string_equal(choose("=docker0", false), "3"); /* who asks for it gets it */
}

static void by_exclusion(void **state)
{
    (void)state;
    assert_string_equal(choose("^eth", false), "4 0 6");
    assert_string_equal(choose("^eth0,lo", false), "2 4");
    assert_string_equal(choose("^=eth0", false), "2 4 0 6");
    assert_string_equal(choose("eth,^eth10", false), "1 7");
    assert_string_equal(choose("^eth10,+eth", false), "1 7");
    assert_string_equal(choose("^10.0.0.0/8", false), "4 7 0 6");
}

static void by_network(void **state)
{
    (void)state;
    assert_string_equal(choose("10.0.0.0/8", false), "1 2");
    assert_string_equal(choose("10.1.0.0/16", false), "2");
    assert_string_equal(choose("10.0.0.0/15", false), "1 2");
    assert_string_equal(choose("192.168.7.3", false), "4");
    assert_string_equal(choose("fd00::/8", false), "7");
    assert_string_equal(choose("0.0.0.0/0", false), "0 1 2 3 4 8 9");
    assert_string_equal(choose("::/0", false), "6 7");
    assert_string_equal(choose("fd00::/8,10.1.0.0/16", false), "7 2");
    assert_string_equal(choose("10.0.0.0/8,^eth0", false), "2");
}

static void bad_specs_are_named(void **state)
{
    static const char *const bad[] = {"10.0.0.0/33", "10.0.0.0/", "10.0.0.0/x", "eth/8",
                                      "eth0,,ib0",   "^",         "=",          "fd00::/129",
                                      "10.0.0.0/-1", "1.2.3/8"};
    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        if (!strstr(choose(bad[i], false), "SHOAL_INTERFACE"))
            fail_msg("\"%s\" was taken for \"%s\"", bad[i], choose(bad[i], false));
    char many[200] = "a";
    for (int i = 0; i < 40; i++)
        strcat(many, ",a");
    assert_non_null(strstr(choose(many, false), "more than 32"));
}

static void nothing_selected_lists_what_there_is(void **state)
{
    (void)state;
    const char *text = choose("wlan", false);
    assert_non_null(strstr(text, "SHOAL_INTERFACE=\"wlan\""));
    assert_non_null(strstr(text, "eth0 10.0.0.5"));
    assert_non_null(strstr(text, "eth1 10.2.0.5 (down)"));
    struct host empty = {.count = 0};
    uint32_t chosen[4], count;
    ASSERT_STATUS(SHOAL_ERR_CONFIG,
                  shl_interface_select(empty.list, 0, "", false, chosen, 4, &count));
    ASSERT_DETAIL("there are: none");
}

static void only_so_many_as_fit(void **state)
{
    struct host host = make_host();
    uint32_t chosen[2], count;
    (void)state;
    ASSERT_OK(shl_interface_select(host.list, host.count, "", false, chosen, 2, &count));
    assert_int_equal(count, 2);
    assert_int_equal(chosen[1], 2);
}

static void this_host_has_loopback(void **state)
{
    struct shl_interface list[SHL_INTERFACES_MAX];
    uint32_t count, chosen[8], chosen_count;
    (void)state;
    ASSERT_OK(shl_interface_list(list, SHL_INTERFACES_MAX, &count));
    ASSERT_OK(shl_interface_select(list, count, "", true, chosen, 8, &chosen_count));
    for (uint32_t i = 0; i < chosen_count; i++)
        assert_true(shl_sockaddr_is_loopback(&list[chosen[i]].addr));
    assert_int_equal(list[chosen[0]].prefix_bits,
                     list[chosen[0]].addr.any.sa_family == AF_INET ? 8 : 128);
}

static enum shoal_status list_once(void *arg)
{
    struct shl_interface list[4];
    uint32_t count;
    (void)arg;
    return shl_interface_list(list, 4, &count);
}

static void a_failing_kernel_is_an_error(void **state)
{
    (void)state;
    assert_int_equal(shl_fault_sweep(SHL_FAULT_ALL, list_once, NULL, 10), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(by_default_no_surprise),
        cmocka_unit_test(without_carrier_comes_later),
        cmocka_unit_test(without_a_secret_only_loopback),
        cmocka_unit_test(by_prefix),
        cmocka_unit_test(by_exact_name),
        cmocka_unit_test(by_exclusion),
        cmocka_unit_test(by_network),
        cmocka_unit_test(bad_specs_are_named),
        cmocka_unit_test(nothing_selected_lists_what_there_is),
        cmocka_unit_test(only_so_many_as_fit),
        cmocka_unit_test(this_host_has_loopback),
        cmocka_unit_test(a_failing_kernel_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
