/*
 * One end of a verbs connection, for tests: a device with a completion queue that is waited for,
 * registered memory and, for Soft-RoCE, a queue pair. Both ends live in one process; what fails
 * here fails the test. No wait here is longer than END_WAIT_MS.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef RDMA_VERBS_END_H
#define RDMA_VERBS_END_H

#include <infiniband/verbs.h>
#include <stdbool.h>
#include <stdint.h>

enum {
    END_BYTES = 64 * 1024,
    END_REQUESTS = 16,
    END_WAIT_MS = 20000, /* far above what any of it takes; reached only when something is lost */
    END_PORT = 1
};

struct end {
    struct ibv_context *device;
    struct ibv_pd *pd;
    struct ibv_comp_channel *channel;
    struct ibv_cq *cq;
    struct ibv_mr *mr;
    struct ibv_qp *qp; /* made by end_pair, or by rdma_cm */
    uint8_t *memory;   /* END_BYTES, registered for remote writes */
    struct ibv_gid_entry gid;
};

/* How persistent a sender is: attr.timeout, attr.retry_cnt (7 never gives up) and rnr_retry. */
struct persistence {
    uint8_t timeout, retry_count, rnr_retry_count;
};

/* The device called `name`, opened, or NULL if there is none. */
struct ibv_context *device_open(const char *name);

/* The RoCEv2 entry of port 1 whose GID is this IPv4 address. Searched by type and value: indices
   differ between machines and change while addresses come and go. */
bool device_find_gid(struct ibv_context *device, const char *ipv4, struct ibv_gid_entry *entry);

/* Completion queue and memory on an open device, which the end does not own. */
void end_init(struct end *end, struct ibv_context *device);
void end_fini(struct end *end);

/* Opens rxe<number> as an end, with the GID of its address, and closes it. */
void end_open_rxe(struct end *end, int number);
void end_close_rxe(struct end *end);

/* RC queue pairs, connected and ready to send. */
void end_connect(struct end *a, struct end *b, struct persistence persistence);

/* Posts; `bytes` from the start of the memory of both. */
void end_post_receive(struct end *end, uint64_t id, uint32_t bytes);
void end_post_send(struct end *end, uint64_t id, uint32_t bytes);
void end_post_write(struct end *from, const struct end *to, uint64_t id, uint32_t bytes);
void end_post_write_immediate(struct end *from, const struct end *to, uint64_t id, uint32_t bytes,
                              uint32_t immediate);

/* The next completion. */
struct ibv_wc end_wait(struct end *end);

/* No completion is there, without waiting. */
void end_assert_idle(struct end *end);

/* Waits until `fd` can be read. */
void wait_readable(int fd, const char *what);

#endif
