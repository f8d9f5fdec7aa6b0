/*
 * The fault table of librdmacm: every call that the verbs transport makes, with its own types.
 *
 * The library is loaded when a device needs it or a setting asks for it. Queue pairs are made by
 * libibverbs, on the transport's own contexts; rdma_cm is only told their numbers.
 *
 * Invariant: outside verbs_cm_sys.c no function of librdmacm is named, only members of this table.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef SHL_TRANSPORT_VERBS_CM_SYS_H
#define SHL_TRANSPORT_VERBS_CM_SYS_H

#include "core/status.h"

#include <rdma/rdma_cma.h>

/* Each returns what the function of librdmacm with this name does. */
struct shl_verbs_cm_sys {
    struct rdma_event_channel *(*create_event_channel)(void);
    void (*destroy_event_channel)(struct rdma_event_channel *channel);
    int (*create_id)(struct rdma_event_channel *channel, struct rdma_cm_id **id, void *context,
                     enum rdma_port_space space);
    int (*destroy_id)(struct rdma_cm_id *id);
    int (*bind_addr)(struct rdma_cm_id *id, struct sockaddr *address);
    int (*listen)(struct rdma_cm_id *id, int backlog);
    uint16_t (*get_src_port)(struct rdma_cm_id *id);
    int (*resolve_addr)(struct rdma_cm_id *id, struct sockaddr *from, struct sockaddr *to,
                        int timeout_ms);
    int (*resolve_route)(struct rdma_cm_id *id, int timeout_ms);
    int (*connect)(struct rdma_cm_id *id, struct rdma_conn_param *param);
    int (*accept)(struct rdma_cm_id *id, struct rdma_conn_param *param);
    int (*establish)(struct rdma_cm_id *id);
    int (*reject)(struct rdma_cm_id *id, const void *data, uint8_t bytes);
    int (*init_qp_attr)(struct rdma_cm_id *id, struct ibv_qp_attr *attr, int *mask);
    int (*get_cm_event)(struct rdma_event_channel *channel, struct rdma_cm_event **event);
    int (*ack_cm_event)(struct rdma_cm_event *event);
    const char *(*event_str)(enum rdma_cm_event_type type);
};

/* Replaced only by tests, before any thread runs; NULL until loaded. */
extern const struct shl_verbs_cm_sys *shl_verbs_cm;

/* shl_verbs_cm_load - fill the table, once a process. SHOAL_ERR_UNSUPPORTED: librdmacm is not
 * installed, or too old; the text says which. Threads: any. */
enum shoal_status shl_verbs_cm_load(void);

#endif
