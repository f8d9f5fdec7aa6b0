/*
 * Posting receives, and matching what arrives with what is posted.
 *
 * Invariant: a message is in at most one of two places: kept, or matched with a posted receive.
 * Every difference between what arrived and what is posted is reported: a signature to the engine,
 * which knows what the ranks called; a length under equal signatures by failing the transfer.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "transport/tcp/tcp_link.h"

#include <inttypes.h>

struct shl_xfer *shl_tcp_find(struct shl_list *buckets, const struct shl_tag *tag)
{
    struct shl_list *head = &buckets[shl_tcp_bucket(tag)];
    for (struct shl_list *node = head->next; node != head; node = node->next) {
        struct shl_xfer *xfer = SHL_CONTAINER_OF(node, struct shl_xfer, link);
        if (shl_tag_equal(&xfer->tag, tag))
            return xfer;
    }
    return NULL;
}

void shl_tcp_recv_complete(struct shl_tcp_link *link, struct shl_xfer *xfer,
                           enum shoal_status status)
{
    shl_list_remove(&xfer->link);
    link->posted--;
    link->large_posted -= shl_tcp_recv_state(xfer)->large;
    xfer->status = status;
    xfer->done(xfer);
}

static enum shoal_status length_differs(const struct shl_tcp_link *link,
                                        const struct shl_xfer *xfer, uint64_t bytes)
{
    return shl_fail(SHOAL_ERR_MISMATCH,
                    "rank %u sends %" PRIu64 " bytes where %" PRIu64
                    " are expected, in message %u of operation %" PRIu64,
                    link->peer, bytes, xfer->bytes, xfer->tag.msg, xfer->tag.seq);
}

void shl_tcp_length_differs(struct shl_tcp_link *link, struct shl_xfer *xfer, uint64_t bytes)
{
    shl_tcp_recv_complete(link, xfer, length_differs(link, xfer, bytes));
}

/* ---- receives are posted ------------------------------------------------------------------ */

/* Place a kept message, and forget it. */
static enum shoal_status take_kept(struct shl_tcp_link *link, struct shl_xfer *xfer,
                                   struct shl_tcp_kept *kept)
{
    enum shoal_status status = SHOAL_OK;
    if (kept->bytes != xfer->bytes) {
        status = length_differs(link, xfer, kept->bytes);
    } else if (kept->bytes && xfer->sink) {
        uint8_t *piece = kept->slot ? kept->slot : link->t->bounce;
        if (!kept->slot)
            shl_tcp_kept_copy(kept, piece);
        xfer->sink(xfer, 0, piece, kept->bytes);
    } else if (kept->bytes) {
        shl_tcp_kept_copy(kept, xfer->data);
    }
    shl_tcp_kept_free(link, kept);
    xfer->moved_bytes = status < 0 ? 0 : xfer->bytes;
    return status;
}

void shl_tcp_kept_deliver(struct shl_tcp_link *link, struct shl_tcp_kept *kept,
                          struct shl_xfer *xfer)
{
    shl_tcp_recv_complete(link, xfer, take_kept(link, xfer, kept));
}

/* Does this receive need an announcement? A large one always; a small one when its sender asked,
 * or may have asked in vain. */
static bool must_announce(struct shl_tcp_link *link, const struct shl_xfer *xfer, uint8_t *flags)
{
    struct shl_tcp_notice *ask =
        link->notice_count ? shl_tcp_notice_find(link, &xfer->tag, SHL_TCP_ASK) : NULL;
    if (ask)
        shl_tcp_notice_free(link, ask);
    *flags = xfer->bytes > SHL_TCP_PUSH_BYTES ? 0 : SHL_TCP_ANSWER;
    return !*flags || ask || link->asks_lost;
}

enum shoal_status shl_tcp_recv(struct shl_transport *t, struct shl_xfer *xfer)
{
    struct shl_tcp_link *link;
    const struct shl_transport_env *env = t->env;
    struct shl_tcp_kept *kept = NULL;
    uint8_t flags;
    if (xfer->elem_bytes > SHL_TCP_ELEM_BYTES_MAX)
        return shl_fail(SHOAL_ERR_INVALID, "elements of %u bytes; at most %u", xfer->elem_bytes,
                        SHL_TCP_ELEM_BYTES_MAX);
    SHL_TRY(shl_tcp_link_get(t, xfer->peer, &link));
    if (SHL_UNLIKELY(link->kept_count))
        kept = shl_tcp_kept_find(link, &xfer->tag);
    if (SHL_UNLIKELY(link->state == SHL_TCP_GONE && !kept))
        return shl_fail(SHOAL_ERR_PEER, "rank %u has closed its link", xfer->peer);
    memset(xfer->scratch, 0, sizeof(xfer->scratch));
    xfer->moved_bytes = 0;
    xfer->status = SHOAL_IN_PROGRESS;
    if (kept && shl_signature_equal(&kept->signature, &xfer->signature)) {
        xfer->status = take_kept(link, xfer, kept);
        xfer->done(xfer);
        return SHOAL_OK;
    }
    shl_list_append(&link->recvs[shl_tcp_bucket(&xfer->tag)], &xfer->link);
    link->posted++;
    if (xfer->bytes > SHL_TCP_EAGER_BYTES) {
        shl_tcp_recv_state(xfer)->large = true;
        link->large_posted++;
    }
    if (must_announce(link, xfer, &flags))
        shl_tcp_announce(link, xfer, flags);
    if (kept) {
        struct shl_signature signature = kept->signature;
        struct shl_tag tag = kept->tag;
        shl_tcp_kept_free(link, kept);
        env->seen(env->arg, link->peer, &tag, &signature);
    }
    return SHOAL_OK;
}

/* ---- frames arrive ------------------------------------------------------------------------ */

/* A small message for a posted receive. */
static void deliver(struct shl_tcp_link *link, struct shl_xfer *xfer,
                    const struct shl_tcp_header *header, const uint8_t *payload)
{
    enum shoal_status status = SHOAL_OK;
    if (SHL_UNLIKELY(header->length != xfer->bytes)) {
        status = length_differs(link, xfer, header->length);
    } else {
        if (header->length && xfer->sink)
            xfer->sink(xfer, 0, payload, header->length);
        else if (header->length)
            memcpy(xfer->data, payload, header->length);
        xfer->moved_bytes = header->length;
    }
    if (SHL_UNLIKELY(link->notice_count)) {
        struct shl_tcp_notice *ask = shl_tcp_notice_find(link, &header->tag, SHL_TCP_ASK);
        if (ask)
            shl_tcp_notice_free(link, ask);
    }
    shl_tcp_recv_complete(link, xfer, status);
}

void shl_tcp_eager_arrived(struct shl_tcp_link *link, const struct shl_tcp_header *header,
                           const uint8_t *payload)
{
    const struct shl_transport_env *env = link->t->env;
    uint32_t blocks = shl_tcp_blocks(header->length);
    link->blocks_taken = (uint16_t)(link->blocks_taken + blocks);
    if (SHL_UNLIKELY((uint16_t)(link->blocks_taken - link->blocks_returned) >
                     SHL_TCP_KEPT_BLOCKS)) {
        shl_tcp_link_fail(link, SHOAL_ERR_PEER,
                          "rank %u sent EAGER frame %u beyond its credit of %u blocks", link->peer,
                          header->sequence, SHL_TCP_KEPT_BLOCKS);
        return;
    }
    struct shl_xfer *xfer =
        header->flags & SHL_TCP_VOID ? NULL : shl_tcp_find(link->recvs, &header->tag);
    bool alike = xfer && shl_signature_equal(&xfer->signature, &header->signature);
    if (SHL_LIKELY(alike)) {
        shl_tcp_blocks_return(link, blocks);
        deliver(link, xfer, header, payload);
        return;
    }
    bool keep = !xfer && !(header->flags & SHL_TCP_VOID) && env->wanted(env->arg, &header->tag);
    if (!keep) {
        shl_tcp_blocks_return(link, blocks);
    } else if (shl_tcp_kept_find(link, &header->tag)) {
        shl_tcp_link_fail(link, SHOAL_ERR_PEER,
                          "rank %u sent message %u of operation %" PRIu64 " twice", link->peer,
                          header->tag.msg, header->tag.seq);
        return;
    } else {
        shl_tcp_kept_add(link, header, payload);
    }
    if (keep || xfer)
        env->seen(env->arg, link->peer, &header->tag, &header->signature);
}

void shl_tcp_announce_arrived(struct shl_tcp_link *link, const struct shl_tcp_header *header)
{
    const struct shl_transport_env *env = link->t->env;
    struct shl_xfer *xfer = shl_tcp_find(link->waiting, &header->tag);
    if (!xfer) {
        if (header->flags & SHL_TCP_ANSWER || !env->wanted(env->arg, &header->tag))
            return;
        if (!shl_tcp_notice_add(link, header))
            link->announces_lost = true; /* from now on questions ask for a repetition */
        env->seen(env->arg, link->peer, &header->tag, &header->signature);
        return;
    }
    if (!shl_signature_equal(&xfer->signature, &header->signature)) {
        env->seen(env->arg, link->peer, &header->tag, &header->signature);
        return;
    }
    struct shl_tcp_send_state *state = shl_tcp_send_state(xfer);
    state->elem_bytes = header->elem_bytes;
    if (state->small)
        link->starved--;
    shl_list_remove(&xfer->link);
    shl_list_append(&link->streams, &xfer->link);
    if (header->offset == xfer->bytes)
        return;
    shl_fail(SHOAL_ERR_MISMATCH, "rank %u expects %" PRIu64 " bytes where %" PRIu64 " are sent",
             link->peer, header->offset, xfer->bytes);
    shl_tcp_send_complete(link, xfer, SHOAL_ERR_MISMATCH);
}

void shl_tcp_ask_arrived(struct shl_tcp_link *link, const struct shl_tcp_header *header)
{
    const struct shl_transport_env *env = link->t->env;
    struct shl_xfer *xfer = shl_tcp_find(link->recvs, &header->tag);
    if (!xfer) {
        if (!env->wanted(env->arg, &header->tag))
            return;
        if (!shl_tcp_notice_add(link, header))
            link->asks_lost = true; /* from now on every receive is announced */
        env->seen(env->arg, link->peer, &header->tag, &header->signature);
        return;
    }
    if (!shl_signature_equal(&xfer->signature, &header->signature)) {
        env->seen(env->arg, link->peer, &header->tag, &header->signature);
        return;
    }
    if (header->offset != xfer->bytes) {
        shl_tcp_length_differs(link, xfer, header->offset);
        return;
    }
    if (!shl_tcp_recv_state(xfer)->announce || header->flags & SHL_TCP_AGAIN)
        shl_tcp_announce(link, xfer, SHL_TCP_ANSWER);
}
