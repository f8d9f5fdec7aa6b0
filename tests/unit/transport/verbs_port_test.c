/*
 * Discovery of RDMA ports on machines that do not exist: which can be used, in which order, which
 * become rails, and why the others cannot.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "core/sys.h"
#include "support/fault.h"
#include "verbs_machine.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

static void roce_port_is_described(void **state)
{
    (void)state;
    machine_add_roce("mlx5_0");
    ASSERT_OK(machine_find("", ""));
    assert_int_equal(machine_found_count, 1);
    const struct shl_verbs_port *port = machine_port_named("mlx5_0", 1);
    assert_true(port->usable && port->active);
    assert_int_equal(port->kind, SHL_VERBS_ROCE);
    assert_int_equal(port->mtu_bytes, 4096);
    assert_int_equal(port->speed_mbit, 100000);
    assert_int_equal(port->numa_node, -1);
    assert_int_equal(port->gid_index, 5); /* not 2: that is version 1 */
    assert_string_equal(port->gid_text, "127.0.0.1");
    assert_string_equal(port->interface, "lo");
}

static void partition_key_by_index_or_value(void **state)
{
    static const struct {
        const char *text;
        uint32_t index;
    } good[] = {{"", 0},    {"0", 0},      {"2", 2},     {"0x8007", 2},
                {"0x7", 2}, {"0x8003", 3}, {"0xffff", 0}};
    static const struct {
        const char *text, *reason;
    } none[] = {{"1", "its table of 4 partition keys has none at index 1 (SHOAL_IB_PKEY)"},
                {"4", "its table of 4 partition keys has none at index 4"},
                {"0x9", "its table of 4 partition keys has no 0x9 (SHOAL_IB_PKEY)"}};
    static const char *const malformed[] = {"x",  "-1",  "+1",     " 1",      "1 ", "65536",
                                            "0x", "0x0", "0x8000", "0x10000", "1,2"};
    (void)state;
    machine_add_roce("mlx5_0");
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        machine_pkey = good[i].text;
        ASSERT_OK(machine_find("", ""));
        assert_true(machine_port_named("mlx5_0", 1)->usable);
        assert_int_equal(machine_port_named("mlx5_0", 1)->pkey_index, good[i].index);
    }
    for (size_t i = 0; i < sizeof(none) / sizeof(none[0]); i++) {
        machine_pkey = none[i].text;
        ASSERT_OK(machine_find("", ""));
        machine_assert_rejected("mlx5_0", 1, none[i].reason);
    }
    for (size_t i = 0; i < sizeof(malformed) / sizeof(malformed[0]); i++) {
        machine_pkey = malformed[i];
        ASSERT_STATUS(SHOAL_ERR_CONFIG, machine_find("", ""));
        ASSERT_DETAIL("neither an index of a table of partition keys");
    }
}

/* "d3": its distance is in the name; "x": nobody knows where it is. */
static bool near_by_name(const char *device, const char *interface, struct shl_near *near)
{
    (void)interface;
    if (device[0] != 'd')
        return false;
    near->distance = (uint32_t)(device[1] - '0') * SHL_NEAR_UNKNOWN;
    snprintf(near->text, sizeof(near->text), "%c steps away", device[1]);
    return true;
}

static void the_nearest_ports_are_chosen(void **state)
{
    static const struct {
        const char *names; /* 'x': not usable; 'i': usable, of another kind */
        const char *chosen;
        uint32_t nearest;
        bool everywhere; /* nearness is not known at all */
    } cases[] = {
        {"0", "0", 0, false},          {"10", "01", 1, false},        {"2103", "0123", 2, false},
        {"2103120", "1246", 1, false}, {"3333330", "0126", 3, false}, {"2103120", "0123", 0, true},
        {"u0", "01", 1, false},        {"2u", "01", 1, false},        {"1x0", "02", 1, false},
        {"1i0", "02", 1, false},       {"x", "", 0, false},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct shl_verbs_port ports[8] = {0};
        uint32_t count = (uint32_t)strlen(cases[i].names), chosen[4] = {0}, nearest = 9;
        for (uint32_t k = 0; k < count; k++) {
            char name = cases[i].names[k];
            bool known = name >= '0' && name <= '9';
            snprintf(ports[k].device, sizeof(ports[k].device), "%c%c", known ? 'd' : '-', name);
            ports[k].usable = name != 'x';
            ports[k].kind = name == 'i' ? SHL_VERBS_INFINIBAND : SHL_VERBS_ROCE;
            snprintf(ports[k].reason, sizeof(ports[k].reason), "good");
        }
        uint32_t rails = shl_verbs_ports_choose(
            ports, count, cases[i].everywhere ? NULL : near_by_name, chosen, 4, &nearest);
        assert_int_equal(rails, strlen(cases[i].chosen));
        for (uint32_t k = 0; k < rails; k++)
            assert_int_equal(chosen[k], cases[i].chosen[k] - '0');
        assert_int_equal(nearest, cases[i].nearest);
        for (uint32_t k = 0; k < count; k++) {
            char digit[2] = {(char)('0' + k), 0};
            bool left_out = ports[k].usable && !strpbrk(cases[i].chosen, digit);
            assert_int_equal(strstr(ports[k].reason, "others are used") ||
                                 strstr(ports[k].reason, "not used beside RoCE"),
                             left_out);
            if (ports[k].device[0] == 'd' && !cases[i].everywhere)
                assert_non_null(strstr(ports[k].reason, "good; "));
        }
    }
}

static void infiniband_needs_a_lid(void **state)
{
    (void)state;
    struct machine_device *fake = machine_add_device("mlx4_0", IBV_LINK_LAYER_INFINIBAND);
    fake->ports = 2;
    machine_add_gid(fake, 0, IBV_GID_TYPE_IB, LINK_LOCAL);
    fake->port[2].lid = 0;
    ASSERT_OK(machine_find("", ""));
    assert_int_equal(machine_found_count, 2);
    assert_true(machine_port_named("mlx4_0", 1)->usable);
    assert_int_equal(machine_port_named("mlx4_0", 1)->lid, 7);
    assert_int_equal(machine_port_named("mlx4_0", 1)->kind, SHL_VERBS_INFINIBAND);
    machine_assert_rejected("mlx4_0", 2, "no subnet manager");
}

static void every_device_has_an_entry(void **state)
{
    (void)state;
    machine_add_roce("closed")->open_errno = EACCES;
    machine_add_roce("mute")->query_errno = EIO;
    machine_add_roce("down")->port[1].state = IBV_PORT_DOWN;
    machine_add_roce("siw0")->device.transport_type = IBV_TRANSPORT_IWARP;
    ASSERT_OK(machine_find("", ""));
    assert_int_equal(machine_found_count, 4);
    machine_assert_rejected("closed", 0,
                            "cannot be opened: Permission denied; /dev/infiniband/uverbs0");
    machine_assert_rejected("mute", 0, "cannot be queried");
    machine_assert_rejected("down", 1, "port is down, not active");
    machine_assert_rejected("siw0", 1, "rdma_cm");
}

static void best_port_comes_first(void **state)
{
    (void)state;
    machine_add_roce("b");
    machine_add_roce("a");
    machine_add_roce("fast")->port[1].active_speed = 64;
    machine_add_roce("0down")->port[1].state = IBV_PORT_DOWN;
    ASSERT_OK(machine_find("", ""));
    assert_string_equal(machine_found[0].device, "fast");
    assert_string_equal(machine_found[1].device, "a");
    assert_string_equal(machine_found[2].device, "b");
    assert_string_equal(machine_found[3].device, "0down");
}

/* The names of what may be used, in order. */
static const char *allowed(const char *hca)
{
    static char text[128];
    if (machine_find(hca, "") < 0)
        return shl_error_text();
    text[0] = '\0';
    for (uint32_t i = 0; i < machine_found_count; i++)
        if (machine_found[i].usable)
            snprintf(text + strlen(text), sizeof(text) - strlen(text), "%s%s:%u", *text ? " " : "",
                     machine_found[i].device, machine_found[i].port);
    return text;
}

static void filters_are_those_of_nccl(void **state)
{
    (void)state;
    machine_add_roce("mlx5_1");
    struct machine_device *two = machine_add_roce("mlx5_10");
    two->ports = 2;
    machine_add_gid(two, 7, IBV_GID_TYPE_ROCE_V2, LOOPBACK_V4);
    two->gids[two->gid_count - 1].port_num = 2;
    machine_add_roce("rxe0");
    assert_string_equal(allowed(""), "mlx5_1:1 mlx5_10:1 mlx5_10:2 rxe0:1");
    assert_string_equal(allowed("mlx5"), "mlx5_1:1 mlx5_10:1 mlx5_10:2");
    assert_string_equal(allowed("=mlx5_1"), "mlx5_1:1");
    assert_string_equal(allowed("=mlx5_10:2,rxe0"), "mlx5_10:2 rxe0:1");
    assert_string_equal(allowed("^mlx5_10"), "mlx5_1:1 rxe0:1");
    assert_string_equal(allowed("^=mlx5_1,rxe0"), "mlx5_10:1 mlx5_10:2");
    assert_string_equal(allowed("^mlx5_10:1"), "mlx5_1:1 mlx5_10:2 rxe0:1");
    assert_string_equal(allowed("nothing"), "");
    machine_assert_rejected("rxe0", 0, "SHOAL_IB_HCA=\"nothing\" leaves it out");
}

static void malformed_filters_are_errors(void **state)
{
    (void)state;
    machine_add_roce("mlx5_0");
    const char *const bad[] = {"^", "=", "mlx5_0:0", "mlx5_0:", "mlx5_0:x", "a:999", ",b", ":1"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        ASSERT_STATUS(SHOAL_ERR_CONFIG, machine_find(bad[i], ""));
        ASSERT_DETAIL("SHOAL_IB_HCA");
    }
}

static void no_devices(void **state)
{
    (void)state;
    ASSERT_OK(machine_find("", ""));
    assert_int_equal(machine_found_count, 0);
    machine_list_errno = ENOSYS;
    ASSERT_STATUS(SHOAL_ERR_UNSUPPORTED, machine_find("", ""));
    ASSERT_DETAIL("no RDMA devices: Function not implemented");
}

static const char *netns_mode; /* what the kernel's parameter says; NULL: there is none */

static int open_netns_mode(const char *path, int flags, int mode)
{
    int ends[2];
    (void)flags, (void)mode;
    assert_string_equal(path, "/sys/module/ib_core/parameters/netns_mode");
    errno = ENOENT;
    if (!netns_mode)
        return -1;
    assert_int_equal(pipe(ends), 0);
    assert_int_equal(write(ends[1], netns_mode, strlen(netns_mode)), strlen(netns_mode));
    close(ends[1]);
    return ends[0];
}

static void exclusive_mode_is_explained(void **state)
{
    struct shl_sys_fd table = shl_fd_kernel;
    (void)state;
    table.open = open_netns_mode;
    shl_fd = &table;
    assert_string_equal(shl_verbs_none_string(), "this machine has no RDMA device");
    netns_mode = "Y\n";
    assert_string_equal(shl_verbs_none_string(), "this machine has no RDMA device");
    netns_mode = "N\n";
    assert_non_null(strstr(shl_verbs_none_string(), "the kernel's mode is exclusive"));
    shl_fd = &shl_fd_kernel;
}

static enum shoal_status find_all(void *arg)
{
    (void)arg;
    return machine_find("", "");
}

static void kth_call_fails(void **state)
{
    (void)state;
    machine_add_roce("mlx5_0");
    assert_true(shl_fault_sweep(SHL_FAULT_ALL, find_all, NULL, 200) > 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(roce_port_is_described, machine_set_up),
        cmocka_unit_test_setup(partition_key_by_index_or_value, machine_set_up),
        cmocka_unit_test_setup(the_nearest_ports_are_chosen, machine_set_up),
        cmocka_unit_test_setup(infiniband_needs_a_lid, machine_set_up),
        cmocka_unit_test_setup(every_device_has_an_entry, machine_set_up),
        cmocka_unit_test_setup(best_port_comes_first, machine_set_up),
        cmocka_unit_test_setup(filters_are_those_of_nccl, machine_set_up),
        cmocka_unit_test_setup(malformed_filters_are_errors, machine_set_up),
        cmocka_unit_test_setup(no_devices, machine_set_up),
        cmocka_unit_test_setup(exclusive_mode_is_explained, machine_set_up),
        cmocka_unit_test_setup(kth_call_fails, machine_set_up),
    };
    return cmocka_run_group_tests_name("verbs_port", tests, NULL, NULL);
}
