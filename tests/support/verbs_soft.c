/*
 * The device of this process, but for its queue pairs (verbs_soft_pair.c).
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "support/verbs_soft_parts.h"

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

#define REGIONS_MAX 4096

struct queue {
    struct ibv_cq cq; /* first */
    struct ibv_wc *ring;
    unsigned capacity, head, tail;
    bool armed;
};

struct region {
    struct ibv_mr mr; /* first */
    int access;
};

pthread_mutex_t verbs_soft_lock = PTHREAD_MUTEX_INITIALIZER;
static struct region *regions[REGIONS_MAX]; /* by key, modulo */
static uint32_t next_key = 1;
static unsigned objects;
static struct ibv_device devices[VERBS_SOFT_DEVICES_MAX];
static unsigned device_count;

void verbs_soft_must(bool holds, const char *what)
{
    if (holds)
        return;
    fprintf(stderr, "verbs_soft: %s\n", what);
    abort();
}

void *verbs_soft_make(size_t bytes)
{
    void *made = calloc(1, bytes);
    verbs_soft_must(made != NULL, "no memory");
    __atomic_fetch_add(&objects, 1, __ATOMIC_RELAXED);
    return made;
}

int verbs_soft_unmake(void *object)
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
    struct ibv_context *context = verbs_soft_make(sizeof(*context));
    context->device = which;
    context->async_fd = eventfd(0, EFD_CLOEXEC);
    return context;
}

static int close_device(struct ibv_context *context)
{
    close(context->async_fd);
    return verbs_soft_unmake(context);
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
    verbs_soft_must(capacity > 0 && entry_bytes == sizeof(*entries), "a table of no size");
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
    struct ibv_pd *pd = verbs_soft_make(sizeof(*pd));
    pd->context = context;
    return pd;
}

static int dealloc_pd(struct ibv_pd *pd)
{
    return verbs_soft_unmake(pd);
}

static struct ibv_mr *reg_mr(struct ibv_pd *pd, void *memory, size_t bytes, int access)
{
    struct region *region = verbs_soft_make(sizeof(*region));
    pthread_mutex_lock(&verbs_soft_lock);
    while (regions[next_key % REGIONS_MAX])
        next_key++;
    region->mr = (struct ibv_mr){
        .pd = pd, .addr = memory, .length = bytes, .lkey = next_key, .rkey = next_key};
    region->access = access;
    regions[next_key++ % REGIONS_MAX] = region;
    pthread_mutex_unlock(&verbs_soft_lock);
    return &region->mr;
}

static struct ibv_mr *reg_mr_iova2(struct ibv_pd *pd, void *memory, size_t bytes, uint64_t iova,
                                   unsigned access)
{
    verbs_soft_must(iova == (uintptr_t)memory, "addresses of its own are not made up");
    return reg_mr(pd, memory, bytes, (int)access);
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
    pthread_mutex_lock(&verbs_soft_lock);
    regions[mr->lkey % REGIONS_MAX] = NULL;
    pthread_mutex_unlock(&verbs_soft_lock);
    return verbs_soft_unmake(mr);
}

bool verbs_soft_covers(const struct ibv_pd *pd, uint32_t key, uint64_t address, uint64_t bytes,
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
    struct ibv_comp_channel *channel = verbs_soft_make(sizeof(*channel));
    channel->context = context;
    channel->fd = eventfd(0, EFD_CLOEXEC | EFD_SEMAPHORE);
    return channel;
}

static int destroy_comp_channel(struct ibv_comp_channel *channel)
{
    close(channel->fd);
    return verbs_soft_unmake(channel);
}

static struct ibv_cq *create_cq(struct ibv_context *context, int entries, void *arg,
                                struct ibv_comp_channel *channel, int vector)
{
    struct queue *queue = verbs_soft_make(sizeof(*queue));
    (void)vector;
    queue->cq.context = context;
    queue->cq.cq_context = arg;
    queue->cq.channel = channel;
    queue->capacity = (unsigned)entries;
    queue->ring = calloc(queue->capacity, sizeof(*queue->ring));
    verbs_soft_must(queue->ring != NULL, "no memory");
    return &queue->cq;
}

static int destroy_cq(struct ibv_cq *cq)
{
    struct queue *queue = (struct queue *)cq;
    free(queue->ring);
    return verbs_soft_unmake(queue);
}

void verbs_soft_complete(struct ibv_cq *cq, const struct ibv_wc *completion)
{
    struct queue *queue = (struct queue *)cq;
    verbs_soft_must(queue->head - queue->tail < queue->capacity, "a completion queue overflows");
    queue->ring[queue->head++ % queue->capacity] = *completion;
    if (queue->armed && cq->channel)
        eventfd_write(cq->channel->fd, 1);
    queue->armed = false;
}

static int poll_cq(struct ibv_cq *cq, int capacity, struct ibv_wc *completions)
{
    struct queue *queue = (struct queue *)cq;
    int count = 0;
    pthread_mutex_lock(&verbs_soft_lock);
    for (; count < capacity && queue->tail != queue->head; count++)
        completions[count] = queue->ring[queue->tail++ % queue->capacity];
    pthread_mutex_unlock(&verbs_soft_lock);
    return count;
}

static int req_notify_cq(struct ibv_cq *cq, int solicited_only)
{
    (void)solicited_only;
    pthread_mutex_lock(&verbs_soft_lock);
    ((struct queue *)cq)->armed = true;
    pthread_mutex_unlock(&verbs_soft_lock);
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

struct ibv_device *verbs_soft_device(unsigned number)
{
    verbs_soft_must(number < device_count, "no such device");
    return &devices[number];
}

void verbs_soft_install(unsigned count)
{
    verbs_soft_must(count <= VERBS_SOFT_DEVICES_MAX, "too many devices");
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
                                               reg_mr_iova2,
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
                                               verbs_soft_create_qp,
                                               verbs_soft_modify_qp,
                                               verbs_soft_destroy_qp,
                                               verbs_soft_post_send,
                                               verbs_soft_post_recv,
                                               get_async_event,
                                               ack_async_event,
                                               wc_status_str,
                                               event_type_str};
    shl_verbs = &table;
}
