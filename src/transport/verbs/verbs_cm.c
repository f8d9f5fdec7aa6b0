/*
 * Listening for calls by rdma_cm, and taking its events.
 *
 * Invariant: an event is given back to the library before anything is done about it, since an id
 * can only be destroyed when none of its events is out.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "transport/verbs/verbs_cm.h"

#include "core/log.h"
#include "core/sys.h"
#include "transport/verbs/verbs_cm_address.h"
#include "transport/verbs/verbs_cm_sys.h"
#include "transport/verbs/verbs_link.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/epoll.h>

#define BACKLOG 1024
#define EVENTS_MAX 64       /* that are handled before anything else goes on */
#define STRANGERS_TOLD 1000 /* of so many calls that are turned down, one is logged */

struct orphan {
    struct shl_list link;
    struct rdma_cm_id *id;
    struct ibv_qp *qp;
};

/* ---- calls ----------------------------------------------------------------------------------- */

/* The pair that a call is for; NULL: there is none. */
static struct shl_verbs_join *find(struct shl_transport *t, const struct shl_verbs_call *call)
{
    struct shl_verbs_link *link = call->rank < t->env->size ? t->links[call->rank] : NULL;
    if (call->magic != SHL_VERBS_MAGIC || call->version != SHL_VERBS_VERSION || !link ||
        call->index >= SHL_VERBS_LANES)
        return NULL;
    return call->direct ? &link->direct.lanes[call->index].join : &link->join;
}

static void on_request(struct shl_transport *t, const struct shl_verbs_cm_event *event)
{
    struct shl_verbs_join *join = find(t, &event->call);
    if (join && shl_verbs_join_called(join, event))
        return;
    if (t->cm->strangers++ % STRANGERS_TOLD == 0)
        shl_log(SHL_LOG_WARN,
                "%s: a call by rdma_cm that no rank of this job was told to make is turned down "
                "(number %" PRIu64 ")",
                t->port.device, t->cm->strangers);
    shl_verbs_cm->reject(event->id, NULL, 0);
    shl_verbs_cm->destroy_id(event->id);
}

/* ---- orphans --------------------------------------------------------------------------------- */

static void bury(struct orphan *orphan)
{
    shl_list_remove(&orphan->link);
    shl_verbs_cm->destroy_id(orphan->id);
    if (orphan->qp)
        shl_verbs->destroy_qp(orphan->qp);
    shl_mem->free(orphan);
}

void shl_verbs_cm_orphan(struct shl_transport *t, struct rdma_cm_id *id, struct ibv_qp *qp)
{
    struct ibv_qp_attr attr = {.qp_state = IBV_QPS_ERR};
    struct orphan *orphan = shl_mem->alloc(sizeof(*orphan));
    if (qp)
        shl_verbs->modify_qp(qp, &attr, IBV_QP_STATE);
    if (!orphan) { /* then wait */
        shl_verbs_cm->destroy_id(id);
        if (qp)
            shl_verbs->destroy_qp(qp);
        return;
    }
    *orphan = (struct orphan){.id = id, .qp = qp};
    id->context = NULL;
    shl_list_append(&t->cm->orphans, &orphan->link);
}

/* The peer has answered, or never will. */
static void on_orphan(struct shl_transport *t, const struct rdma_cm_id *id)
{
    struct shl_list *node, *after;
    SHL_LIST_FOR_EACH(node, after, &t->cm->orphans)
    {
        struct orphan *orphan = SHL_CONTAINER_OF(node, struct orphan, link);
        if (orphan->id == id)
            bury(orphan);
    }
}

/* ---- events ---------------------------------------------------------------------------------- */

static bool take(struct shl_transport *t, struct shl_verbs_cm_event *out)
{
    struct rdma_cm_event *event;
    if (shl_verbs_cm->get_cm_event(t->cm->channel, &event) != 0)
        return false;
    const struct rdma_conn_param *param = &event->param.conn;
    *out = (struct shl_verbs_cm_event){event->event, event->status, event->id, 0, {0}};
    if ((event->event == RDMA_CM_EVENT_CONNECT_REQUEST ||
         event->event == RDMA_CM_EVENT_CONNECT_RESPONSE ||
         event->event == RDMA_CM_EVENT_ESTABLISHED) &&
        param->private_data && param->private_data_len >= sizeof(out->call)) {
        out->pair = param->qp_num;
        memcpy(&out->call, param->private_data, sizeof(out->call));
    }
    shl_verbs_cm->ack_cm_event(event);
    return true;
}

unsigned shl_verbs_cm_read(struct shl_transport *t)
{
    struct shl_verbs_cm_event event;
    unsigned count = 0;
    for (; count < EVENTS_MAX && t->cm && take(t, &event); count++) {
        if (event.type == RDMA_CM_EVENT_CONNECT_REQUEST)
            on_request(t, &event);
        else if (event.id->context)
            shl_verbs_join_event(event.id->context, &event);
        else
            on_orphan(t, event.id);
    }
    return count;
}

/* ---- opening and closing --------------------------------------------------------------------- */

static enum shoal_status listen_at(struct shl_verbs_cm *cm, const struct shl_verbs_port *port,
                                   uint32_t rail)
{
    struct shl_sockaddr address;
    shl_verbs_cm_sockaddr(port->address, 0, &address);
    if (shl_verbs_cm->create_id(cm->channel, &cm->listeners[rail], NULL, RDMA_PS_TCP) != 0)
        return shl_fail_errno("%s: rdma_cm gives no id to listen with", port->device);
    if (shl_verbs_cm->bind_addr(cm->listeners[rail], &address.any) != 0 ||
        shl_verbs_cm->listen(cm->listeners[rail], BACKLOG) != 0)
        return shl_fail_errno("%s: rdma_cm cannot listen at its address (interface %s)",
                              port->device, port->interface);
    cm->ports[rail] = ntohs(shl_verbs_cm->get_src_port(cm->listeners[rail]));
    return SHOAL_OK;
}

static enum shoal_status watch(struct shl_transport *t)
{
    struct epoll_event event = {.events = EPOLLIN, .data.u64 = SHL_VERBS_WATCH_CM};
    int fd = t->cm->channel->fd, flags = fcntl(fd, F_GETFL);
    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) != 0)
        return shl_fail_errno("events of rdma_cm cannot be fetched without waiting");
    if (shl_fd->epoll_ctl(t->epoll_fd, EPOLL_CTL_ADD, fd, &event) != 0)
        return shl_fail_errno("events of rdma_cm cannot be watched");
    return SHOAL_OK;
}

enum shoal_status shl_verbs_cm_open(struct shl_transport *t)
{
    if (!t->port.by_cm)
        return SHOAL_OK;
    SHL_TRY(shl_verbs_cm_load());
    t->cm = shl_mem->alloc(sizeof(*t->cm));
    if (!t->cm)
        return shl_fail(SHOAL_ERR_NOMEM, "no memory to connect by rdma_cm");
    shl_list_init(&t->cm->orphans);
    errno = 0;
    t->cm->channel = shl_verbs_cm->create_event_channel();
    if (!t->cm->channel)
        return shl_fail_errno("no event channel of rdma_cm");
    for (uint32_t rail = 0; rail < t->rail_count; rail++)
        SHL_TRY(listen_at(t->cm, &t->rails[rail].port, rail));
    shl_log(SHL_LOG_INFO, "%s connects %s", t->port.device, shl_verbs_connect_string(&t->port));
    return watch(t);
}

uint16_t shl_verbs_cm_port(const struct shl_transport *t, uint32_t rail)
{
    return t->cm ? t->cm->ports[rail] : 0;
}

void shl_verbs_cm_close(struct shl_transport *t)
{
    struct shl_verbs_cm *cm = t->cm;
    if (!cm)
        return;
    while (!shl_list_empty(&cm->orphans))
        bury(SHL_CONTAINER_OF(cm->orphans.next, struct orphan, link));
    for (uint32_t rail = 0; rail < SHL_VERBS_RAILS; rail++)
        if (cm->listeners[rail])
            shl_verbs_cm->destroy_id(cm->listeners[rail]);
    if (cm->channel)
        shl_verbs_cm->destroy_event_channel(cm->channel);
    shl_mem->free(cm);
    t->cm = NULL;
}
