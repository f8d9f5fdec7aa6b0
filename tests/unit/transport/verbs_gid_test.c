/*
 * Which GID of a RoCE port is used, on machines that do not exist: by type and address, by index,
 * and why the others are not.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "verbs_machine.h"

#include <errno.h>

static void gid_without_interface_here_is_rejected(void **state)
{
    (void)state;
    struct machine_device *fake = machine_add_device("rocep1", IBV_LINK_LAYER_ETHERNET);
    machine_add_gid(fake, 1, IBV_GID_TYPE_ROCE_V2, LINK_LOCAL);
    machine_add_gid(fake, 3, IBV_GID_TYPE_ROCE_V2, ELSEWHERE_V4);
    ASSERT_OK(machine_find("", ""));
    machine_assert_rejected("rocep1", 1,
                            "GID 1 fe80:0:0:0:20a:4dff:fe00:1 (RoCE v2) is link-local");
    machine_assert_rejected("rocep1", 1,
                            "GID 3 192.0.2.7 (RoCE v2) no interface in this network namespace");
}

static void empty_table_and_holes(void **state)
{
    (void)state;
    machine_add_device("bare", IBV_LINK_LAYER_ETHERNET);
    struct machine_device *holes = machine_add_device("holes", IBV_LINK_LAYER_ETHERNET);
    machine_add_gid(holes, 0, IBV_GID_TYPE_IB, HOLE);
    machine_add_gid(holes, 9, IBV_GID_TYPE_ROCE_V2, LOOPBACK_V4);
    machine_add_gid(holes, 9, IBV_GID_TYPE_ROCE_V2, LOOPBACK_V4);
    holes->gids[2].port_num = 2; /* another port's */
    struct machine_device *unreadable = machine_add_roce("unreadable");
    unreadable->gid_errno = EPERM;
    ASSERT_OK(machine_find("", ""));
    machine_assert_rejected("bare", 1, "GID table is empty");
    assert_int_equal(machine_port_named("holes", 1)->gid_index, 9);
    machine_assert_rejected("unreadable", 1, "cannot be read: Operation not permitted");
}

static void gid_index_can_be_asked_for(void **state)
{
    (void)state;
    machine_add_roce("mlx5_0");
    ASSERT_OK(machine_find("", "1"));
    assert_true(machine_port_named("mlx5_0", 1)->usable); /* link-local, but somebody wants it */
    assert_int_equal(machine_port_named("mlx5_0", 1)->gid_index, 1);
    ASSERT_OK(machine_find("", "4"));
    machine_assert_rejected("mlx5_0", 1, "GID 4, which this port does not have; leave it unset");
    ASSERT_STATUS(SHOAL_ERR_CONFIG, machine_find("", "one"));
    ASSERT_DETAIL("SHOAL_IB_GID_INDEX=\"one\"");
    ASSERT_STATUS(SHOAL_ERR_CONFIG, machine_find("", "-1"));
    ASSERT_STATUS(SHOAL_ERR_CONFIG, machine_find("", "65536"));
}

static void every_gid_has_an_entry(void **state)
{
    (void)state;
    struct machine_device *fake = machine_add_roce("mlx5_0");
    machine_add_gid(fake, 7, IBV_GID_TYPE_ROCE_V2, ELSEWHERE_V4);
    machine_add_gid(fake, 9, IBV_GID_TYPE_ROCE_V2, LOOPBACK_V4);
    machine_add_roce("mlx5_1");
    ASSERT_OK(machine_find("", ""));
    assert_int_equal(machine_found_count, 2);
    machine_finder = shl_verbs_gids_find;
    ASSERT_OK(machine_find("", ""));
    assert_int_equal(machine_found_count,
                     3); /* only those that could be used, the best one first */
    assert_string_equal(machine_found[1].device, "mlx5_0");
    assert_int_equal(machine_found[0].gid_index, 5);
    assert_false(machine_found[0].spare_gid);
    assert_int_equal(machine_found[1].gid_index, 9);
    assert_true(machine_found[1].spare_gid && machine_found[1].usable);
    assert_non_null(strstr(machine_found[1].reason, "instead of GID 5"));
    assert_false(machine_found[2].spare_gid);
    ASSERT_OK(machine_find("=mlx5_0", "9"));
    assert_int_equal(machine_found_count, 2); /* the other device is listed, with its reason */
    assert_int_equal(machine_found[0].gid_index, 9);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(gid_without_interface_here_is_rejected, machine_set_up),
        cmocka_unit_test_setup(empty_table_and_holes, machine_set_up),
        cmocka_unit_test_setup(gid_index_can_be_asked_for, machine_set_up),
        cmocka_unit_test_setup(every_gid_has_an_entry, machine_set_up),
    };
    return cmocka_run_group_tests_name("verbs_gid", tests, NULL, NULL);
}
