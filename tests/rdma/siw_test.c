/*
 * What the RDMA tests build upon, over soft iWARP: connections by rdma_cm, sends, writes, and what
 * iWARP lacks (writes with immediate).
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "support/test.h"
#include "verbs_end.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <rdma/rdma_cma.h>

/* Two ends of one connection in this process: `caller` on siw0, `called` on siw1. */
struct pair {
    struct rdma_event_channel *caller_events, *called_events;
    struct rdma_cm_id *listener, *caller_id, *called_id;
    struct end caller, called;
};

static const char *const CALLER = "10.78.0.1", *const CALLED = "10.78.0.2";

static struct sockaddr_in address_of(const char *text, uint16_t port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = port};
    assert_int_equal(inet_pton(AF_INET, text, &address.sin_addr), 1);
    return address;
}

/* Takes the next event, which must be `expected`; returns the id that it is about. */
static struct rdma_cm_id *expect(struct rdma_event_channel *events,
                                 enum rdma_cm_event_type expected)
{
    struct rdma_cm_event *event = NULL;
    wait_readable(events->fd, rdma_event_str(expected));
    assert_int_equal(rdma_get_cm_event(events, &event), 0);
    if (event->event != expected)
        fail_msg("%s (status %d) instead of %s", rdma_event_str(event->event), event->status,
                 rdma_event_str(expected));
    struct rdma_cm_id *id = event->id;
    assert_int_equal(rdma_ack_cm_event(event), 0);
    return id;
}

static void make_end(struct end *end, struct rdma_cm_id *id, const char *device)
{
    assert_non_null(id->verbs);
    assert_string_equal(ibv_get_device_name(id->verbs->device), device);
    end_init(end, id->verbs);
    struct ibv_qp_init_attr init = {
        .send_cq = end->cq,
        .recv_cq = end->cq,
        .cap = {END_REQUESTS, END_REQUESTS, 1, 1, 0},
        .qp_type = IBV_QPT_RC,
    };
    assert_int_equal(rdma_create_qp(id, end->pd, &init), 0);
    end->qp = id->qp;
}

static void pair_call(struct pair *pair)
{
    struct sockaddr_in source = address_of(CALLER, 0);
    struct sockaddr_in target = address_of(CALLED, rdma_get_src_port(pair->listener));
    assert_int_equal(rdma_create_id(pair->caller_events, &pair->caller_id, NULL, RDMA_PS_TCP), 0);
    assert_int_equal(rdma_resolve_addr(pair->caller_id, (struct sockaddr *)&source,
                                       (struct sockaddr *)&target, END_WAIT_MS),
                     0);
    expect(pair->caller_events, RDMA_CM_EVENT_ADDR_RESOLVED);
    assert_int_equal(rdma_resolve_route(pair->caller_id, END_WAIT_MS), 0);
    expect(pair->caller_events, RDMA_CM_EVENT_ROUTE_RESOLVED);
    make_end(&pair->caller, pair->caller_id, "siw0");
}

static void pair_open(struct pair *pair)
{
    pair->caller_events = rdma_create_event_channel();
    pair->called_events = rdma_create_event_channel();
    assert_true(pair->caller_events && pair->called_events);
    struct sockaddr_in here = address_of(CALLED, 0);
    assert_int_equal(rdma_create_id(pair->called_events, &pair->listener, NULL, RDMA_PS_TCP), 0);
    assert_int_equal(rdma_bind_addr(pair->listener, (struct sockaddr *)&here), 0);
    assert_int_equal(rdma_listen(pair->listener, 1), 0);
    pair_call(pair);

    /* iWARP ends a connection whose receiver has nothing posted, so receives come first. */
    end_post_receive(&pair->caller, 1, END_BYTES);
    struct rdma_conn_param wishes = {.initiator_depth = 1, .responder_resources = 1};
    assert_int_equal(rdma_connect(pair->caller_id, &wishes), 0);
    pair->called_id = expect(pair->called_events, RDMA_CM_EVENT_CONNECT_REQUEST);
    make_end(&pair->called, pair->called_id, "siw1");
    end_post_receive(&pair->called, 1, END_BYTES);
    assert_int_equal(rdma_accept(pair->called_id, &wishes), 0);
    expect(pair->caller_events, RDMA_CM_EVENT_ESTABLISHED);
    expect(pair->called_events, RDMA_CM_EVENT_ESTABLISHED);
}

static void end_drop(struct end *end, struct rdma_cm_id *id)
{
    rdma_destroy_qp(id);
    end_fini(end);
    assert_int_equal(rdma_destroy_id(id), 0);
}

static void pair_close(struct pair *pair)
{
    assert_int_equal(rdma_disconnect(pair->caller_id), 0);
    expect(pair->caller_events, RDMA_CM_EVENT_DISCONNECTED);
    expect(pair->called_events, RDMA_CM_EVENT_DISCONNECTED);
    end_drop(&pair->caller, pair->caller_id);
    end_drop(&pair->called, pair->called_id);
    assert_int_equal(rdma_destroy_id(pair->listener), 0);
    rdma_destroy_event_channel(pair->caller_events);
    rdma_destroy_event_channel(pair->called_events);
}

static void expect_success(struct end *end, uint64_t id, enum ibv_wc_opcode opcode)
{
    struct ibv_wc done = end_wait(end);
    if (done.status != IBV_WC_SUCCESS)
        fail_msg("request %llu: %s", (unsigned long long)done.wr_id,
                 ibv_wc_status_str(done.status));
    assert_int_equal(done.wr_id, id);
    assert_int_equal(done.opcode, opcode);
}

static void fill(uint8_t *memory, uint32_t bytes)
{
    for (uint32_t i = 0; i < bytes; i++)
        memory[i] = (uint8_t)(3 + i * 5 + (i >> 8));
}

static void test_a_send_brings_its_bytes(void **state)
{
    (void)state;
    enum { BYTES = 5000 };
    struct pair pair;
    pair_open(&pair);
    fill(pair.caller.memory, END_BYTES);
    memset(pair.called.memory, 0xee, END_BYTES);
    end_post_send(&pair.caller, 2, BYTES);
    struct ibv_wc arrived = end_wait(&pair.called);
    assert_int_equal(arrived.status, IBV_WC_SUCCESS);
    assert_int_equal(arrived.opcode, IBV_WC_RECV);
    assert_int_equal(arrived.byte_len, BYTES);
    assert_memory_equal(pair.called.memory, pair.caller.memory, BYTES);
    assert_int_equal(pair.called.memory[BYTES], 0xee);
    expect_success(&pair.caller, 2, IBV_WC_SEND);
    pair_close(&pair);
}

/* Without immediates a send tells that a write is complete: the receiver sees both in order. */
static void test_a_send_follows_the_write_that_it_announces(void **state)
{
    (void)state;
    struct pair pair;
    pair_open(&pair);
    fill(pair.caller.memory, END_BYTES);
    memset(pair.called.memory, 0xee, END_BYTES);
    end_post_write(&pair.caller, &pair.called, 2, END_BYTES);
    end_post_send(&pair.caller, 3, 1);
    expect_success(&pair.called, 1, IBV_WC_RECV);
    assert_memory_equal(pair.called.memory, pair.caller.memory, END_BYTES);
    expect_success(&pair.caller, 2, IBV_WC_RDMA_WRITE);
    expect_success(&pair.caller, 3, IBV_WC_SEND);
    pair_close(&pair);
}

static void test_writes_with_immediate_are_refused(void **state)
{
    (void)state;
    struct pair pair;
    pair_open(&pair);
    struct ibv_sge piece = {(uintptr_t)pair.caller.memory, 8, pair.caller.mr->lkey};
    struct ibv_send_wr request = {.sg_list = &piece,
                                  .num_sge = 1,
                                  .opcode = IBV_WR_RDMA_WRITE_WITH_IMM,
                                  .send_flags = IBV_SEND_SIGNALED},
                       *bad = NULL;
    request.wr.rdma.remote_addr = (uintptr_t)pair.called.memory;
    request.wr.rdma.rkey = pair.called.mr->rkey;
    assert_int_not_equal(ibv_post_send(pair.caller.qp, &request, &bad), 0);
    assert_ptr_equal(bad, &request);
    pair_close(&pair);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_send_brings_its_bytes),
        cmocka_unit_test(test_a_send_follows_the_write_that_it_announces),
        cmocka_unit_test(test_writes_with_immediate_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
