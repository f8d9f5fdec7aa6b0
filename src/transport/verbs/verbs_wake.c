/*
 * Links that are made when they are first used.
 *
 * A queue pair costs locked memory and a place in the device's cache, and most schedules use few
 * peers. So attach connects neighbours only: by rank, and each rank with the next one on another
 * host, which shows that the network carries between these, and nothing about other pairs; every
 * other link has its control channel, knows how the peer's rails are reached, and sleeps. The first
 * message that is posted for either end wakes it, and its first frame the other end. From there on
 * it is a link whose frames go by the channel because no rail worked, and which looks for ways to
 * the peer as if its rails had come back (verbs_seek.h, verbs_move.h, verbs_fence.c).
 *
 * Invariant: a link that sleeps has no queue pair, no memory of the device's, and nothing to send.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "transport/verbs/verbs_link.h"

#include "core/log.h"
#include "core/sys.h"

/* The next rank after this one that is on another host; the rank itself: there is none. */
static uint32_t next_elsewhere(const struct shl_transport *t, uint32_t rank)
{
    uint32_t next = (rank + 1) % t->env->size;
    while (next != rank && t->hosts[next] == t->hosts[rank])
        next = (next + 1) % t->env->size;
    return next;
}

bool shl_verbs_sleeps_first(const struct shl_transport *t, uint32_t peer)
{
    uint32_t rank = t->env->rank;
    uint32_t apart = (peer + t->env->size - rank) % t->env->size;
    return apart != 1 && apart != t->env->size - 1 && next_elsewhere(t, rank) != peer &&
           next_elsewhere(t, peer) != rank;
}

void shl_verbs_lie_down(struct shl_verbs_link *link)
{
    link->asleep = true;
    link->rail = SHL_VERBS_CHANNEL;
    link->direct.made = link->direct.up = true; /* a life without pairs, which wake ends */
}

enum shoal_status shl_verbs_link_slots(struct shl_verbs_link *link)
{
    size_t bytes = 2 * SHL_VERBS_SLOTS * SHL_VERBS_SLOT_BYTES;
    if (!link->recv_slots)
        link->recv_slots = shl_mem->alloc_aligned(4096, bytes);
    if (!link->recv_slots)
        return shl_fail(SHOAL_ERR_NOMEM, "no memory for the link to rank %u", link->peer);
    link->send_slots = link->recv_slots + bytes / 2;
    return SHOAL_OK;
}

void shl_verbs_rouse(struct shl_verbs_link *link)
{
    if (SHL_LIKELY(!link->asleep) || link->state != SHL_VERBS_UP)
        return;
    link->asleep = false;
    shl_log(SHL_LOG_DEBUG, "verbs to rank %u is used for the first time", link->peer);
    if (shl_verbs_link_slots(link) < 0)
        shl_verbs_link_fail(link, SHOAL_ERR_NOMEM, "%s", shl_error_text());
}

void shl_verbs_wake(struct shl_verbs_link *link)
{
    if (SHL_LIKELY(!link->asleep) || link->state != SHL_VERBS_UP)
        return;
    shl_verbs_rouse(link);
    shl_verbs_seek(link, (1u << link->direct.rail_count) - 1);
    if (shl_verbs_move_advance(link, shl_now_ns()) > 0) /* the peer need not wait for a poll */
        (void)shl_verbs_channel_write(link);
}
