/*
 * RDMA in a build without libibverbs' headers: no ports, and a transport that reaches nobody. Ranks
 * of one job may come from builds with and without, so it opens and describes itself like any
 * other.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "core/bytes.h"
#include "core/list.h"
#include "core/log.h"
#include "core/sys.h"
#include "transport/transport.h"
#include "transport/verbs/verbs_host.h"
#include "transport/verbs/verbs_probe.h"
#include "transport/verbs/verbs_wire.h"

#include <stdio.h>
#include <string.h>

#define REASON "this build has no RDMA: libibverbs was missing when it was configured"

struct shl_transport {
    const struct shl_transport_env *env;
};

enum shoal_status shl_verbs_ports_find(const struct shl_config *config,
                                       struct shl_verbs_port *ports, uint32_t capacity,
                                       uint32_t *count)
{
    (void)config, (void)ports, (void)capacity, (void)count;
    return shl_fail(SHOAL_ERR_UNSUPPORTED, REASON "; on Debian: apt-get install libibverbs-dev");
}

enum shoal_status shl_verbs_gids_find(const struct shl_config *config, struct shl_verbs_port *ports,
                                      uint32_t capacity, uint32_t *count)
{
    return shl_verbs_ports_find(config, ports, capacity, count);
}

void shl_verbs_probe_run(const struct shl_verbs_port *port,
                         const struct shl_verbs_probe_settings *settings,
                         struct shl_verbs_probe *probe)
{
    (void)port, (void)settings;
    memset(probe, 0, sizeof(*probe));
    probe->steps[SHL_VERBS_PROBE_OPEN].verdict = SHL_VERBS_PROBE_BAD;
    snprintf(probe->steps[SHL_VERBS_PROBE_OPEN].seen, SHL_VERBS_PROBE_SEEN_BYTES, "%s", REASON);
}

const char *shl_verbs_none_string(void)
{
    return REASON;
}

const char *shl_verbs_kind_string(enum shl_verbs_kind kind)
{
    (void)kind;
    return "unknown";
}

const char *shl_verbs_connect_string(const struct shl_verbs_port *port)
{
    (void)port;
    return "not at all";
}

static enum shoal_status absent_open(const struct shl_transport_env *env,
                                     struct shl_transport **out)
{
    struct shl_transport *t = shl_mem->alloc(sizeof(*t));
    if (!t)
        return shl_fail(SHOAL_ERR_NOMEM, "no memory for the verbs transport");
    t->env = env;
    *out = t;
    return SHOAL_OK;
}

static void absent_close(struct shl_transport *t)
{
    shl_mem->free(t);
}

static size_t absent_describe(struct shl_transport *t, void *blob, size_t capacity)
{
    struct shl_bytes out = shl_bytes_writer(blob, capacity);
    shl_bytes_put_u8(&out, SHL_VERBS_BLOB_VERSION);
    shl_bytes_put_u8(&out, 0); /* usable */
    shl_bytes_put_u8(&out, SHL_VERBS_UNKNOWN_KIND);
    shl_bytes_put_u8(&out, 0); /* rails, */
    shl_bytes_put_u8(&out, 0); /* the nearest of them, */
    shl_bytes_put_u8(&out, 0); /* by rdma_cm */
    shl_bytes_put_u64(&out, shl_verbs_host(t->env));
    shl_bytes_put_string(&out, REASON);
    return out.failed ? 0 : out.at;
}

static enum shoal_status absent_attach(struct shl_transport *t, const void *const *blobs,
                                       const size_t *blob_bytes, uint64_t deadline_ns,
                                       bool *reaches)
{
    (void)blobs, (void)blob_bytes, (void)deadline_ns;
    memset(reaches, 0, t->env->size * sizeof(*reaches));
    shl_log(SHL_LOG_WARN, "verbs reaches nobody: " REASON);
    return SHOAL_OK;
}

static enum shoal_status absent_post(struct shl_transport *t, struct shl_xfer *xfer)
{
    (void)t;
    return shl_fail(SHOAL_ERR_PEER, "rank %u is not reached over verbs: " REASON, xfer->peer);
}

static unsigned absent_poll(struct shl_transport *t)
{
    (void)t;
    return 0;
}

static int absent_wait_fd(struct shl_transport *t)
{
    (void)t;
    return -1;
}

static bool absent_arm(struct shl_transport *t, bool sleeping)
{
    (void)t, (void)sleeping;
    return true;
}

static void absent_forget(struct shl_transport *t, uint32_t comm, uint64_t seq)
{
    (void)t, (void)comm, (void)seq;
}

static void absent_drop_peer(struct shl_transport *t, uint32_t peer)
{
    (void)t, (void)peer;
}

static void absent_explain(struct shl_transport *t, uint32_t peer, char *text, size_t text_bytes)
{
    (void)t;
    snprintf(text, text_bytes, "verbs to rank %u: " REASON, peer);
}

const struct shl_transport_ops shl_transport_verbs = {
    .name = "verbs",
    .eager_bytes = 0,
    .open = absent_open,
    .close = absent_close,
    .describe = absent_describe,
    .attach = absent_attach,
    .send = absent_post,
    .recv = absent_post,
    .poll = absent_poll,
    .wait_fd = absent_wait_fd,
    .arm = absent_arm,
    .cancel = absent_forget,
    .review = absent_forget,
    .drop_peer = absent_drop_peer,
    .explain = absent_explain,
};
