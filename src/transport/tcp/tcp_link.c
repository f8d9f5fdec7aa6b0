/*
 * A link's life: created on first use, up while any flow is, lost once for all.
 *
 *   OPENING -> UP <-> BROKEN -> LOST          UP -> GONE, when the peer said BYE
 *
 * All memory of a link is allocated here, so that nothing is on the data path. Large arrays are
 * touched only as far as they are used; docs/protocol.md states the sizes.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "transport/tcp/tcp_link.h"

#include "core/config.h"
#include "core/log.h"
#include "core/sys.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

/* A small message waits for the chunk before it: 4 ms at 1 Gbit/s. Within a host that is short, and
 * fewer calls are worth more. */
#define CHUNK_BYTES_NET 524288
#define CHUNK_BYTES_LOCAL 1048576

static const char *const state_names[] = {"opening", "up", "broken", "closed by its rank", "lost"};

/* The one place where the state changes. */
void shl_tcp_link_become(struct shl_tcp_link *link, enum shl_tcp_link_state state)
{
    if (link->state == state)
        return;
    shl_log(state == SHL_TCP_LOST ? SHL_LOG_WARN : SHL_LOG_INFO, "tcp link to rank %u: %s%s%s",
            link->peer, state_names[state], link->cause[0] ? "; " : "", link->cause);
    link->state = state;
}

static void init_lists(struct shl_tcp_link *link)
{
    shl_list_init(&link->node);
    shl_list_init(&link->ready);
    shl_list_init(&link->pushes);
    shl_list_init(&link->streams);
    shl_list_init(&link->sending);
    shl_list_init(&link->notice_free);
    for (int i = 0; i < SHL_TCP_BUCKETS; i++) {
        shl_list_init(&link->recvs[i]);
        shl_list_init(&link->waiting[i]);
        shl_list_init(&link->kept[i]);
        shl_list_init(&link->notices[i]);
    }
}

static void free_storage(struct shl_tcp_link *link)
{
    shl_mem->free(link->frames);
    shl_mem->free(link->ring);
    shl_mem->free(link->partial);
    shl_mem->free(link->kept_blocks);
    shl_mem->free(link->kept_slots);
    shl_mem->free(link->slot_memory);
    shl_mem->free(link->notice_entries);
    shl_mem->free(link->staging);
    shl_mem->free(link->flows);
    shl_mem->free(link);
}

static bool alloc_storage(struct shl_tcp_link *link)
{
    link->frames = shl_mem->alloc(SHL_TCP_WINDOW * sizeof(*link->frames));
    link->ring = shl_mem->alloc(SHL_TCP_RING_BYTES);
    link->partial = shl_mem->alloc(SHL_TCP_WINDOW * sizeof(*link->partial));
    link->kept_blocks = shl_mem->alloc(SHL_TCP_KEPT_BLOCKS * sizeof(*link->kept_blocks));
    link->kept_slots = shl_mem->alloc(SHL_TCP_KEPT_SLOTS * sizeof(*link->kept_slots));
    link->slot_memory = shl_mem->alloc(SHL_TCP_KEPT_SLOTS * SHL_TCP_PUSH_BYTES);
    link->notice_entries = shl_mem->alloc(SHL_TCP_NOTICES_MAX * sizeof(*link->notice_entries));
    link->staging = shl_mem->alloc((size_t)link->flow_count * SHL_TCP_STAGING_BYTES);
    link->flows = shl_mem->alloc(link->flow_count * sizeof(*link->flows));
    return link->frames && link->ring && link->partial && link->kept_blocks && link->kept_slots &&
           link->slot_memory && link->notice_entries && link->staging && link->flows;
}

static uint32_t chunk_bytes(const struct shl_transport *t, uint32_t peer)
{
    if (t->env->config->tcp_chunk_bytes)
        return (uint32_t)t->env->config->tcp_chunk_bytes;
    return t->peers[peer].local ? CHUNK_BYTES_LOCAL : CHUNK_BYTES_NET;
}

static enum shoal_status create(struct shl_transport *t, uint32_t peer, struct shl_tcp_link **out)
{
    struct shl_tcp_link *link = shl_mem->alloc(sizeof(*link));
    if (!link)
        return shl_fail(SHOAL_ERR_NOMEM, "no memory for the tcp link to rank %u", peer);
    link->t = t;
    link->peer = peer;
    link->flow_count = t->peers[peer].flow_count;
    link->chunk_bytes = chunk_bytes(t, peer);
    link->blocks_limit = link->blocks_told = SHL_TCP_KEPT_BLOCKS;
    link->slots_limit = link->slots_told = SHL_TCP_KEPT_SLOTS;
    init_lists(link);
    if (!alloc_storage(link)) {
        free_storage(link);
        return shl_fail(SHOAL_ERR_NOMEM, "no memory for the buffers of the tcp link to rank %u",
                        peer);
    }
    for (uint32_t i = 0; i < SHL_TCP_WINDOW; i++)
        shl_list_init(&link->frames[i].link);
    for (uint32_t i = 0; i < SHL_TCP_KEPT_SLOTS; i++) {
        link->kept_slots[i].slot = link->slot_memory + (size_t)i * SHL_TCP_PUSH_BYTES;
        link->kept_slots[i].next = link->slot_free;
        link->slot_free = &link->kept_slots[i];
        shl_list_init(&link->kept_slots[i].link);
    }
    for (uint32_t i = 0; i < link->flow_count; i++) {
        struct shl_tcp_flow *flow = &link->flows[i];
        flow->link = link;
        flow->index = i;
        flow->fd = -1;
        flow->staging = link->staging + (size_t)i * SHL_TCP_STAGING_BYTES;
    }
    shl_tcp_link_wait(link, t->env->config->init_timeout_ms);
    *out = link;
    return SHOAL_OK;
}

static enum shoal_status open_link(struct shl_transport *t, uint32_t peer)
{
    struct shl_tcp_link *link = NULL;
    if (peer >= t->env->size || peer == t->env->rank)
        return shl_fail(SHOAL_ERR_INVALID, "rank %u is no tcp peer of rank %u in a world of %u",
                        peer, t->env->rank, t->env->size);
    if (t->peers[peer].dropped)
        return shl_fail(SHOAL_ERR_PEER, "rank %u was given up", peer);
    SHL_TRY(create(t, peer, &link));
    if (t->peers[peer].standing) {
        link->flows[0].dialling = true;
        t->peers[peer].standing = false;
    }
    t->peers[peer].link = link;
    shl_list_append(&t->links, &link->node);
    t->link_count++;
    for (uint32_t i = 0; i < link->flow_count && link->state != SHL_TCP_LOST; i++)
        shl_tcp_flow_dial(&link->flows[i]);
    return SHOAL_OK;
}

enum shoal_status shl_tcp_link_get(struct shl_transport *t, uint32_t peer,
                                   struct shl_tcp_link **out)
{
    if (SHL_UNLIKELY(peer >= t->env->size || !t->peers[peer].link))
        SHL_TRY(open_link(t, peer));
    struct shl_tcp_link *link = t->peers[peer].link;
    if (SHL_UNLIKELY(link->state == SHL_TCP_LOST))
        return shl_fail(SHOAL_ERR_PEER, "rank %u is lost over tcp: %s", peer, link->cause);
    *out = link;
    return SHOAL_OK;
}

void shl_tcp_link_wait(struct shl_tcp_link *link, uint64_t timeout_ms)
{
    uint64_t now_ns = shl_now_ns();
    link->deadline_ns = now_ns + timeout_ms * UINT64_C(1000000);
    link->knock_ns = link->t->env->rank > link->peer ? now_ns + SHL_TCP_KNOCK_AFTER_NS : 0;
}

void shl_tcp_link_destroy(struct shl_tcp_link *link)
{
    for (uint32_t i = 0; i < link->flow_count; i++)
        shl_tcp_flow_close(&link->flows[i]);
    shl_list_remove(&link->node);
    free_storage(link);
}

void shl_tcp_link_shut(struct shl_tcp_link *link, enum shl_tcp_link_state state)
{
    shl_tcp_link_become(link, state);
    link->deadline_ns = 0;
    for (uint32_t i = 0; i < link->flow_count; i++)
        shl_tcp_flow_close(&link->flows[i]);
}

void shl_tcp_link_fail(struct shl_tcp_link *link, enum shoal_status status, const char *format, ...)
{
    char cause[SHL_TCP_CAUSE_BYTES];
    va_list args;
    if (link->state == SHL_TCP_LOST)
        return;
    va_start(args, format);
    vsnprintf(cause, sizeof(cause), format, args);
    va_end(args);
    memcpy(link->cause, cause, sizeof(cause));
    shl_tcp_link_shut(link, SHL_TCP_LOST);
    link->t->env->lost(link->t->env->arg, link->peer, status, link->cause);
}

void shl_tcp_link_ended(struct shl_tcp_link *link)
{
    if (link->state == SHL_TCP_LOST || link->state == SHL_TCP_GONE)
        return;
    if (link->posted) {
        shl_tcp_link_fail(link, SHOAL_ERR_PEER, "rank %u closed its link with %u transfers pending",
                          link->peer, link->posted);
        return;
    }
    shl_tcp_link_shut(link, SHL_TCP_GONE);
}

void shl_tcp_link_check(struct shl_tcp_link *link)
{
    const struct shl_config *config = link->t->env->config;
    if (!link->deadline_ns)
        return;
    uint64_t now_ns = shl_now_ns();
    if (link->knock_ns && now_ns >= link->knock_ns)
        shl_tcp_link_knock(link);
    if (now_ns < link->deadline_ns)
        return;
    if (link->state == SHL_TCP_OPENING)
        shl_tcp_link_fail(
            link, SHOAL_ERR_PEER,
            "no data connection to rank %u within %" PRIu64 " ms (SHOAL_INIT_TIMEOUT_MS)%s%s",
            link->peer, config->init_timeout_ms, link->cause[0] ? ": " : "", link->cause);
    else
        shl_tcp_link_fail(link, SHOAL_ERR_PEER,
                          "all data connections to rank %u down for %" PRIu64
                          " ms (SHOAL_DEAD_AFTER_MS): %s",
                          link->peer, config->dead_after_ms, link->cause);
}

void shl_tcp_link_explain(struct shl_tcp_link *link, char *text, size_t text_bytes)
{
    uint32_t unacknowledged = link->tx_next - link->tx_first, queued = 0;
    uint64_t queued_bytes = 0;
    for (uint32_t i = link->tx_first; i != link->tx_next; i++) {
        const struct shl_tcp_frame *frame = &link->frames[i % SHL_TCP_WINDOW];
        if (frame->flow < 0) {
            queued++;
            queued_bytes += frame->length;
        }
    }
    snprintf(text, text_bytes,
             "tcp to rank %u: %s, %u of %u flows up, %u transfers posted, %u frames (%" PRIu64
             " bytes) queued, %u unacknowledged, %" PRIu64 " sent, %" PRIu64 " resent, %" PRIu64
             " connections broken, %u messages kept%s%s",
             link->peer, state_names[link->state], link->flows_up, link->flow_count, link->posted,
             queued, queued_bytes, unacknowledged, link->frames_sent, link->frames_resent,
             link->flow_breaks, link->kept_count, link->cause[0] ? ", last error: " : "",
             link->cause);
}
