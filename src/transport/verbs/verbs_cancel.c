/*
 * Giving transfers up, and telling the engine what is kept.
 *
 * What the peer still writes lands in windows, never in memory of a cancelled receive; what is
 * still being sent leaves from stages. So nothing has to be waited for. Where the peer may write in
 * place, or this rank does, the direct pair is fenced first.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "transport/verbs/verbs_link.h"

struct scope {
    uint32_t comm;
    uint64_t seq;
};

static bool covers(const struct scope *scope, const struct shl_tag *tag)
{
    return tag->comm == scope->comm && tag->seq == scope->seq;
}

static void cancel_sends(struct shl_verbs_link *link, const struct scope *scope,
                         struct shl_list *list)
{
    struct shl_list *node, *after;
    SHL_LIST_FOR_EACH(node, after, list)
    {
        struct shl_xfer *xfer = SHL_CONTAINER_OF(node, struct shl_xfer, link);
        if (!covers(scope, &xfer->tag))
            continue;
        shl_verbs_forget(link, xfer);
        shl_verbs_direct_forget(link, xfer);
        shl_list_remove(node);
    }
}

/* Eager sends that wait hold a credit for memory that will never be used. */
static void cancel_eager(struct shl_verbs_link *link, const struct scope *scope)
{
    struct shl_list *node, *after;
    SHL_LIST_FOR_EACH(node, after, &link->eager)
    {
        struct shl_xfer *xfer = SHL_CONTAINER_OF(node, struct shl_xfer, link);
        link->eager_sent -= covers(scope, &xfer->tag);
    }
    cancel_sends(link, scope, &link->eager);
}

static void cancel_recvs(struct shl_verbs_link *link, const struct scope *scope,
                         struct shl_list *list)
{
    struct shl_list *node, *after;
    SHL_LIST_FOR_EACH(node, after, list)
    {
        struct shl_xfer *xfer = SHL_CONTAINER_OF(node, struct shl_xfer, link);
        if (!covers(scope, &xfer->tag))
            continue;
        shl_verbs_recv_forget(link, xfer);
        shl_list_remove(node);
    }
}

/* Windows that were granted to sends of this operation go back to the receiver. */
static void cancel_notes(struct shl_verbs_link *link, const struct scope *scope,
                         struct shl_list *list)
{
    struct shl_list *node, *after;
    SHL_LIST_FOR_EACH(node, after, list)
    {
        struct shl_verbs_note *note = SHL_CONTAINER_OF(node, struct shl_verbs_note, link);
        if (!covers(scope, &note->frame.tag))
            continue;
        if (note->frame.type == SHL_VERBS_GRANT && link->state == SHL_VERBS_UP)
            shl_verbs_say_release(link, &note->frame);
        if (note->frame.type == SHL_VERBS_PLACE && link->state == SHL_VERBS_UP)
            shl_verbs_say_unplace(link, &note->frame, false);
        shl_verbs_note_free(link->t, note);
    }
}

static void cancel_kept(struct shl_verbs_link *link, const struct scope *scope,
                        struct shl_list *list)
{
    struct shl_list *node, *after;
    SHL_LIST_FOR_EACH(node, after, list)
    {
        struct shl_verbs_kept *kept = SHL_CONTAINER_OF(node, struct shl_verbs_kept, link);
        if (covers(scope, &kept->frame.tag))
            shl_verbs_kept_free(link, kept);
    }
}

void shl_verbs_cancel(struct shl_transport *t, uint32_t comm, uint64_t seq)
{
    const struct scope scope = {comm, seq};
    for (uint32_t peer = 0; peer < t->env->size; peer++) {
        struct shl_verbs_link *link = t->links[peer];
        if (!link)
            continue;
        for (uint32_t i = 0; i < SHL_VERBS_BUCKETS; i++) {
            cancel_sends(link, &scope, &link->sends[i]);
            cancel_recvs(link, &scope, &link->recvs[i]);
            cancel_notes(link, &scope, &link->notes[i]);
            cancel_kept(link, &scope, &link->kept[i]);
        }
        cancel_eager(link, &scope);
        cancel_notes(link, &scope, &link->serving);
        shl_verbs_flush(link);
    }
}

static void review_link(struct shl_verbs_link *link, const struct scope *scope)
{
    const struct shl_transport_env *env = link->t->env;
    struct shl_list *node, *after;
    for (uint32_t i = 0; i < SHL_VERBS_BUCKETS; i++) {
        SHL_LIST_FOR_EACH(node, after, &link->kept[i])
        {
            struct shl_verbs_kept *kept = SHL_CONTAINER_OF(node, struct shl_verbs_kept, link);
            if (covers(scope, &kept->frame.tag))
                env->seen(env->arg, link->peer, &kept->frame.tag, &kept->frame.signature);
        }
        SHL_LIST_FOR_EACH(node, after, &link->notes[i])
        {
            struct shl_verbs_note *note = SHL_CONTAINER_OF(node, struct shl_verbs_note, link);
            if (covers(scope, &note->frame.tag))
                env->seen(env->arg, link->peer, &note->frame.tag, &note->frame.signature);
        }
    }
}

void shl_verbs_review(struct shl_transport *t, uint32_t comm, uint64_t seq)
{
    const struct scope scope = {comm, seq};
    for (uint32_t peer = 0; peer < t->env->size; peer++)
        if (t->links[peer])
            review_link(t->links[peer], &scope);
}
