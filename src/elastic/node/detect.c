/*
 * Beats, and who does not send any.
 *
 * When this thread itself was kept from running, all deadlines move by as much: what looked like
 * the others' silence may have been its own absence. A member on this host that wants to run and
 * gets no CPU is given SPARED_LIMITS times as long.
 *
 * Invariant: nobody is judged before everything that the kernel holds from it has been read.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "control/sock.h"
#include "core/bytes.h"
#include "core/log.h"
#include "core/sys.h"
#include "elastic/node/internal.h"

#include <stdio.h>

#define SPARED_LIMITS 10

static uint64_t half_beat_ns(const struct shl_node *node)
{
    return node->config->heartbeat_ms * SHL_NODE_MS / 2;
}

static uint64_t own_absence_ns(const struct shl_node *node, uint64_t now)
{
    uint64_t late = now > node->beat_due_ns ? now - node->beat_due_ns : 0;
    return late > 2 * half_beat_ns(node) ? late : 0;
}

static void beat(struct shl_node_peer *peer)
{
    uint8_t head[16];
    struct shl_bytes out = shl_bytes_writer(head, sizeof(head));
    shl_bytes_put_u64(&out, atomic_load(&peer->node->epoch));
    shl_bytes_put_u64(&out, atomic_load(&peer->node->started));
    shl_node_link_send(peer, SHL_NODE_BEAT, head, out.at, NULL, 0);
}

static bool spare(struct shl_node_peer *peer, uint64_t silent_ns, uint64_t limit_ns)
{
    if (silent_ns >= SPARED_LIMITS * limit_ns || peer->watch.fd < 0 ||
        !shl_sock_peer_is_starved(peer->watch.fd))
        return false;
    if (!peer->is_spared)
        shl_log(SHL_LOG_WARN,
                "member %016llx is silent for %.1f s, but runnable: this host is short of CPU",
                (unsigned long long)peer->id, (double)silent_ns / 1e9);
    peer->is_spared = true;
    return true;
}

static void judge(struct shl_node_peer *peer)
{
    uint64_t limit_ns = peer->node->config->dead_after_ms * SHL_NODE_MS;
    if (!peer->in_view || peer->suspected || shl_now_ns() < peer->heard_ns + limit_ns)
        return;
    if (peer->watch.fd >= 0)
        shl_node_link_read(peer);
    uint64_t now = shl_now_ns();
    if (now < peer->heard_ns + limit_ns) {
        peer->is_spared = false;
        return;
    }
    if (spare(peer, now - peer->heard_ns, limit_ns))
        return;
    char why[128];
    snprintf(why, sizeof(why), "no sign of life for %.1f s%s; it last began operation %llu",
             (double)(now - peer->heard_ns) / 1e9, peer->watch.fd < 0 ? ", not connected" : "",
             (unsigned long long)peer->seen_started);
    shl_node_peer_suspect(peer, why);
}

/* Who was suspected for its silence and speaks again. */
static void hear_again(struct shl_node_peer *peer, uint64_t now)
{
    if (!peer->suspected || peer->watch.fd < 0 || peer->broke ||
        now - peer->heard_ns > 2 * half_beat_ns(peer->node))
        return;
    peer->suspected = false;
    shl_membership_reached(peer->node->core, now, peer->id);
}

static void on_beat(void *arg)
{
    struct shl_node *node = arg;
    uint64_t now = shl_now_ns(), absent = own_absence_ns(node, now);
    struct shl_list *at, *next;
    node->beat_half = !node->beat_half;
    SHL_LIST_FOR_EACH(at, next, &node->peers)
    {
        struct shl_node_peer *peer = SHL_CONTAINER_OF(at, struct shl_node_peer, link);
        peer->heard_ns = now - peer->heard_ns > absent ? peer->heard_ns + absent : now;
        if (node->beat_half && peer->watch.fd >= 0 && !shl_sock_lags(peer->watch.fd))
            beat(peer);
        if (peer->in_view && peer->watch.fd >= 0 && shl_sock_stalls(peer->watch.fd))
            shl_node_peer_refresh(peer);
        shl_node_link_shrink(peer);
        judge(peer);
        hear_again(peer, now);
    }
    node->beat_due_ns = shl_now_ns() + half_beat_ns(node);
    shl_loop_timer_set(&node->loop, &node->beat_timer, node->beat_due_ns);
}

void shl_node_detect_start(struct shl_node *node)
{
    shl_timer_init(&node->beat_timer, on_beat, node);
    node->beat_due_ns = shl_now_ns() + half_beat_ns(node);
    shl_loop_timer_set(&node->loop, &node->beat_timer, node->beat_due_ns);
}
