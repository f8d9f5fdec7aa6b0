/*
 * Posting receives, matching what arrives with them, and granting windows.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "transport/verbs/verbs_link.h"

#define ELEM_BYTES_MAX 16

/* ---- windows ------------------------------------------------------------------------------- */

void shl_verbs_window_free(struct shl_transport *t, struct shl_verbs_window *window)
{
    window->owner = NULL;
    window->xfer = NULL;
    window->generation++;
    shl_list_append(&t->windows_free, &window->link);
    t->windows_free_count++;
}

static bool needs_window(struct shl_xfer *xfer)
{
    const struct shl_verbs_recv_state *state = shl_verbs_recv_state(xfer);
    return state->windows < SHL_VERBS_XFER_WINDOWS &&
           (state->granted < xfer->bytes || (xfer->bytes == 0 && state->windows == 0));
}

static void grant_one(struct shl_verbs_link *link, struct shl_xfer *xfer)
{
    struct shl_transport *t = link->t;
    struct shl_verbs_recv_state *state = shl_verbs_recv_state(xfer);
    struct shl_list *node = shl_list_pop(&t->windows_free);
    struct shl_verbs_window *window = SHL_CONTAINER_OF(node, struct shl_verbs_window, link);
    uint64_t left = xfer->bytes - state->granted;
    uint32_t most = SHL_VERBS_WINDOW_BYTES - SHL_VERBS_WINDOW_BYTES % xfer->elem_bytes;
    t->windows_free_count--;
    window->owner = link;
    window->xfer = xfer;
    window->offset = state->granted;
    window->length = left < most ? (uint32_t)left : most;
    state->granted += window->length;
    state->windows++;
    shl_verbs_say_grant(link, xfer, window);
}

unsigned shl_verbs_grant(struct shl_verbs_link *link)
{
    unsigned work = 0;
    while (link->state == SHL_VERBS_UP && link->t->windows_free_count &&
           !shl_list_empty(&link->granting)) {
        struct shl_list *node = shl_list_pop(&link->granting);
        struct shl_verbs_recv_state *state =
            SHL_CONTAINER_OF(node, struct shl_verbs_recv_state, grant);
        struct shl_xfer *xfer =
            SHL_CONTAINER_OF((uint64_t *)(void *)state, struct shl_xfer, scratch);
        if (!needs_window(xfer))
            continue; /* comes back when a window has landed */
        grant_one(link, xfer);
        work++;
        if (needs_window(xfer))
            shl_list_append(&link->granting, node);
    }
    return work;
}

void shl_verbs_sender_ready(struct shl_verbs_link *link, struct shl_xfer *xfer)
{
    struct shl_verbs_recv_state *state = shl_verbs_recv_state(xfer);
    state->ready = true;
    if (shl_verbs_place(link, xfer))
        return;
    if (needs_window(xfer) && shl_list_empty(&state->grant))
        shl_list_append(&link->granting, &state->grant);
    shl_verbs_grant(link);
}

struct shl_verbs_window *shl_verbs_window_named(struct shl_verbs_link *link, uint32_t name)
{
    uint32_t index = name & 0xffff;
    struct shl_verbs_window *window = index < SHL_VERBS_WINDOWS ? &link->t->windows[index] : NULL;
    if (window && window->owner == link && window->generation == name >> 16)
        return window;
    shl_verbs_link_fail(link, SHOAL_ERR_PEER, "rank %u names window 0x%x, which it does not have",
                        link->peer, name);
    return NULL;
}

/* ---- ending -------------------------------------------------------------------------------- */

void shl_verbs_recv_forget(struct shl_verbs_link *link, struct shl_xfer *xfer)
{
    struct shl_verbs_recv_state *state = shl_verbs_recv_state(xfer);
    shl_verbs_unplace(link, xfer);
    shl_list_remove(&state->grant);
    for (uint32_t i = 0; i < SHL_VERBS_WINDOWS && state->windows; i++)
        if (link->t->windows[i].xfer == xfer)
            link->t->windows[i].xfer = NULL;
}

void shl_verbs_recv_complete(struct shl_verbs_link *link, struct shl_xfer *xfer,
                             enum shoal_status status)
{
    shl_verbs_recv_forget(link, xfer);
    shl_verbs_complete(xfer, status);
}

static void place(struct shl_xfer *xfer, uint64_t offset, const void *piece, uint32_t bytes)
{
    if (bytes && xfer->sink)
        xfer->sink(xfer, offset, piece, bytes);
    else if (bytes)
        memcpy((uint8_t *)xfer->data + offset, piece, bytes);
    xfer->moved_bytes += bytes;
}

/* ---- posting ------------------------------------------------------------------------------- */

static enum shoal_status take_kept(struct shl_verbs_link *link, struct shl_xfer *xfer,
                                   struct shl_verbs_kept *kept)
{
    enum shoal_status status = SHOAL_OK;
    if (kept->frame.bytes != xfer->bytes)
        status = shl_verbs_length_differs(link, xfer, kept->frame.bytes);
    else
        place(xfer, 0, kept->payload, kept->frame.length);
    shl_verbs_kept_free(link, kept);
    return status;
}

/* The sender came first, and has no credit or much to send. false: the receive has ended. */
static bool meet_ready(struct shl_verbs_link *link, struct shl_xfer *xfer)
{
    const struct shl_transport_env *env = link->t->env;
    struct shl_verbs_note *note = shl_verbs_note_find(link, &xfer->tag, SHL_VERBS_READY);
    if (!note)
        return true;
    struct shl_verbs_frame frame = note->frame;
    shl_verbs_note_free(link->t, note);
    if (!shl_signature_equal(&frame.signature, &xfer->signature)) {
        env->seen(env->arg, link->peer, &frame.tag, &frame.signature);
        return true;
    }
    if (frame.bytes != xfer->bytes) {
        shl_verbs_recv_complete(link, xfer, shl_verbs_length_differs(link, xfer, frame.bytes));
        return false;
    }
    shl_verbs_sender_ready(link, xfer);
    return true;
}

void shl_verbs_announce(struct shl_verbs_link *link, struct shl_xfer *xfer)
{
    const struct shl_verbs_recv_state *state = shl_verbs_recv_state(xfer);
    if (state->ready || xfer->bytes <= SHL_VERBS_EAGER_BYTES || shl_verbs_place(link, xfer))
        return;
    if (link->t->windows_free_count > SHL_VERBS_WINDOWS / 2)
        grant_one(link, xfer);
    else
        shl_verbs_say(link, SHL_VERBS_ANNOUNCE, xfer);
}

enum shoal_status shl_verbs_recv(struct shl_transport *t, struct shl_xfer *xfer)
{
    struct shl_verbs_link *link = xfer->peer < t->env->size ? t->links[xfer->peer] : NULL;
    const struct shl_transport_env *env = t->env;
    if (xfer->elem_bytes == 0 || xfer->elem_bytes > ELEM_BYTES_MAX)
        return shl_fail(SHOAL_ERR_INVALID, "elements of %u bytes; at most %u", xfer->elem_bytes,
                        ELEM_BYTES_MAX);
    if (link)
        shl_verbs_wake(link);
    struct shl_verbs_kept *kept = link ? shl_verbs_kept_find(link, &xfer->tag) : NULL;
    if (!link || (link->state != SHL_VERBS_UP && !(link->state == SHL_VERBS_GONE && kept)))
        return shl_fail(SHOAL_ERR_PEER, "rank %u is not reached over verbs: %s", xfer->peer,
                        !link                           ? "never connected"
                        : link->state == SHL_VERBS_GONE ? "it has closed its link"
                                                        : link->cause);
    memset(xfer->scratch, 0, sizeof(xfer->scratch));
    shl_list_init(&shl_verbs_recv_state(xfer)->grant);
    xfer->moved_bytes = 0;
    xfer->status = SHOAL_IN_PROGRESS;
    if (kept && shl_signature_equal(&kept->frame.signature, &xfer->signature)) {
        xfer->status = take_kept(link, xfer, kept);
        xfer->done(xfer);
        return SHOAL_OK;
    }
    shl_list_append(&link->recvs[shl_verbs_bucket(&xfer->tag)], &xfer->link);
    if (kept) {
        struct shl_signature signature = kept->frame.signature;
        shl_verbs_kept_free(link, kept);
        env->seen(env->arg, link->peer, &xfer->tag, &signature);
    }
    if (meet_ready(link, xfer))
        shl_verbs_announce(link, xfer);
    shl_verbs_flush(link);
    return SHOAL_OK;
}

/* ---- arrivals ------------------------------------------------------------------------------ */

static void keep(struct shl_verbs_link *link, const struct shl_verbs_frame *frame,
                 const uint8_t *payload)
{
    const struct shl_transport_env *env = link->t->env;
    struct shl_list *node = shl_list_pop(&link->kept_free);
    if (!node) {
        shl_verbs_link_fail(link, SHOAL_ERR_PEER, "rank %u sends more than it has credit for",
                            link->peer);
        return;
    }
    struct shl_verbs_kept *kept = SHL_CONTAINER_OF(node, struct shl_verbs_kept, link);
    kept->frame = *frame;
    memcpy(kept->payload, payload, frame->length);
    shl_list_append(&link->kept[shl_verbs_bucket(&frame->tag)], &kept->link);
    env->seen(env->arg, link->peer, &frame->tag, &frame->signature);
}

void shl_verbs_on_eager(struct shl_verbs_link *link, const struct shl_verbs_frame *frame,
                        const uint8_t *payload)
{
    const struct shl_transport_env *env = link->t->env;
    struct shl_xfer *xfer = shl_verbs_find(link->recvs, &frame->tag);
    if (!xfer && env->wanted(env->arg, &frame->tag)) {
        keep(link, frame, payload);
        return;
    }
    link->unkept++;
    if (!xfer)
        return;
    if (!shl_signature_equal(&frame->signature, &xfer->signature)) {
        env->seen(env->arg, link->peer, &frame->tag, &frame->signature);
        return;
    }
    enum shoal_status status = SHOAL_OK;
    if (frame->bytes != xfer->bytes)
        status = shl_verbs_length_differs(link, xfer, frame->bytes);
    else
        place(xfer, 0, payload, frame->length);
    shl_verbs_recv_complete(link, xfer, status);
}

void shl_verbs_on_ready(struct shl_verbs_link *link, const struct shl_verbs_frame *frame)
{
    const struct shl_transport_env *env = link->t->env;
    struct shl_xfer *xfer = shl_verbs_find(link->recvs, &frame->tag);
    struct shl_verbs_note *expected = shl_verbs_note_find(link, &frame->tag, SHL_VERBS_UNPLACE);
    if (expected)
        shl_verbs_note_free(link->t, expected);
    if (expected || (!xfer && !env->wanted(env->arg, &frame->tag)))
        return;
    if (xfer && shl_signature_equal(&frame->signature, &xfer->signature)) {
        if (frame->bytes == xfer->bytes)
            shl_verbs_sender_ready(link, xfer);
        else
            shl_verbs_recv_complete(link, xfer, shl_verbs_length_differs(link, xfer, frame->bytes));
        return;
    }
    if (!xfer) {
        struct shl_verbs_note *note = shl_verbs_note_new(link, frame);
        if (!note)
            return;
        shl_list_append(&link->notes[shl_verbs_bucket(&frame->tag)], &note->link);
    }
    env->seen(env->arg, link->peer, &frame->tag, &frame->signature);
}

void shl_verbs_on_release(struct shl_verbs_link *link, const struct shl_verbs_frame *frame)
{
    struct shl_verbs_window *window = shl_verbs_window_named(link, frame->window);
    if (!window)
        return;
    if (window->xfer)
        shl_verbs_recv_state(window->xfer)->windows--;
    shl_verbs_window_free(link->t, window);
}

void shl_verbs_on_write(struct shl_verbs_link *link, uint32_t immediate, uint32_t bytes)
{
    struct shl_verbs_window *window = shl_verbs_window_named(link, immediate);
    if (!window)
        return;
    if (bytes != window->length) {
        shl_verbs_link_fail(link, SHOAL_ERR_PEER, "rank %u wrote %u bytes into a window of %u",
                            link->peer, bytes, window->length);
        return;
    }
    struct shl_xfer *xfer = window->xfer;
    link->bytes_received += bytes;
    if (xfer) {
        struct shl_verbs_recv_state *state = shl_verbs_recv_state(xfer);
        state->windows--;
        state->landed += bytes;
        place(xfer, window->offset, window->memory, bytes);
    }
    shl_verbs_window_free(link->t, window);
    if (xfer && shl_verbs_recv_state(xfer)->landed == xfer->bytes)
        shl_verbs_recv_complete(link, xfer, SHOAL_OK);
    else if (xfer)
        shl_verbs_sender_ready(link, xfer);
}
