/*
 * The try of a port, step by step.
 *
 * Invariant: what a step made is in struct trial, and release() gives back all that is there.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "transport/verbs/verbs_probe.h"

#include "core/sys.h"
#include "transport/verbs/verbs_sys.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#define MESSAGE_BYTES (SHL_VERBS_PROBE_SMALL_BYTES / 2)
#define WRITE_NUMBER 0x5b0a1u /* wr_id: a completion of anything else is a fault */
#define PACKET_NUMBER 0x5b0a1u
#define POLL_PAUSE_NS 20000
#define RNR_TIMER 12

struct trial {
    const struct shl_verbs_port *port;
    const struct shl_verbs_probe_settings *settings;
    struct shl_verbs_probe *probe;
    struct ibv_context *context;
    struct ibv_pd *pd;
    struct ibv_cq *cq;
    struct ibv_qp *qp;
    uint8_t *small, *large;
    struct ibv_mr *small_mr, *large_mr;
};

static bool note(struct trial *trial, enum shl_verbs_probe_step step, bool good, const char *format,
                 ...) __attribute__((format(printf, 4, 5)));

/* Keeps what a step saw; returns `good`. */
static bool note(struct trial *trial, enum shl_verbs_probe_step step, bool good, const char *format,
                 ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(trial->probe->steps[step].seen, SHL_VERBS_PROBE_SEEN_BYTES, format, arguments);
    va_end(arguments);
    trial->probe->steps[step].verdict = good ? SHL_VERBS_PROBE_GOOD : SHL_VERBS_PROBE_BAD;
    return good;
}

/* Calls that return a pointer leave the reason in errno, if they leave one. */
static const char *reason(int error)
{
    return error ? strerror(error < 0 ? -error : error) : "no reason given";
}

/* ---- the device ---------------------------------------------------------------------------- */

static struct ibv_device *find(struct ibv_device **list, int count, const char *name)
{
    for (int i = 0; i < count; i++)
        if (strcmp(list[i]->name, name) == 0)
            return list[i];
    return NULL;
}

static bool open_port(struct trial *trial)
{
    const char *name = trial->port->device;
    int count = 0;
    errno = 0;
    struct ibv_device **list = shl_verbs->get_device_list(&count);
    if (!list)
        return note(trial, SHL_VERBS_PROBE_OPEN, false, "the kernel lists no RDMA devices: %s",
                    reason(errno));
    struct ibv_device *device = find(list, count, name);
    errno = device ? 0 : ENODEV; /* it went since it was found */
    trial->context = device ? shl_verbs->open_device(device) : NULL;
    int error = errno;
    char node[80] = "its node";
    if (device && *device->dev_name)
        snprintf(node, sizeof(node), "/dev/infiniband/%.60s", device->dev_name);
    shl_verbs->free_device_list(list);
    if (!trial->context)
        return note(trial, SHL_VERBS_PROBE_OPEN, false, "%s cannot be opened: %s", node,
                    reason(error));
    errno = 0;
    trial->pd = shl_verbs->alloc_pd(trial->context);
    if (!trial->pd)
        return note(trial, SHL_VERBS_PROBE_OPEN, false,
                    "%s opens, but gives no protection domain: %s", node, reason(errno));
    return note(trial, SHL_VERBS_PROBE_OPEN, true, "%s opens", node);
}

/* ---- memory -------------------------------------------------------------------------------- */

static void size_text(size_t bytes, char text[32])
{
    if (bytes >> 20)
        snprintf(text, 32, "%zu MiB", bytes >> 20);
    else
        snprintf(text, 32, "%zu KiB", bytes >> 10);
}

static bool take_memory(struct trial *trial, enum shl_verbs_probe_step step, size_t bytes,
                        uint8_t **memory, struct ibv_mr **mr)
{
    char size[32];
    size_text(bytes, size);
    /* A mapping: pages that are pinned before anybody touches them cost the least. */
    void *mapped =
        shl_mem->map(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    *memory = mapped == MAP_FAILED ? NULL : mapped;
    if (!*memory)
        return note(trial, step, false, "there is no memory of %s to register", size);
    uint64_t start_ns = shl_now_ns();
    errno = 0;
    *mr = shl_verbs->reg_mr(trial->pd, *memory, bytes,
                            IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE);
    if (!*mr)
        return note(trial, step, false, "%s cannot be registered: %s", size, reason(errno));
    return note(trial, step, true, "%s registered in %" PRIu64 " us", size,
                (shl_now_ns() - start_ns) / 1000);
}

/* ---- the queue pair ------------------------------------------------------------------------ */

static bool make_pair(struct trial *trial)
{
    errno = 0;
    trial->cq = shl_verbs->create_cq(trial->context, 4, NULL, NULL, 0);
    if (!trial->cq)
        return note(trial, SHL_VERBS_PROBE_PAIR, false, "no completion queue: %s", reason(errno));
    struct ibv_qp_init_attr attr = {
        .send_cq = trial->cq,
        .recv_cq = trial->cq,
        .qp_type = IBV_QPT_RC,
        .cap = {.max_send_wr = 1, .max_recv_wr = 1, .max_send_sge = 1, .max_recv_sge = 1},
    };
    errno = 0;
    trial->qp = shl_verbs->create_qp(trial->pd, &attr);
    if (!trial->qp)
        return note(trial, SHL_VERBS_PROBE_PAIR, false, "no reliable queue pair: %s",
                    reason(errno));
    return note(trial, SHL_VERBS_PROBE_PAIR, true, "reliable queue pair %u", trial->qp->qp_num);
}

static enum ibv_mtu mtu_code(uint32_t bytes)
{
    enum ibv_mtu code = IBV_MTU_256;
    while (code < IBV_MTU_4096 && 128u << (code + 1) <= bytes)
        code++;
    return code;
}

static int initialise(struct trial *trial)
{
    struct ibv_qp_attr attr = {.qp_state = IBV_QPS_INIT,
                               .port_num = (uint8_t)trial->port->port,
                               .pkey_index = (uint16_t)trial->port->pkey_index,
                               .qp_access_flags = IBV_ACCESS_REMOTE_WRITE};
    return shl_verbs->modify_qp(
        trial->qp, &attr, IBV_QP_STATE | IBV_QP_PKEY_INDEX | IBV_QP_PORT | IBV_QP_ACCESS_FLAGS);
}

static int ready_to_receive(struct trial *trial)
{
    const struct shl_verbs_port *port = trial->port;
    const struct shl_config *config = trial->settings->config;
    struct ibv_qp_attr attr = {.qp_state = IBV_QPS_RTR,
                               .path_mtu = mtu_code(port->mtu_bytes),
                               .dest_qp_num = trial->qp->qp_num,
                               .rq_psn = PACKET_NUMBER,
                               .max_dest_rd_atomic = 1,
                               .min_rnr_timer = RNR_TIMER};
    attr.ah_attr.sl = (uint8_t)config->ib_service_level;
    attr.ah_attr.dlid = (uint16_t)port->lid;
    attr.ah_attr.port_num = (uint8_t)port->port;
    if (port->kind != SHL_VERBS_INFINIBAND) { /* there the LID is enough */
        attr.ah_attr.is_global = 1;
        memcpy(attr.ah_attr.grh.dgid.raw, port->gid, sizeof(port->gid));
        attr.ah_attr.grh.sgid_index = (uint8_t)port->gid_index;
        attr.ah_attr.grh.hop_limit = (uint8_t)config->ib_hop_limit;
        attr.ah_attr.grh.traffic_class = (uint8_t)config->ib_traffic_class;
    }
    return shl_verbs->modify_qp(trial->qp, &attr,
                                IBV_QP_STATE | IBV_QP_AV | IBV_QP_PATH_MTU | IBV_QP_DEST_QPN |
                                    IBV_QP_RQ_PSN | IBV_QP_MAX_DEST_RD_ATOMIC |
                                    IBV_QP_MIN_RNR_TIMER);
}

static int ready_to_send(struct trial *trial)
{
    const struct shl_config *config = trial->settings->config;
    struct ibv_qp_attr attr = {.qp_state = IBV_QPS_RTS,
                               .timeout = (uint8_t)config->ib_timeout,
                               .retry_cnt = (uint8_t)config->ib_retry,
                               .sq_psn = PACKET_NUMBER,
                               .max_rd_atomic = 1};
    return shl_verbs->modify_qp(trial->qp, &attr,
                                IBV_QP_STATE | IBV_QP_TIMEOUT | IBV_QP_RETRY_CNT |
                                    IBV_QP_RNR_RETRY | IBV_QP_SQ_PSN | IBV_QP_MAX_QP_RD_ATOMIC);
}

static bool connect_pair(struct trial *trial)
{
    static const struct {
        const char *state;
        int (*enter)(struct trial *trial);
    } states[] = {{"INIT", initialise}, {"RTR", ready_to_receive}, {"RTS", ready_to_send}};
    for (size_t i = 0; i < sizeof(states) / sizeof(states[0]); i++) {
        int error = states[i].enter(trial);
        if (error)
            return note(trial, SHL_VERBS_PROBE_CONNECT, false,
                        "the queue pair does not enter %s with GID %u %s: %s", states[i].state,
                        trial->port->gid_index, trial->port->gid_text, reason(error));
    }
    return note(trial, SHL_VERBS_PROBE_CONNECT, true, "connected to itself, packets of %u bytes",
                trial->port->mtu_bytes);
}

/* ---- the write ----------------------------------------------------------------------------- */

/* 1: a completion; 0: none came in time; negative: the queue cannot be read. */
static int await_completion(struct trial *trial, struct ibv_wc *completion)
{
    uint64_t deadline_ns = shl_now_ns() + (uint64_t)trial->settings->timeout_ms * 1000000;
    for (;;) {
        int count = shl_verbs->poll_cq(trial->cq, 1, completion);
        if (count != 0 || shl_now_ns() >= deadline_ns)
            return count;
        shl_time->sleep_ns(POLL_PAUSE_NS);
    }
}

static void judge_write(struct trial *trial, const uint8_t *target)
{
    struct ibv_wc completion = {.status = IBV_WC_GENERAL_ERR};
    uint64_t start_ns = shl_now_ns();
    int count = await_completion(trial, &completion);
    if (count < 0)
        note(trial, SHL_VERBS_PROBE_WRITE, false, "the completion queue cannot be read: %s",
             reason(count));
    else if (count == 0)
        note(trial, SHL_VERBS_PROBE_WRITE, false, "no completion within %u ms",
             trial->settings->timeout_ms);
    else if (completion.status != IBV_WC_SUCCESS)
        note(trial, SHL_VERBS_PROBE_WRITE, false, "it ended with \"%s\" (vendor error 0x%x)",
             shl_verbs->wc_status_str(completion.status), completion.vendor_err);
    else if (completion.wr_id != WRITE_NUMBER)
        note(trial, SHL_VERBS_PROBE_WRITE, false, "a completion came that nobody asked for");
    else if (memcmp(trial->small, target, MESSAGE_BYTES) != 0)
        note(trial, SHL_VERBS_PROBE_WRITE, false, "it completed, but other bytes are there");
    else
        note(trial, SHL_VERBS_PROBE_WRITE, true, "%d bytes written to itself in %" PRIu64 " us",
             MESSAGE_BYTES, (shl_now_ns() - start_ns) / 1000);
}

/* From the start of the small memory to the end of the large one, or else of the small one. */
static void write_to_itself(struct trial *trial)
{
    bool large = trial->large_mr && trial->settings->large_bytes >= MESSAGE_BYTES;
    uint8_t *target = large ? trial->large + trial->settings->large_bytes - MESSAGE_BYTES
                            : trial->small + MESSAGE_BYTES;
    for (uint32_t i = 0; i < MESSAGE_BYTES; i++)
        trial->small[i] = (uint8_t)(i * 31 + i / 256 + 1);
    struct ibv_sge piece = {
        .addr = (uintptr_t)trial->small, .length = MESSAGE_BYTES, .lkey = trial->small_mr->lkey};
    struct ibv_send_wr *bad, request = {.wr_id = WRITE_NUMBER,
                                        .sg_list = &piece,
                                        .num_sge = 1,
                                        .opcode = IBV_WR_RDMA_WRITE,
                                        .send_flags = IBV_SEND_SIGNALED};
    request.wr.rdma.remote_addr = (uintptr_t)target;
    request.wr.rdma.rkey = large ? trial->large_mr->rkey : trial->small_mr->rkey;
    int error = shl_verbs->post_send(trial->qp, &request, &bad);
    if (error)
        note(trial, SHL_VERBS_PROBE_WRITE, false, "it cannot be posted: %s", reason(error));
    else
        judge_write(trial, target);
}

/* ---- the end ------------------------------------------------------------------------------- */

/* The queue pair first: nothing is written any more once it is gone. */
static void release(struct trial *trial)
{
    const char *what = NULL;
    int error = 0;
#define GIVE_BACK(object, call, name)                                                              \
    do {                                                                                           \
        int failed = (object) ? shl_verbs->call(object) : 0;                                       \
        what = failed && !error ? (name) : what;                                                   \
        error = error ? error : failed;                                                            \
    } while (0)
    GIVE_BACK(trial->qp, destroy_qp, "queue pair");
    GIVE_BACK(trial->cq, destroy_cq, "completion queue");
    GIVE_BACK(trial->large_mr, dereg_mr, "large registration");
    GIVE_BACK(trial->small_mr, dereg_mr, "small registration");
    GIVE_BACK(trial->pd, dealloc_pd, "protection domain");
    GIVE_BACK(trial->context, close_device, "device");
#undef GIVE_BACK
    if (trial->large)
        shl_mem->unmap(trial->large, trial->settings->large_bytes);
    if (trial->small)
        shl_mem->unmap(trial->small, SHL_VERBS_PROBE_SMALL_BYTES);
    if (error)
        note(trial, SHL_VERBS_PROBE_RELEASE, false, "the %s cannot be given back: %s", what,
             reason(error));
    else
        note(trial, SHL_VERBS_PROBE_RELEASE, true, "everything is given back");
}

void shl_verbs_probe_run(const struct shl_verbs_port *port,
                         const struct shl_verbs_probe_settings *settings,
                         struct shl_verbs_probe *probe)
{
    struct trial trial = {.port = port, .settings = settings, .probe = probe};
    memset(probe, 0, sizeof(*probe));
    if (shl_verbs_load() != SHOAL_OK) {
        note(&trial, SHL_VERBS_PROBE_OPEN, false, "%s", shl_error_text());
        return;
    }
    if (open_port(&trial)) {
        bool memory = take_memory(&trial, SHL_VERBS_PROBE_SMALL, SHL_VERBS_PROBE_SMALL_BYTES,
                                  &trial.small, &trial.small_mr);
        take_memory(&trial, SHL_VERBS_PROBE_LARGE, settings->large_bytes, &trial.large,
                    &trial.large_mr);
        if (make_pair(&trial) && connect_pair(&trial) && memory)
            write_to_itself(&trial);
    }
    release(&trial);
}
