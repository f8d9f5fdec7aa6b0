/*
 * The probe of an iWARP device, whose queue pairs connect by rdma_cm only: two ends in this
 * process, connected over the address of the device's interface.
 *
 * Invariant: what a step made is in struct trial, and give_back() returns all that is there. Every
 * wait has a deadline.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "doctor_iwarp.h"

#include "core/sys.h"

#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <poll.h>
#include <rdma/rdma_cma.h>
#include <stdlib.h>
#include <string.h>

#define SMALL_BYTES 8192
#define LARGE_BYTES (64u << 20)
#define MESSAGE_BYTES (SMALL_BYTES / 2)
#define WAIT_MS 5000
#define POLL_PAUSE_NS 20000

/* Of the two libraries, which programs without RDMA do not need. */
struct calls {
    struct rdma_event_channel *(*create_event_channel)(void);
    void (*destroy_event_channel)(struct rdma_event_channel *);
    int (*create_id)(struct rdma_event_channel *, struct rdma_cm_id **, void *,
                     enum rdma_port_space);
    int (*destroy_id)(struct rdma_cm_id *);
    int (*bind_addr)(struct rdma_cm_id *, struct sockaddr *);
    int (*listen)(struct rdma_cm_id *, int);
    int (*resolve_addr)(struct rdma_cm_id *, struct sockaddr *, struct sockaddr *, int);
    int (*resolve_route)(struct rdma_cm_id *, int);
    int (*create_qp)(struct rdma_cm_id *, struct ibv_pd *, struct ibv_qp_init_attr *);
    void (*destroy_qp)(struct rdma_cm_id *);
    int (*connect)(struct rdma_cm_id *, struct rdma_conn_param *);
    int (*accept)(struct rdma_cm_id *, struct rdma_conn_param *);
    int (*disconnect)(struct rdma_cm_id *);
    int (*get_cm_event)(struct rdma_event_channel *, struct rdma_cm_event **);
    int (*ack_cm_event)(struct rdma_cm_event *);
    const char *(*event_str)(enum rdma_cm_event_type);
    __be16 (*get_src_port)(struct rdma_cm_id *);
    struct ibv_pd *(*alloc_pd)(struct ibv_context *);
    int (*dealloc_pd)(struct ibv_pd *);
    struct ibv_mr *(*reg_mr)(struct ibv_pd *, void *, size_t, int);
    int (*dereg_mr)(struct ibv_mr *);
    struct ibv_cq *(*create_cq)(struct ibv_context *, int, void *, struct ibv_comp_channel *, int);
    int (*destroy_cq)(struct ibv_cq *);
};

static const char *const names[] = {"rdma_create_event_channel",
                                    "rdma_destroy_event_channel",
                                    "rdma_create_id",
                                    "rdma_destroy_id",
                                    "rdma_bind_addr",
                                    "rdma_listen",
                                    "rdma_resolve_addr",
                                    "rdma_resolve_route",
                                    "rdma_create_qp",
                                    "rdma_destroy_qp",
                                    "rdma_connect",
                                    "rdma_accept",
                                    "rdma_disconnect",
                                    "rdma_get_cm_event",
                                    "rdma_ack_cm_event",
                                    "rdma_event_str",
                                    "rdma_get_src_port",
                                    "ibv_alloc_pd",
                                    "ibv_dealloc_pd",
                                    "ibv_reg_mr",
                                    "ibv_dereg_mr",
                                    "ibv_create_cq",
                                    "ibv_destroy_cq"};
_Static_assert(sizeof(struct calls) == sizeof(names), "a name for each call");

struct trial {
    struct cni_doctor *doctor;
    const char *device, *label;
    struct calls calls;
    struct sockaddr_in own;
    struct rdma_event_channel *events;
    struct rdma_cm_id *listener, *caller, *called;
    struct ibv_pd *pd;
    struct ibv_cq *cq;
    uint8_t *small, *large;
    struct ibv_mr *small_mr, *large_mr;
    bool connected;
};

static bool bad(struct trial *trial, enum cni_check_number check, const char *what)
{
    cni_doctor_bad(trial->doctor, check, CNI_ERROR, "%s: %s: %s", trial->label, what,
                   errno ? strerror(errno) : "no reason given");
    return false;
}

static bool good(struct trial *trial, enum cni_check_number check, const char *what)
{
    cni_doctor_good(trial->doctor, check, "%s: %s", trial->label, what);
    return true;
}

static bool load(struct trial *trial)
{
    void *symbol, *library = dlopen("librdmacm.so.1", RTLD_NOW);
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        symbol = library ? dlsym(library, names[i]) : NULL; /* also of what it depends on */
        if (!symbol) {
            cni_doctor_bad(trial->doctor, CNI_CHECK_probe_ports, CNI_NOTE,
                           "%s is not tried: %.100s; apt-get install librdmacm1", trial->label,
                           library ? names[i] : "no librdmacm.so.1");
            return false;
        }
        memcpy((char *)&trial->calls + i * sizeof(symbol), &symbol, sizeof(symbol));
    }
    return true;
}

/* ---- events ------------------------------------------------------------------------------------
 */

/* The next event must be this; *id: what it is about. */
static bool expect(struct trial *trial, enum rdma_cm_event_type wanted, struct rdma_cm_id **id)
{
    struct pollfd ready = {.fd = trial->events->fd, .events = POLLIN};
    struct rdma_cm_event *event;
    char seen[120];
    errno = 0;
    if (poll(&ready, 1, WAIT_MS) != 1) {
        errno = errno ? errno : ETIMEDOUT;
        return bad(trial, CNI_CHECK_probe_connect, trial->calls.event_str(wanted));
    }
    if (trial->calls.get_cm_event(trial->events, &event) != 0)
        return bad(trial, CNI_CHECK_probe_connect, "rdma_cm gives no event");
    bool right = event->event == wanted;
    snprintf(seen, sizeof(seen), "%s instead of %s", trial->calls.event_str(event->event),
             trial->calls.event_str(wanted));
    int error = event->status < 0 ? -event->status : event->status;
    if (id)
        *id = event->id;
    trial->calls.ack_cm_event(event);
    errno = error;
    return right || bad(trial, CNI_CHECK_probe_connect, seen);
}

/* ---- steps -------------------------------------------------------------------------------------
 */

static bool open_device(struct trial *trial)
{
    errno = 0;
    trial->events = trial->calls.create_event_channel();
    if (!trial->events)
        return bad(trial, CNI_CHECK_rdma_cm, "no event channel of rdma_cm");
    if (trial->calls.create_id(trial->events, &trial->listener, NULL, RDMA_PS_TCP) != 0 ||
        trial->calls.bind_addr(trial->listener, (struct sockaddr *)&trial->own) != 0 ||
        trial->calls.listen(trial->listener, 1) != 0)
        return bad(trial, CNI_CHECK_probe_open, "rdma_cm does not listen on its address");
    struct ibv_context *context = trial->listener->verbs;
    errno = ENODEV;
    if (!context || strcmp(context->device->name, trial->device) != 0)
        return bad(trial, CNI_CHECK_probe_open, "rdma_cm takes another device for its address");
    errno = 0;
    trial->pd = trial->calls.alloc_pd(context);
    if (!trial->pd)
        return bad(trial, CNI_CHECK_probe_open, "no protection domain");
    return good(trial, CNI_CHECK_probe_open, "opens by rdma_cm");
}

static bool take_memory(struct trial *trial, enum cni_check_number check, size_t bytes,
                        uint8_t **memory, struct ibv_mr **mr)
{
    *memory = aligned_alloc(4096, bytes);
    errno = ENOMEM;
    if (!*memory)
        return bad(trial, check, "no memory to register");
    errno = 0;
    *mr = trial->calls.reg_mr(trial->pd, *memory, bytes,
                              IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE);
    if (!*mr)
        return bad(trial, check,
                   bytes > SMALL_BYTES ? "64 MiB cannot be registered"
                                       : "8 KiB cannot be registered");
    return good(trial, check, bytes > SMALL_BYTES ? "64 MiB registered" : "8 KiB registered");
}

static bool make_end(struct trial *trial, struct rdma_cm_id *id)
{
    struct ibv_qp_init_attr attr = {
        .send_cq = trial->cq,
        .recv_cq = trial->cq,
        .qp_type = IBV_QPT_RC,
        .cap = {.max_send_wr = 1, .max_recv_wr = 1, .max_send_sge = 1, .max_recv_sge = 1}};
    errno = 0;
    return trial->calls.create_qp(id, trial->pd, &attr) == 0 ||
           bad(trial, CNI_CHECK_probe_pair, "no reliable queue pair");
}

static bool call_itself(struct trial *trial)
{
    struct sockaddr_in target = trial->own;
    target.sin_port = trial->calls.get_src_port(trial->listener);
    errno = 0;
    if (trial->calls.create_id(trial->events, &trial->caller, NULL, RDMA_PS_TCP) != 0 ||
        trial->calls.resolve_addr(trial->caller, (struct sockaddr *)&trial->own,
                                  (struct sockaddr *)&target, WAIT_MS) != 0)
        return bad(trial, CNI_CHECK_probe_connect, "its own address does not resolve");
    if (!expect(trial, RDMA_CM_EVENT_ADDR_RESOLVED, NULL))
        return false;
    if (trial->calls.resolve_route(trial->caller, WAIT_MS) != 0)
        return bad(trial, CNI_CHECK_probe_connect, "no route to itself");
    return expect(trial, RDMA_CM_EVENT_ROUTE_RESOLVED, NULL);
}

static bool connect_ends(struct trial *trial)
{
    struct rdma_conn_param wishes = {.initiator_depth = 1, .responder_resources = 1};
    if (!call_itself(trial))
        return false;
    errno = 0;
    trial->cq = trial->calls.create_cq(trial->caller->verbs, 4, NULL, NULL, 0);
    if (!trial->cq)
        return bad(trial, CNI_CHECK_probe_pair, "no completion queue");
    if (!make_end(trial, trial->caller))
        return false;
    if (trial->calls.connect(trial->caller, &wishes) != 0)
        return bad(trial, CNI_CHECK_probe_connect, "rdma_cm does not connect");
    if (!expect(trial, RDMA_CM_EVENT_CONNECT_REQUEST, &trial->called) ||
        !make_end(trial, trial->called))
        return false;
    good(trial, CNI_CHECK_probe_pair, "two reliable queue pairs");
    if (trial->calls.accept(trial->called, &wishes) != 0)
        return bad(trial, CNI_CHECK_probe_connect, "rdma_cm does not accept");
    trial->connected = expect(trial, RDMA_CM_EVENT_ESTABLISHED, NULL) &&
                       expect(trial, RDMA_CM_EVENT_ESTABLISHED, NULL);
    return trial->connected && good(trial, CNI_CHECK_probe_connect, "connected to itself");
}

/* A write is complete for its sender as soon as it is on its way: its bytes are awaited. */
static bool await_bytes(const uint8_t *from, const uint8_t *to)
{
    uint64_t end_ns = shl_now_ns() + WAIT_MS * UINT64_C(1000000);
    while (memcmp(from, to, MESSAGE_BYTES) != 0) {
        if (shl_now_ns() >= end_ns)
            return false;
        shl_time->sleep_ns(POLL_PAUSE_NS);
        __atomic_thread_fence(__ATOMIC_ACQUIRE);
    }
    return true;
}

static bool write_to_itself(struct trial *trial)
{
    uint8_t *target = trial->small + MESSAGE_BYTES;
    for (uint32_t i = 0; i < MESSAGE_BYTES; i++)
        trial->small[i] = (uint8_t)(i * 31 + i / 256 + 1);
    memset(target, 0, MESSAGE_BYTES);
    struct ibv_sge piece = {
        .addr = (uintptr_t)trial->small, .length = MESSAGE_BYTES, .lkey = trial->small_mr->lkey};
    struct ibv_send_wr *first_bad, request = {.sg_list = &piece,
                                              .num_sge = 1,
                                              .opcode = IBV_WR_RDMA_WRITE,
                                              .send_flags = IBV_SEND_SIGNALED};
    request.wr.rdma.remote_addr = (uintptr_t)target;
    request.wr.rdma.rkey = trial->small_mr->rkey;
    int error = ibv_post_send(trial->caller->qp, &request, &first_bad);
    errno = error;
    if (error)
        return bad(trial, CNI_CHECK_probe_write, "it cannot be posted");
    errno = ETIMEDOUT;
    if (!await_bytes(trial->small, target))
        return bad(trial, CNI_CHECK_probe_write, "the bytes do not arrive");
    return good(trial, CNI_CHECK_probe_write, "4096 bytes written to itself");
}

/* Queue pairs first: nothing is written any more once they are gone. */
static void give_back(struct trial *trial)
{
    const struct calls *calls = &trial->calls;
    struct rdma_cm_id *const ids[] = {trial->caller, trial->called, trial->listener};
    int error = 0;
    if (trial->connected)
        calls->disconnect(trial->caller);
    for (size_t i = 0; i < 3; i++) {
        if (ids[i] && ids[i]->qp)
            calls->destroy_qp(ids[i]);
        if (ids[i] && i < 2)
            error |= calls->destroy_id(ids[i]);
    }
    error |= trial->cq ? calls->destroy_cq(trial->cq) : 0;
    error |= trial->large_mr ? calls->dereg_mr(trial->large_mr) : 0;
    error |= trial->small_mr ? calls->dereg_mr(trial->small_mr) : 0;
    error |= trial->pd ? calls->dealloc_pd(trial->pd) : 0;
    error |= trial->listener ? calls->destroy_id(trial->listener) : 0;
    if (trial->events)
        calls->destroy_event_channel(trial->events);
    free(trial->large);
    free(trial->small);
    errno = 0;
    if (error)
        bad(trial, CNI_CHECK_probe_release, "something cannot be given back");
    else
        good(trial, CNI_CHECK_probe_release, "everything is given back");
}

void cni_doctor_iwarp(struct cni_doctor *doctor, const char *device, const char *interface,
                      const char *address)
{
    struct trial trial = {.doctor = doctor, .device = device, .own = {.sin_family = AF_INET}};
    trial.label = cni_arena_format(doctor->arena, "%s %s", device, address);
    if (inet_pton(AF_INET, address, &trial.own.sin_addr) != 1 || !load(&trial))
        return;
    cni_doctor_good(doctor, CNI_CHECK_probe_ports, "%s of %s, by rdma_cm", trial.label, interface);
    if (open_device(&trial)) {
        bool memory =
            take_memory(&trial, CNI_CHECK_probe_small, SMALL_BYTES, &trial.small, &trial.small_mr);
        take_memory(&trial, CNI_CHECK_probe_large, LARGE_BYTES, &trial.large, &trial.large_mr);
        if (connect_ends(&trial) && memory)
            write_to_itself(&trial);
    }
    give_back(&trial);
}
