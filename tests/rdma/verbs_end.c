/*
 * Verbs connections for tests: devices, queue pairs through their states, requests, completions.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "verbs_end.h"

#include "support/test.h"

#include <arpa/inet.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>

enum { GIDS_MAX = 64 };

struct ibv_context *device_open(const char *name)
{
    int count = 0;
    struct ibv_device **list = ibv_get_device_list(&count);
    assert_non_null(list);
    struct ibv_context *device = NULL;
    for (int i = 0; i < count && !device; i++) {
        if (strcmp(ibv_get_device_name(list[i]), name) == 0)
            device = ibv_open_device(list[i]);
    }
    ibv_free_device_list(list);
    return device;
}

bool device_find_gid(struct ibv_context *device, const char *ipv4, struct ibv_gid_entry *entry)
{
    uint8_t wanted[16] = {[10] = 0xff, [11] = 0xff};
    assert_int_equal(inet_pton(AF_INET, ipv4, wanted + 12), 1);
    struct ibv_gid_entry entries[GIDS_MAX];
    ssize_t count = ibv_query_gid_table(device, entries, GIDS_MAX, 0);
    assert_true(count >= 0);
    for (ssize_t i = 0; i < count; i++) {
        if (entries[i].port_num == END_PORT && entries[i].gid_type == IBV_GID_TYPE_ROCE_V2 &&
            memcmp(entries[i].gid.raw, wanted, sizeof(wanted)) == 0) {
            *entry = entries[i];
            return true;
        }
    }
    return false;
}

void end_init(struct end *end, struct ibv_context *device)
{
    memset(end, 0, sizeof(*end));
    end->device = device;
    end->memory = calloc(1, END_BYTES);
    assert_non_null(end->memory);
    end->pd = ibv_alloc_pd(device);
    assert_non_null(end->pd);
    end->mr = ibv_reg_mr(end->pd, end->memory, END_BYTES,
                         IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE);
    assert_non_null(end->mr);
    end->channel = ibv_create_comp_channel(device);
    assert_non_null(end->channel);
    end->cq = ibv_create_cq(device, 2 * END_REQUESTS, NULL, end->channel, 0);
    assert_non_null(end->cq);
    assert_int_equal(ibv_req_notify_cq(end->cq, 0), 0);
}

void end_fini(struct end *end)
{
    assert_int_equal(ibv_destroy_cq(end->cq), 0);
    assert_int_equal(ibv_destroy_comp_channel(end->channel), 0);
    assert_int_equal(ibv_dereg_mr(end->mr), 0);
    assert_int_equal(ibv_dealloc_pd(end->pd), 0);
    free(end->memory);
}

void end_open_rxe(struct end *end, int number)
{
    char name[16], address[16];
    snprintf(name, sizeof(name), "rxe%d", number);
    snprintf(address, sizeof(address), "10.77.0.%d", number + 1);
    struct ibv_context *device = device_open(name);
    if (!device)
        fail_msg("no device %s", name);
    end_init(end, device);
    if (!device_find_gid(device, address, &end->gid))
        fail_msg("%s has no RoCEv2 GID of %s", name, address);
    struct ibv_qp_init_attr init = {
        .send_cq = end->cq,
        .recv_cq = end->cq,
        .cap = {END_REQUESTS, END_REQUESTS, 1, 1, 0},
        .qp_type = IBV_QPT_RC,
        .sq_sig_all = 1,
    };
    end->qp = ibv_create_qp(end->pd, &init);
    assert_non_null(end->qp);
}

void end_close_rxe(struct end *end)
{
    assert_int_equal(ibv_destroy_qp(end->qp), 0);
    struct ibv_context *device = end->device;
    end_fini(end);
    assert_int_equal(ibv_close_device(device), 0);
}

static void make_ready_to_receive(struct end *end, const struct end *peer)
{
    struct ibv_qp_attr attr = {
        .qp_state = IBV_QPS_INIT,
        .port_num = END_PORT,
        .qp_access_flags = IBV_ACCESS_REMOTE_WRITE,
    };
    assert_int_equal(
        ibv_modify_qp(end->qp, &attr,
                      IBV_QP_STATE | IBV_QP_PKEY_INDEX | IBV_QP_PORT | IBV_QP_ACCESS_FLAGS),
        0);
    attr = (struct ibv_qp_attr){
        .qp_state = IBV_QPS_RTR,
        .path_mtu = IBV_MTU_1024,
        .dest_qp_num = peer->qp->qp_num,
        .rq_psn = peer->qp->qp_num & 0xffff, /* any number that both sides can tell */
        .max_dest_rd_atomic = 1,
        .min_rnr_timer = 1,
        .ah_attr = {.is_global = 1,
                    .port_num = END_PORT,
                    .grh = {.dgid = peer->gid.gid,
                            .sgid_index = (uint8_t)end->gid.gid_index,
                            .hop_limit = 64}},
    };
    assert_int_equal(ibv_modify_qp(end->qp, &attr,
                                   IBV_QP_STATE | IBV_QP_AV | IBV_QP_PATH_MTU | IBV_QP_DEST_QPN |
                                       IBV_QP_RQ_PSN | IBV_QP_MAX_DEST_RD_ATOMIC |
                                       IBV_QP_MIN_RNR_TIMER),
                     0);
}

static void make_ready_to_send(struct end *end, struct persistence persistence)
{
    struct ibv_qp_attr attr = {
        .qp_state = IBV_QPS_RTS,
        .timeout = persistence.timeout,
        .retry_cnt = persistence.retry_count,
        .rnr_retry = persistence.rnr_retry_count,
        .sq_psn = end->qp->qp_num & 0xffff,
        .max_rd_atomic = 1,
    };
    assert_int_equal(ibv_modify_qp(end->qp, &attr,
                                   IBV_QP_STATE | IBV_QP_TIMEOUT | IBV_QP_RETRY_CNT |
                                       IBV_QP_RNR_RETRY | IBV_QP_SQ_PSN | IBV_QP_MAX_QP_RD_ATOMIC),
                     0);
}

void end_connect(struct end *a, struct end *b, struct persistence persistence)
{
    make_ready_to_receive(a, b);
    make_ready_to_receive(b, a);
    make_ready_to_send(a, persistence);
    make_ready_to_send(b, persistence);
}

void end_post_receive(struct end *end, uint64_t id, uint32_t bytes)
{
    struct ibv_sge piece = {(uintptr_t)end->memory, bytes, end->mr->lkey};
    struct ibv_recv_wr request = {.wr_id = id, .sg_list = &piece, .num_sge = 1}, *bad = NULL;
    assert_int_equal(ibv_post_recv(end->qp, &request, &bad), 0);
}

static void post(struct end *end, struct ibv_send_wr request, uint32_t bytes)
{
    struct ibv_sge piece = {(uintptr_t)end->memory, bytes, end->mr->lkey};
    struct ibv_send_wr *bad = NULL;
    request.sg_list = &piece;
    request.num_sge = 1;
    request.send_flags = IBV_SEND_SIGNALED;
    assert_int_equal(ibv_post_send(end->qp, &request, &bad), 0);
}

void end_post_send(struct end *end, uint64_t id, uint32_t bytes)
{
    post(end, (struct ibv_send_wr){.wr_id = id, .opcode = IBV_WR_SEND}, bytes);
}

void end_post_write(struct end *from, const struct end *to, uint64_t id, uint32_t bytes)
{
    struct ibv_send_wr request = {.wr_id = id, .opcode = IBV_WR_RDMA_WRITE};
    request.wr.rdma.remote_addr = (uintptr_t)to->memory;
    request.wr.rdma.rkey = to->mr->rkey;
    post(from, request, bytes);
}

void end_post_write_immediate(struct end *from, const struct end *to, uint64_t id, uint32_t bytes,
                              uint32_t immediate)
{
    struct ibv_send_wr request = {.wr_id = id, .opcode = IBV_WR_RDMA_WRITE_WITH_IMM};
    request.imm_data = htonl(immediate);
    request.wr.rdma.remote_addr = (uintptr_t)to->memory;
    request.wr.rdma.rkey = to->mr->rkey;
    post(from, request, bytes);
}

void wait_readable(int fd, const char *what)
{
    struct pollfd readable = {.fd = fd, .events = POLLIN};
    int ready = poll(&readable, 1, END_WAIT_MS);
    if (ready != 1)
        fail_msg("%s did not come in %d ms (poll: %d)", what, (int)END_WAIT_MS, ready);
}

struct ibv_wc end_wait(struct end *end)
{
    struct ibv_wc done = {0};
    int count;
    /* After arming the queue it is polled again: what came between would raise no event. */
    while ((count = ibv_poll_cq(end->cq, 1, &done)) == 0) {
        wait_readable(end->channel->fd, "a completion");
        struct ibv_cq *cq = NULL;
        void *context = NULL;
        assert_int_equal(ibv_get_cq_event(end->channel, &cq, &context), 0);
        ibv_ack_cq_events(cq, 1);
        assert_int_equal(ibv_req_notify_cq(end->cq, 0), 0);
    }
    assert_int_equal(count, 1);
    return done;
}

void end_assert_idle(struct end *end)
{
    struct ibv_wc done = {0};
    if (ibv_poll_cq(end->cq, 1, &done) != 0)
        fail_msg("unexpected completion of %llu: %s", (unsigned long long)done.wr_id,
                 ibv_wc_status_str(done.status));
}
