/*
 * A node's life, the calls of other threads, and what the core asks of its host.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "control/mac.h"
#include "control/thread.h"
#include "core/bytes.h"
#include "core/sys.h"
#include "elastic/node/internal.h"
#include "elastic/secret.h"
#include "topology/topology.h"

#include <string.h>

/* ---- what the core asks --------------------------------------------------------------------- */

static void core_send(void *context, uint64_t to, const void *bytes, size_t size)
{
    struct shl_node *node = context;
    struct shl_node_peer *peer = shl_node_peer_find(node, to);
    if (peer)
        shl_node_link_send(peer, SHL_NODE_MEMBERSHIP, bytes, size, NULL, 0);
    else
        node->members_changed = true; /* it is in the record, and is dialled after this event */
}

static void core_fence(void *context, const struct shl_record *prepared)
{
    struct shl_node *node = context;
    node->members_changed = true;
    node->owner.fence(node->owner.arg, prepared);
}

static void core_publish(void *context, const struct shl_record *record)
{
    struct shl_node *node = context;
    node->members_changed = true;
    node->view_epoch = record->view_epoch;
    node->owner.publish(node->owner.arg, record);
}

static void core_end(void *context, enum shoal_status status)
{
    struct shl_node *node = context;
    node->ended = true;
    node->owner.end(node->owner.arg, status, status < 0 ? shl_error_text() : "left");
}

static void core_wake(void *context, uint64_t at_ns)
{
    struct shl_node *node = context;
    if (at_ns == UINT64_MAX)
        shl_loop_timer_stop(&node->loop, &node->tick_timer);
    else
        shl_loop_timer_set(&node->loop, &node->tick_timer, at_ns);
}

static void on_tick(void *arg)
{
    struct shl_node *node = arg;
    const struct shl_record *record = shl_membership_record(node->core);
    shl_membership_tick(node->core, shl_now_ns());
    /* A learner follows the members, which it only knows from the record. */
    node->members_changed |= !node->view_epoch && record;
}

/* ---- the thread ----------------------------------------------------------------------------- */

struct call {
    struct shl_list link;
    void (*function)(struct shl_node *node, void *arg);
    void *arg;
    bool done;
};

/* true: stop. */
static bool serve_calls(struct shl_node *node)
{
    pthread_mutex_lock(&node->lock);
    struct shl_list *at;
    while ((at = shl_list_pop(&node->calls))) {
        struct call *call = SHL_CONTAINER_OF(at, struct call, link);
        pthread_mutex_unlock(&node->lock);
        call->function(node, call->arg);
        shl_node_settle(node);
        pthread_mutex_lock(&node->lock);
        call->done = true;
        pthread_cond_broadcast(&node->done);
    }
    bool stop = node->stop;
    node->serving = !stop;
    pthread_mutex_unlock(&node->lock);
    return stop;
}

/* Once, as the register is read: the job goes on without this worker. */
static void note_learner(struct shl_node *node)
{
    const struct shl_record *record = shl_membership_record(node->core);
    if (atomic_load(&node->learns) || node->view_epoch || node->ended || !record ||
        record->phase == SHL_PHASE_FORMING ||
        shl_members_find(&record->view, node->self.id) != SHL_MEMBER_NONE)
        return;
    atomic_store(&node->learns, record->mode);
    node->owner.news(node->owner.arg);
}

static void *run(void *arg)
{
    struct shl_node *node = arg;
    shl_node_detect_start(node);
    shl_membership_start(node->core, shl_now_ns());
    while (!serve_calls(node)) {
        shl_loop_turn(&node->loop, UINT64_MAX);
        shl_node_store_deliver(node);
        shl_node_settle(node);
        note_learner(node);
        atomic_store(&node->wanted, shl_membership_wanted(node->core, shl_now_ns()));
    }
    return NULL;
}

bool shl_node_call(struct shl_node *node, void (*function)(struct shl_node *node, void *arg),
                   void *arg)
{
    struct call call = {.function = function, .arg = arg};
    pthread_mutex_lock(&node->lock);
    bool serving = node->serving;
    if (serving) {
        shl_list_append(&node->calls, &call.link);
        shl_loop_wake(&node->loop);
        while (!call.done)
            pthread_cond_wait(&node->done, &node->lock);
    }
    pthread_mutex_unlock(&node->lock);
    return serving;
}

/* ---- life ----------------------------------------------------------------------------------- */

static enum shoal_status create_core(struct shl_node *node, const struct shl_node_options *options)
{
    struct shl_membership_options core = {.self = node->self,
                                          .mode = options->mode,
                                          .policy = options->policy,
                                          .world_start = options->world_start,
                                          .world_min = options->world_min,
                                          .world_max = options->world_max,
                                          .epoch_floor = options->epoch_floor,
                                          .times = SHL_MEMBERSHIP_TIMES};
    struct shl_membership_host host = {.context = node,
                                       .send = core_send,
                                       .store = shl_node_store_request,
                                       .fence = core_fence,
                                       .publish = core_publish,
                                       .end = core_end,
                                       .wake = core_wake};
    core.times.recovery_ns = options->recovery_ns;
    core.times.join_ns = options->join_ns;
    return shl_membership_create(&core, &host, &node->core);
}

static enum shoal_status draw_id(struct shl_node *node)
{
    while (!node->self.id)
        if (shl_random->bytes(&node->self.id, sizeof(node->self.id)))
            return shl_fail_errno("no random bytes for the id of a member");
    SHL_TRY(shl_node_address_domain(node->config->failure_domain, &node->domain));
    return shl_node_address_host(&node->host);
}

static enum shoal_status derive_key(struct shl_node *node, const char *job)
{
    struct shl_secret secret;
    SHL_TRY(shl_secret_load(node->config, &secret));
    enum shoal_status status =
        shl_key_derive(secret.bytes ? secret.data : NULL, secret.bytes, job, &node->key);
    shl_secret_wipe(&secret);
    if (status == SHOAL_OK)
        status = shl_mac_job_hash(job, node->job_hash);
    node->loopback_only = !node->key.secret && !node->config->insecure;
    return status;
}

static void init(struct shl_node *node, const struct shl_node_options *options)
{
    node->owner = options->owner;
    node->config = options->config;
    node->oom_kills = shl_topology_oom_kills("");
    shl_list_init(&node->peers);
    shl_list_init(&node->calls);
    shl_list_init(&node->answers);
    pthread_mutex_init(&node->lock, NULL);
    pthread_cond_init(&node->done, NULL);
    shl_timer_init(&node->tick_timer, on_tick, node);
}

static enum shoal_status open_listener(struct shl_node *node)
{
    struct shl_hello expect = {.rank = (uint32_t)node->self.id, .epoch = node->self.id};
    memcpy(expect.job, node->job_hash, sizeof(expect.job));
    shl_listener_init(&node->listener, &node->loop, &node->key, &expect);
    node->listener.arg = node;
    node->listener.admit = shl_node_peer_admit;
    node->listener.accepted = shl_node_peer_accepted;
    return shl_node_listen(node);
}

enum shoal_status shl_node_create(const struct shl_node_options *options, struct shl_node **out)
{
    struct shl_node *node = shl_mem->alloc(sizeof(*node));
    if (!node)
        return shl_fail_errno("cannot allocate a node");
    init(node, options);
    enum shoal_status status = derive_key(node, options->job);
    if (status == SHOAL_OK)
        status = draw_id(node);
    if (status == SHOAL_OK)
        status = shl_loop_init(&node->loop);
    if (status < 0)
        goto free_node;
    status = open_listener(node);
    if (status == SHOAL_OK)
        status = create_core(node, options);
    if (status < 0)
        goto close_listener;
    struct shl_store_options store = {.config = options->config,
                                      .address = options->store,
                                      .custom = options->custom_store,
                                      .job = options->job,
                                      .key = &node->key,
                                      .arg = node,
                                      .answer = shl_node_store_answer};
    status = shl_store_open(&store, &node->store);
    if (status < 0)
        goto destroy_core;
    *out = node;
    return SHOAL_OK;

destroy_core:
    shl_membership_destroy(node->core);
close_listener:
    shl_listener_fini(&node->listener);
    shl_loop_fini(&node->loop);
free_node:
    pthread_cond_destroy(&node->done);
    pthread_mutex_destroy(&node->lock);
    explicit_bzero(&node->key, sizeof(node->key));
    shl_mem->free(node);
    return status;
}

enum shoal_status shl_node_start(struct shl_node *node)
{
    SHL_TRY(shl_listener_start(&node->listener));
    node->serving = true; /* calls that come before the thread looks wait for it */
    enum shoal_status status = shl_thread_start(&node->thread, "shoal-member", run, node);
    node->running = status == SHOAL_OK;
    if (!node->running)
        node->serving = false;
    return status;
}

static void stop(struct shl_node *node)
{
    if (!node->running)
        return;
    pthread_mutex_lock(&node->lock);
    node->stop = true;
    pthread_mutex_unlock(&node->lock);
    shl_loop_wake(&node->loop);
    pthread_join(node->thread, NULL);
}

void shl_node_destroy(struct shl_node *node)
{
    struct shl_list *at;
    if (!node)
        return;
    stop(node);
    node->store->ops->close(node->store);
    shl_node_peers_free(node);
    while ((at = shl_list_pop(&node->answers)))
        shl_mem->free(SHL_CONTAINER_OF(at, struct shl_node_answer, link));
    shl_membership_destroy(node->core);
    shl_listener_fini(&node->listener);
    shl_loop_fini(&node->loop);
    pthread_cond_destroy(&node->done);
    pthread_mutex_destroy(&node->lock);
    shl_mem->free(node->blob);
    explicit_bzero(&node->key, sizeof(node->key));
    shl_mem->free(node);
}

uint64_t shl_node_id(const struct shl_node *node)
{
    return node->self.id;
}

uint64_t shl_node_wanted(const struct shl_node *node)
{
    return atomic_load(&node->wanted);
}

enum shl_step_mode shl_node_learns(const struct shl_node *node)
{
    return (enum shl_step_mode)atomic_load(&node->learns);
}

void shl_node_progress(struct shl_node *node, uint64_t epoch, uint64_t started)
{
    atomic_store_explicit(&node->epoch, epoch, memory_order_relaxed);
    atomic_store_explicit(&node->started, started, memory_order_relaxed);
}
