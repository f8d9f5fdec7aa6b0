/*
 * Queue pairs: made, filled with receive requests, and connected.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "transport/verbs/verbs_link.h"

#include "core/config.h"
#include "core/log.h"
#include "core/sys.h"

#include <errno.h>

#define PSN_MASK 0xffffffu
#define RNR_TIMER 12 /* 0.64 ms; credits make that it is never needed */
#define RNR_RETRIES 3

struct sizes {
    uint32_t sends, recvs, recv_pieces, inline_bytes;
};

static struct ibv_qp *create(struct ibv_cq *cq, struct ibv_pd *pd, const struct sizes *sizes)
{
    struct ibv_qp_init_attr attr = {
        .send_cq = cq,
        .recv_cq = cq,
        .qp_type = IBV_QPT_RC,
        .cap = {.max_send_wr = sizes->sends,
                .max_recv_wr = sizes->recvs,
                .max_send_sge = 1,
                .max_recv_sge = sizes->recv_pieces,
                .max_inline_data = sizes->inline_bytes},
    };
    return shl_verbs->create_qp(pd, &attr);
}

static enum shoal_status choose_psn(uint32_t *psn)
{
    if (shl_random->bytes(psn, sizeof(*psn)) != 0)
        return shl_fail_errno("no random number for a queue pair");
    *psn &= PSN_MASK;
    return SHOAL_OK;
}

/* 0, or the error. */
static int to_init(const struct shl_verbs_port *port, struct ibv_qp *qp)
{
    struct ibv_qp_attr attr = {.qp_state = IBV_QPS_INIT,
                               .port_num = (uint8_t)port->port,
                               .pkey_index = (uint16_t)port->pkey_index,
                               .qp_access_flags = IBV_ACCESS_REMOTE_WRITE};
    int mask = IBV_QP_STATE | IBV_QP_ACCESS_FLAGS;
    if (port->kind !=
        SHL_VERBS_IWARP) /* which has no partitions, and takes the port from rdma_cm */
        mask |= IBV_QP_PKEY_INDEX | IBV_QP_PORT;
    return shl_verbs->modify_qp(qp, &attr, mask);
}

static enum shoal_status initialise(const struct shl_verbs_port *port, struct ibv_qp *qp)
{
    int error = to_init(port, qp);
    if (error) {
        errno = error;
        return shl_fail_errno("%s: a queue pair cannot be initialised", port->device);
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
        request = {.wr_id = (uint64_t)link->qp_rail << 56 | (uint64_t)link->peer << 32 | slot,
                   .sg_list = &piece,
                   .num_sge = 1};
    int error = shl_verbs->post_recv(link->qp, &request, &bad);
    if (!error) {
        link->posted_recvs++;
        return SHOAL_OK;
    }
    errno = error < 0 ? -error : error;
    return shl_fail_errno("%s: a receive request cannot be posted",
                          link->t->rails[link->qp_rail].port.device);
}

enum shoal_status shl_verbs_pair_direct_recv(struct shl_verbs_link *link, uint32_t index,
                                             uint32_t slot)
{
    struct shl_verbs_lane *lane = &link->direct.lanes[index];
    struct ibv_recv_wr *bad,
        request = {.wr_id = (uint64_t)index << 56 | (uint64_t)link->peer << 32 | slot};
    struct ibv_sge token;
    if (link->t->rails[shl_verbs_rail_of(index)].no_immediate) {
        token = shl_verbs_token_in(link, index, slot);
        request.sg_list = &token;
        request.num_sge = 1;
    }
    int error = shl_verbs->post_recv(lane->qp, &request, &bad);
    if (!error) {
        lane->recvs++;
        return SHOAL_OK;
    }
    errno = error < 0 ? -error : error;
    return shl_fail_errno("%s: a receive request cannot be posted",
                          link->t->rails[shl_verbs_rail_of(index)].port.device);
}

static enum shoal_status create_lane(struct shl_verbs_link *link, uint32_t index)
{
    const struct shl_verbs_rail *on = &link->t->rails[shl_verbs_rail_of(index)];
    const struct sizes sizes = {SHL_VERBS_SLOTS * (1 + on->no_immediate) + 1, SHL_VERBS_PLACES,
                                on->no_immediate, 0};
    struct shl_verbs_lane *lane = &link->direct.lanes[index];
    SHL_TRY(shl_verbs_tokens_open(link, shl_verbs_rail_of(index)));
    lane->qp = create(on->cq, on->pd, &sizes);
    if (!lane->qp)
        return shl_fail_errno("%s: no queue pair for writes in place", on->port.device);
    SHL_TRY(initialise(&on->port, lane->qp));
    if (on->port.by_cm)
        shl_verbs_join_await_lane(link, index);
    while (lane->recvs < SHL_VERBS_PLACES)
        SHL_TRY(shl_verbs_pair_direct_recv(link, index, lane->recvs));
    return SHOAL_OK;
}

static enum shoal_status create_lanes(struct shl_verbs_link *link, uint32_t rail)
{
    for (uint32_t pair = 0; pair < link->direct.qps; pair++)
        SHL_TRY(create_lane(link, pair * SHL_VERBS_RAILS + rail));
    return SHOAL_OK;
}

static void drop_lane(struct shl_verbs_lane *lane)
{
    shl_verbs_join_end(&lane->join, lane->qp);
    memset(lane, 0, sizeof(*lane));
}

/* All lanes of a rail, which does not work. */
static void drop_rail(struct shl_verbs_link *link, uint32_t rail)
{
    link->direct.bad |= 1u << rail;
    shl_verbs_retry_later(link);
    for (uint32_t index = rail; index < SHL_VERBS_LANES; index += SHL_VERBS_RAILS)
        drop_lane(&link->direct.lanes[index]);
}

enum shoal_status shl_verbs_pair_direct_create(struct shl_verbs_link *link)
{
    struct shl_verbs_direct *direct = &link->direct;
    SHL_TRY(choose_psn(&direct->first_psn));
    for (uint32_t rail = 0; rail < direct->rail_count; rail++) {
        if (direct->bad >> rail & 1 || create_lanes(link, rail) == SHOAL_OK)
            continue;
        if (link->state != SHL_VERBS_UP)
            return SHOAL_ERR_PEER; /* not even a first time */
        shl_log(SHL_LOG_WARN, "rank %u: %s", link->peer, shl_error_text());
        drop_rail(link, rail);
    }
    direct->made = true;
    return SHOAL_OK;
}

static enum shoal_status register_slots(struct shl_verbs_link *link)
{
    const struct shl_verbs_rail *rail = &link->t->rails[link->qp_rail];
    size_t bytes = 2 * SHL_VERBS_SLOTS * SHL_VERBS_SLOT_BYTES;
    SHL_TRY(shl_verbs_link_slots(link));
    link->slots_mr =
        shl_verbs->reg_mr(rail->window_pd, link->recv_slots, bytes, IBV_ACCESS_LOCAL_WRITE);
    if (!link->slots_mr)
        return shl_fail_errno("%s: cannot register %zu bytes; raise the limit of locked memory",
                              rail->port.device, bytes);
    return SHOAL_OK;
}

enum shoal_status shl_verbs_pair_create(struct shl_verbs_link *link, uint32_t rail, uint64_t life)
{
    const struct shl_verbs_rail *on = &link->t->rails[rail];
    struct sizes sizes = {SHL_VERBS_SLOTS * (1 + on->no_immediate), SHL_VERBS_SLOTS, 1,
                          SHL_VERBS_INLINE_BYTES};
    link->qp_rail = rail;
    link->posted_recvs = 0;
    SHL_TRY(shl_verbs_rail_windows(link->t, rail));
    SHL_TRY(register_slots(link));
    link->qp = create(on->cq, on->window_pd, &sizes);
    if (!link->qp) { /* not every device takes so much with a request */
        sizes.inline_bytes = 0;
        link->qp = create(on->cq, on->window_pd, &sizes);
    }
    link->inline_bytes = sizes.inline_bytes;
    if (!link->qp)
        return shl_fail_errno("%s: no queue pair", on->port.device);
    SHL_TRY(choose_psn(&link->first_psn));
    SHL_TRY(initialise(&on->port, link->qp));
    if (on->port.by_cm)
        shl_verbs_join_await_frames(link, rail, life);
    for (uint32_t slot = 0; slot < SHL_VERBS_SLOTS; slot++)
        SHL_TRY(shl_verbs_pair_recv(link, slot));
    return SHOAL_OK;
}

enum shoal_status shl_verbs_pair_create_all(struct shl_verbs_link *link)
{
    SHL_TRY(shl_verbs_pair_create(link, link->rail, 0));
    return shl_verbs_pair_direct_create(link);
}

static enum ibv_mtu mtu_code(uint32_t bytes)
{
    enum ibv_mtu code = IBV_MTU_256;
    while (code < IBV_MTU_4096 && 128u << (code + 1) <= bytes)
        code++;
    return code;
}

/* One queue pair of this rank and one of the peer's. */
struct ends {
    const struct shl_verbs_port *port;
    struct ibv_qp *qp;
    uint32_t psn, peer_psn;
    uint32_t peer_pair;
    struct shl_verbs_end peer;
};

static void address(const struct shl_config *config, const struct ends *ends,
                    struct ibv_ah_attr *out)
{
    const struct shl_verbs_port *port = ends->port;
    *out = (struct ibv_ah_attr){.sl = (uint8_t)config->ib_service_level,
                                .dlid = (uint16_t)ends->peer.lid,
                                .port_num = (uint8_t)port->port};
    /* Within one InfiniBand subnet the LID is enough. */
    if (port->kind == SHL_VERBS_INFINIBAND && memcmp(port->gid, ends->peer.gid, 8) == 0)
        return;
    out->is_global = 1;
    memcpy(out->grh.dgid.raw, ends->peer.gid, sizeof(ends->peer.gid));
    out->grh.sgid_index = (uint8_t)port->gid_index;
    out->grh.hop_limit = (uint8_t)config->ib_hop_limit;
    out->grh.traffic_class = (uint8_t)config->ib_traffic_class;
}

/* What a pair needs to receive from the peer's. */
static struct ibv_qp_attr to_receive(const struct shl_config *config, const struct ends *ends)
{
    const struct shl_verbs_port *port = ends->port;
    uint32_t mtu = port->mtu_bytes < ends->peer.mtu_bytes ? port->mtu_bytes : ends->peer.mtu_bytes;
    struct ibv_qp_attr attr = {.qp_state = IBV_QPS_RTR,
                               .path_mtu = mtu_code(mtu),
                               .dest_qp_num = ends->peer_pair,
                               .rq_psn = ends->peer_psn & PSN_MASK,
                               .max_dest_rd_atomic = 1,
                               .min_rnr_timer = RNR_TIMER};
    address(config, ends, &attr.ah_attr);
    return attr;
}

#define TO_RECEIVE                                                                                 \
    (IBV_QP_STATE | IBV_QP_AV | IBV_QP_PATH_MTU | IBV_QP_DEST_QPN | IBV_QP_RQ_PSN |                \
     IBV_QP_MAX_DEST_RD_ATOMIC | IBV_QP_MIN_RNR_TIMER)

static enum shoal_status connect_ends(const struct shl_verbs_link *link, const struct ends *ends)
{
    const struct shl_verbs_port *port = ends->port;
    const struct shl_config *config = link->t->env->config;
    struct ibv_qp_attr attr = to_receive(config, ends);
    int error = shl_verbs->modify_qp(ends->qp, &attr, TO_RECEIVE);
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

void shl_verbs_trial_prepare(const struct shl_verbs_link *link, uint32_t rail,
                             struct shl_verbs_trial *trial)
{
    const struct shl_verbs_rail *on = &link->t->rails[rail];
    struct shl_verbs_greeting peer;
    memcpy(&peer, link->greeting, sizeof(peer));
    const struct ends ends = {.port = &on->port, .peer = peer.rails[rail]};
    *trial =
        (struct shl_verbs_trial){on->port, on->pd, on->cq, to_receive(link->t->env->config, &ends)};
}

/* Its pair shares the completion queue of the rail, into which other threads may look meanwhile: so
 * queues must not be made for one thread only (IBV_CREATE_CQ_ATTR_SINGLE_THREADED). */
int shl_verbs_trial_run(const struct shl_verbs_trial *trial)
{
    const struct sizes sizes = {1, 1, 1, 0};
    struct ibv_qp_attr attr = trial->attr;
    errno = 0;
    struct ibv_qp *qp = create(trial->cq, trial->pd, &sizes);
    if (!qp)
        return errno ? errno : ENOMEM;
    attr.dest_qp_num = qp->qp_num; /* whichever: nothing is sent */
    int error = to_init(&trial->port, qp);
    if (!error)
        error = shl_verbs->modify_qp(qp, &attr, TO_RECEIVE);
    shl_verbs->destroy_qp(qp);
    return error;
}

static enum shoal_status connect_lane(struct shl_verbs_link *link, uint32_t index,
                                      const uint32_t peer_pairs[SHL_VERBS_LANES], uint32_t peer_psn)
{
    struct shl_verbs_lane *lane = &link->direct.lanes[index];
    uint32_t rail = shl_verbs_rail_of(index);
    struct shl_verbs_greeting peer;
    memcpy(&peer, link->greeting, sizeof(peer));
    if (!lane->qp)
        return SHOAL_OK;
    if (!peer_pairs[index]) { /* the peer does without */
        drop_lane(lane);
        return SHOAL_OK;
    }
    if (lane->join.state != SHL_VERBS_JOIN_APART) {
        shl_verbs_join_begin(&lane->join, peer_pairs[index]);
        return SHOAL_OK;
    }
    const struct ends ends = {&link->t->rails[rail].port, lane->qp,
                              link->direct.first_psn,     peer_psn,
                              peer_pairs[index],          peer.rails[rail]};
    return connect_ends(link, &ends);
}

enum shoal_status shl_verbs_pair_direct_connect(struct shl_verbs_link *link,
                                                const uint32_t peer_pairs[SHL_VERBS_LANES],
                                                uint32_t peer_psn)
{
    enum shoal_status status = SHOAL_OK;
    for (uint32_t index = 0; index < SHL_VERBS_LANES; index++) {
        if (connect_lane(link, index, peer_pairs, peer_psn) == SHOAL_OK)
            continue;
        status = SHOAL_ERR_PEER;
        drop_rail(link, shl_verbs_rail_of(index));
    }
    return status;
}

enum shoal_status shl_verbs_pair_join(struct shl_verbs_link *link, uint32_t peer_pair,
                                      uint32_t peer_psn)
{
    struct shl_verbs_greeting peer;
    if (link->join.state != SHL_VERBS_JOIN_APART) {
        shl_verbs_join_begin(&link->join, peer_pair);
        return SHOAL_OK;
    }
    memcpy(&peer, link->greeting, sizeof(peer));
    const struct ends ends = {&link->t->rails[link->qp_rail].port,
                              link->qp,
                              link->first_psn,
                              peer_psn,
                              peer_pair,
                              peer.rails[link->qp_rail]};
    return connect_ends(link, &ends);
}

enum shoal_status shl_verbs_pair_agree(struct shl_verbs_link *link,
                                       const struct shl_verbs_greeting *peer)
{
    struct shl_verbs_direct *direct = &link->direct;
    if (peer->rail_count == 0 || peer->qps == 0)
        return shl_fail(SHOAL_ERR_PEER, "rank %u has no queue pair for writes in place",
                        link->peer);
    if (peer->rail_count < direct->rail_count)
        direct->rail_count = peer->rail_count;
    if (peer->qps < direct->qps)
        direct->qps = peer->qps;
    return SHOAL_OK;
}

enum shoal_status shl_verbs_pair_connect_all(struct shl_verbs_link *link,
                                             const struct shl_verbs_greeting *peer)
{
    struct shl_verbs_direct *direct = &link->direct;
    SHL_TRY(shl_verbs_pair_agree(link, peer));
    SHL_TRY(shl_verbs_pair_join(link, peer->queue_pair, peer->first_psn));
    link->peer_window_key = peer->window_key;
    SHL_TRY(shl_verbs_pair_direct_connect(link, peer->pairs, peer->direct_psn));
    direct->joining = link->t->cm != NULL;
    direct->up = !direct->joining;
    return SHOAL_OK;
}

int shl_verbs_pair_joined_all(struct shl_verbs_link *link, const char **cause)
{
    uint64_t now_ns = shl_now_ns();
    int outcome = shl_verbs_join_outcome(&link->join, now_ns);
    *cause = link->join.cause;
    for (uint32_t index = 0; index < SHL_VERBS_LANES && outcome >= 0; index++) {
        struct shl_verbs_join *join = &link->direct.lanes[index].join;
        int of_lane = shl_verbs_join_outcome(join, now_ns);
        outcome = of_lane < outcome ? of_lane : outcome;
        *cause = join->cause;
    }
    return outcome;
}
