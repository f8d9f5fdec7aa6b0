/*
 * Queue pairs: made, filled with receive requests, and connected.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "transport/verbs/verbs_link.h"

#include "core/config.h"
#include "core/sys.h"

#include <errno.h>

#define PSN_MASK 0xffffffu
#define RNR_TIMER 12 /* 0.64 ms; credits make that it is never needed */
#define RNR_RETRIES 3

struct sizes {
    uint32_t sends, recvs, recv_pieces, inline_bytes;
};

static struct ibv_qp *create(struct shl_verbs_link *link, struct ibv_pd *pd,
                             const struct sizes *sizes)
{
    struct ibv_qp_init_attr attr = {
        .send_cq = link->t->cq,
        .recv_cq = link->t->cq,
        .qp_type = IBV_QPT_RC,
        .cap = {.max_send_wr = sizes->sends,
                .max_recv_wr = sizes->recvs,
                .max_send_sge = 1,
                .max_recv_sge = sizes->recv_pieces,
                .max_inline_data = sizes->inline_bytes},
    };
    return shl_verbs->create_qp(pd, &attr);
}

static enum shoal_status initialise(struct shl_verbs_link *link, struct ibv_qp *qp, uint32_t *psn)
{
    struct ibv_qp_attr attr = {.qp_state = IBV_QPS_INIT,
                               .port_num = (uint8_t)link->t->port.port,
                               .qp_access_flags = IBV_ACCESS_REMOTE_WRITE};
    if (shl_random->bytes(psn, sizeof(*psn)) != 0)
        return shl_fail_errno("no random number for a queue pair");
    *psn &= PSN_MASK;
    int error = shl_verbs->modify_qp(
        qp, &attr, IBV_QP_STATE | IBV_QP_PKEY_INDEX | IBV_QP_PORT | IBV_QP_ACCESS_FLAGS);
    if (error) {
        errno = error;
        return shl_fail_errno("%s: a queue pair cannot be initialised", link->t->port.device);
    }
    return SHOAL_OK;
}

enum shoal_status shl_verbs_pair_recv(struct shl_verbs_link *link, uint32_t slot)
{
    struct ibv_sge piece = {.addr =
                                (uintptr_t)(link->recv_slots + (size_t)slot * SHL_VERBS_SLOT_BYTES),
                            .length = SHL_VERBS_SLOT_BYTES,
                            .lkey = link->slots_mr->lkey};
    struct ibv_recv_wr *bad,
        request = {.wr_id = (uint64_t)link->peer << 32 | slot, .sg_list = &piece, .num_sge = 1};
    int error = shl_verbs->post_recv(link->qp, &request, &bad);
    if (!error)
        return SHOAL_OK;
    errno = error < 0 ? -error : error;
    return shl_fail_errno("%s: a receive request cannot be posted", link->t->port.device);
}

enum shoal_status shl_verbs_pair_direct_recv(struct shl_verbs_link *link)
{
    struct ibv_recv_wr *bad, request = {.wr_id = (uint64_t)link->peer << 32};
    int error = shl_verbs->post_recv(link->direct.qp, &request, &bad);
    if (!error) {
        link->direct.recvs++;
        return SHOAL_OK;
    }
    errno = error < 0 ? -error : error;
    return shl_fail_errno("%s: a receive request cannot be posted", link->t->port.device);
}

enum shoal_status shl_verbs_pair_direct_create(struct shl_verbs_link *link)
{
    const struct sizes sizes = {SHL_VERBS_SLOTS, SHL_VERBS_PLACES, 0, 0};
    link->direct.qp = create(link, link->t->direct_pd, &sizes);
    if (!link->direct.qp)
        return shl_fail_errno("%s: no queue pair for writes in place", link->t->port.device);
    SHL_TRY(initialise(link, link->direct.qp, &link->direct.first_psn));
    while (link->direct.recvs < SHL_VERBS_PLACES)
        SHL_TRY(shl_verbs_pair_direct_recv(link));
    return SHOAL_OK;
}

static enum shoal_status create_slots(struct shl_verbs_link *link)
{
    struct shl_transport *t = link->t;
    size_t bytes = 2 * SHL_VERBS_SLOTS * SHL_VERBS_SLOT_BYTES;
    link->recv_slots = shl_mem->alloc_aligned(4096, bytes);
    if (!link->recv_slots)
        return shl_fail(SHOAL_ERR_NOMEM, "no memory for the link to rank %u", link->peer);
    link->send_slots = link->recv_slots + bytes / 2;
    link->slots_mr = shl_verbs->reg_mr(t->pd, link->recv_slots, bytes, IBV_ACCESS_LOCAL_WRITE);
    if (!link->slots_mr)
        return shl_fail_errno("%s: cannot register %zu bytes; raise the limit of locked memory",
                              t->port.device, bytes);
    return SHOAL_OK;
}

enum shoal_status shl_verbs_pair_create(struct shl_verbs_link *link)
{
    const struct sizes sizes = {SHL_VERBS_SLOTS, SHL_VERBS_SLOTS, 1, SHL_VERBS_INLINE_BYTES};
    SHL_TRY(create_slots(link));
    link->qp = create(link, link->t->pd, &sizes);
    if (!link->qp)
        return shl_fail_errno("%s: no queue pair", link->t->port.device);
    SHL_TRY(initialise(link, link->qp, &link->first_psn));
    for (uint32_t slot = 0; slot < SHL_VERBS_SLOTS; slot++)
        SHL_TRY(shl_verbs_pair_recv(link, slot));
    return shl_verbs_pair_direct_create(link);
}

static enum ibv_mtu mtu_code(uint32_t bytes)
{
    enum ibv_mtu code = IBV_MTU_256;
    while (code < IBV_MTU_4096 && 128u << (code + 1) <= bytes)
        code++;
    return code;
}

static void address(const struct shl_verbs_link *link, const struct shl_verbs_greeting *peer,
                    struct ibv_ah_attr *out)
{
    const struct shl_config *config = link->t->env->config;
    const struct shl_verbs_port *port = &link->t->port;
    *out = (struct ibv_ah_attr){.sl = (uint8_t)config->ib_service_level,
                                .dlid = (uint16_t)peer->lid,
                                .port_num = (uint8_t)port->port};
    /* Within one InfiniBand subnet the LID is enough. */
    if (port->kind == SHL_VERBS_INFINIBAND && memcmp(port->gid, peer->gid, 8) == 0)
        return;
    out->is_global = 1;
    memcpy(out->grh.dgid.raw, peer->gid, sizeof(peer->gid));
    out->grh.sgid_index = (uint8_t)port->gid_index;
    out->grh.hop_limit = (uint8_t)config->ib_hop_limit;
    out->grh.traffic_class = (uint8_t)config->ib_traffic_class;
}

/* One queue pair of this rank and one of the peer's, named by number and first packet number. */
struct ends {
    struct ibv_qp *qp;
    uint32_t psn, peer_pair, peer_psn;
};

static enum shoal_status connect_ends(struct shl_verbs_link *link, const struct ends *ends,
                                      const struct shl_verbs_greeting *peer)
{
    const struct shl_verbs_port *port = &link->t->port;
    const struct shl_config *config = link->t->env->config;
    uint32_t mtu = port->mtu_bytes < peer->mtu_bytes ? port->mtu_bytes : peer->mtu_bytes;
    struct ibv_qp_attr attr = {.qp_state = IBV_QPS_RTR,
                               .path_mtu = mtu_code(mtu),
                               .dest_qp_num = ends->peer_pair,
                               .rq_psn = ends->peer_psn & PSN_MASK,
                               .max_dest_rd_atomic = 1,
                               .min_rnr_timer = RNR_TIMER};
    address(link, peer, &attr.ah_attr);
    int error =
        shl_verbs->modify_qp(ends->qp, &attr,
                             IBV_QP_STATE | IBV_QP_AV | IBV_QP_PATH_MTU | IBV_QP_DEST_QPN |
                                 IBV_QP_RQ_PSN | IBV_QP_MAX_DEST_RD_ATOMIC | IBV_QP_MIN_RNR_TIMER);
    if (!error) {
        attr = (struct ibv_qp_attr){.qp_state = IBV_QPS_RTS,
                                    .timeout = (uint8_t)config->ib_timeout,
                                    .retry_cnt = (uint8_t)config->ib_retry,
                                    .rnr_retry = RNR_RETRIES,
                                    .sq_psn = ends->psn,
                                    .max_rd_atomic = 1};
        error =
            shl_verbs->modify_qp(ends->qp, &attr,
                                 IBV_QP_STATE | IBV_QP_TIMEOUT | IBV_QP_RETRY_CNT |
                                     IBV_QP_RNR_RETRY | IBV_QP_SQ_PSN | IBV_QP_MAX_QP_RD_ATOMIC);
    }
    if (!error)
        return SHOAL_OK;
    errno = error;
    return shl_fail_errno("%s: the queue pair to rank %u cannot be connected (GID %u, %s)",
                          port->device, link->peer, port->gid_index, port->gid_text);
}

enum shoal_status shl_verbs_pair_direct_connect(struct shl_verbs_link *link, uint32_t peer_pair,
                                                uint32_t peer_psn)
{
    const struct ends ends = {link->direct.qp, link->direct.first_psn, peer_pair, peer_psn};
    struct shl_verbs_greeting peer;
    memcpy(&peer, link->greeting, sizeof(peer));
    return connect_ends(link, &ends, &peer);
}

enum shoal_status shl_verbs_pair_connect(struct shl_verbs_link *link,
                                         const struct shl_verbs_greeting *peer)
{
    const struct ends ends = {link->qp, link->first_psn, peer->queue_pair, peer->first_psn};
    SHL_TRY(connect_ends(link, &ends, peer));
    SHL_TRY(shl_verbs_pair_direct_connect(link, peer->direct_pair, peer->direct_psn));
    link->direct.up = true;
    return SHOAL_OK;
}
