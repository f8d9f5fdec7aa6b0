/*
 * Loads libibverbs and fills the fault table from it.
 *
 * Invariant: the library is never unloaded, since its device drivers keep threads and handlers.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "transport/verbs/verbs_sys.h"

#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>

#define LIBRARY "libibverbs.so.1"

const struct shl_verbs_sys *shl_verbs;

static struct shl_verbs_sys loaded;
static char load_error[256];

/* Ports of devices that need the old interface (before 2018) cannot be asked. */
static int query_port(struct ibv_context *context, uint8_t port, struct ibv_port_attr *attr)
{
    struct verbs_context *extended = verbs_get_ctx_op(context, query_port);
    return extended ? extended->query_port(context, port, attr, sizeof(*attr)) : EOPNOTSUPP;
}

struct symbol {
    const char *name;
    void *slot; /* a pointer to a function, in `loaded` */
};

static void load(void)
{
    const struct symbol symbols[] = {
        {"ibv_get_device_list", &loaded.get_device_list},
        {"ibv_free_device_list", &loaded.free_device_list},
        {"ibv_open_device", &loaded.open_device},
        {"ibv_close_device", &loaded.close_device},
        {"ibv_query_device", &loaded.query_device},
        {"_ibv_query_gid_table", &loaded.query_gid_table},
    };
    void *library = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);
    if (!library) {
        snprintf(load_error, sizeof(load_error),
                 "%s cannot be loaded (%.120s); on Debian: apt-get install libibverbs1 "
                 "ibverbs-providers",
                 LIBRARY, dlerror());
        return;
    }
    for (size_t i = 0; i < sizeof(symbols) / sizeof(symbols[0]); i++) {
        void *address = dlsym(library, symbols[i].name);
        if (!address) {
            snprintf(load_error, sizeof(load_error),
                     "%s has no %s: rdma-core 32 or newer is needed", LIBRARY, symbols[i].name);
            return;
        }
        *(void **)symbols[i].slot = address;
    }
    loaded.query_port = query_port;
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
