/*
 * What owners of nodes write to each other, as the state that a learner gets before it is let in.
 *
 * Invariant: nothing is written that has no session to go over; whoever wants to know whether it
 * arrived is answered by the other owner.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "elastic/node/internal.h"

void shl_node_mail_read(struct shl_node_peer *peer, const uint8_t *data, size_t bytes)
{
    const struct shl_node_owner *owner = &peer->node->owner;
    bool read = owner->mail && owner->mail(owner->arg, peer->id, data, bytes);
    if (!read && bytes)
        shl_node_link_send(peer, SHL_NODE_MAIL, NULL, 0, NULL, 0);
}

struct mail {
    uint64_t to;
    const void *head, *body;
    size_t head_bytes, body_bytes;
    bool sent;
};

static bool is_up(const struct shl_node_peer *peer)
{
    return peer->watch.fd >= 0 && !peer->broke;
}

static void do_mail(struct shl_node *node, void *arg)
{
    struct mail *mail = arg;
    struct shl_node_peer *peer = shl_node_peer_find(node, mail->to);
    if (!peer || !is_up(peer))
        return;
    shl_node_link_send(peer, SHL_NODE_MAIL, mail->head, mail->head_bytes, mail->body,
                       mail->body_bytes);
    mail->sent = is_up(peer);
}

bool shl_node_mail(struct shl_node *node, uint64_t to, const void *head, size_t head_bytes,
                   const void *body, size_t body_bytes)
{
    struct mail mail = {
        .to = to, .head = head, .head_bytes = head_bytes, .body = body, .body_bytes = body_bytes};
    shl_node_call(node, do_mail, &mail);
    return mail.sent;
}

struct reached {
    uint64_t *ids;
    uint32_t count, capacity;
};

static void do_reached(struct shl_node *node, void *arg)
{
    struct reached *reached = arg;
    for (struct shl_list *at = node->peers.next; at != &node->peers; at = at->next) {
        const struct shl_node_peer *peer = SHL_CONTAINER_OF(at, struct shl_node_peer, link);
        if (peer->in_record && is_up(peer) && reached->count < reached->capacity)
            reached->ids[reached->count++] = peer->id;
    }
}

uint32_t shl_node_reached(struct shl_node *node, uint64_t *ids, uint32_t capacity)
{
    struct reached reached = {.ids = ids, .capacity = capacity};
    shl_node_call(node, do_reached, &reached);
    return reached.count;
}
