/*
 * What a sender over Soft-RoCE sees of faults. The transport is built on these, so a kernel on
 * which they differ must be noticed here. No times are asserted, only what comes and in which
 * order.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "support/test.h"
#include "verbs_end.h"

#include <stdio.h>
#include <stdlib.h>

static const struct persistence IMPATIENT = {.timeout = 14, .retry_count = 3, .rnr_retry_count = 3};

static void set_link(const char *name, const char *state)
{
    char command[64];
    snprintf(command, sizeof(command), "ip link set %s %s", name, state);
    assert_int_equal(system(command), 0);
}

static void exchange(struct end *from, struct end *to)
{
    end_post_receive(to, 1, 0);
    end_post_write_immediate(from, to, 2, 512, 3);
    assert_int_equal(end_wait(to).status, IBV_WC_SUCCESS);
    assert_int_equal(end_wait(from).status, IBV_WC_SUCCESS);
}

static enum ibv_qp_state state_of(struct end *end)
{
    struct ibv_qp_attr attr;
    struct ibv_qp_init_attr init;
    assert_int_equal(ibv_query_qp(end->qp, &attr, IBV_QP_STATE, &init), 0);
    return attr.qp_state;
}

/* A link fails between two writes: the first that is lost tells it, all after it are flushed. */
static void check_link_down(const char *link)
{
    struct end a, b;
    end_open_rxe(&a, 0);
    end_open_rxe(&b, 1);
    end_connect(&a, &b, IMPATIENT);
    exchange(&a, &b);
    set_link(link, "down");
    for (uint64_t id = 10; id < 14; id++)
        end_post_write(&a, &b, id, 512);
    for (uint64_t id = 10; id < 14; id++) {
        struct ibv_wc done = end_wait(&a);
        assert_int_equal(done.wr_id, id);
        assert_int_equal(done.status, id == 10 ? IBV_WC_RETRY_EXC_ERR : IBV_WC_WR_FLUSH_ERR);
    }
    assert_int_equal(state_of(&a), IBV_QPS_ERR);
    end_assert_idle(&b); /* who was to receive learns nothing */
    set_link(link, "up");
    end_close_rxe(&b);
    end_close_rxe(&a);
}

static void test_a_peer_whose_link_is_down(void **state)
{
    (void)state;
    check_link_down("v1");
}

static void test_a_cable_that_is_pulled(void **state)
{
    (void)state;
    check_link_down("p1");
}

/* Seven, the largest count, means for ever. Were it a count, its error would come long before the
   other's: its timeout is 1/64. */
static void test_seven_retries_never_end(void **state)
{
    (void)state;
    struct end patient[2], impatient[2];
    for (int i = 0; i < 2; i++) {
        end_open_rxe(&patient[i], i);
        end_open_rxe(&impatient[i], i);
    }
    end_connect(&patient[0], &patient[1],
                (struct persistence){.timeout = 8, .retry_count = 7, .rnr_retry_count = 3});
    end_connect(&impatient[0], &impatient[1], IMPATIENT);
    set_link("p1", "down");
    end_post_write(&patient[0], &patient[1], 1, 512);
    end_post_write(&impatient[0], &impatient[1], 2, 512);
    assert_int_equal(end_wait(&impatient[0]).status, IBV_WC_RETRY_EXC_ERR);
    end_assert_idle(&patient[0]);
    set_link("p1", "up");
    assert_int_equal(end_wait(&patient[0]).status, IBV_WC_SUCCESS);
    for (int i = 1; i >= 0; i--) {
        end_close_rxe(&impatient[i]);
        end_close_rxe(&patient[i]);
    }
}

static void test_a_peer_without_receives(void **state)
{
    (void)state;
    struct end a, b;
    end_open_rxe(&a, 0);
    end_open_rxe(&b, 1);
    end_connect(&a, &b, IMPATIENT);
    end_post_write_immediate(&a, &b, 1, 512, 0);
    assert_int_equal(end_wait(&a).status, IBV_WC_RNR_RETRY_EXC_ERR);
    end_close_rxe(&b);
    end_close_rxe(&a);
}

static void expect_event(struct ibv_context *device, enum ibv_event_type expected)
{
    struct ibv_async_event event;
    wait_readable(device->async_fd, ibv_event_type_str(expected));
    assert_int_equal(ibv_get_async_event(device, &event), 0);
    assert_int_equal(event.event_type, expected);
    assert_int_equal(event.element.port_num, END_PORT);
    ibv_ack_async_event(&event);
}

static void test_a_port_tells_its_own_device(void **state)
{
    (void)state;
    struct ibv_context *device = device_open("rxe1");
    assert_non_null(device);
    set_link("v1", "down");
    expect_event(device, IBV_EVENT_PORT_ERR);
    set_link("v1", "up");
    expect_event(device, IBV_EVENT_PORT_ACTIVE);
    assert_int_equal(ibv_close_device(device), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_peer_whose_link_is_down),
        cmocka_unit_test(test_a_cable_that_is_pulled),
        cmocka_unit_test(test_seven_retries_never_end),
        cmocka_unit_test(test_a_peer_without_receives),
        cmocka_unit_test(test_a_port_tells_its_own_device),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
