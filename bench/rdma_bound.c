/*
 * What RDMA writes between two devices can do, by plain libibverbs: the floor that the verbs
 * transport is measured against.
 *
 * Two processes, each with a device of its own. Streams: each writes messages of 1 MiB into the
 * other's memory at the same time, several outstanding. Ping-pong: 8 bytes are sent there and back.
 * Who waits sleeps on the completion channel, or polls (--poll). Also the part of an allreduce of
 * two ranks that is no transfer: each process adds half of the bytes. What is left in the memory is
 * checked.
 *
 *     build/bench/rdma_bound [--poll] DEVICE DEVICE stream|ping|reduce FIRST LAST FACTOR
 *
 * prints lines "bytes,us": for a stream the time in which so many bytes go each way, for a
 * ping-pong half of the way there and back, for a reduction that of both processes.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <errno.h>
#include <infiniband/verbs.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MESSAGE_BYTES ((size_t)1 << 20)
#define OUTSTANDING 8
#define BUFFER_BYTES (OUTSTANDING * MESSAGE_BYTES)
#define REDUCED_BYTES ((size_t)16 << 20)
#define TARGET_US 200000.0 /* time given to one size */
#define PING_BYTES 8
#define RECVS 16
#define ACK_TIMEOUT 14
#define RETRIES 6

/* What an end tells the other. */
struct end {
    union ibv_gid gid;
    uint32_t pair, psn, key;
    uint16_t lid;
    uint64_t address;
};

static int rank; /* of this process: 0 or 1 */
static int other_fd;
static bool polls;
static struct ibv_context *context;
static struct ibv_port_attr port;
static struct ibv_comp_channel *channel;
static struct ibv_cq *cq;
static struct ibv_pd *domain;
static struct ibv_qp *pair;
static struct ibv_mr *region;
static uint8_t *memory; /* BUFFER_BYTES to send from, as many to receive into */
static struct end mine, theirs;
static unsigned received, unread_events;
static size_t slots_used; /* of OUTSTANDING, by streams */

static void need(bool good, const char *what)
{
    if (good)
        return;
    fprintf(stderr, "rdma_bound: rank %d: %s: %s\n", rank, what, strerror(errno));
    exit(1);
}

/* Both are here. */
static void meet(void)
{
    char word = 0;
    need(write(other_fd, &word, 1) == 1 && read(other_fd, &word, 1) == 1, "the other process");
}

static double now_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e6 + (double)now.tv_nsec * 1e-3;
}

/* ---- connecting ----------------------------------------------------------------------------- */

static void open_device(const char *name)
{
    int count = 0;
    struct ibv_device **devices = ibv_get_device_list(&count);
    for (int i = 0; i < count; i++)
        if (strcmp(ibv_get_device_name(devices[i]), name) == 0)
            context = ibv_open_device(devices[i]);
    if (devices)
        ibv_free_device_list(devices);
    need(context != NULL, name);
    need(ibv_query_port(context, 1, &port) == 0, "port 1");
}

/* RoCE: the entry of an IPv4 address, of version 2; InfiniBand: the first. */
static uint32_t find_gid(union ibv_gid *gid)
{
    static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
    for (uint32_t i = 0; i < (uint32_t)port.gid_tbl_len; i++) {
        struct ibv_gid_entry entry;
        if (ibv_query_gid_ex(context, 1, i, &entry, 0) != 0)
            continue;
        *gid = entry.gid;
        if (port.link_layer != IBV_LINK_LAYER_ETHERNET ||
            (entry.gid_type == IBV_GID_TYPE_ROCE_V2 &&
             memcmp(entry.gid.raw, mapped, sizeof(mapped)) == 0))
            return i;
    }
    errno = ENOENT;
    need(false, "a GID of an IPv4 address");
    return 0;
}

static void create_pair(void)
{
    channel = ibv_create_comp_channel(context);
    need(channel != NULL, "completion channel");
    domain = ibv_alloc_pd(context);
    cq = ibv_create_cq(context, 2 * (OUTSTANDING + RECVS), NULL, channel, 0);
    need(domain && cq, "completion queue");
    struct ibv_qp_init_attr attr = {.send_cq = cq,
                                    .recv_cq = cq,
                                    .qp_type = IBV_QPT_RC,
                                    .cap = {.max_send_wr = OUTSTANDING + 1,
                                            .max_recv_wr = RECVS,
                                            .max_send_sge = 1,
                                            .max_recv_sge = 1,
                                            .max_inline_data = PING_BYTES}};
    pair = ibv_create_qp(domain, &attr);
    need(pair != NULL, "queue pair");
    memory =
        mmap(NULL, 2 * BUFFER_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    need(memory != MAP_FAILED, "memory");
    memset(memory, rank + 1, BUFFER_BYTES);
    memset(memory + BUFFER_BYTES, 0xa5, BUFFER_BYTES);
    region = ibv_reg_mr(domain, memory, 2 * BUFFER_BYTES,
                        IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE);
    need(region != NULL, "registration");
}

static void connect_pair(uint32_t gid_index)
{
    struct ibv_qp_attr attr = {
        .qp_state = IBV_QPS_INIT, .port_num = 1, .qp_access_flags = IBV_ACCESS_REMOTE_WRITE};
    need(ibv_modify_qp(pair, &attr,
                       IBV_QP_STATE | IBV_QP_PKEY_INDEX | IBV_QP_PORT | IBV_QP_ACCESS_FLAGS) == 0,
         "queue pair to INIT");
    attr = (struct ibv_qp_attr){
        .qp_state = IBV_QPS_RTR,
        .path_mtu = port.active_mtu,
        .dest_qp_num = theirs.pair,
        .rq_psn = theirs.psn,
        .max_dest_rd_atomic = 1,
        .min_rnr_timer = 12,
        .ah_attr = {
            .is_global = 1,
            .dlid = theirs.lid,
            .port_num = 1,
            .grh = {.dgid = theirs.gid, .sgid_index = (uint8_t)gid_index, .hop_limit = 64}}};
    need(ibv_modify_qp(pair, &attr,
                       IBV_QP_STATE | IBV_QP_AV | IBV_QP_PATH_MTU | IBV_QP_DEST_QPN |
                           IBV_QP_RQ_PSN | IBV_QP_MAX_DEST_RD_ATOMIC | IBV_QP_MIN_RNR_TIMER) == 0,
         "queue pair to RTR");
    attr = (struct ibv_qp_attr){.qp_state = IBV_QPS_RTS,
                                .sq_psn = mine.psn,
                                .timeout = ACK_TIMEOUT,
                                .retry_cnt = RETRIES,
                                .rnr_retry = 7,
                                .max_rd_atomic = 1};
    need(ibv_modify_qp(pair, &attr,
                       IBV_QP_STATE | IBV_QP_SQ_PSN | IBV_QP_TIMEOUT | IBV_QP_RETRY_CNT |
                           IBV_QP_RNR_RETRY | IBV_QP_MAX_QP_RD_ATOMIC) == 0,
         "queue pair to RTS");
}

/* Where what the other process sends goes does not matter: it is counted. */
static void post_recv(void)
{
    struct ibv_sge piece = {(uintptr_t)memory + BUFFER_BYTES, PING_BYTES, region->lkey};
    struct ibv_recv_wr request = {.sg_list = &piece, .num_sge = 1}, *bad;
    need(ibv_post_recv(pair, &request, &bad) == 0, "receive request");
}

static void connect_ends(const char *device)
{
    open_device(device);
    uint32_t gid_index = find_gid(&mine.gid);
    create_pair();
    mine.pair = pair->qp_num;
    mine.psn = 1000 + (uint32_t)rank;
    mine.key = region->rkey;
    mine.lid = port.lid;
    mine.address = (uintptr_t)memory + BUFFER_BYTES;
    need(write(other_fd, &mine, sizeof(mine)) == sizeof(mine) &&
             read(other_fd, &theirs, sizeof(theirs)) == sizeof(theirs),
         "the other process");
    connect_pair(gid_index);
    for (int i = 0; i < RECVS; i++)
        post_recv();
    need(ibv_req_notify_cq(cq, 0) == 0, "notification");
    meet();
}

/* ---- completions ---------------------------------------------------------------------------- */

/* Sleeps until there may be a completion. */
static void await_event(void)
{
    struct ibv_cq *which;
    void *arg;
    need(ibv_get_cq_event(channel, &which, &arg) == 0, "event");
    if (++unread_events == 1000) {
        ibv_ack_cq_events(cq, unread_events);
        unread_events = 0;
    }
    need(ibv_req_notify_cq(cq, 0) == 0, "notification");
}

/* Takes completions, at least one; how many of sends. Those of receives are counted. */
static unsigned take(void)
{
    struct ibv_wc completions[OUTSTANDING + RECVS];
    int count;
    while ((count = ibv_poll_cq(cq, OUTSTANDING + RECVS, completions)) == 0)
        if (!polls)
            await_event();
    need(count > 0, "completion queue");
    unsigned sends = 0;
    for (int i = 0; i < count; i++) {
        if (completions[i].status != IBV_WC_SUCCESS) {
            fprintf(stderr, "rdma_bound: rank %d: %s\n", rank,
                    ibv_wc_status_str(completions[i].status));
            exit(1);
        }
        if (completions[i].opcode != IBV_WC_RECV) {
            sends++;
            continue;
        }
        received++;
        post_recv();
    }
    return sends;
}

/* ---- the loops ------------------------------------------------------------------------------ */

static void post_write(size_t number, size_t bytes)
{
    const size_t at = number % OUTSTANDING * MESSAGE_BYTES;
    struct ibv_sge piece = {(uintptr_t)memory + at, (uint32_t)bytes, region->lkey};
    struct ibv_send_wr request = {.sg_list = &piece,
                                  .num_sge = 1,
                                  .opcode = IBV_WR_RDMA_WRITE,
                                  .send_flags = IBV_SEND_SIGNALED,
                                  .wr.rdma = {theirs.address + at, theirs.key}};
    struct ibv_send_wr *bad;
    need(ibv_post_send(pair, &request, &bad) == 0, "write");
}

/* `bytes` bytes, `times` times, each way. */
static void stream(size_t bytes, size_t times)
{
    const size_t messages = (bytes + MESSAGE_BYTES - 1) / MESSAGE_BYTES;
    const size_t total = messages * times;
    size_t posted = 0, done = 0;
    slots_used = total < slots_used ? slots_used : total < OUTSTANDING ? total : OUTSTANDING;
    while (done < total) {
        for (; posted < total && posted - done < OUTSTANDING; posted++) {
            size_t left = bytes - posted % messages * MESSAGE_BYTES;
            post_write(posted, left < MESSAGE_BYTES ? left : MESSAGE_BYTES);
        }
        done += take();
    }
}

static void send_ping(void)
{
    struct ibv_sge piece = {(uintptr_t)memory, PING_BYTES, region->lkey};
    struct ibv_send_wr request = {.sg_list = &piece,
                                  .num_sge = 1,
                                  .opcode = IBV_WR_SEND,
                                  .send_flags = IBV_SEND_SIGNALED | IBV_SEND_INLINE};
    struct ibv_send_wr *bad;
    need(ibv_post_send(pair, &request, &bad) == 0, "send");
}

/* There and back, `times` times. A send is known to be complete when it was answered. */
static void ping(size_t bytes, size_t times)
{
    (void)bytes;
    unsigned sent = 0;
    for (size_t i = 0; i < times; i++) {
        if (rank == 0)
            send_ping();
        for (unsigned before = received; received == before;)
            sent += take();
        if (rank == 1)
            send_ping();
    }
    while (sent < times)
        sent += take();
}

static float *values, *sums;

/* Half of `bytes` bytes: the share of one rank of two. */
static void reduce(size_t bytes, size_t times)
{
    const size_t count = bytes / 2 / sizeof(*values);
    for (size_t i = 0; i < times; i++) {
        for (size_t k = 0; k < count; k++)
            sums[k] += values[k];
        __asm__ volatile("" ::: "memory");
    }
}

/* ---- measuring ------------------------------------------------------------------------------ */

struct loop {
    const char *name;
    void (*run)(size_t bytes, size_t times);
    size_t first, last; /* sizes that it can do */
    double share;       /* of a turn that counts */
};

static const struct loop loops[] = {{"stream", stream, PING_BYTES, SIZE_MAX, 1},
                                    {"ping", ping, PING_BYTES, PING_BYTES, 0.5},
                                    {"reduce", reduce, PING_BYTES, REDUCED_BYTES, 1}};

static double time_loop(const struct loop *loop, size_t bytes, size_t times)
{
    meet();
    double start = now_us();
    loop->run(bytes, times);
    meet(); /* the slower one counts, and on one processor both do */
    return (now_us() - start) / (double)times;
}

static void measure(const struct loop *loop, size_t bytes)
{
    double us = time_loop(loop, bytes, 3);
    uint64_t times = us > TARGET_US ? 1 : (uint64_t)(TARGET_US / (us > 0.01 ? us : 0.01)) + 1;
    /* Both have to do as many. */
    need(rank == 0 ? write(other_fd, &times, sizeof(times)) == sizeof(times)
                   : read(other_fd, &times, sizeof(times)) == sizeof(times),
         "the other process");
    us = time_loop(loop, bytes, times) * loop->share;
    if (rank == 0) {
        printf("%zu,%.3f\n", bytes, us);
        fflush(stdout);
    }
}

/* What was written is there, and nothing beside it. Messages go through the slots in turn. */
static void check(size_t longest)
{
    const size_t ends = longest < MESSAGE_BYTES ? longest : MESSAGE_BYTES;
    meet(); /* the other has seen its last write acknowledged */
    for (size_t i = 0; i < BUFFER_BYTES; i++) {
        bool written = i / MESSAGE_BYTES < slots_used && i % MESSAGE_BYTES < ends;
        if (memory[BUFFER_BYTES + i] == (written ? 2 - rank : 0xa5))
            continue;
        fprintf(stderr, "rdma_bound: rank %d: byte %zu is 0x%02x\n", rank, i,
                memory[BUFFER_BYTES + i]);
        exit(1);
    }
}

static int run(const char *device, const struct loop *loop, const size_t sizes[3])
{
    connect_ends(device);
    values = calloc(REDUCED_BYTES / 2, 1);
    sums = calloc(REDUCED_BYTES / 2, 1);
    need(values && sums, "memory");
    for (size_t bytes = sizes[0]; bytes <= sizes[1]; bytes *= sizes[2])
        measure(loop, bytes);
    if (loop->run == stream)
        check(sizes[1]);
    meet();
    return 0;
}

static int usage(void)
{
    fprintf(stderr, "usage: rdma_bound [--poll] DEVICE DEVICE stream|ping|reduce FIRST LAST "
                    "FACTOR\n       ping is of 8 bytes, reduce of at most 16 MiB\n");
    return 2;
}

int main(int argc, char **argv)
{
    const struct loop *loop = NULL;
    int fds[2], status = 0;
    polls = argc > 1 && strcmp(argv[1], "--poll") == 0;
    argv += polls;
    if (argc - polls != 7)
        return usage();
    const size_t sizes[3] = {strtoull(argv[4], NULL, 10), strtoull(argv[5], NULL, 10),
                             strtoull(argv[6], NULL, 10)};
    for (size_t i = 0; i < sizeof(loops) / sizeof(loops[0]); i++)
        if (strcmp(argv[3], loops[i].name) == 0)
            loop = &loops[i];
    if (!loop || sizes[0] < loop->first || sizes[1] < sizes[0] || sizes[1] > loop->last ||
        sizes[2] < 2)
        return usage();
    need(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0, "socketpair");
    pid_t child = fork();
    need(child >= 0, "fork");
    rank = child == 0;
    other_fd = fds[rank];
    close(fds[1 - rank]);
    if (rank == 1) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        return run(argv[2], loop, sizes);
    }
    run(argv[1], loop, sizes);
    need(waitpid(child, &status, 0) == child, "the other process");
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}
