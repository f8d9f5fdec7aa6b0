/*
 * Queue pairs of the device of this process: what is posted is carried out at once.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "support/verbs_soft_parts.h"

#include <errno.h>
#include <string.h>

#define PAIRS_MAX 4096
#define RECVS_MAX 64
#define INLINE_BYTES_IWARP 64

struct pair {
    struct ibv_qp qp; /* first */
    enum ibv_qp_state state;
    uint32_t peer;
    struct ibv_recv_wr recvs[RECVS_MAX];
    struct ibv_sge recv_pieces[RECVS_MAX];
    unsigned head, tail;
};

static struct pair *pairs[PAIRS_MAX]; /* by number; never reused */
static uint32_t next_pair = 1;

struct ibv_qp *verbs_soft_create_qp(struct ibv_pd *pd, struct ibv_qp_init_attr *attr)
{
    if (verbs_soft_is_iwarp() && attr->cap.max_inline_data > INLINE_BYTES_IWARP) {
        errno = EINVAL;
        return NULL;
    }
    struct pair *pair = verbs_soft_make(sizeof(*pair));
    pthread_mutex_lock(&verbs_soft_lock);
    verbs_soft_must(next_pair < PAIRS_MAX, "too many queue pairs");
    pair->qp = (struct ibv_qp){.context = pd->context,
                               .pd = pd,
                               .send_cq = attr->send_cq,
                               .recv_cq = attr->recv_cq,
                               .qp_num = next_pair};
    pair->state = IBV_QPS_RESET;
    pairs[next_pair++] = pair;
    pthread_mutex_unlock(&verbs_soft_lock);
    return &pair->qp;
}

/* What waits on a pair in ERR completes without effect. */
static void flush(struct pair *pair)
{
    for (; pair->tail != pair->head; pair->tail++) {
        struct ibv_wc completion = {.wr_id = pair->recvs[pair->tail % RECVS_MAX].wr_id,
                                    .status = IBV_WC_WR_FLUSH_ERR,
                                    .qp_num = pair->qp.qp_num};
        verbs_soft_complete(pair->qp.recv_cq, &completion);
    }
}

int verbs_soft_modify_qp(struct ibv_qp *qp, struct ibv_qp_attr *attr, int mask)
{
    struct pair *pair = (struct pair *)qp;
    verbs_soft_must(mask & IBV_QP_STATE, "a queue pair is modified without a state");
    pthread_mutex_lock(&verbs_soft_lock);
    /* RESET, INIT, RTR, RTS; and from anywhere to ERR, where it stays */
    bool legal = attr->qp_state == pair->state + 1 || attr->qp_state == IBV_QPS_ERR;
    legal = legal && !(verbs_soft_is_iwarp() && attr->qp_state == IBV_QPS_RTR);
    if (legal && attr->qp_state == IBV_QPS_ERR) {
        pair->state = IBV_QPS_ERR;
        flush(pair);
    } else if (legal) {
        pair->state = attr->qp_state;
        pair->peer = mask & IBV_QP_DEST_QPN ? attr->dest_qp_num : pair->peer;
    }
    pthread_mutex_unlock(&verbs_soft_lock);
    return legal ? 0 : EINVAL;
}

int verbs_soft_destroy_qp(struct ibv_qp *qp)
{
    pthread_mutex_lock(&verbs_soft_lock);
    pairs[qp->qp_num] = NULL;
    pthread_mutex_unlock(&verbs_soft_lock);
    return verbs_soft_unmake(qp);
}

int verbs_soft_post_recv(struct ibv_qp *qp, struct ibv_recv_wr *chain, struct ibv_recv_wr **bad)
{
    struct pair *pair = (struct pair *)qp;
    (void)bad;
    pthread_mutex_lock(&verbs_soft_lock);
    for (; chain; chain = chain->next) {
        unsigned at = pair->head++ % RECVS_MAX;
        verbs_soft_must(pair->head - pair->tail <= RECVS_MAX, "too many receive requests");
        verbs_soft_must(chain->num_sge == 0 ||
                            verbs_soft_covers(qp->pd, chain->sg_list->lkey, chain->sg_list->addr,
                                              chain->sg_list->length, IBV_ACCESS_LOCAL_WRITE),
                        "a receive request for memory that is not registered");
        pair->recv_pieces[at] = chain->num_sge ? *chain->sg_list : (struct ibv_sge){0};
        pair->recvs[at] = *chain;
    }
    pthread_mutex_unlock(&verbs_soft_lock);
    return 0;
}

/* What becomes of a request, and what the peer gets. */
static enum ibv_wc_status carry_out(struct pair *pair, const struct ibv_send_wr *request)
{
    struct pair *peer = pair->peer < PAIRS_MAX ? pairs[pair->peer] : NULL;
    const struct ibv_sge *piece = request->num_sge ? request->sg_list : NULL;
    uint32_t bytes = piece ? piece->length : 0;
    bool told = request->opcode != IBV_WR_RDMA_WRITE;
    bool write = request->opcode != IBV_WR_SEND;
    if (!peer || peer->state < IBV_QPS_RTR || peer->state > IBV_QPS_RTS ||
        peer->peer != pair->qp.qp_num)
        return IBV_WC_RETRY_EXC_ERR;
    if (told && peer->head == peer->tail)
        return IBV_WC_RNR_RETRY_EXC_ERR;
    if (piece && !verbs_soft_covers(pair->qp.pd, piece->lkey, piece->addr, bytes, 0))
        return IBV_WC_LOC_PROT_ERR;
    unsigned at = peer->tail % RECVS_MAX;
    const struct ibv_sge *into = &peer->recv_pieces[at];
    if (write && bytes &&
        !verbs_soft_covers(peer->qp.pd, request->wr.rdma.rkey, request->wr.rdma.remote_addr, bytes,
                           IBV_ACCESS_REMOTE_WRITE))
        return IBV_WC_REM_ACCESS_ERR;
    if (!write && bytes > into->length)
        return IBV_WC_REM_INV_REQ_ERR;
    uint64_t target = write ? request->wr.rdma.remote_addr : into->addr;
    if (bytes)
        memcpy((void *)(uintptr_t)target, (const void *)(uintptr_t)piece->addr, bytes);
    if (!told)
        return IBV_WC_SUCCESS;
    peer->tail++;
    struct ibv_wc completion = {.wr_id = peer->recvs[at].wr_id,
                                .status = IBV_WC_SUCCESS,
                                .opcode = write ? IBV_WC_RECV_RDMA_WITH_IMM : IBV_WC_RECV,
                                .byte_len = bytes,
                                .imm_data = request->imm_data,
                                .qp_num = peer->qp.qp_num};
    verbs_soft_complete(peer->qp.recv_cq, &completion);
    return IBV_WC_SUCCESS;
}

int verbs_soft_post_send(struct ibv_qp *qp, struct ibv_send_wr *chain, struct ibv_send_wr **bad)
{
    struct pair *pair = (struct pair *)qp;
    (void)bad;
    pthread_mutex_lock(&verbs_soft_lock);
    verbs_soft_must(pair->state >= IBV_QPS_RTS, "a request on a queue pair that is not connected");
    for (; chain; chain = chain->next) {
        verbs_soft_must(!verbs_soft_is_iwarp() || (chain->opcode != IBV_WR_RDMA_WRITE_WITH_IMM &&
                                                   !(chain->send_flags & IBV_SEND_INLINE)),
                        "an iWARP device is asked for what it does not do");
        enum ibv_wc_status status =
            pair->state == IBV_QPS_RTS ? carry_out(pair, chain) : IBV_WC_WR_FLUSH_ERR;
        struct ibv_wc completion = {.wr_id = chain->wr_id, .status = status, .qp_num = qp->qp_num};
        if (status != IBV_WC_SUCCESS) {
            pair->state = IBV_QPS_ERR;
            flush(pair);
        }
        if (status != IBV_WC_SUCCESS || chain->send_flags & IBV_SEND_SIGNALED)
            verbs_soft_complete(qp->send_cq, &completion);
    }
    pthread_mutex_unlock(&verbs_soft_lock);
    return 0;
}

void verbs_soft_join(uint32_t one, uint32_t other)
{
    pthread_mutex_lock(&verbs_soft_lock);
    struct pair *a = pairs[one], *b = pairs[other];
    if (a && b && a->state == IBV_QPS_INIT && b->state == IBV_QPS_INIT) {
        a->state = b->state = IBV_QPS_RTS;
        a->peer = other;
        b->peer = one;
    }
    pthread_mutex_unlock(&verbs_soft_lock);
}
