/*
 * Records what is posted to a transport and what comes of it, for tests and for `why`.
 *
 * The transport below sees a copy of each transfer, whose completion comes here first.
 *
 * Invariant: a copy is on the live list from the post until it is told or cancelled, and on the
 * idle list otherwise.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "core/sys.h"
#include "transport/hook/hook_internal.h"

#include <stdio.h>

#define COPIES_AT_ONCE 64

struct copy {
    struct shl_xfer xfer;
    struct shl_xfer *original;
    struct shl_transport *t;
    struct shl_list link;
    bool is_send;
};

/* Copies are made in blocks, which live as long as the transport. */
struct block {
    struct block *next;
    struct copy copies[COPIES_AT_ONCE];
};

struct shl_transport {
    struct hook hook;
    const struct shl_transport_env *outer;
    struct shl_transport_env env; /* for the transport below */
    struct shl_list live, idle;
    struct block *blocks;
    uint64_t recorded;
    struct shl_hook_record records[SHL_HOOK_TRACE_RECORDS];
};

static struct hook_place places[SHL_HOOK_WRAPS_MAX];

/* ---- records -------------------------------------------------------------------------------- */

static struct shl_hook_record *record(struct shl_transport *t, enum shl_hook_event event,
                                      uint32_t peer, const struct shl_tag *tag)
{
    struct shl_hook_record *at = &t->records[t->recorded++ % SHL_HOOK_TRACE_RECORDS];
    *at = (struct shl_hook_record){.time_ns = shl_now_ns(), .event = event, .peer = peer};
    if (tag != NULL)
        at->tag = *tag;
    return at;
}

uint64_t shl_hook_trace_count(const struct shl_transport *t)
{
    return t->recorded;
}

bool shl_hook_trace_at(const struct shl_transport *t, uint64_t index, struct shl_hook_record *found)
{
    if (index >= t->recorded || t->recorded - index > SHL_HOOK_TRACE_RECORDS)
        return false;
    *found = t->records[index % SHL_HOOK_TRACE_RECORDS];
    return true;
}

void shl_hook_trace_print(const struct shl_transport *t, void (*line)(void *arg, const char *text),
                          void *arg)
{
    static const char *const names[SHL_HOOK_EVENT_COUNT] = {
        "send", "recv", "sent", "received", "seen", "lost", "cancel", "drop",
    };
    uint64_t kept = t->recorded < SHL_HOOK_TRACE_RECORDS ? t->recorded : SHL_HOOK_TRACE_RECORDS;
    for (uint64_t i = t->recorded - kept; i < t->recorded; i++) {
        const struct shl_hook_record *at = &t->records[i % SHL_HOOK_TRACE_RECORDS];
        char text[200];
        snprintf(text, sizeof(text),
                 "%llu ns rank %u %s %-8s peer %u comm %u seq %llu msg %u, %llu bytes, status %d",
                 (unsigned long long)at->time_ns, t->env.rank, t->hook.inner_ops->name,
                 names[at->event], at->peer, at->tag.comm, (unsigned long long)at->tag.seq,
                 at->tag.msg, (unsigned long long)at->bytes, (int)at->status);
        line(arg, text);
    }
}

/* ---- callbacks from below ------------------------------------------------------------------- */

static bool on_carried(void *arg, uint32_t peer)
{
    const struct shl_transport *t = arg;
    return t->outer->carried && t->outer->carried(t->outer->arg, peer);
}

static bool on_wanted(void *arg, const struct shl_tag *tag)
{
    const struct shl_transport *t = arg;
    return t->outer->wanted(t->outer->arg, tag);
}

static void on_seen(void *arg, uint32_t peer, const struct shl_tag *tag,
                    const struct shl_signature *signature)
{
    struct shl_transport *t = arg;
    record(t, SHL_HOOK_SEEN, peer, tag);
    t->outer->seen(t->outer->arg, peer, tag, signature);
}

static void on_lost(void *arg, uint32_t peer, enum shoal_status status, const char *cause)
{
    struct shl_transport *t = arg;
    record(t, SHL_HOOK_LOST, peer, NULL)->status = status;
    t->outer->lost(t->outer->arg, peer, status, cause);
}

static void on_piece(struct shl_xfer *xfer, uint64_t offset, const void *piece, size_t bytes)
{
    struct shl_xfer *original = ((struct copy *)xfer->owner)->original;
    original->sink(original, offset, piece, bytes);
}

static void retire(struct copy *copy)
{
    shl_list_remove(&copy->link);
    shl_list_append(&copy->t->idle, &copy->link);
}

static void on_done(struct shl_xfer *xfer)
{
    struct copy *copy = xfer->owner;
    struct shl_xfer *original = copy->original;
    struct shl_hook_record *at =
        record(copy->t, copy->is_send ? SHL_HOOK_SENT : SHL_HOOK_RECEIVED, xfer->peer, &xfer->tag);
    at->bytes = xfer->moved_bytes;
    at->status = xfer->status;
    original->status = xfer->status;
    original->moved_bytes = xfer->moved_bytes;
    retire(copy);
    original->done(original);
}

/* ---- transfers ------------------------------------------------------------------------------ */

static enum shoal_status add_block(struct shl_transport *t)
{
    struct block *block = shl_mem->alloc(sizeof(*block));
    if (block == NULL)
        return shl_fail(SHOAL_ERR_NOMEM, "no memory for a trace of transfers");
    block->next = t->blocks;
    t->blocks = block;
    for (size_t i = 0; i < COPIES_AT_ONCE; i++)
        shl_list_append(&t->idle, &block->copies[i].link);
    return SHOAL_OK;
}

static enum shoal_status post(struct shl_transport *t, struct shl_xfer *xfer, bool is_send)
{
    if (shl_list_empty(&t->idle))
        SHL_TRY(add_block(t));
    struct copy *copy = SHL_CONTAINER_OF(shl_list_pop(&t->idle), struct copy, link);
    copy->xfer = *xfer;
    copy->xfer.owner = copy;
    copy->xfer.done = on_done;
    copy->xfer.sink = xfer->sink == NULL ? NULL : on_piece;
    copy->original = xfer;
    copy->t = t;
    copy->is_send = is_send;
    shl_list_append(&t->live, &copy->link);
    xfer->status = SHOAL_IN_PROGRESS;
    xfer->moved_bytes = 0;
    struct shl_hook_record *at =
        record(t, is_send ? SHL_HOOK_SEND : SHL_HOOK_RECV, xfer->peer, &xfer->tag);
    at->bytes = xfer->bytes;

    const struct shl_transport_ops *inner = t->hook.inner_ops;
    enum shoal_status status =
        is_send ? inner->send(t->hook.inner, &copy->xfer) : inner->recv(t->hook.inner, &copy->xfer);
    if (status < 0) {
        at->status = status;
        retire(copy);
    }
    return status;
}

static enum shoal_status trace_send(struct shl_transport *t, struct shl_xfer *xfer)
{
    return post(t, xfer, true);
}

static enum shoal_status trace_recv(struct shl_transport *t, struct shl_xfer *xfer)
{
    return post(t, xfer, false);
}

static unsigned trace_poll(struct shl_transport *t)
{
    unsigned happened = t->hook.inner_ops->poll(t->hook.inner);
    struct shl_list *at, *next;
    SHL_LIST_FOR_EACH(at, next, &t->live)
    {
        struct copy *copy = SHL_CONTAINER_OF(at, struct copy, link);
        copy->original->moved_bytes = copy->xfer.moved_bytes;
    }
    return happened;
}

static void trace_cancel(struct shl_transport *t, uint32_t comm, uint64_t seq)
{
    struct shl_tag tag = {.seq = seq, .comm = comm};
    record(t, SHL_HOOK_CANCEL, t->env.rank, &tag);
    t->hook.inner_ops->cancel(t->hook.inner, comm, seq);
    struct shl_list *at, *next;
    SHL_LIST_FOR_EACH(at, next, &t->live)
    {
        struct copy *copy = SHL_CONTAINER_OF(at, struct copy, link);
        if (copy->xfer.tag.comm == comm && copy->xfer.tag.seq == seq)
            retire(copy);
    }
}

static void trace_drop_peer(struct shl_transport *t, uint32_t peer)
{
    record(t, SHL_HOOK_DROP, peer, NULL);
    t->hook.inner_ops->drop_peer(t->hook.inner, peer);
}

/* ---- opening and closing -------------------------------------------------------------------- */

static enum shoal_status trace_open(size_t place, const struct shl_transport_env *env,
                                    struct shl_transport **t)
{
    struct shl_transport *made = shl_mem->alloc(sizeof(*made));
    if (made == NULL)
        return shl_fail(SHOAL_ERR_NOMEM, "no memory for a trace");
    made->outer = env;
    made->env = *env;
    made->env.arg = made;
    made->env.carried = on_carried;
    made->env.wanted = on_wanted;
    made->env.seen = on_seen;
    made->env.lost = on_lost;
    shl_list_init(&made->live);
    shl_list_init(&made->idle);
    made->hook.inner_ops = places[place].inner_ops;
    enum shoal_status status = made->hook.inner_ops->open(&made->env, &made->hook.inner);
    if (status < 0) {
        shl_mem->free(made);
        return status;
    }
    *t = made;
    return SHOAL_OK;
}

/* Epoch and incarnation are known only now. */
static enum shoal_status trace_attach(struct shl_transport *t, const void *const *blobs,
                                      const size_t *blob_bytes, uint64_t deadline_ns, bool *reaches)
{
    t->env.epoch = t->outer->epoch;
    t->env.incarnation = t->outer->incarnation;
    return t->hook.inner_ops->attach(t->hook.inner, blobs, blob_bytes, deadline_ns, reaches);
}

static void trace_close(struct shl_transport *t)
{
    if (t == NULL)
        return;
    t->hook.inner_ops->close(t->hook.inner);
    while (t->blocks != NULL) {
        struct block *block = t->blocks;
        t->blocks = block->next;
        shl_mem->free(block);
    }
    shl_mem->free(t);
}

#define TRACE_OPEN(place)                                                                          \
    static enum shoal_status trace_open_##place(const struct shl_transport_env *env,               \
                                                struct shl_transport **t)                          \
    {                                                                                              \
        return trace_open(place, env, t);                                                          \
    }
TRACE_OPEN(0)
TRACE_OPEN(1)
TRACE_OPEN(2)
TRACE_OPEN(3)

enum shoal_status shl_hook_trace_wrap(const struct shl_transport_ops *inner,
                                      const struct shl_transport_ops **ops)
{
    static const hook_open_fn opens[SHL_HOOK_WRAPS_MAX] = {
        trace_open_0,
        trace_open_1,
        trace_open_2,
        trace_open_3,
    };
    size_t place;
    SHL_TRY(hook_place_take(places, inner, &place));
    struct shl_transport_ops *made = &places[place].ops;
    made->open = opens[place];
    made->close = trace_close;
    made->attach = trace_attach;
    made->send = trace_send;
    made->recv = trace_recv;
    made->poll = trace_poll;
    made->cancel = trace_cancel;
    made->drop_peer = trace_drop_peer;
    *ops = made;
    return SHOAL_OK;
}
