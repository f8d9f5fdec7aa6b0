/*
 * The shared-memory transport behind transport.h: life cycle, one turn of polling, sleep and wake.
 *
 * Invariant: callbacks that may call back into the transport (done, lost) run only when no list is
 * being walked, at the end of the outermost call.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "core/bell.h"
#include "core/log.h"
#include "core/sys.h"
#include "transport/shm/shm.h"

#include <stdarg.h>
#include <stdio.h>
#include <sys/eventfd.h>

/* ---- what other files of the transport report ------------------------------------------- */

void shl_shm_complete(struct shl_transport *t, struct shl_xfer *xfer)
{
    xfer->moved_bytes = xfer->bytes;
    xfer->status = SHOAL_OK;
    shl_list_append(&t->finished, &xfer->link);
}

void shl_shm_mark_dirty(struct shl_transport *t, struct shl_shm_peer *peer, uint8_t what)
{
    if (!peer->dirty)
        t->dirty[t->dirty_count++] = peer->index;
    peer->dirty |= what;
}

void shl_shm_peer_spoil(struct shl_transport *t, struct shl_shm_peer *peer, const char *format, ...)
{
    if (peer->dead)
        return;
    va_list args;
    va_start(args, format);
    vsnprintf(peer->loss, sizeof(peer->loss), format, args);
    va_end(args);
    peer->dead = true;
    peer->loss_due = true;
    t->loss_due = true;
}

struct shl_shm_peer *shl_shm_peer_of(struct shl_transport *t, uint32_t rank)
{
    uint32_t index = rank < t->env->size ? t->index_of[rank] : SHL_SHM_NOBODY;
    if (index == SHL_SHM_NOBODY || !t->peers || !t->peers[index].reachable || t->peers[index].dead)
        return NULL;
    return &t->peers[index];
}

/* ---- waking ----------------------------------------------------------------------------- */

void shl_shm_wake_if_asleep(const struct shl_shm_peer *peer, uint32_t bits)
{
    if (SHL_LIKELY(!(atomic_load_explicit(&peer->header->sleeping, memory_order_relaxed) & bits)))
        return;
    shl_bell_ring(peer->bell_fd);
}

static void wake_peers(struct shl_transport *t)
{
    if (!t->dirty_count)
        return;
    /* What we published comes before our look at `sleeping`: shm_layout.h, item 6. */
    atomic_thread_fence(memory_order_seq_cst);
    for (uint32_t i = 0; i < t->dirty_count; i++) {
        struct shl_shm_peer *peer = &t->peers[t->dirty[i]];
        uint32_t bits = peer->dirty & SHL_SHM_DIRTY_NEWS ? SHL_SHM_ASLEEP : 0;
        if (peer->dirty & SHL_SHM_DIRTY_ROOM)
            bits |= SHL_SHM_ASLEEP_SENDS;
        peer->dirty = 0;
        shl_shm_wake_if_asleep(peer, bits);
    }
    t->dirty_count = 0;
}

static bool is_live(const struct shl_shm_peer *peer)
{
    return peer->reachable && !peer->dead;
}

static bool has_work(const struct shl_transport *t)
{
    if (!shl_list_empty(&t->finished) || shl_shm_groups_have_news(t))
        return true;
    for (uint32_t i = 0; i < t->locals; i++) {
        const struct shl_shm_peer *peer = &t->peers[i];
        if (is_live(peer) && (shl_shm_ring_has_news(peer) || shl_shm_pull_has_work(peer) ||
                              shl_shm_send_has_work(peer)))
            return true;
    }
    return false;
}

/* Says what this rank wants to be woken for, then looks once more. */
static bool fall_asleep(struct shl_transport *t)
{
    uint32_t bits = SHL_SHM_ASLEEP;
    for (uint32_t i = 0; i < t->locals; i++) {
        if (is_live(&t->peers[i]) && shl_shm_send_waits(&t->peers[i]))
            bits |= SHL_SHM_ASLEEP_SENDS;
    }
    atomic_store_explicit(&t->area->sleeping, bits, memory_order_relaxed);
    atomic_thread_fence(memory_order_seq_cst);
    return !has_work(t);
}

static void wake_up(struct shl_transport *t)
{
    atomic_store_explicit(&t->area->sleeping, 0, memory_order_relaxed);
    uint64_t count;
    (void)!shl_fd->read(t->bell_fd, &count, sizeof(count)); /* empty: nobody rang */
    t->armed = false;
}

/* Several threads may sleep at once: only arm(false) ends it, also when there was work. */
static bool shm_arm(struct shl_transport *t, bool sleeping)
{
    if (!t->area)
        return true;
    if (sleeping) {
        t->armed = true;
        return fall_asleep(t);
    }
    if (t->armed)
        wake_up(t);
    return true;
}

static int shm_wait_fd(struct shl_transport *t)
{
    return t->bell_fd;
}

/* ---- the end of every call -------------------------------------------------------------- */

static void report_losses(struct shl_transport *t)
{
    t->loss_due = false;
    for (uint32_t i = 0; i < t->locals; i++) {
        struct shl_shm_peer *peer = &t->peers[i];
        if (!peer->loss_due)
            continue;
        peer->loss_due = false;
        shl_log(SHL_LOG_ERROR, "rank %u, shared memory: %s", peer->rank, peer->loss);
        t->env->lost(t->env->arg, peer->rank, SHOAL_ERR_PEER, peer->loss);
    }
}

static void deliver_finished(struct shl_transport *t)
{
    if (t->delivering)
        return; /* the outer call goes on with the list */
    t->delivering = true;
    struct shl_list *node;
    while ((node = shl_list_pop(&t->finished)) != NULL) {
        struct shl_xfer *xfer = SHL_CONTAINER_OF(node, struct shl_xfer, link);
        xfer->done(xfer);
    }
    t->delivering = false;
}

static void enter(struct shl_transport *t)
{
    t->depth++;
}

static void leave(struct shl_transport *t)
{
    if (--t->depth)
        return;
    wake_peers(t);
    if (SHL_UNLIKELY(t->loss_due))
        report_losses(t);
    deliver_finished(t);
    /* Posted while this rank sleeps: it may want to be woken for more now, or at once. */
    if (SHL_UNLIKELY(t->armed) && !fall_asleep(t))
        shl_bell_ring(t->bell_fd);
}

static enum shoal_status shm_send(struct shl_transport *t, struct shl_xfer *xfer)
{
    enter(t);
    enum shoal_status status = shl_shm_send(t, xfer);
    leave(t);
    return status;
}

static enum shoal_status shm_recv(struct shl_transport *t, struct shl_xfer *xfer)
{
    enter(t);
    enum shoal_status status = shl_shm_recv(t, xfer);
    leave(t);
    return status;
}

static unsigned shm_poll(struct shl_transport *t)
{
    unsigned events = 0;
    enter(t);
    for (uint32_t i = 0; i < t->locals; i++) {
        struct shl_shm_peer *peer = &t->peers[i];
        if (is_live(peer))
            events += shl_shm_recv_progress(t, peer);
        if (is_live(peer) && shl_shm_send_waits(peer))
            events += shl_shm_send_progress(t, peer);
    }
    leave(t);
    return events;
}

static void shm_cancel(struct shl_transport *t, uint32_t comm, uint64_t seq)
{
    enter(t);
    shl_shm_cancel(t, comm, seq);
    leave(t);
}

static void shm_review(struct shl_transport *t, uint32_t comm, uint64_t seq)
{
    enter(t);
    shl_shm_review(t, comm, seq);
    leave(t);
}

static void shm_drop_peer(struct shl_transport *t, uint32_t rank)
{
    struct shl_shm_peer *peer = shl_shm_peer_of(t, rank);
    if (peer)
        peer->dead = true; /* its transfers stay in their lists until they are cancelled */
}

/* ---- text ------------------------------------------------------------------------------- */

static unsigned length(const struct shl_list *list)
{
    unsigned count = 0;
    for (const struct shl_list *node = list->next; node != list; node = node->next)
        count++;
    return count;
}

static void shm_explain(struct shl_transport *t, uint32_t rank, char *text, size_t text_bytes)
{
    uint32_t index = rank < t->env->size ? t->index_of[rank] : SHL_SHM_NOBODY;
    if (!t->peers || index == SHL_SHM_NOBODY) {
        snprintf(text, text_bytes, "shm: rank %u %s", rank,
                 index == SHL_SHM_NOBODY ? "is on another host" : "and this one share no memory");
        return;
    }
    const struct shl_shm_peer *peer = &t->peers[index];
    if (!peer->reachable || peer->dead) {
        const char *reason = peer->reachable ? peer->loss : peer->reason;
        snprintf(text, text_bytes, "shm: rank %u is not reached: %s", rank,
                 reason && *reason ? reason : "given up");
        return;
    }
    bool asleep = atomic_load_explicit(&peer->header->sleeping, memory_order_relaxed) != 0;
    snprintf(text, text_bytes,
             "shm: pid %ld, %s; sends: %u waiting for room, %u for the receiver, %u streaming; "
             "receives: %u without a message, %u moving; %u messages kept; ordinary buffers by %s",
             (long)peer->pid, asleep ? "asleep" : "awake", length(&peer->pending),
             length(&peer->offered), length(&peer->streaming), length(&peer->posted),
             length(&peer->pulling) + length(&peer->staged),
             (unsigned)__builtin_popcountll(peer->kept_mask),
             peer->can_pull ? "process_vm_readv" : "staging");
}

/* ---- life cycle ------------------------------------------------------------------------- */

static enum shoal_status open_parts(struct shl_transport *t, const struct shl_transport_env *env)
{
    t->index_of = shl_mem->alloc(env->size * sizeof(*t->index_of));
    t->ranks = shl_mem->alloc(env->size * sizeof(*t->ranks));
    if (!t->index_of || !t->ranks)
        return shl_fail(SHOAL_ERR_NOMEM, "no memory for a map of %u ranks", env->size);
    for (uint32_t i = 0; i < env->size; i++)
        t->index_of[i] = SHL_SHM_NOBODY;
    struct shl_host host;
    SHL_TRY(shl_host_identify(&host));
    shl_host_id_format(&host, t->host_id, sizeof(t->host_id));
    t->pid_namespace = host.pid_namespace;
    if (shl_random->bytes(&t->probe_word, sizeof(t->probe_word)) != 0)
        return shl_fail_errno("getrandom");
    t->bell_fd = shl_fd->eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (t->bell_fd < 0)
        return shl_fail_errno("eventfd");
    return SHOAL_OK;
}

static void shm_close(struct shl_transport *t)
{
    if (!t)
        return;
    shl_shm_detach(t);
    if (t->bell_fd >= 0)
        shl_fd->close(t->bell_fd);
    shl_mem->free(t->index_of);
    shl_mem->free(t->ranks);
    shl_mem->free(t);
}

static enum shoal_status shm_open(const struct shl_transport_env *env, struct shl_transport **out)
{
    struct shl_transport *t = shl_mem->alloc(sizeof(*t));
    if (!t)
        return shl_fail(SHOAL_ERR_NOMEM, "no memory for the shared-memory transport");
    t->env = env;
    t->bell_fd = t->area_fd = -1;
    t->copy = env->config->shm_copy;
    t->nt_bytes = env->config->nt_bytes ? env->config->nt_bytes : 4 * shl_shm_cache_bytes();
    shl_list_init(&t->finished);
    shl_list_init(&t->groups);
    shl_list_init(&t->retired);
    enum shoal_status status = open_parts(t, env);
    if (status != SHOAL_OK) {
        shm_close(t);
        return status;
    }
    *out = t;
    return SHOAL_OK;
}

const struct shl_transport_ops shl_transport_shm = {
    .name = "shm",
    .eager_bytes = SHL_SHM_EAGER_BYTES,
    .open = shm_open,
    .close = shm_close,
    .describe = shl_shm_describe,
    .attach = shl_shm_attach,
    .send = shm_send,
    .recv = shm_recv,
    .poll = shm_poll,
    .wait_fd = shm_wait_fd,
    .arm = shm_arm,
    .cancel = shm_cancel,
    .review = shm_review,
    .drop_peer = shm_drop_peer,
    .explain = shm_explain,
};
