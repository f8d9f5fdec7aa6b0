/*
 * Loads librdmacm and fills its fault table.
 *
 * Invariant: the library is never unloaded, since it keeps the devices open.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "transport/verbs/verbs_cm_sys.h"

#include "core/library.h"

#include <pthread.h>
#include <stdio.h>

const struct shl_verbs_cm_sys *shl_verbs_cm;

static struct shl_verbs_cm_sys loaded;
static char load_error[256];

static void load(void)
{
    const struct shl_symbol symbols[] = {
        {"rdma_create_event_channel", &loaded.create_event_channel},
        {"rdma_destroy_event_channel", &loaded.destroy_event_channel},
        {"rdma_create_id", &loaded.create_id},
        {"rdma_destroy_id", &loaded.destroy_id},
        {"rdma_bind_addr", &loaded.bind_addr},
        {"rdma_listen", &loaded.listen},
        {"rdma_get_src_port", &loaded.get_src_port},
        {"rdma_resolve_addr", &loaded.resolve_addr},
        {"rdma_resolve_route", &loaded.resolve_route},
        {"rdma_connect", &loaded.connect},
        {"rdma_accept", &loaded.accept},
        {"rdma_establish", &loaded.establish},
        {"rdma_reject", &loaded.reject},
        {"rdma_init_qp_attr", &loaded.init_qp_attr},
        {"rdma_get_cm_event", &loaded.get_cm_event},
        {"rdma_ack_cm_event", &loaded.ack_cm_event},
        {"rdma_event_str", &loaded.event_str},
    };
    if (shl_library_load("librdmacm.so.1", "librdmacm1", symbols,
                         sizeof(symbols) / sizeof(symbols[0]), NULL) < 0) {
        snprintf(load_error, sizeof(load_error), "%s", shl_error_text());
        return;
    }
    shl_verbs_cm = &loaded;
}

enum shoal_status shl_verbs_cm_load(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    if (shl_verbs_cm) /* a test's */
        return SHOAL_OK;
    pthread_once(&once, load);
    return shl_verbs_cm ? SHOAL_OK : shl_fail(SHOAL_ERR_UNSUPPORTED, "%s", load_error);
}
