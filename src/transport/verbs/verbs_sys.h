/*
 * The fault table of libibverbs: every call that the verbs transport makes, with verbs' own types.
 *
 * The library is loaded when it is first needed, so that Shoal works where it is not installed.
 * Tests replace the table to show devices, errors and events that soft devices do not have.
 *
 * Invariant: outside verbs_sys.c no function of libibverbs is named, only members of this table;
 * so libshoal.so does not depend on libibverbs.so.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef SHL_TRANSPORT_VERBS_SYS_H
#define SHL_TRANSPORT_VERBS_SYS_H

#include "core/status.h"

#include <infiniband/verbs.h>

/* Each returns what the function of libibverbs with this name does. */
struct shl_verbs_sys {
    struct ibv_device **(*get_device_list)(int *count);
    void (*free_device_list)(struct ibv_device **list);
    struct ibv_context *(*open_device)(struct ibv_device *device);
    int (*close_device)(struct ibv_context *context);
    int (*query_device)(struct ibv_context *context, struct ibv_device_attr *attr);
    int (*query_port)(struct ibv_context *context, uint8_t port, struct ibv_port_attr *attr);
    ssize_t (*query_gid_table)(struct ibv_context *context, struct ibv_gid_entry *entries,
                               size_t capacity, uint32_t flags, size_t entry_bytes);
    int (*query_pkey)(struct ibv_context *context, uint8_t port, int index, uint16_t *key);
    struct ibv_pd *(*alloc_pd)(struct ibv_context *context);
    int (*dealloc_pd)(struct ibv_pd *pd);
    struct ibv_mr *(*reg_mr)(struct ibv_pd *pd, void *memory, size_t bytes, int access);
    /* Takes optional access flags. EOPNOTSUPP also where libibverbs is older than it. */
    struct ibv_mr *(*reg_mr_iova2)(struct ibv_pd *pd, void *memory, size_t bytes, uint64_t iova,
                                   unsigned access);
    /* EOPNOTSUPP also where libibverbs is older than it. */
    struct ibv_mr *(*reg_dmabuf_mr)(struct ibv_pd *pd, uint64_t offset, size_t bytes, uint64_t iova,
                                    int fd, int access);
    int (*dereg_mr)(struct ibv_mr *mr);
    struct ibv_comp_channel *(*create_comp_channel)(struct ibv_context *context);
    int (*destroy_comp_channel)(struct ibv_comp_channel *channel);
    struct ibv_cq *(*create_cq)(struct ibv_context *context, int entries, void *arg,
                                struct ibv_comp_channel *channel, int vector);
    int (*destroy_cq)(struct ibv_cq *cq);
    int (*poll_cq)(struct ibv_cq *cq, int capacity, struct ibv_wc *completions);
    int (*req_notify_cq)(struct ibv_cq *cq, int solicited_only);
    int (*get_cq_event)(struct ibv_comp_channel *channel, struct ibv_cq **cq, void **arg);
    void (*ack_cq_events)(struct ibv_cq *cq, unsigned count);
    struct ibv_qp *(*create_qp)(struct ibv_pd *pd, struct ibv_qp_init_attr *attr);
    int (*modify_qp)(struct ibv_qp *qp, struct ibv_qp_attr *attr, int mask);
    int (*destroy_qp)(struct ibv_qp *qp);
    int (*post_send)(struct ibv_qp *qp, struct ibv_send_wr *chain, struct ibv_send_wr **bad);
    int (*post_recv)(struct ibv_qp *qp, struct ibv_recv_wr *chain, struct ibv_recv_wr **bad);
    int (*get_async_event)(struct ibv_context *context, struct ibv_async_event *event);
    void (*ack_async_event)(struct ibv_async_event *event);
    const char *(*wc_status_str)(enum ibv_wc_status status);
    const char *(*event_type_str)(enum ibv_event_type type);
};

/* Replaced only by tests, before any thread runs; NULL until loaded. */
extern const struct shl_verbs_sys *shl_verbs;

/* shl_verbs_load - fill the table, once a process. SHOAL_ERR_UNSUPPORTED: libibverbs is not
 * installed, or too old; the text says which. Threads: any. */
enum shoal_status shl_verbs_load(void);

#endif
