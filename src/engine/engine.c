/*
 * Making and unmaking an engine: transports opened, attached, and every peer given a route.
 *
 * Invariant: after shl_engine_start every peer has exactly one route, the first transport in order
 * of opening that reaches it.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "engine/engine.h"

#include "core/sys.h"
#include "engine/comm.h"
#include "topology/near.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>

static enum shoal_status watch(struct shl_engine *engine, int fd)
{
    struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
    if (shl_fd->epoll_ctl(engine->epoll, EPOLL_CTL_ADD, fd, &event) != 0)
        return shl_fail_errno("cannot watch a descriptor for progress");
    return SHOAL_OK;
}

static enum shoal_status open_descriptors(struct shl_engine *engine)
{
    engine->epoll = shl_fd->epoll_create(EPOLL_CLOEXEC);
    if (engine->epoll < 0)
        return shl_fail_errno("cannot create an epoll descriptor; raise the open file limit");
    engine->doorbell = shl_fd->eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (engine->doorbell < 0)
        return shl_fail_errno("cannot create an event descriptor; raise the open file limit");
    engine->service_bell = shl_fd->eventfd(0, EFD_CLOEXEC);
    if (engine->service_bell < 0)
        return shl_fail_errno("cannot create an event descriptor; raise the open file limit");
    return watch(engine, engine->doorbell);
}

static void init_monotonic(pthread_cond_t *condition)
{
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(condition, &monotonic);
    pthread_condattr_destroy(&monotonic);
}

enum shoal_status shl_engine_create(const struct shl_engine_options *options,
                                    struct shl_engine **out)
{
    struct shl_engine *engine = shl_mem->alloc(sizeof(*engine));
    if (!engine)
        return shl_fail_errno("cannot allocate the engine");
    engine->config = options->config;
    engine->heap = options->heap;
    engine->memory = options->memory;
    engine->bus = options->bus;
    engine->rank = options->rank;
    engine->size = options->size;
    engine->oversubscribed = options->local_ranks > options->cores;
    engine->threadless = options->threadless;
    engine->spin_ns = options->config->spin_us * 1000;
    engine->epoll = engine->doorbell = engine->service_bell = -1;
    pthread_mutex_init(&engine->token, NULL);
    pthread_mutex_init(&engine->mail_lock, NULL);
    init_monotonic(&engine->changed);
    shl_list_init(&engine->comms);
    shl_list_init(&engine->ready_execs);
    shl_list_init(&engine->mail);
    shl_list_init(&engine->orphans);
    /* Replaced by measured values once ranks can talk; all ranks start from the same. */
    engine->costs = (struct shl_costs){.alpha_local_s = 1e-6,
                                       .beta_local_s_per_byte = 0.15e-9,
                                       .alpha_net_s = 10e-6,
                                       .beta_net_s_per_byte = 1e-9,
                                       .gamma_s_per_byte = 0.1e-9,
                                       .cores_per_host = 1};
    engine->route = shl_mem->alloc(engine->size);
    engine->peers = shl_mem->alloc(engine->size * sizeof(*engine->peers));
    enum shoal_status status = SHOAL_OK;
    if (!engine->route || !engine->peers)
        status = shl_fail_errno("cannot allocate the peer table of %u ranks", engine->size);
    if (status == SHOAL_OK)
        status = open_descriptors(engine);
    for (uint32_t i = 0; i < SHL_ENGINE_TRANSPORTS && status == SHOAL_OK; i++)
        engine->transports[i].env.control = options->control;
    if (status != SHOAL_OK) {
        shl_engine_destroy(engine);
        return status;
    }
    memset(engine->route, SHL_ENGINE_NO_ROUTE, engine->size);
    *out = engine;
    return SHOAL_OK;
}

static bool env_wanted(void *arg, const struct shl_tag *tag)
{
    return shl_incident_wanted(arg, tag);
}

static bool env_carried(void *arg, uint32_t peer)
{
    const struct shl_engine *engine = arg;
    return engine->route[peer] != SHL_ENGINE_NO_ROUTE;
}

static void env_seen(void *arg, uint32_t peer, const struct shl_tag *tag,
                     const struct shl_signature *signature)
{
    shl_incident_seen(arg, peer, tag, signature);
}

static void env_lost(void *arg, uint32_t peer, enum shoal_status status, const char *cause)
{
    shl_engine_lost(arg, peer, status, cause);
}

enum shoal_status shl_engine_open(struct shl_engine *engine, const struct shl_transport_ops *ops)
{
    struct shl_engine_transport *slot = &engine->transports[engine->transport_count];
    SHL_ASSERT(engine->transport_count < SHL_ENGINE_TRANSPORTS);
    struct shl_control *control = slot->env.control;
    slot->env = (struct shl_transport_env){.arg = engine,
                                           .config = engine->config,
                                           .rank = engine->rank,
                                           .size = engine->size,
                                           .control = control,
                                           .heap = engine->heap,
                                           .memory = engine->memory,
                                           .near = shl_topology_near,
                                           .carried = env_carried,
                                           .wanted = env_wanted,
                                           .seen = env_seen,
                                           .lost = env_lost};
    slot->ops = ops;
    slot->reaches = shl_mem->alloc(engine->size * sizeof(bool));
    if (!slot->reaches)
        return shl_fail_errno("cannot allocate the reach table of %u ranks", engine->size);
    enum shoal_status status = ops->open(&slot->env, &slot->t);
    if (status != SHOAL_OK) {
        shl_mem->free(slot->reaches);
        slot->reaches = NULL;
        return status;
    }
    engine->transport_count++;
    return SHOAL_OK;
}

enum shoal_status shl_engine_attach(struct shl_engine *engine, uint64_t epoch, uint64_t incarnation,
                                    uint32_t transport, const void *const *blobs,
                                    const size_t *blob_bytes, uint64_t deadline_ns)
{
    struct shl_engine_transport *slot = &engine->transports[transport];
    engine->epoch = epoch;
    slot->env.epoch = epoch;
    slot->env.incarnation = incarnation;
    SHL_TRY(slot->ops->attach(slot->t, blobs, blob_bytes, deadline_ns, slot->reaches));
    for (uint32_t peer = 0; peer < engine->size; peer++)
        if (slot->reaches[peer] && engine->route[peer] == SHL_ENGINE_NO_ROUTE)
            engine->route[peer] = (uint8_t)transport;
    int fd = slot->ops->wait_fd(slot->t);
    return fd >= 0 ? watch(engine, fd) : SHOAL_OK;
}

enum shoal_status shl_engine_start(struct shl_engine *engine)
{
    for (uint32_t peer = 0; peer < engine->size; peer++)
        if (peer != engine->rank && engine->route[peer] == SHL_ENGINE_NO_ROUTE)
            return shl_fail(SHOAL_ERR_PEER,
                            "no transport reaches rank %u; see the log for the reasons, or allow "
                            "more with SHOAL_TRANSPORT",
                            peer);
    return engine->threadless ? SHOAL_OK : shl_service_start(engine);
}

static void free_mail(struct shl_list *list)
{
    struct shl_list *node;
    while ((node = shl_list_pop(list)))
        shl_mem->free(SHL_CONTAINER_OF(node, struct shl_mail, link));
}

void shl_engine_destroy(struct shl_engine *engine)
{
    if (!engine)
        return;
    SHL_ASSERT(shl_list_empty(&engine->comms));
    shl_service_stop(engine);
    for (uint32_t i = engine->transport_count; i-- > 0;) {
        engine->transports[i].ops->close(engine->transports[i].t);
        shl_mem->free(engine->transports[i].reaches);
    }
    free_mail(&engine->mail);
    free_mail(&engine->orphans);
    const int fds[] = {engine->service_bell, engine->doorbell, engine->epoll};
    for (size_t i = 0; i < sizeof(fds) / sizeof(fds[0]); i++)
        if (fds[i] >= 0)
            shl_fd->close(fds[i]);
    pthread_cond_destroy(&engine->changed);
    pthread_mutex_destroy(&engine->mail_lock);
    pthread_mutex_destroy(&engine->token);
    shl_mem->free(engine->gone);
    shl_mem->free(engine->peers);
    shl_mem->free(engine->route);
    shl_mem->free(engine);
}
