/*
 * What the RDMA tests build upon, over Soft-RoCE: devices are there, their GIDs can be found, and a
 * write with immediate puts the right bytes in the right place.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "support/test.h"
#include "verbs_end.h"

#include <arpa/inet.h>

static const struct persistence ORDINARY = {.timeout = 14, .retry_count = 3, .rnr_retry_count = 3};

static void test_devices_are_listed_and_active(void **state)
{
    (void)state;
    static const char *const names[] = {"rxe0", "rxe1", "siw0", "siw1"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        struct ibv_context *device = device_open(names[i]);
        if (!device)
            fail_msg("no device %s", names[i]);
        struct ibv_port_attr port;
        assert_int_equal(ibv_query_port(device, END_PORT, &port), 0);
        assert_int_equal(port.state, IBV_PORT_ACTIVE);
        assert_int_equal(port.link_layer, IBV_LINK_LAYER_ETHERNET);
        assert_int_equal(device->device->transport_type,
                         names[i][0] == 's' ? IBV_TRANSPORT_IWARP : IBV_TRANSPORT_IB);
        assert_int_equal(ibv_close_device(device), 0);
    }
    assert_null(device_open("rxe2"));
}

static void test_the_gid_of_an_address_is_found(void **state)
{
    (void)state;
    struct ibv_context *device = device_open("rxe1");
    assert_non_null(device);
    struct ibv_gid_entry entry;
    assert_true(device_find_gid(device, "10.77.0.2", &entry));
    union ibv_gid gid;
    assert_int_equal(ibv_query_gid(device, END_PORT, (int)entry.gid_index, &gid), 0);
    assert_memory_equal(gid.raw, entry.gid.raw, sizeof(gid.raw));
    assert_false(device_find_gid(device, "10.77.0.1", &entry)); /* rxe0's */
    assert_int_equal(ibv_close_device(device), 0);
}

static void fill(uint8_t *memory, uint32_t bytes, uint8_t first)
{
    for (uint32_t i = 0; i < bytes; i++)
        memory[i] = (uint8_t)(first + i * 7 + (i >> 8));
}

static void write_and_check(struct end *from, struct end *to, uint32_t bytes, uint32_t immediate)
{
    fill(from->memory, END_BYTES, (uint8_t)bytes);
    memset(to->memory, 0xee, END_BYTES);
    end_post_receive(to, 100 + bytes, 0);
    end_post_write_immediate(from, to, bytes, bytes, immediate);

    struct ibv_wc arrived = end_wait(to);
    assert_int_equal(arrived.status, IBV_WC_SUCCESS);
    assert_int_equal(arrived.opcode, IBV_WC_RECV_RDMA_WITH_IMM);
    assert_int_equal(arrived.wr_id, 100 + bytes);
    assert_int_equal(arrived.byte_len, bytes);
    assert_true(arrived.wc_flags & IBV_WC_WITH_IMM);
    assert_int_equal(ntohl(arrived.imm_data), immediate);
    assert_memory_equal(to->memory, from->memory, bytes);
    for (uint32_t i = bytes; i < END_BYTES; i++)
        assert_int_equal(to->memory[i], 0xee);

    struct ibv_wc left = end_wait(from);
    assert_int_equal(left.status, IBV_WC_SUCCESS);
    assert_int_equal(left.wr_id, bytes);
    end_assert_idle(from);
    end_assert_idle(to);
}

static void test_writes_with_immediate_arrive_both_ways(void **state)
{
    (void)state;
    static const uint32_t sizes[] = {0, 1, 8, 1023, 1024, 1025, 4097, END_BYTES - 1, END_BYTES};
    struct end a, b;
    end_open_rxe(&a, 0);
    end_open_rxe(&b, 1);
    end_connect(&a, &b, ORDINARY);
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        write_and_check(&a, &b, sizes[i], 0x80000000u + (uint32_t)i);
        write_and_check(&b, &a, sizes[i], (uint32_t)i);
    }
    end_close_rxe(&b);
    end_close_rxe(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_devices_are_listed_and_active),
        cmocka_unit_test(test_the_gid_of_an_address_is_found),
        cmocka_unit_test(test_writes_with_immediate_arrive_both_ways),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
