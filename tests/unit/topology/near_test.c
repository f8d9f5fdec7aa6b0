/*
 * Distances of devices on a machine with two sockets, of which a file tells: mlx5_0 and eth0 are
 * one card at the first, with processors 0 and 1, mlx5_1 is at the second, with 2 and 3, and mlx5_2
 * at neither.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "topology/near.h"

#include "support/test.h"

static const char *const machine = TOPOLOGY_DATA "/two_sockets.xml";

static struct shl_near look(const char *cpus, const char *device, const char *interface)
{
    struct shl_near near = {UINT32_MAX, ""};
    if (!shl_topology_near_of(machine, cpus, device, interface, &near))
        fail_msg("it is not known where %s or %s is", device, interface);
    return near;
}

static void the_own_socket_is_nearest(void **state)
{
    static const char *const bindings[] = {"0", "0-1", "1"};
    (void)state;
    for (size_t i = 0; i < sizeof(bindings) / sizeof(bindings[0]); i++) {
        struct shl_near own = look(bindings[i], "mlx5_0", ""),
                        far = look(bindings[i], "mlx5_1", "");
        struct shl_near none = look(bindings[i], "mlx5_2", "");
        assert_true(own.distance < none.distance && none.distance < far.distance);
        assert_string_equal(own.text, "near to our CPUs (NUMA node 0)");
        assert_string_equal(far.text, "far from our CPUs (NUMA node 1, distance 21)");
        assert_string_equal(none.text, "equally near to all CPUs");
        assert_true(look("2,3", "mlx5_1", "").distance < look("2,3", "mlx5_0", "").distance);
    }
}

static void who_is_bound_to_both_sockets_prefers_none(void **state)
{
    (void)state;
    assert_int_equal(look("0-3", "mlx5_0", "").distance, look("0-3", "mlx5_1", "").distance);
    assert_string_equal(look("1-2", "mlx5_1", "").text, "near to some of our CPUs (NUMA node 1)");
}

static void a_device_of_software_is_where_its_interface_is(void **state)
{
    (void)state;
    assert_string_equal(look("0", "rxe0", "eth1").text, look("0", "mlx5_1", "").text);
    assert_string_equal(look("0", "rxe0", "eth4").text, look("0", "mlx5_0", "").text);
    assert_string_equal(look("0", "mlx5_0", "eth1").text, look("0", "mlx5_0", "").text);
}

static void what_is_not_known_is_told(void **state)
{
    struct shl_near near;
    (void)state;
    assert_false(shl_topology_near_of(machine, "0", "rxe0", "", &near));
    assert_false(shl_topology_near_of(machine, "0", "", "", &near));
    assert_false(shl_topology_near_of("/nowhere.xml", "0", "mlx5_0", "", &near));
    assert_false(shl_topology_near_of(machine, "no list", "mlx5_0", "", &near));
    /* This machine may have anything, but not this. */
    assert_false(shl_topology_near("no such device", "nor interface", &near));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_own_socket_is_nearest),
        cmocka_unit_test(who_is_bound_to_both_sockets_prefers_none),
        cmocka_unit_test(a_device_of_software_is_where_its_interface_is),
        cmocka_unit_test(what_is_not_known_is_told),
    };
    return cmocka_run_group_tests_name("topology_near", tests, NULL, NULL);
}
