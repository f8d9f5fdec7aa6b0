/*
 * Makes a chosen call of a transport fail, come late, break a connection, or end the process.
 *
 * Tests of bad days place faults at every step of a schedule with it: k runs over the sends,
 * receives or polls of one rank.
 *
 * Invariant: a delayed transfer is on the `delayed` list and unknown to the transport below until
 * its time has come.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "core/log.h"
#include "core/sys.h"
#include "transport/hook/hook_internal.h"

#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

struct fault_place {
    struct shl_hook_fault faults[SHL_HOOK_FAULTS_MAX];
    size_t count;
};

struct shl_transport {
    struct hook hook;
    const struct shl_transport_env *env;
    struct shl_hook_fault faults[SHL_HOOK_FAULTS_MAX]; /* those for this rank and transport */
    size_t fault_count;
    uint64_t calls[SHL_HOOK_CALL_COUNT];
    uint64_t stalled_until_ns; /* poll moves nothing before */
    struct shl_list delayed;
    uint32_t broken; /* peer whose connection the next poll finds broken; SHL_HOOK_ANY: none */
};

static struct hook_place places[SHL_HOOK_WRAPS_MAX];
static struct fault_place faults_of[SHL_HOOK_WRAPS_MAX];
static _Atomic uint64_t struck;

uint64_t shl_hook_fault_count(void)
{
    return atomic_load(&struck);
}

/* Scratch words of a transfer that is delayed here, and so not in use below. */
static uint64_t *due_ns(struct shl_xfer *xfer)
{
    return &xfer->scratch[0];
}

static uint64_t *is_send(struct shl_xfer *xfer)
{
    return &xfer->scratch[1];
}

/* ---- striking ------------------------------------------------------------------------------- */

static void strike_process(const struct shl_transport *t, const struct shl_hook_fault *fault,
                           int number)
{
    shl_log(SHL_LOG_WARN, "test fault: rank %u gets signal %d at call %llu", t->env->rank, number,
            (unsigned long long)fault->k);
    kill(getpid(), number);
}

/* As when a connection breaks: the post is accepted, and a poll finds out. */
static void break_connection(struct shl_transport *t)
{
    uint32_t peer = t->broken;
    t->broken = SHL_HOOK_ANY;
    if (peer >= t->env->size)
        return;
    t->hook.inner_ops->drop_peer(t->hook.inner, peer);
    t->env->lost(t->env->arg, peer, SHOAL_ERR_PEER, "a test fault broke the connection");
}

/* The fault that this call meets, NULL: none. Process faults have struck when it returns. */
static const struct shl_hook_fault *meet(struct shl_transport *t, enum shl_hook_call call)
{
    uint64_t k = ++t->calls[call];
    for (size_t i = 0; i < t->fault_count; i++) {
        const struct shl_hook_fault *fault = &t->faults[i];
        if (fault->call != call || fault->k != k)
            continue;
        atomic_fetch_add(&struck, 1);
        if (fault->action == SHL_HOOK_KILL)
            strike_process(t, fault, SIGKILL);
        else if (fault->action == SHL_HOOK_STOP)
            strike_process(t, fault, SIGSTOP);
        else
            return fault;
    }
    return NULL;
}

/* ---- transfers ------------------------------------------------------------------------------ */

static enum shoal_status pass_on(struct shl_transport *t, struct shl_xfer *xfer, bool send)
{
    return send ? t->hook.inner_ops->send(t->hook.inner, xfer)
                : t->hook.inner_ops->recv(t->hook.inner, xfer);
}

static enum shoal_status post(struct shl_transport *t, struct shl_xfer *xfer, bool send)
{
    const struct shl_hook_fault *fault = meet(t, send ? SHL_HOOK_ON_SEND : SHL_HOOK_ON_RECV);
    if (fault == NULL)
        return pass_on(t, xfer, send);
    if (fault->action == SHL_HOOK_FAIL)
        return shl_fail(fault->status, "test fault: %s %llu of rank %u, peer %u, fails",
                        send ? "send" : "receive", (unsigned long long)fault->k, t->env->rank,
                        xfer->peer);
    xfer->status = SHOAL_IN_PROGRESS;
    xfer->moved_bytes = 0;
    *due_ns(xfer) = shl_now_ns() + fault->delay_ns;
    *is_send(xfer) = send;
    if (fault->action == SHL_HOOK_DROP_PEER) {
        t->broken = fault->peer == SHL_HOOK_ANY ? xfer->peer : fault->peer;
        *due_ns(xfer) = xfer->peer == t->broken ? UINT64_MAX : 0;
    }
    shl_list_append(&t->delayed, &xfer->link);
    return SHOAL_OK;
}

static enum shoal_status fault_send(struct shl_transport *t, struct shl_xfer *xfer)
{
    return post(t, xfer, true);
}

static enum shoal_status fault_recv(struct shl_transport *t, struct shl_xfer *xfer)
{
    return post(t, xfer, false);
}

/* One at a time from the front: whatever a callback did to the list is seen. */
static unsigned post_delayed(struct shl_transport *t)
{
    unsigned posted = 0;
    uint64_t now_ns = shl_now_ns();
    struct shl_list *at = t->delayed.next;
    while (at != &t->delayed) {
        struct shl_xfer *xfer = SHL_CONTAINER_OF(at, struct shl_xfer, link);
        if (*due_ns(xfer) > now_ns) {
            at = at->next;
            continue;
        }
        shl_list_remove(at);
        posted++;
        enum shoal_status status = pass_on(t, xfer, *is_send(xfer));
        if (status < 0) {
            xfer->status = status;
            xfer->done(xfer);
        }
        at = t->delayed.next;
    }
    return posted;
}

static unsigned fault_poll(struct shl_transport *t)
{
    const struct shl_hook_fault *fault = meet(t, SHL_HOOK_ON_POLL);
    if (fault != NULL && fault->action == SHL_HOOK_DELAY)
        t->stalled_until_ns = shl_now_ns() + fault->delay_ns;
    else if (fault != NULL)
        t->broken = fault->peer;
    if (t->broken != SHL_HOOK_ANY)
        break_connection(t);
    if (t->stalled_until_ns > 0) {
        if (shl_now_ns() < t->stalled_until_ns)
            return 0;
        t->stalled_until_ns = 0;
    }
    unsigned happened = shl_list_empty(&t->delayed) ? 0 : post_delayed(t);
    return happened + t->hook.inner_ops->poll(t->hook.inner);
}

/* Nothing wakes a sleeper when a delay ends, so it may not sleep before. */
static bool fault_arm(struct shl_transport *t, bool sleeping)
{
    if (sleeping &&
        (t->stalled_until_ns > 0 || t->broken != SHL_HOOK_ANY || !shl_list_empty(&t->delayed)))
        return false;
    return t->hook.inner_ops->arm(t->hook.inner, sleeping);
}

static void forget(struct shl_transport *t, bool (*match)(const struct shl_xfer *, const void *),
                   const void *arg)
{
    struct shl_list *at, *next;
    SHL_LIST_FOR_EACH(at, next, &t->delayed)
    {
        if (match(SHL_CONTAINER_OF(at, struct shl_xfer, link), arg))
            shl_list_remove(at);
    }
}

static bool of_operation(const struct shl_xfer *xfer, const void *arg)
{
    const struct shl_tag *tag = arg;
    return xfer->tag.comm == tag->comm && xfer->tag.seq == tag->seq;
}

static bool of_peer(const struct shl_xfer *xfer, const void *arg)
{
    return xfer->peer == *(const uint32_t *)arg;
}

static void fault_cancel(struct shl_transport *t, uint32_t comm, uint64_t seq)
{
    struct shl_tag tag = {.seq = seq, .comm = comm};
    forget(t, of_operation, &tag);
    t->hook.inner_ops->cancel(t->hook.inner, comm, seq);
}

static void fault_drop_peer(struct shl_transport *t, uint32_t peer)
{
    forget(t, of_peer, &peer);
    t->hook.inner_ops->drop_peer(t->hook.inner, peer);
}

/* ---- opening and closing -------------------------------------------------------------------- */

static enum shoal_status fault_open(size_t place, const struct shl_transport_env *env,
                                    struct shl_transport **t)
{
    struct shl_transport *made = shl_mem->alloc(sizeof(*made));
    if (made == NULL)
        return shl_fail(SHOAL_ERR_NOMEM, "no memory for test faults");
    const struct fault_place *from = &faults_of[place];
    made->env = env;
    made->broken = SHL_HOOK_ANY;
    made->hook.inner_ops = places[place].inner_ops;
    shl_list_init(&made->delayed);
    for (size_t i = 0; i < from->count; i++) {
        const struct shl_hook_fault *fault = &from->faults[i];
        bool here = fault->rank == SHL_HOOK_ANY || fault->rank == env->rank;
        bool by = fault->transport[0] == '\0' ||
                  strcmp(fault->transport, made->hook.inner_ops->name) == 0;
        if (here && by)
            made->faults[made->fault_count++] = *fault;
    }
    enum shoal_status status = made->hook.inner_ops->open(env, &made->hook.inner);
    if (status < 0) {
        shl_mem->free(made);
        return status;
    }
    *t = made;
    return SHOAL_OK;
}

static void fault_close(struct shl_transport *t)
{
    if (t == NULL)
        return;
    t->hook.inner_ops->close(t->hook.inner);
    shl_mem->free(t);
}

#define FAULT_OPEN(place)                                                                          \
    static enum shoal_status fault_open_##place(const struct shl_transport_env *env,               \
                                                struct shl_transport **t)                          \
    {                                                                                              \
        return fault_open(place, env, t);                                                          \
    }
FAULT_OPEN(0)
FAULT_OPEN(1)
FAULT_OPEN(2)
FAULT_OPEN(3)

static enum shoal_status check_fault(const struct shl_hook_fault *fault)
{
    bool on_poll = fault->call == SHL_HOOK_ON_POLL;
    if (on_poll && fault->action == SHL_HOOK_FAIL)
        return shl_fail(SHOAL_ERR_INVALID, "a poll cannot fail; use drop or delay");
    if (on_poll && fault->action == SHL_HOOK_DROP_PEER && fault->peer == SHL_HOOK_ANY)
        return shl_fail(SHOAL_ERR_INVALID, "a poll has no peer to drop; name one with peer=");
    if (fault->action == SHL_HOOK_FAIL && fault->status >= 0)
        return shl_fail(SHOAL_ERR_INVALID, "status %d of a test fault is no error",
                        (int)fault->status);
    if (fault->k == 0)
        return shl_fail(SHOAL_ERR_INVALID, "calls are counted from 1, not 0");
    return SHOAL_OK;
}

enum shoal_status shl_hook_fault_wrap(const struct shl_transport_ops *inner,
                                      const struct shl_hook_fault *faults, size_t count,
                                      const struct shl_transport_ops **ops)
{
    static const hook_open_fn opens[SHL_HOOK_WRAPS_MAX] = {
        fault_open_0,
        fault_open_1,
        fault_open_2,
        fault_open_3,
    };
    if (count > SHL_HOOK_FAULTS_MAX)
        return shl_fail(SHOAL_ERR_INVALID, "%zu test faults; %d are possible", count,
                        SHL_HOOK_FAULTS_MAX);
    for (size_t i = 0; i < count; i++)
        SHL_TRY(check_fault(&faults[i]));
    size_t place;
    SHL_TRY(hook_place_take(places, inner, &place));
    faults_of[place].count = count;
    if (count > 0)
        memcpy(faults_of[place].faults, faults, count * sizeof(*faults));
    struct shl_transport_ops *made = &places[place].ops;
    made->open = opens[place];
    made->close = fault_close;
    made->send = fault_send;
    made->recv = fault_recv;
    made->poll = fault_poll;
    made->arm = fault_arm;
    made->cancel = fault_cancel;
    made->drop_peer = fault_drop_peer;
    *ops = made;
    return SHOAL_OK;
}
