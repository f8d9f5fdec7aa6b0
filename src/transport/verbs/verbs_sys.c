/*
 * Loads libibverbs and fills the fault table from it.
 *
 * Invariant: the library is never unloaded, since its device drivers keep threads and handlers.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "transport/verbs/verbs_sys.h"

#include "core/library.h"

#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>

const struct shl_verbs_sys *shl_verbs;

static struct shl_verbs_sys loaded;
static char load_error[256];

/* Ports of devices that need the old interface (before 2018) cannot be asked. */
static int query_port(struct ibv_context *context, uint8_t port, struct ibv_port_attr *attr)
{
    struct verbs_context *extended = verbs_get_ctx_op(context, query_port);
    return extended ? extended->query_port(context, port, attr, sizeof(*attr)) : EOPNOTSUPP;
}

/* These the headers define: they call the device's driver. */
static int poll_cq(struct ibv_cq *cq, int capacity, struct ibv_wc *completions)
{
    return ibv_poll_cq(cq, capacity, completions);
}

static int req_notify_cq(struct ibv_cq *cq, int solicited_only)
{
    return ibv_req_notify_cq(cq, solicited_only);
}

static int post_send(struct ibv_qp *qp, struct ibv_send_wr *chain, struct ibv_send_wr **bad)
{
    return ibv_post_send(qp, chain, bad);
}

static int post_recv(struct ibv_qp *qp, struct ibv_recv_wr *chain, struct ibv_recv_wr **bad)
{
    return ibv_post_recv(qp, chain, bad);
}

static struct ibv_mr *no_optional(struct ibv_pd *pd, void *memory, size_t bytes, uint64_t iova,
                                  unsigned access)
{
    (void)pd, (void)memory, (void)bytes, (void)iova, (void)access;
    errno = EOPNOTSUPP;
    return NULL;
}

static struct ibv_mr *no_dmabuf(struct ibv_pd *pd, uint64_t offset, size_t bytes, uint64_t iova,
                                int fd, int access)
{
    (void)pd, (void)offset, (void)bytes, (void)iova, (void)fd, (void)access;
    errno = EOPNOTSUPP;
    return NULL;
}

static void load(void)
{
    const struct shl_symbol symbols[] = {
        {"ibv_get_device_list", &loaded.get_device_list},
        {"ibv_free_device_list", &loaded.free_device_list},
        {"ibv_open_device", &loaded.open_device},
        {"ibv_close_device", &loaded.close_device},
        {"ibv_query_device", &loaded.query_device},
        {"_ibv_query_gid_table", &loaded.query_gid_table},
        {"ibv_query_pkey", &loaded.query_pkey},
        {"ibv_alloc_pd", &loaded.alloc_pd},
        {"ibv_dealloc_pd", &loaded.dealloc_pd},
        {"ibv_reg_mr", &loaded.reg_mr},
        {"ibv_dereg_mr", &loaded.dereg_mr},
        {"ibv_create_comp_channel", &loaded.create_comp_channel},
        {"ibv_destroy_comp_channel", &loaded.destroy_comp_channel},
        {"ibv_create_cq", &loaded.create_cq},
        {"ibv_destroy_cq", &loaded.destroy_cq},
        {"ibv_get_cq_event", &loaded.get_cq_event},
        {"ibv_ack_cq_events", &loaded.ack_cq_events},
        {"ibv_create_qp", &loaded.create_qp},
        {"ibv_modify_qp", &loaded.modify_qp},
        {"ibv_destroy_qp", &loaded.destroy_qp},
        {"ibv_get_async_event", &loaded.get_async_event},
        {"ibv_ack_async_event", &loaded.ack_async_event},
        {"ibv_wc_status_str", &loaded.wc_status_str},
        {"ibv_event_type_str", &loaded.event_type_str},
    };
    void *library;
    if (shl_library_load("libibverbs.so.1", "libibverbs1 ibverbs-providers", symbols,
                         sizeof(symbols) / sizeof(symbols[0]), &library) < 0) {
        snprintf(load_error, sizeof(load_error), "%s", shl_error_text());
        return;
    }
    *(void **)(void *)&loaded.reg_mr_iova2 = dlsym(library, "ibv_reg_mr_iova2");
    if (!loaded.reg_mr_iova2)
        loaded.reg_mr_iova2 = no_optional;
    *(void **)(void *)&loaded.reg_dmabuf_mr = dlsym(library, "ibv_reg_dmabuf_mr");
    if (!loaded.reg_dmabuf_mr)
        loaded.reg_dmabuf_mr = no_dmabuf;
    loaded.query_port = query_port;
    loaded.poll_cq = poll_cq;
    loaded.req_notify_cq = req_notify_cq;
    loaded.post_send = post_send;
    loaded.post_recv = post_recv;
    shl_verbs = &loaded;
}

enum shoal_status shl_verbs_load(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    if (shl_verbs) /* a test's */
        return SHOAL_OK;
    pthread_once(&once, load);
    return shl_verbs ? SHOAL_OK : shl_fail(SHOAL_ERR_UNSUPPORTED, "%s", load_error);
}
