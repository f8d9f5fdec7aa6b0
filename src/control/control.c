/*
 * The life of a control object, its thread, and the calls that other threads make.
 *
 * Invariant: callbacks come from the control thread only, between start and the return of stop.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "control/control_internal.h"
#include "control/mac.h"
#include "control/ranges.h"
#include "control/thread.h"
#include "core/sys.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#define LINGER_MS 1000

/* ---- the listener's questions ------------------------------------------------------------ */

static enum shl_welcome admit(void *arg, const struct shl_hello *hello, bool local)
{
    struct shl_control *control = arg;
    if (hello->rank >= control->options.size || hello->rank == control->options.rank)
        return SHL_WELCOME_WRONG;
    if (control->evicted)
        return SHL_WELCOME_LEFT;
    if (hello->kind == SHL_CHANNEL_SESSION)
        return shl_session_admit(control, hello);
    return shl_channel_admit(control, hello, local);
}

static void accepted(void *arg, int fd, const struct shl_hello *hello, bool local)
{
    (void)local;
    if (hello->kind == SHL_CHANNEL_SESSION)
        shl_session_accepted(arg, fd, hello);
    else
        shl_channel_accepted(arg, fd, hello);
}

/* ---- create and destroy ------------------------------------------------------------------ */

static enum shoal_status check_options(const struct shl_control_options *options)
{
    if (!options->size || options->rank >= options->size)
        return shl_fail(SHOAL_ERR_INVALID, "rank %u is not below size %u", options->rank,
                        options->size);
    uint32_t neighbours[SHL_SESSIONS_MAX];
    uint64_t need = 64 + shl_mesh_neighbours(options->rank, options->size, neighbours) +
                    SHL_LISTENER_PENDING + SHL_LISTENER_SOCKETS;
    shl_sock_raise_limit();
    return shl_sock_check_limit(need, "a rank's control");
}

static void init_sync(struct shl_control *control)
{
    pthread_condattr_t monotonic;
    pthread_mutex_init(&control->lock, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&control->changed, &monotonic);
    pthread_condattr_destroy(&monotonic);
    shl_list_init(&control->inbox);
    shl_list_init(&control->asked);
    shl_list_init(&control->channels);
    shl_list_init(&control->parked);
    control->started = SHOAL_IN_PROGRESS;
}

static void fini_sync(struct shl_control *control)
{
    pthread_cond_destroy(&control->changed);
    pthread_mutex_destroy(&control->lock);
}

enum shoal_status shl_control_create(const struct shl_control_options *options,
                                     struct shl_control **created)
{
    SHL_TRY(check_options(options));
    struct shl_control *control = shl_mem->alloc(sizeof(*control));
    if (!control)
        return shl_fail(SHOAL_ERR_NOMEM, "no memory for control");
    init_sync(control);
    control->options = *options;
    control->options.secret = NULL; /* only needed for the key */
    control->options.job = NULL;
    enum shoal_status status =
        shl_key_derive(options->secret, options->secret_bytes, options->job, &control->key);
    if (status == SHOAL_OK)
        status = shl_mac_job_hash(options->job, control->job_hash);
    if (status == SHOAL_OK)
        status = shl_loop_init(&control->loop);
    if (status < 0)
        goto free_control;

    struct shl_hello expect = {.rank = options->rank};
    memcpy(expect.job, control->job_hash, sizeof(expect.job));
    shl_listener_init(&control->listener, &control->loop, &control->key, &expect);
    control->listener.arg = control;
    control->listener.admit = admit;
    control->listener.accepted = accepted;
    status = shl_control_publish(control);
    if (status < 0)
        goto fini_listener;
    *created = control;
    return SHOAL_OK;

fini_listener:
    shl_listener_fini(&control->listener);
    shl_loop_fini(&control->loop);
free_control:
    fini_sync(control);
    shl_mem->free(control);
    return status;
}

static void free_world(struct shl_control *control)
{
    for (uint32_t i = 0; i < control->session_count; i++)
        shl_session_fini(&control->sessions[i]);
    shl_packet_release(control, control->goodbye);
    shl_mem->free(control->sessions);
    shl_mem->free(control->session_of);
    shl_mem->free(control->delivered);
    shl_mem->free(control->peers);
    shl_mem->free((void *)control->lost);
    control->goodbye = NULL;
    control->session_count = 0;
    control->sessions = NULL;
    control->session_of = NULL;
    control->delivered = NULL;
    control->peers = NULL;
    control->lost = NULL;
}

void shl_control_destroy(struct shl_control *control)
{
    if (!control)
        return;
    shl_control_stop(control);
    free_world(control);
    shl_listener_fini(&control->listener);
    shl_loop_fini(&control->loop);
    fini_sync(control);
    shl_mem->free(control);
}

const struct shl_control_address *shl_control_own_address(const struct shl_control *control)
{
    return &control->own;
}

enum shoal_status shl_control_mac(const struct shl_control *control, const void *data, size_t bytes,
                                  uint8_t mac[SHL_MAC_BYTES])
{
    return shl_mac_compute(control->key.bytes, data, bytes, mac);
}

/* ---- the thread -------------------------------------------------------------------------- */

static void take_commands(struct shl_control *control)
{
    for (;;) {
        pthread_mutex_lock(&control->lock);
        struct shl_list *node = shl_list_pop(&control->inbox);
        pthread_mutex_unlock(&control->lock);
        if (!node)
            break;
        shl_mesh_originate(control, SHL_CONTAINER_OF(node, struct shl_packet, command));
    }
    shl_channel_take_asked(control);
}

static bool is_opening(const void *arg, uint32_t rank)
{
    const struct shl_control *control = arg;
    uint32_t slot = control->session_of[rank];
    return slot != UINT32_MAX && control->sessions[slot].state == SHL_SESSION_OPENING;
}

/* Start has no time left: whoever did not come by now counts as lost, for everyone. */
static void expire_start(struct shl_control *control)
{
    char ranks[200], text[512];
    const char *cause = "";
    uint32_t count =
        shl_ranges_format(is_opening, control, control->options.size, ranks, sizeof(ranks));
    if (control->started != SHOAL_IN_PROGRESS)
        return;
    for (uint32_t i = 0; i < control->session_count && !cause[0]; i++)
        if (control->sessions[i].state == SHL_SESSION_OPENING)
            cause = control->sessions[i].dialler.cause;
    snprintf(text, sizeof(text), "%s %s of %u could not be reached before the deadline%s%.200s",
             count == 1 ? "rank" : "ranks", ranks, control->options.size, cause[0] ? ": " : "",
             cause);
    shl_control_report(control, SHOAL_ERR_ABSENT, text);
    for (uint32_t i = 0; i < control->session_count; i++)
        if (control->sessions[i].state == SHL_SESSION_OPENING)
            shl_verdict_pass(control, control->sessions[i].peer, SHOAL_ERR_ABSENT,
                             "its session did not open before the deadline");
}

static void on_linger_over(void *arg)
{
    struct shl_control *control = arg;
    for (uint32_t i = 0; i < control->session_count; i++)
        shl_session_end(&control->sessions[i], SHL_SESSION_LEFT);
}

static void begin_stop(struct shl_control *control)
{
    control->stopping = true;
    shl_channel_fail(control, SHL_RANK_ANY, "this rank is leaving");
    shl_timer_init(&control->linger_timer, on_linger_over, control);
    pthread_mutex_lock(&control->lock);
    uint64_t linger_ms = control->is_cut ? 0 : LINGER_MS;
    pthread_mutex_unlock(&control->lock);
    shl_control_report(control, SHOAL_ERR_ABORTED, "the world was given up while it was formed");
    shl_loop_timer_set(&control->loop, &control->linger_timer, shl_now_ns() + linger_ms * SHL_MS);
    for (uint32_t i = 0; i < control->session_count; i++)
        shl_session_say_goodbye(&control->sessions[i]);
}

static bool is_any_session_open(const struct shl_control *control)
{
    for (uint32_t i = 0; i < control->session_count; i++)
        if (shl_session_open(&control->sessions[i]))
            return true;
    return false;
}

/* Nothing may be left behind in the inboxes, whoever put it there last. */
static void close_inbox(struct shl_control *control)
{
    pthread_mutex_lock(&control->lock);
    control->accepting = false;
    pthread_mutex_unlock(&control->lock);
    shl_channel_fail(control, SHL_RANK_ANY, "this rank is leaving");
    for (struct shl_list *node = shl_list_pop(&control->inbox); node;
         node = shl_list_pop(&control->inbox))
        shl_packet_release(control, SHL_CONTAINER_OF(node, struct shl_packet, command));
}

static void *run(void *arg)
{
    struct shl_control *control = arg;
    shl_heartbeat_start(control);
    for (uint32_t i = 0; i < control->session_count; i++)
        shl_session_connect(&control->sessions[i]);
    shl_control_check_up(control);
    while (!control->stopping || is_any_session_open(control)) {
        shl_loop_turn(&control->loop, UINT64_MAX);
        pthread_mutex_lock(&control->lock);
        bool stop = control->stop_requested, expired = control->start_expired;
        pthread_mutex_unlock(&control->lock);
        take_commands(control);
        if (expired)
            expire_start(control);
        if (stop && !control->stopping)
            begin_stop(control);
    }
    close_inbox(control);
    return NULL;
}

void shl_control_report(struct shl_control *control, enum shoal_status status, const char *cause)
{
    if (control->started != SHOAL_IN_PROGRESS)
        return;
    pthread_mutex_lock(&control->lock);
    control->started = status;
    snprintf(control->failure_text, sizeof(control->failure_text), "%s", cause);
    pthread_cond_broadcast(&control->changed);
    pthread_mutex_unlock(&control->lock);
}

void shl_control_check_up(struct shl_control *control)
{
    for (uint32_t i = 0; i < control->session_count; i++)
        if (control->sessions[i].state == SHL_SESSION_OPENING)
            return;
    shl_control_report(control, SHOAL_OK, "");
}

/* ---- start and stop ---------------------------------------------------------------------- */

static enum shoal_status alloc_world(struct shl_control *control)
{
    uint32_t size = control->options.size, neighbours[SHL_SESSIONS_MAX];
    uint32_t count = shl_mesh_neighbours(control->options.rank, size, neighbours);
    control->peers = shl_mem->alloc(size * sizeof(*control->peers));
    control->lost = shl_mem->alloc(size * sizeof(*control->lost));
    control->delivered = shl_mem->alloc(size * sizeof(*control->delivered));
    control->session_of = shl_mem->alloc(size * sizeof(*control->session_of));
    control->sessions = shl_mem->alloc((count + 1) * sizeof(*control->sessions));
    if (!control->peers || !control->lost || !control->delivered || !control->session_of ||
        !control->sessions)
        return shl_fail(SHOAL_ERR_NOMEM, "no memory for the control of %u ranks", size);
    return SHOAL_OK;
}

static enum shoal_status init_sessions(struct shl_control *control)
{
    uint32_t neighbours[SHL_SESSIONS_MAX];
    control->session_count =
        shl_mesh_neighbours(control->options.rank, control->options.size, neighbours);
    memset(control->session_of, 0xff, control->options.size * sizeof(*control->session_of));
    for (uint32_t i = 0; i < control->session_count; i++) {
        control->session_of[neighbours[i]] = i;
        shl_session_init(&control->sessions[i], control, neighbours[i], i);
    }
    control->goodbye = shl_packet_create(control, 0);
    if (!control->goodbye)
        return SHOAL_ERR_NOMEM;
    control->goodbye->kind = SHL_FRAME_GOODBYE;
    return SHOAL_OK;
}

static enum shoal_status prepare(struct shl_control *control,
                                 const struct shl_control_address *addresses, uint64_t deadline_ns)
{
    SHL_TRY(alloc_world(control));
    SHL_TRY(shl_control_find_peers(control, addresses, deadline_ns));
    SHL_TRY(init_sessions(control));
    return shl_listener_start(&control->listener);
}

static enum shoal_status await_start(struct shl_control *control, uint64_t deadline_ns)
{
    struct timespec until = {.tv_sec = (time_t)(deadline_ns / 1000000000u),
                             .tv_nsec = (long)(deadline_ns % 1000000000u)};
    pthread_mutex_lock(&control->lock);
    while (control->started == SHOAL_IN_PROGRESS && !control->start_expired) {
        if (pthread_cond_timedwait(&control->changed, &control->lock, &until)) {
            control->start_expired = true;
            shl_loop_wake(&control->loop);
        }
    }
    /* The thread answers as soon as it sees the flag. */
    while (control->started == SHOAL_IN_PROGRESS)
        pthread_cond_wait(&control->changed, &control->lock);
    enum shoal_status status = control->started;
    pthread_mutex_unlock(&control->lock);
    return status < 0 ? shl_fail(status, "%s", control->failure_text) : SHOAL_OK;
}

enum shoal_status shl_control_start(struct shl_control *control,
                                    const struct shl_control_address *addresses, uint64_t epoch,
                                    uint64_t incarnation, uint64_t deadline_ns)
{
    if (control->peers)
        return shl_fail(SHOAL_ERR_INVALID, "control was started before");
    control->epoch = epoch;
    control->incarnation = incarnation;
    control->listener.expect.epoch = epoch;
    control->listener.expect.incarnation = incarnation;
    SHL_TRY(prepare(control, addresses, deadline_ns)); /* destroy frees what it made */
    control->accepting = true;
    enum shoal_status status = shl_thread_start(&control->thread, "shoal-control", run, control);
    if (status < 0) {
        control->accepting = false;
        return status;
    }
    control->running = true;
    return await_start(control, deadline_ns);
}

void shl_control_stop(struct shl_control *control)
{
    if (!control->running)
        return;
    pthread_mutex_lock(&control->lock);
    control->stop_requested = true;
    pthread_mutex_unlock(&control->lock);
    shl_loop_wake(&control->loop);
    pthread_join(control->thread, NULL);
    control->running = false;
}

void shl_control_cut(struct shl_control *control)
{
    pthread_mutex_lock(&control->lock);
    control->is_cut = true;
    control->stop_requested = true;
    pthread_mutex_unlock(&control->lock);
    shl_loop_wake(&control->loop);
}

/* ---- calls of other threads -------------------------------------------------------------- */

enum shoal_status shl_control_flood(struct shl_control *control, uint16_t type, const void *payload,
                                    size_t bytes)
{
    if (bytes > SHL_CONTROL_PAYLOAD_MAX)
        return shl_fail(SHOAL_ERR_INVALID, "a control message of %zu bytes; %d are allowed", bytes,
                        SHL_CONTROL_PAYLOAD_MAX);
    if (atomic_load_explicit(&control->backlog_bytes, memory_order_relaxed) > SHL_BACKLOG_BYTES)
        return shl_fail(SHOAL_ERR_BUSY, "more than %u bytes of control messages are undelivered",
                        SHL_BACKLOG_BYTES);
    struct shl_packet *packet = shl_packet_create(control, (uint32_t)bytes);
    if (!packet)
        return SHOAL_ERR_NOMEM;
    packet->kind = SHL_FRAME_FLOOD;
    packet->type = type;
    if (bytes)
        memcpy(packet->payload, payload, bytes);
    pthread_mutex_lock(&control->lock);
    bool accepting = control->accepting;
    if (accepting)
        shl_list_append(&control->inbox, &packet->command);
    pthread_mutex_unlock(&control->lock);
    if (!accepting) {
        shl_packet_release(control, packet);
        return shl_fail(SHOAL_ERR_INVALID, "control is not running, nothing can be sent");
    }
    shl_loop_wake(&control->loop);
    return SHOAL_OK;
}
