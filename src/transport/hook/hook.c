/*
 * What every decorator passes on unchanged.
 *
 * Invariant: the shared functions touch nothing of a decorator but its struct hook.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "transport/hook/hook_internal.h"

static struct hook *hook_of(struct shl_transport *t)
{
    return (struct hook *)t;
}

static void pass_close(struct shl_transport *t)
{
    hook_of(t)->inner_ops->close(hook_of(t)->inner);
}

static size_t pass_describe(struct shl_transport *t, void *blob, size_t capacity)
{
    return hook_of(t)->inner_ops->describe(hook_of(t)->inner, blob, capacity);
}

static enum shoal_status pass_attach(struct shl_transport *t, const void *const *blobs,
                                     const size_t *blob_bytes, uint64_t deadline_ns, bool *reaches)
{
    return hook_of(t)->inner_ops->attach(hook_of(t)->inner, blobs, blob_bytes, deadline_ns,
                                         reaches);
}

static enum shoal_status pass_send(struct shl_transport *t, struct shl_xfer *xfer)
{
    return hook_of(t)->inner_ops->send(hook_of(t)->inner, xfer);
}

static enum shoal_status pass_recv(struct shl_transport *t, struct shl_xfer *xfer)
{
    return hook_of(t)->inner_ops->recv(hook_of(t)->inner, xfer);
}

static unsigned pass_poll(struct shl_transport *t)
{
    return hook_of(t)->inner_ops->poll(hook_of(t)->inner);
}

static int pass_wait_fd(struct shl_transport *t)
{
    return hook_of(t)->inner_ops->wait_fd(hook_of(t)->inner);
}

static bool pass_arm(struct shl_transport *t, bool sleeping)
{
    return hook_of(t)->inner_ops->arm(hook_of(t)->inner, sleeping);
}

static void pass_cancel(struct shl_transport *t, uint32_t comm, uint64_t seq)
{
    hook_of(t)->inner_ops->cancel(hook_of(t)->inner, comm, seq);
}

static void pass_review(struct shl_transport *t, uint32_t comm, uint64_t seq)
{
    hook_of(t)->inner_ops->review(hook_of(t)->inner, comm, seq);
}

static void pass_drop_peer(struct shl_transport *t, uint32_t peer)
{
    hook_of(t)->inner_ops->drop_peer(hook_of(t)->inner, peer);
}

static void pass_explain(struct shl_transport *t, uint32_t peer, char *text, size_t text_bytes)
{
    hook_of(t)->inner_ops->explain(hook_of(t)->inner, peer, text, text_bytes);
}

void hook_ops_pass_on(struct shl_transport_ops *ops, const struct shl_transport_ops *inner)
{
    *ops = (struct shl_transport_ops){
        .name = inner->name,
        .eager_bytes = inner->eager_bytes,
        .close = pass_close,
        .describe = pass_describe,
        .attach = pass_attach,
        .send = pass_send,
        .recv = pass_recv,
        .poll = pass_poll,
        .wait_fd = pass_wait_fd,
        .arm = pass_arm,
        .cancel = pass_cancel,
        .review = pass_review,
        .drop_peer = pass_drop_peer,
        .explain = pass_explain,
    };
}

enum shoal_status hook_place_take(struct hook_place *places, const struct shl_transport_ops *inner,
                                  size_t *index)
{
    for (size_t i = 0; i < SHL_HOOK_WRAPS_MAX; i++) {
        if (places[i].inner_ops != NULL && places[i].inner_ops != inner)
            continue;
        if (places[i].inner_ops == NULL) {
            hook_ops_pass_on(&places[i].ops, inner);
            places[i].inner_ops = inner;
        }
        *index = i;
        return SHOAL_OK;
    }
    return shl_fail(SHOAL_ERR_UNSUPPORTED, "more than %d transports wrapped by one decorator",
                    SHL_HOOK_WRAPS_MAX);
}

/* Every decorator's wait_fd or explain may be its own, but all pass describe on. */
struct shl_transport *shl_hook_inner(const struct shl_transport_ops *ops, struct shl_transport *t)
{
    while (ops->describe == pass_describe) {
        ops = hook_of(t)->inner_ops;
        t = hook_of(t)->inner;
    }
    return t;
}
