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
};

/* Replaced only by tests, before any thread runs; NULL until loaded. */
extern const struct shl_verbs_sys *shl_verbs;

/* shl_verbs_load - fill the table, once a process. SHOAL_ERR_UNSUPPORTED: libibverbs is not
 * installed, or too old; the text says which. Threads: any. */
enum shoal_status shl_verbs_load(void);

#endif
