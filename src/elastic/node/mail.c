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
    struct shl_node_letter letter = {
        .from = peer->id, .session = peer->session, .bytes = data, .size = bytes};
    bool read = owner->mail && owner->mail(owner->arg, &letter);
    if (letter.answer_bytes || (!read && bytes))
        shl_node_link_send(peer, SHL_NODE_MAIL, letter.answer, letter.answer_bytes, NULL, 0);
}

struct mail {
    uint64_t to;
    const void *head, *body;
    size_t head_bytes, body_bytes;
    uint64_t session; /* 0: it was not sent */
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
    mail->session = is_up(peer) ? peer->session : 0;
}

uint64_t shl_node_mail(struct shl_node *node, uint64_t to, const void *head, size_t head_bytes,
                       const void *body, size_t body_bytes)
{
    struct mail mail = {
        .to = to, .head = head, .head_bytes = head_bytes, .body = body, .body_bytes = body_bytes};
    shl_node_call(node, do_mail, &mail);
    return mail.session;
}

struct reached {
    struct shl_node_reach *at;
    uint32_t count, capacity;
};

static void do_reached(struct shl_node *node, void *arg)
{
    struct reached *reached = arg;
    for (struct shl_list *at = node->peers.next; at != &node->peers; at = at->next) {
        const struct shl_node_peer *peer = SHL_CONTAINER_OF(at, struct shl_node_peer, link);
        if (peer->in_record && is_up(peer) && reached->count < reached->capacity)
            reached->at[reached->count++] = (struct shl_node_reach){peer->id, peer->session};
    }
}

uint32_t shl_node_reached(struct shl_node *node, struct shl_node_reach *reached, uint32_t capacity)
{
    struct reached all = {.at = reached, .capacity = capacity};
    shl_node_call(node, do_reached, &all);
    return all.count;
}
