/*
 * The rdma_cm of this process.
 *
 * Invariant: an event is in the queue of its channel until it is taken, and goes with its id.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "support/verbs_soft_cm.h"

#include "support/verbs_soft.h"
#include "transport/verbs/verbs_cm_sys.h"

#include <arpa/inet.h>
#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define IDS_MAX 4096
#define DATA_BYTES 56

struct event {
    struct rdma_cm_event event; /* first */
    struct event *next;
    uint8_t data[DATA_BYTES];
};

struct channel {
    struct rdma_event_channel channel; /* first */
    struct event *events;
};

struct id {
    struct rdma_cm_id id; /* first */
    uint16_t port, target;
    bool listens;
    struct id *peer;
    uint32_t pair;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct id *ids[IDS_MAX];
static unsigned objects;
static uint16_t next_port = 20000;
static enum verbs_soft_cm_fault fault;
static struct ibv_context context;

static void must(bool holds, const char *what)
{
    if (holds)
        return;
    fprintf(stderr, "verbs_soft_cm: %s\n", what);
    abort();
}

static void *make(size_t bytes)
{
    void *made = calloc(1, bytes);
    must(made != NULL, "no memory");
    return made;
}

unsigned verbs_soft_cm_objects(void)
{
    pthread_mutex_lock(&lock);
    unsigned count = objects;
    pthread_mutex_unlock(&lock);
    return count;
}

void verbs_soft_cm_fail(enum verbs_soft_cm_fault wanted)
{
    pthread_mutex_lock(&lock);
    fault = wanted;
    pthread_mutex_unlock(&lock);
}

/* ---- events ------------------------------------------------------------------------------- */

static struct rdma_event_channel *create_event_channel(void)
{
    struct channel *made = make(sizeof(*made));
    made->channel.fd = eventfd(0, EFD_CLOEXEC | EFD_SEMAPHORE | EFD_NONBLOCK);
    pthread_mutex_lock(&lock);
    objects++;
    pthread_mutex_unlock(&lock);
    return &made->channel;
}

static void destroy_event_channel(struct rdma_event_channel *which)
{
    struct channel *channel = (struct channel *)which;
    pthread_mutex_lock(&lock);
    must(channel->events == NULL, "a channel ends before its ids");
    objects--;
    pthread_mutex_unlock(&lock);
    close(channel->channel.fd);
    free(channel);
}

/* The pair at the other end, or not quite. */
static uint32_t pair_named(const struct id *about, enum rdma_cm_event_type type)
{
    bool calls = type == RDMA_CM_EVENT_CONNECT_REQUEST;
    uint32_t other = fault == (calls ? VERBS_SOFT_CM_OTHER_CALL : VERBS_SOFT_CM_OTHER_ANSWER);
    return about->peer && !verbs_soft_is_iwarp() ? about->peer->pair ^ other : 0;
}

/* Of `about`, for whoever reads its channel. */
static void tell(struct id *about, enum rdma_cm_event_type type, int status, const void *data)
{
    struct channel *channel = (struct channel *)about->id.channel;
    struct event *event = make(sizeof(*event));
    struct event **end = &channel->events;
    event->event.id = &about->id;
    event->event.event = type;
    event->event.status = status;
    if (data) {
        memcpy(event->data, data, DATA_BYTES);
        event->event.param.conn.private_data = event->data;
        event->event.param.conn.private_data_len = DATA_BYTES;
        event->event.param.conn.qp_num = pair_named(about, type);
    }
    while (*end)
        end = &(*end)->next;
    *end = event;
    eventfd_write(channel->channel.fd, 1);
}

static int get_cm_event(struct rdma_event_channel *which, struct rdma_cm_event **out)
{
    struct channel *channel = (struct channel *)which;
    eventfd_t count;
    pthread_mutex_lock(&lock);
    struct event *event = channel->events;
    if (event) {
        (void)eventfd_read(channel->channel.fd, &count);
        channel->events = event->next;
        *out = &event->event;
    }
    pthread_mutex_unlock(&lock);
    errno = EAGAIN;
    return event ? 0 : -1;
}

static int ack_cm_event(struct rdma_cm_event *event)
{
    free(event);
    return 0;
}

/* What is said of an id that ends is not said any more. */
static void forget_events(const struct id *id)
{
    struct channel *channel = (struct channel *)id->id.channel;
    struct event **at = &channel->events;
    eventfd_t count;
    while (*at) {
        struct event *event = *at;
        if (event->event.id != &id->id) {
            at = &event->next;
            continue;
        }
        (void)eventfd_read(channel->channel.fd, &count);
        *at = event->next;
        free(event);
    }
}

/* ---- ids ---------------------------------------------------------------------------------- */

static struct id *make_id(struct rdma_event_channel *channel, void *about)
{
    struct id *made = make(sizeof(*made));
    unsigned at = 0;
    made->id.channel = channel;
    made->id.context = about;
    while (at < IDS_MAX && ids[at])
        at++;
    must(at < IDS_MAX, "too many ids");
    ids[at] = made;
    objects++;
    return made;
}

static int create_id(struct rdma_event_channel *channel, struct rdma_cm_id **out, void *about,
                     enum rdma_port_space space)
{
    must(space == RDMA_PS_TCP, "ids of reliable connections only");
    pthread_mutex_lock(&lock);
    *out = &make_id(channel, about)->id;
    pthread_mutex_unlock(&lock);
    return 0;
}

static void part(struct id *id)
{
    struct id *peer = id->peer;
    if (peer) {
        peer->peer = NULL;
        tell(peer, RDMA_CM_EVENT_DISCONNECTED, 0, NULL);
    }
    id->peer = NULL;
}

static int destroy_id(struct rdma_cm_id *which)
{
    struct id *id = (struct id *)which;
    pthread_mutex_lock(&lock);
    part(id);
    forget_events(id);
    for (unsigned i = 0; i < IDS_MAX; i++)
        ids[i] = ids[i] == id ? NULL : ids[i];
    objects--;
    pthread_mutex_unlock(&lock);
    free(id);
    return 0;
}

static bool bind_device(struct id *id, const struct sockaddr *address)
{
    const struct sockaddr_in *v4 = (const struct sockaddr_in *)(const void *)address;
    if (address->sa_family != AF_INET || v4->sin_addr.s_addr != htonl(INADDR_LOOPBACK))
        return false;
    id->id.verbs = &context;
    id->id.port_num = 1;
    return true;
}

static int bind_addr(struct rdma_cm_id *which, struct sockaddr *address)
{
    struct id *id = (struct id *)which;
    pthread_mutex_lock(&lock);
    bool bound = bind_device(id, address);
    id->port = next_port++;
    pthread_mutex_unlock(&lock);
    errno = ENODEV;
    return bound ? 0 : -1;
}

static int listen_for(struct rdma_cm_id *which, int backlog)
{
    struct id *id = (struct id *)which;
    must(backlog > 0 && id->port, "an id listens that is not bound");
    pthread_mutex_lock(&lock);
    id->listens = true;
    pthread_mutex_unlock(&lock);
    return 0;
}

static uint16_t get_src_port(struct rdma_cm_id *which)
{
    return htons(((struct id *)which)->port);
}

/* ---- calling ------------------------------------------------------------------------------ */

static int resolve_addr(struct rdma_cm_id *which, struct sockaddr *from, struct sockaddr *to,
                        int timeout_ms)
{
    struct id *id = (struct id *)which;
    must(timeout_ms > 0, "an address is resolved without a limit of time");
    pthread_mutex_lock(&lock);
    bool found = bind_device(id, from) && fault != VERBS_SOFT_CM_UNRESOLVED;
    id->target = ntohs(((const struct sockaddr_in *)(const void *)to)->sin_port);
    tell(id, found ? RDMA_CM_EVENT_ADDR_RESOLVED : RDMA_CM_EVENT_ADDR_ERROR,
         found ? 0 : -EHOSTUNREACH, NULL);
    pthread_mutex_unlock(&lock);
    return 0;
}

static int resolve_route(struct rdma_cm_id *which, int timeout_ms)
{
    must(timeout_ms > 0, "a route is resolved without a limit of time");
    pthread_mutex_lock(&lock);
    tell((struct id *)which, RDMA_CM_EVENT_ROUTE_RESOLVED, 0, NULL);
    pthread_mutex_unlock(&lock);
    return 0;
}

static struct id *find_listener(uint16_t port)
{
    for (unsigned i = 0; i < IDS_MAX; i++)
        if (ids[i] && ids[i]->listens && ids[i]->port == port)
            return ids[i];
    return NULL;
}

/* Private data as the other side gets it; `spoilt`: not quite. */
static void copy_data(const struct rdma_conn_param *param, bool spoilt, uint8_t *out)
{
    must(param->private_data_len <= DATA_BYTES, "more private data than InfiniBand has room for");
    memset(out, 0, DATA_BYTES);
    memcpy(out, param->private_data, param->private_data_len);
    out[param->private_data_len - 1] ^= spoilt;
}

static int call(struct rdma_cm_id *which, struct rdma_conn_param *param)
{
    struct id *id = (struct id *)which;
    uint8_t data[DATA_BYTES];
    pthread_mutex_lock(&lock);
    struct id *listener = find_listener(id->target);
    id->pair = param->qp_num;
    copy_data(param, fault == VERBS_SOFT_CM_WRONG_CALL, data);
    if (!listener || fault == VERBS_SOFT_CM_REFUSED) {
        tell(id, RDMA_CM_EVENT_REJECTED, -ECONNREFUSED, NULL);
    } else if (fault != VERBS_SOFT_CM_SILENT) {
        struct id *called = make_id(listener->id.channel, listener->id.context);
        called->id.verbs = &context;
        called->id.port_num = 1;
        called->peer = id;
        id->peer = called;
        tell(called, RDMA_CM_EVENT_CONNECT_REQUEST, 0, data);
    }
    pthread_mutex_unlock(&lock);
    return 0;
}

/* ---- being called ------------------------------------------------------------------------- */

static int answer(struct rdma_cm_id *which, struct rdma_conn_param *param)
{
    struct id *id = (struct id *)which;
    uint8_t data[DATA_BYTES];
    pthread_mutex_lock(&lock);
    id->pair = param->qp_num;
    copy_data(param, fault == VERBS_SOFT_CM_WRONG_ANSWER, data);
    if (fault == VERBS_SOFT_CM_GONE && id->peer) {
        struct id *caller = id->peer;
        part(caller);
        tell(caller, RDMA_CM_EVENT_UNREACHABLE, -ETIMEDOUT, NULL);
    } else if (id->peer && verbs_soft_is_iwarp()) {
        verbs_soft_join(id->pair, id->peer->pair);
        tell(id->peer, RDMA_CM_EVENT_ESTABLISHED, 0, data);
        tell(id, RDMA_CM_EVENT_ESTABLISHED, 0, NULL);
    } else if (id->peer) {
        tell(id->peer, RDMA_CM_EVENT_CONNECT_RESPONSE, 0, data);
    }
    pthread_mutex_unlock(&lock);
    return 0;
}

static int confirm(struct rdma_cm_id *which)
{
    struct id *id = (struct id *)which;
    pthread_mutex_lock(&lock);
    if (id->peer)
        tell(id->peer, RDMA_CM_EVENT_ESTABLISHED, 0, NULL);
    pthread_mutex_unlock(&lock);
    return 0;
}

static int turn_down(struct rdma_cm_id *which, const void *data, uint8_t bytes)
{
    struct id *id = (struct id *)which;
    (void)data, (void)bytes;
    pthread_mutex_lock(&lock);
    if (id->peer) {
        tell(id->peer, RDMA_CM_EVENT_REJECTED, 28, NULL);
        id->peer->peer = NULL;
    }
    id->peer = NULL;
    pthread_mutex_unlock(&lock);
    return 0;
}

static int init_qp_attr(struct rdma_cm_id *which, struct ibv_qp_attr *attr, int *mask)
{
    struct id *id = (struct id *)which;
    pthread_mutex_lock(&lock);
    *mask = IBV_QP_STATE;
    if (attr->qp_state == IBV_QPS_RTR) {
        attr->dest_qp_num = id->peer ? id->peer->pair : 0;
        *mask |= IBV_QP_DEST_QPN;
    }
    pthread_mutex_unlock(&lock);
    return 0;
}

static const char *event_str(enum rdma_cm_event_type type)
{
    switch (type) {
    case RDMA_CM_EVENT_ADDR_ERROR:
        return "address error";
    case RDMA_CM_EVENT_REJECTED:
        return "rejected";
    case RDMA_CM_EVENT_UNREACHABLE:
        return "unreachable";
    case RDMA_CM_EVENT_DISCONNECTED:
        return "disconnected";
    default:
        return "event";
    }
}

void verbs_soft_cm_install(void)
{
    static const struct shl_verbs_cm_sys table = {create_event_channel,
                                                  destroy_event_channel,
                                                  create_id,
                                                  destroy_id,
                                                  bind_addr,
                                                  listen_for,
                                                  get_src_port,
                                                  resolve_addr,
                                                  resolve_route,
                                                  call,
                                                  answer,
                                                  confirm,
                                                  turn_down,
                                                  init_qp_attr,
                                                  get_cm_event,
                                                  ack_cm_event,
                                                  event_str};
    context.device = verbs_soft_device(0); /* before there are threads that look */
    shl_verbs_cm = &table;
}
