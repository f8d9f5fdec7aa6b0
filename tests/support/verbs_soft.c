/*
 * The device of this process.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "support/verbs_soft.h"

#include "transport/verbs/verbs_sys.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

#define PAIRS_MAX 4096
#define REGIONS_MAX 4096
#define RECVS_MAX 64
#define INLINE_BYTES_IWARP 64

struct queue {
    struct ibv_cq cq; /* first */
    struct ibv_wc *ring;
    unsigned capacity, head, tail;
    bool armed;
};

struct pair {
    struct ibv_qp qp; /* first */
    enum ibv_qp_state state;
    uint32_t peer;
    struct ibv_recv_wr recvs[RECVS_MAX];
    struct ibv_sge recv_pieces[RECVS_MAX];
    unsigned head, tail;
};

struct region {
    struct ibv_mr mr; /* first */
    int access;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct pair *pairs[PAIRS_MAX];       /* by number; never reused */
static struct region *regions[REGIONS_MAX]; /* by key, modulo */
static uint32_t next_pair = 1, next_key = 1;
static unsigned objects;
static struct ibv_device devices[VERBS_SOFT_DEVICES_MAX];
static unsigned device_count;

static void must(bool holds, const char *what)
{
    if (holds)
        return;
    fprintf(stderr, "verbs_soft: %s\n", what);
    abort();
}

static void *make(size_t bytes)
{
    void *made = calloc(1, bytes);
    must(made != NULL, "no memory");
    __atomic_fetch_add(&objects, 1, __ATOMIC_RELAXED);
    return made;
}

static int unmake(void *object)
{
    free(object);
    __atomic_fetch_sub(&objects, 1, __ATOMIC_RELAXED);
    return 0;
}

unsigned verbs_soft_objects(void)
{
    return __atomic_load_n(&objects, __ATOMIC_RELAXED);
}

/* ---- device ------------------------------------------------------------------------------- */

static struct ibv_device **get_device_list(int *count)
{
    static struct ibv_device *list[VERBS_SOFT_DEVICES_MAX + 1];
    for (unsigned i = 0; i < device_count; i++)
        list[i] = &devices[i];
    if (count)
        *count = (int)device_count;
    return list;
}

static void free_device_list(struct ibv_device **list)
{
    (void)list;
}

static struct ibv_context *open_device(struct ibv_device *which)
{
    struct ibv_context *context = make(sizeof(*context));
    context->device = which;
    context->async_fd = eventfd(0, EFD_CLOEXEC);
    return context;
}

static int close_device(struct ibv_context *context)
{
    close(context->async_fd);
    return unmake(context);
}

static int query_device(struct ibv_context *context, struct ibv_device_attr *attr)
{
    (void)context;
    attr->phys_port_cnt = 1;
    return 0;
}

static int query_port(struct ibv_context *context, uint8_t port, struct ibv_port_attr *attr)
{
    (void)context, (void)port;
    *attr = (struct ibv_port_attr){.state = IBV_PORT_ACTIVE,
                                   .active_mtu = IBV_MTU_4096,
                                   .link_layer = IBV_LINK_LAYER_ETHERNET,
                                   .pkey_tbl_len = 1};
    return 0;
}

static ssize_t query_gid_table(struct ibv_context *context, struct ibv_gid_entry *entries,
                               size_t capacity, uint32_t flags, size_t entry_bytes)
{
    static const uint8_t loopback[16] = {[10] = 0xff, [11] = 0xff, [12] = 127, [15] = 1};
    (void)context, (void)flags;
    must(capacity > 0 && entry_bytes == sizeof(*entries), "a table of no size");
    memset(entries, 0, sizeof(*entries));
    memcpy(entries->gid.raw, loopback, sizeof(loopback));
    entries->port_num = 1;
    entries->gid_type = IBV_GID_TYPE_ROCE_V2;
    return 1;
}

/* As RoCE has it: the default key, and no other. */
static int query_pkey(struct ibv_context *context, uint8_t port, int index, uint16_t *key)
{
    (void)context, (void)port;
    *key = 0xffff;
    return index == 0 ? 0 : EINVAL;
}

/* ---- memory ------------------------------------------------------------------------------- */

static struct ibv_pd *alloc_pd(struct ibv_context *context)
{
    struct ibv_pd *pd = make(sizeof(*pd));
    pd->context = context;
    return pd;
}

static int dealloc_pd(struct ibv_pd *pd)
{
    return unmake(pd);
}

static struct ibv_mr *reg_mr(struct ibv_pd *pd, void *memory, size_t bytes, int access)
{
    struct region *region = make(sizeof(*region));
    pthread_mutex_lock(&lock);
    while (regions[next_key % REGIONS_MAX])
        next_key++;
    region->mr = (struct ibv_mr){
        .pd = pd, .addr = memory, .length = bytes, .lkey = next_key, .rkey = next_key};
    region->access = access;
    regions[next_key++ % REGIONS_MAX] = region;
    pthread_mutex_unlock(&lock);
    return &region->mr;
}

/* A file must be there; whether it is a dmabuf does not matter here. */
static struct ibv_mr *reg_dmabuf_mr(struct ibv_pd *pd, uint64_t offset, size_t bytes, uint64_t iova,
                                    int fd, int access)
{
    struct stat file;
    if (fstat(fd, &file) != 0)
        return NULL;
    if (offset + bytes > (uint64_t)file.st_size) {
        errno = EINVAL;
        return NULL;
    }
    return reg_mr(pd, (void *)(uintptr_t)iova, bytes, access);
}

static int dereg_mr(struct ibv_mr *mr)
{
    pthread_mutex_lock(&lock);
    regions[mr->lkey % REGIONS_MAX] = NULL;
    pthread_mutex_unlock(&lock);
    return unmake(mr);
}

static bool covers(const struct ibv_pd *pd, uint32_t key, uint64_t address, uint64_t bytes,
                   int access)
{
    const struct region *region = regions[key % REGIONS_MAX];
    uint64_t start = region ? (uintptr_t)region->mr.addr : 0;
    return region && region->mr.lkey == key && region->mr.pd == pd &&
           (region->access & access) == access && address >= start &&
           address + bytes <= start + region->mr.length;
}

/* ---- completions -------------------------------------------------------------------------- */

static struct ibv_comp_channel *create_comp_channel(struct ibv_context *context)
{
    struct ibv_comp_channel *channel = make(sizeof(*channel));
    channel->context = context;
    channel->fd = eventfd(0, EFD_CLOEXEC | EFD_SEMAPHORE);
    return channel;
}

static int destroy_comp_channel(struct ibv_comp_channel *channel)
{
    close(channel->fd);
    return unmake(channel);
}

static struct ibv_cq *create_cq(struct ibv_context *context, int entries, void *arg,
                                struct ibv_comp_channel *channel, int vector)
{
    struct queue *queue = make(sizeof(*queue));
    (void)vector;
    queue->cq.context = context;
    queue->cq.cq_context = arg;
    queue->cq.channel = channel;
    queue->capacity = (unsigned)entries;
    queue->ring = calloc(queue->capacity, sizeof(*queue->ring));
    must(queue->ring != NULL, "no memory");
    return &queue->cq;
}

static int destroy_cq(struct ibv_cq *cq)
{
    struct queue *queue = (struct queue *)cq;
    free(queue->ring);
    return unmake(queue);
}

static void complete(struct ibv_cq *cq, const struct ibv_wc *completion)
{
    struct queue *queue = (struct queue *)cq;
    must(queue->head - queue->tail < queue->capacity, "a completion queue overflows");
    queue->ring[queue->head++ % queue->capacity] = *completion;
    if (queue->armed && cq->channel)
        eventfd_write(cq->channel->fd, 1);
    queue->armed = false;
}

static int poll_cq(struct ibv_cq *cq, int capacity, struct ibv_wc *completions)
{
    struct queue *queue = (struct queue *)cq;
    int count = 0;
    pthread_mutex_lock(&lock);
    for (; count < capacity && queue->tail != queue->head; count++)
        completions[count] = queue->ring[queue->tail++ % queue->capacity];
    pthread_mutex_unlock(&lock);
    return count;
}

static int req_notify_cq(struct ibv_cq *cq, int solicited_only)
{
    (void)solicited_only;
    pthread_mutex_lock(&lock);
    ((struct queue *)cq)->armed = true;
    pthread_mutex_unlock(&lock);
    return 0;
}

static int get_cq_event(struct ibv_comp_channel *channel, struct ibv_cq **cq, void **arg)
{
    eventfd_t count;
    (void)cq, (void)arg;
    return eventfd_read(channel->fd, &count);
}

static void ack_cq_events(struct ibv_cq *cq, unsigned count)
{
    (void)cq, (void)count;
}

/* ---- queue pairs -------------------------------------------------------------------------- */

static struct ibv_qp *create_qp(struct ibv_pd *pd, struct ibv_qp_init_attr *attr)
{
    if (verbs_soft_is_iwarp() && attr->cap.max_inline_data > INLINE_BYTES_IWARP) {
        errno = EINVAL;
        return NULL;
    }
    struct pair *pair = make(sizeof(*pair));
    pthread_mutex_lock(&lock);
    must(next_pair < PAIRS_MAX, "too many queue pairs");
    pair->qp = (struct ibv_qp){.context = pd->context,
                               .pd = pd,
                               .send_cq = attr->send_cq,
                               .recv_cq = attr->recv_cq,
                               .qp_num = next_pair};
    pair->state = IBV_QPS_RESET;
    pairs[next_pair++] = pair;
    pthread_mutex_unlock(&lock);
    return &pair->qp;
}

/* What waits on a pair in ERR completes without effect. */
static void flush(struct pair *pair)
{
    for (; pair->tail != pair->head; pair->tail++) {
        struct ibv_wc completion = {.wr_id = pair->recvs[pair->tail % RECVS_MAX].wr_id,
                                    .status = IBV_WC_WR_FLUSH_ERR,
                                    .qp_num = pair->qp.qp_num};
        complete(pair->qp.recv_cq, &completion);
    }
}

static int modify_qp(struct ibv_qp *qp, struct ibv_qp_attr *attr, int mask)
{
    struct pair *pair = (struct pair *)qp;
    must(mask & IBV_QP_STATE, "a queue pair is modified without a state");
    pthread_mutex_lock(&lock);
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
    pthread_mutex_unlock(&lock);
    return legal ? 0 : EINVAL;
}

static int destroy_qp(struct ibv_qp *qp)
{
    pthread_mutex_lock(&lock);
    pairs[qp->qp_num] = NULL;
    pthread_mutex_unlock(&lock);
    return unmake(qp);
}

static int post_recv(struct ibv_qp *qp, struct ibv_recv_wr *chain, struct ibv_recv_wr **bad)
{
    struct pair *pair = (struct pair *)qp;
    (void)bad;
    pthread_mutex_lock(&lock);
    for (; chain; chain = chain->next) {
        unsigned at = pair->head++ % RECVS_MAX;
        must(pair->head - pair->tail <= RECVS_MAX, "too many receive requests");
        must(chain->num_sge == 0 || covers(qp->pd, chain->sg_list->lkey, chain->sg_list->addr,
                                           chain->sg_list->length, IBV_ACCESS_LOCAL_WRITE),
             "a receive request for memory that is not registered");
        pair->recv_pieces[at] = chain->num_sge ? *chain->sg_list : (struct ibv_sge){0};
        pair->recvs[at] = *chain;
    }
    pthread_mutex_unlock(&lock);
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
    if (piece && !covers(pair->qp.pd, piece->lkey, piece->addr, bytes, 0))
        return IBV_WC_LOC_PROT_ERR;
    unsigned at = peer->tail % RECVS_MAX;
    const struct ibv_sge *into = &peer->recv_pieces[at];
    if (write && bytes &&
        !covers(peer->qp.pd, request->wr.rdma.rkey, request->wr.rdma.remote_addr, bytes,
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
    complete(peer->qp.recv_cq, &completion);
    return IBV_WC_SUCCESS;
}

static int post_send(struct ibv_qp *qp, struct ibv_send_wr *chain, struct ibv_send_wr **bad)
{
    struct pair *pair = (struct pair *)qp;
    (void)bad;
    pthread_mutex_lock(&lock);
    must(pair->state >= IBV_QPS_RTS, "a request on a queue pair that is not connected");
    for (; chain; chain = chain->next) {
        must(!verbs_soft_is_iwarp() || (chain->opcode != IBV_WR_RDMA_WRITE_WITH_IMM &&
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
            complete(qp->send_cq, &completion);
    }
    pthread_mutex_unlock(&lock);
    return 0;
}

/* ---- events ------------------------------------------------------------------------------- */

static int get_async_event(struct ibv_context *context, struct ibv_async_event *event)
{
    (void)context, (void)event;
    return -1;
}

static void ack_async_event(struct ibv_async_event *event)
{
    (void)event;
}

static const char *wc_status_str(enum ibv_wc_status status)
{
    static char text[32];
    snprintf(text, sizeof(text), "status %d", (int)status);
    return text;
}

static const char *event_type_str(enum ibv_event_type type)
{
    (void)type;
    return "event";
}

void verbs_soft_be_iwarp(bool iwarp)
{
    for (unsigned i = 0; i < device_count; i++)
        devices[i].transport_type = iwarp ? IBV_TRANSPORT_IWARP : IBV_TRANSPORT_IB;
}

bool verbs_soft_is_iwarp(void)
{
    return devices[0].transport_type == IBV_TRANSPORT_IWARP;
}

void verbs_soft_join(uint32_t one, uint32_t other)
{
    pthread_mutex_lock(&lock);
    struct pair *a = pairs[one], *b = pairs[other];
    if (a && b && a->state == IBV_QPS_INIT && b->state == IBV_QPS_INIT) {
        a->state = b->state = IBV_QPS_RTS;
        a->peer = other;
        b->peer = one;
    }
    pthread_mutex_unlock(&lock);
}

struct ibv_device *verbs_soft_device(unsigned number)
{
    must(number < device_count, "no such device");
    return &devices[number];
}

void verbs_soft_install(unsigned count)
{
    must(count <= VERBS_SOFT_DEVICES_MAX, "too many devices");
    for (unsigned i = 0; i < count; i++) {
        devices[i].transport_type = IBV_TRANSPORT_IB;
        snprintf(devices[i].name, sizeof(devices[i].name), "soft%u", i);
    }
    device_count = count;
    static const struct shl_verbs_sys table = {get_device_list,
                                               free_device_list,
                                               open_device,
                                               close_device,
                                               query_device,
                                               query_port,
                                               query_gid_table,
                                               query_pkey,
                                               alloc_pd,
                                               dealloc_pd,
                                               reg_mr,
                                               reg_dmabuf_mr,
                                               dereg_mr,
                                               create_comp_channel,
                                               destroy_comp_channel,
                                               create_cq,
                                               destroy_cq,
                                               poll_cq,
                                               req_notify_cq,
                                               get_cq_event,
                                               ack_cq_events,
                                               create_qp,
                                               modify_qp,
                                               destroy_qp,
                                               post_send,
                                               post_recv,
                                               get_async_event,
                                               ack_async_event,
                                               wc_status_str,
                                               event_type_str};
    shl_verbs = &table;
}
