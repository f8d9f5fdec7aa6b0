/*
 * One queue pair and its way to a connection by rdma_cm.
 *
 * RoCE and InfiniBand: the pair is brought to RTR and RTS here, as rdma_cm says. iWARP: the kernel
 * does it.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "transport/verbs/verbs_cm.h"

#include "core/config.h"
#include "core/sys.h"
#include "transport/verbs/verbs_cm_address.h"
#include "transport/verbs/verbs_cm_sys.h"
#include "transport/verbs/verbs_link.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define JOIN_NS UINT64_C(5000000000)
#define RESOLVE_MS 2000
#define RNR_TIMER 12
#define RNR_RETRIES 3

static void fail(struct shl_verbs_join *join, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static void fail(struct shl_verbs_join *join, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(join->cause, sizeof(join->cause), format, arguments);
    va_end(arguments);
    join->state = SHL_VERBS_JOIN_FAILED;
}

/* fail, for a call of librdmacm or libibverbs. */
static void fail_errno(struct shl_verbs_join *join, const char *what)
{
    fail(join, "rdma_cm: %s: %s", what, errno ? strerror(errno) : "no reason given");
}

static const struct shl_verbs_port *port_of(const struct shl_verbs_join *join)
{
    return &join->link->t->rails[join->rail].port;
}

static bool is_iwarp(const struct shl_verbs_join *join)
{
    return port_of(join)->kind == SHL_VERBS_IWARP;
}

static struct ibv_qp *pair_of(const struct shl_verbs_join *join)
{
    return join->direct ? join->link->direct.lanes[join->index].qp : join->link->qp;
}

static struct shl_verbs_greeting greeting_of(const struct shl_verbs_join *join)
{
    struct shl_verbs_greeting greeting;
    memcpy(&greeting, join->link->greeting, sizeof(greeting));
    return greeting;
}

/* ---- what is shown -----------------------------------------------------------------------------
 */

/* false: it cannot be shown. */
static bool show(struct shl_verbs_join *join, struct shl_verbs_call *call)
{
    if (shl_verbs_proof_show(join, call) == SHOAL_OK)
        return true;
    fail(join, "rdma_cm: %s", shl_error_text());
    return false;
}

/* Is it the pair that the peer told? iWARP's have no numbers. */
static bool is_told(const struct shl_verbs_join *join, uint32_t pair)
{
    return is_iwarp(join) || pair == join->told;
}

/* Does rdma_cm reach the peer by the device of the pair? */
static bool is_of_rail(const struct shl_verbs_join *join, const struct rdma_cm_id *id)
{
    return id->verbs && strcmp(id->verbs->device->name, port_of(join)->device) == 0;
}

static struct rdma_conn_param parameters(const struct shl_verbs_join *join,
                                         const struct shl_verbs_call *call)
{
    return (struct rdma_conn_param){.private_data = call,
                                    .private_data_len = sizeof(*call),
                                    .responder_resources = 1,
                                    .initiator_depth = 1,
                                    .retry_count = (uint8_t)join->link->t->env->config->ib_retry,
                                    .rnr_retry_count = RNR_RETRIES,
                                    .qp_num = pair_of(join)->qp_num};
}

/* ---- states of the queue pair ------------------------------------------------------------------
 */

/* rdma_cm knows the peer; how packets travel is for settings to say. */
static void adapt(const struct shl_verbs_join *join, struct ibv_qp_attr *attr)
{
    const struct shl_config *config = join->link->t->env->config;
    attr->min_rnr_timer = RNR_TIMER;
    attr->timeout = (uint8_t)config->ib_timeout;
    attr->retry_cnt = (uint8_t)config->ib_retry;
    attr->rnr_retry = RNR_RETRIES;
    if (config->ib_service_level)
        attr->ah_attr.sl = (uint8_t)config->ib_service_level;
    attr->ah_attr.grh.hop_limit = (uint8_t)config->ib_hop_limit;
    attr->ah_attr.grh.traffic_class = (uint8_t)config->ib_traffic_class;
}

/* false: it failed. */
static bool make_ready(struct shl_verbs_join *join)
{
    static const enum ibv_qp_state states[] = {IBV_QPS_RTR, IBV_QPS_RTS};
    for (size_t i = 0; i < 2 && !is_iwarp(join); i++) {
        struct ibv_qp_attr attr = {.qp_state = states[i]};
        int mask = 0;
        errno = 0;
        if (shl_verbs_cm->init_qp_attr(join->id, &attr, &mask) != 0) {
            fail_errno(join, "the attributes of the queue pair");
            return false;
        }
        adapt(join, &attr);
        int error = shl_verbs->modify_qp(pair_of(join), &attr, mask);
        if (error) {
            errno = error;
            fail_errno(join, "the queue pair cannot be connected");
            return false;
        }
    }
    return true;
}

/* ---- being called ------------------------------------------------------------------------------
 */

static void answer(struct shl_verbs_join *join)
{
    struct shl_verbs_call call;
    if (!is_told(join, join->named)) {
        fail(join, "rdma_cm: another queue pair calls than was told over the control connection");
        return;
    }
    if (!show(join, &call) || !make_ready(join))
        return;
    struct rdma_conn_param param = parameters(join, &call);
    errno = 0;
    join->state = SHL_VERBS_JOIN_ANSWERING;
    if (shl_verbs_cm->accept(join->id, &param) != 0)
        fail_errno(join, "the call of the peer cannot be answered");
}

bool shl_verbs_join_called(struct shl_verbs_join *join, const struct shl_verbs_cm_event *event)
{
    const struct shl_verbs_link *link = join->link;
    if (join->state != SHL_VERBS_JOIN_AWAITED || link->t->env->rank < link->peer ||
        !is_of_rail(join, event->id) || (join->begun && !is_told(join, event->pair)) ||
        !shl_verbs_proof_holds(join, &event->call))
        return false;
    join->id = event->id;
    join->id->context = join;
    join->named = event->pair;
    join->state = SHL_VERBS_JOIN_CALLED;
    if (join->begun)
        answer(join);
    return true;
}

/* ---- calling -----------------------------------------------------------------------------------
 */

static void resolve(struct shl_verbs_join *join)
{
    struct shl_verbs_greeting peer = greeting_of(join);
    const struct shl_verbs_end *end = &peer.rails[join->rail];
    struct shl_sockaddr from, to;
    shl_verbs_cm_sockaddr(port_of(join)->address, 0, &from);
    shl_verbs_cm_sockaddr(end->gid, (uint16_t)end->port, &to);
    errno = 0;
    join->state = SHL_VERBS_JOIN_RESOLVING;
    if (shl_verbs_cm->create_id(join->link->t->cm->channel, &join->id, join, RDMA_PS_TCP) != 0) {
        join->id = NULL;
        fail_errno(join, "no id");
    } else if (shl_verbs_cm->resolve_addr(join->id, &from.any, &to.any, RESOLVE_MS) != 0) {
        fail_errno(join, "the address of the peer");
    }
}

static void call(struct shl_verbs_join *join)
{
    struct shl_verbs_call shown;
    if (!show(join, &shown))
        return;
    struct rdma_conn_param param = parameters(join, &shown);
    errno = 0;
    join->state = SHL_VERBS_JOIN_CALLING;
    if (!is_of_rail(join, join->id))
        fail(join, "rdma_cm leads to the peer by another device");
    else if (shl_verbs_cm->connect(join->id, &param) != 0)
        fail_errno(join, "the peer cannot be called");
    join->calls = join->state == SHL_VERBS_JOIN_CALLING;
}

/* The peer has answered. */
static void on_answer(struct shl_verbs_join *join, const struct shl_verbs_cm_event *event)
{
    if (!shl_verbs_proof_holds(join, &event->call)) {
        fail(join, "rdma_cm: who answers does not prove that it is the peer");
        return;
    }
    if (!is_told(join, event->pair)) {
        fail(join, "rdma_cm: another queue pair answers than was told over the control connection");
        return;
    }
    if (!make_ready(join))
        return;
    errno = 0;
    join->state = SHL_VERBS_JOIN_JOINED;
    if (event->type == RDMA_CM_EVENT_CONNECT_RESPONSE && shl_verbs_cm->establish(join->id) != 0)
        fail_errno(join, "the answer cannot be confirmed");
}

/* ---- events ------------------------------------------------------------------------------------
 */

static void on_resolved(struct shl_verbs_join *join)
{
    errno = 0;
    join->state = SHL_VERBS_JOIN_ROUTING;
    if (shl_verbs_cm->resolve_route(join->id, RESOLVE_MS) != 0)
        fail_errno(join, "the route to the peer");
}

static void on_trouble(struct shl_verbs_join *join, const struct shl_verbs_cm_event *event)
{
    const char *text = shl_verbs_cm->event_str((enum rdma_cm_event_type)event->type);
    if (join->state == SHL_VERBS_JOIN_JOINED)
        (void)shl_verbs_join_doubt(join, shl_now_ns(), text);
    else if (join->state != SHL_VERBS_JOIN_FAILED)
        fail(join, "rdma_cm: %s (status %d)", text, event->status);
}

void shl_verbs_join_event(struct shl_verbs_join *join, const struct shl_verbs_cm_event *event)
{
    join->calls = false;
    switch (event->type) {
    case RDMA_CM_EVENT_ADDR_RESOLVED:
        if (join->state == SHL_VERBS_JOIN_RESOLVING)
            on_resolved(join);
        break;
    case RDMA_CM_EVENT_ROUTE_RESOLVED:
        if (join->state == SHL_VERBS_JOIN_ROUTING)
            call(join);
        break;
    case RDMA_CM_EVENT_CONNECT_RESPONSE:
    case RDMA_CM_EVENT_ESTABLISHED:
        if (join->state == SHL_VERBS_JOIN_CALLING)
            on_answer(join, event);
        else if (join->state == SHL_VERBS_JOIN_ANSWERING)
            join->state = SHL_VERBS_JOIN_JOINED;
        break;
    case RDMA_CM_EVENT_ADDR_CHANGE:
    case RDMA_CM_EVENT_TIMEWAIT_EXIT:
        break;
    default:
        on_trouble(join, event);
    }
}

/* ---- a life ------------------------------------------------------------------------------------
 */

void shl_verbs_join_await_frames(struct shl_verbs_link *link, uint32_t rail, uint64_t life)
{
    link->join = (struct shl_verbs_join){.link = link,
                                         .state = SHL_VERBS_JOIN_AWAITED,
                                         .rail = rail,
                                         .index = rail,
                                         .life = (uint32_t)life};
}

void shl_verbs_join_await_lane(struct shl_verbs_link *link, uint32_t index)
{
    link->direct.lanes[index].join = (struct shl_verbs_join){.link = link,
                                                             .state = SHL_VERBS_JOIN_AWAITED,
                                                             .direct = true,
                                                             .rail = shl_verbs_rail_of(index),
                                                             .index = index,
                                                             .life = (uint32_t)link->direct.life};
}

void shl_verbs_join_begin(struct shl_verbs_join *join, uint32_t peer_pair)
{
    const struct shl_verbs_link *link = join->link;
    if (join->begun)
        return;
    join->begun = true;
    join->told = peer_pair;
    join->deadline_ns = shl_now_ns() + JOIN_NS;
    if (link->t->env->rank < link->peer)
        resolve(join);
    else if (join->state == SHL_VERBS_JOIN_CALLED)
        answer(join);
}

int shl_verbs_join_outcome(struct shl_verbs_join *join, uint64_t now_ns)
{
    static const char *const awaited[] = {
        [SHL_VERBS_JOIN_AWAITED] = "the peer to call",
        [SHL_VERBS_JOIN_RESOLVING] = "its address to be resolved",
        [SHL_VERBS_JOIN_ROUTING] = "a route to it",
        [SHL_VERBS_JOIN_CALLING] = "it to answer",
        [SHL_VERBS_JOIN_CALLED] = "it to greet",
        [SHL_VERBS_JOIN_ANSWERING] = "it to confirm",
    };
    if (join->state == SHL_VERBS_JOIN_JOINED || join->state == SHL_VERBS_JOIN_APART)
        return 1;
    if (join->state != SHL_VERBS_JOIN_FAILED && now_ns > join->deadline_ns)
        fail(join, "rdma_cm waited in vain for %s", awaited[join->state]);
    return join->state == SHL_VERBS_JOIN_FAILED ? -1 : 0;
}

void shl_verbs_join_end(struct shl_verbs_join *join, struct ibv_qp *qp)
{
    struct rdma_cm_id *id = join->id;
    join->id = NULL;
    join->state = SHL_VERBS_JOIN_APART;
    if (id && join->calls && is_iwarp(join)) { /* the kernel would wait for the peer's answer */
        shl_verbs_cm_orphan(join->link->t, id, qp);
        return;
    }
    if (id)
        shl_verbs_cm->destroy_id(id);
    if (qp)
        shl_verbs->destroy_qp(qp);
}

/* ---- when it breaks ----------------------------------------------------------------------------
 */

bool shl_verbs_join_doubt(struct shl_verbs_join *join, uint64_t now_ns, const char *cause)
{
    if (join->state != SHL_VERBS_JOIN_JOINED || join->link->state != SHL_VERBS_UP)
        return false;
    if (!join->broken_ns) {
        join->broken_ns = now_ns;
        snprintf(join->cause, sizeof(join->cause), "%s", cause);
    }
    return true;
}

const char *shl_verbs_join_broken(const struct shl_verbs_join *join, uint64_t now_ns)
{
    bool over = join->state == SHL_VERBS_JOIN_JOINED && join->broken_ns &&
                now_ns > join->broken_ns + SHL_VERBS_SAY_NS;
    return over ? join->cause : NULL;
}
