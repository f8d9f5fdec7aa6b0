/*
 * Posting sends, and what the receiver says about them.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "transport/verbs/verbs_link.h"

#include <inttypes.h>

void shl_verbs_complete(struct shl_xfer *xfer, enum shoal_status status)
{
    shl_list_remove(&xfer->link);
    xfer->status = status;
    xfer->done(xfer);
}

enum shoal_status shl_verbs_length_differs(const struct shl_verbs_link *link,
                                           const struct shl_xfer *xfer, uint64_t bytes)
{
    return shl_fail(SHOAL_ERR_MISMATCH,
                    "rank %u has %" PRIu64 " bytes where %" PRIu64
                    " are posted, in message %u of operation %" PRIu64,
                    link->peer, bytes, xfer->bytes, xfer->tag.msg, xfer->tag.seq);
}

/* The receiver may use the window or place for something else. */
static void decline(struct shl_verbs_link *link, const struct shl_verbs_frame *frame)
{
    if (frame->type == SHL_VERBS_GRANT)
        shl_verbs_say_release(link, frame);
    else if (frame->type == SHL_VERBS_PLACE)
        shl_verbs_say_unplace(link, frame, false);
}

bool shl_verbs_agrees(struct shl_verbs_link *link, struct shl_xfer *xfer,
                      const struct shl_verbs_frame *frame)
{
    const struct shl_transport_env *env = link->t->env;
    bool grant = frame->type == SHL_VERBS_GRANT;
    if (!shl_signature_equal(&frame->signature, &xfer->signature)) {
        decline(link, frame);
        env->seen(env->arg, link->peer, &frame->tag, &frame->signature);
        return false;
    }
    if (frame->bytes != xfer->bytes ||
        (grant && (frame->offset > xfer->bytes || frame->length > xfer->bytes - frame->offset))) {
        decline(link, frame);
        shl_verbs_forget(link, xfer);
        shl_verbs_direct_forget(link, xfer);
        shl_verbs_complete(xfer, shl_verbs_length_differs(link, xfer, frame->bytes));
        return false;
    }
    return true;
}

/* Windows are granted in order and once: a send ends when all of it is written, and what was
 * granted twice would be served after that. */
static bool is_due(struct shl_xfer *xfer, const struct shl_verbs_frame *grant)
{
    const struct shl_verbs_send_state *state = shl_verbs_send_state(xfer);
    return grant->offset == state->granted && (grant->length > 0 || !state->served) &&
           (grant->length > 0 || xfer->bytes == 0);
}

/* Use a GRANT for a posted send. The note is taken. */
static void use(struct shl_verbs_link *link, struct shl_verbs_note *note, struct shl_xfer *xfer)
{
    struct shl_verbs_send_state *state = shl_verbs_send_state(xfer);
    if (!is_due(xfer, &note->frame)) {
        shl_verbs_note_free(link->t, note);
        shl_verbs_link_fail(link, SHOAL_ERR_PEER, "rank %u grants part of a message out of order",
                            link->peer);
        return;
    }
    state->granted += note->frame.length;
    state->served = true;
    note->xfer = xfer;
    shl_list_remove(&note->link);
    shl_list_append(&link->serving, &note->link);
}

static void be_ready(struct shl_verbs_link *link, struct shl_xfer *xfer)
{
    struct shl_verbs_send_state *state = shl_verbs_send_state(xfer);
    if (!state->ready_sent)
        shl_verbs_say(link, SHL_VERBS_READY, xfer);
    state->ready_sent = true;
}

/* More than one window is granted only to a sender that is READY. */
bool shl_verbs_is_first(struct shl_verbs_link *link, const struct shl_verbs_frame *frame)
{
    if (!shl_verbs_note_find(link, &frame->tag, SHL_VERBS_GRANT) &&
        !shl_verbs_note_find(link, &frame->tag, SHL_VERBS_PLACE))
        return true;
    shl_verbs_link_fail(link, SHOAL_ERR_PEER,
                        "rank %u announces a message twice (number %u of operation %" PRIu64 ")",
                        link->peer, frame->tag.msg, frame->tag.seq);
    return false;
}

static bool fits_grant(const struct shl_verbs_frame *frame)
{
    return frame->type != SHL_VERBS_GRANT || frame->length <= SHL_VERBS_WINDOW_BYTES;
}

void shl_verbs_on_announce(struct shl_verbs_link *link, const struct shl_verbs_frame *frame)
{
    const struct shl_transport_env *env = link->t->env;
    bool grant = frame->type == SHL_VERBS_GRANT;
    struct shl_xfer *xfer = shl_verbs_find(link->sends, &frame->tag);
    struct shl_verbs_note *note;
    if (!fits_grant(frame)) {
        shl_verbs_link_fail(link, SHOAL_ERR_PEER, "rank %u grants a window of %u bytes", link->peer,
                            frame->length);
        return;
    }
    if (!xfer && !env->wanted(env->arg, &frame->tag)) {
        if (grant)
            shl_verbs_say_release(link, frame);
        return;
    }
    if (xfer && (!shl_verbs_agrees(link, xfer, frame) || !shl_verbs_direct_undo(link, xfer)))
        return;
    if (xfer && !grant) {
        be_ready(link, xfer);
        return;
    }
    if (!xfer && grant && !shl_verbs_is_first(link, frame))
        return;
    note = shl_verbs_note_new(link, frame);
    if (!note)
        return;
    if (xfer) {
        use(link, note, xfer);
        return;
    }
    shl_list_append(&link->notes[shl_verbs_bucket(&frame->tag)], &note->link);
    env->seen(env->arg, link->peer, &frame->tag, &frame->signature);
}

/* The receiver came first: it may have announced, or granted a window. */
static void meet_announced(struct shl_verbs_link *link, struct shl_xfer *xfer)
{
    struct shl_verbs_note *note = shl_verbs_note_find(link, &xfer->tag, SHL_VERBS_PLACE);
    if (!note)
        note = shl_verbs_note_find(link, &xfer->tag, SHL_VERBS_GRANT);
    bool granted = note != NULL;
    if (!note)
        note = shl_verbs_note_find(link, &xfer->tag, SHL_VERBS_ANNOUNCE);
    if (note) {
        struct shl_verbs_frame frame = note->frame;
        bool same = shl_verbs_agrees(link, xfer, &frame);
        if (same && frame.type == SHL_VERBS_PLACE)
            shl_verbs_direct_use(link, note, xfer);
        else if (same && granted)
            use(link, note, xfer);
        else
            shl_verbs_note_free(link->t, note);
        if (!same)
            return;
    }
    if (!granted) /* A write tells as much. */
        be_ready(link, xfer);
}

enum shoal_status shl_verbs_send(struct shl_transport *t, struct shl_xfer *xfer)
{
    struct shl_verbs_link *link = xfer->peer < t->env->size ? t->links[xfer->peer] : NULL;
    if (link)
        shl_verbs_wake(link);
    if (!link || link->state != SHL_VERBS_UP)
        return shl_fail(SHOAL_ERR_PEER, "rank %u is not reached over verbs: %s", xfer->peer,
                        !link                           ? "never connected"
                        : link->state == SHL_VERBS_GONE ? "it has closed its link"
                                                        : link->cause);
    memset(xfer->scratch, 0, sizeof(xfer->scratch));
    xfer->moved_bytes = 0;
    xfer->status = SHOAL_IN_PROGRESS;
    if (xfer->bytes <= SHL_VERBS_EAGER_BYTES &&
        link->eager_sent - link->peer_unkept < SHL_VERBS_KEPT) {
        link->eager_sent++;
        if (shl_verbs_eager_now(link, xfer)) {
            xfer->moved_bytes = xfer->bytes;
            xfer->status = SHOAL_OK;
            xfer->done(xfer);
        } else {
            shl_list_append(&link->eager, &xfer->link);
        }
        return SHOAL_OK;
    }
    shl_list_append(&link->sends[shl_verbs_bucket(&xfer->tag)], &xfer->link);
    meet_announced(link, xfer);
    shl_verbs_flush(link);
    return SHOAL_OK;
}
