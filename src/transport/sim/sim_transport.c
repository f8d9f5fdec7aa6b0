/*
 * The simulated transport: opening, posting, polling, cancelling. Next: sim_message.c matches.
 *
 * Invariant: after a callback into the engine nothing that it could have changed is touched.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "core/bytes.h"
#include "core/sys.h"
#include "transport/sim/sim_transport_internal.h"

#include <stdio.h>

#define BLOB_MAGIC 0x314d4953u /* "SIM1" */
#define BLOB_BYTES 20

static struct shl_sim_network *place_network;
static uint32_t place_node = SHL_SIM_NODE_OF_RANK;

void shl_sim_transport_place(struct shl_sim_network *network, uint32_t node)
{
    place_network = network;
    place_node = node;
}

/* ---- opening and closing -------------------------------------------------------------------- */

static enum shoal_status sim_open(const struct shl_transport_env *env, struct shl_transport **t)
{
    if (place_network == NULL)
        return shl_fail(SHOAL_ERR_INVALID, "no simulated network; call shl_sim_transport_place");
    struct shl_transport *made = shl_mem->alloc(sizeof(*made));
    if (made == NULL)
        return shl_fail(SHOAL_ERR_NOMEM, "no memory for a simulated transport");
    enum shoal_status status;
    made->peers = shl_mem->alloc(env->size * sizeof(*made->peers));
    if (made->peers == NULL) {
        status = shl_fail(SHOAL_ERR_NOMEM, "no memory for %u simulated peers", env->size);
        goto free_transport;
    }
    made->env = env;
    made->network = place_network;
    uint32_t node = place_node == SHL_SIM_NODE_OF_RANK ? env->rank : place_node;
    status = shl_sim_port_open(made->network, node, &made->port);
    if (status < 0)
        goto free_peers;
    for (uint32_t i = 0; i < env->size; i++) {
        shl_list_init(&made->peers[i].sends);
        shl_list_init(&made->peers[i].recvs);
        shl_list_init(&made->peers[i].kept);
    }
    shl_list_init(&made->flowing);
    shl_list_init(&made->finished);
    *t = made;
    return SHOAL_OK;
free_peers:
    shl_mem->free(made->peers);
free_transport:
    shl_mem->free(made);
    return status;
}

static void release_kept(struct shl_transport *t, struct sim_peer *peer)
{
    struct shl_list *at;
    while ((at = shl_list_pop(&peer->kept)) != NULL)
        shl_sim_packet_release(t->network, SHL_CONTAINER_OF(at, struct shl_sim_packet, link));
}

static void sim_close(struct shl_transport *t)
{
    if (t == NULL)
        return;
    for (uint32_t i = 0; i < t->env->size; i++) {
        release_kept(t, &t->peers[i]);
        shl_mem->free(t->peers[i].window.ahead);
    }
    shl_sim_port_close(t->port);
    shl_mem->free(t->peers);
    shl_mem->free(t);
}

static size_t sim_describe(struct shl_transport *t, void *blob, size_t capacity)
{
    struct shl_bytes out = shl_bytes_writer(blob, capacity);
    shl_bytes_put_u32(&out, BLOB_MAGIC);
    shl_bytes_put_u32(&out, shl_sim_port_node(t->port));
    shl_bytes_put_u32(&out, shl_sim_port_id(t->port));
    shl_bytes_put_u64(&out, (uint64_t)(uintptr_t)t->network);
    return out.failed ? 0 : out.at;
}

static enum shoal_status sim_attach(struct shl_transport *t, const void *const *blobs,
                                    const size_t *blob_bytes, uint64_t deadline_ns, bool *reaches)
{
    (void)deadline_ns;
    for (uint32_t i = 0; i < t->env->size; i++) {
        struct shl_bytes in = shl_bytes_reader(blobs[i], blob_bytes[i]);
        uint32_t magic = shl_bytes_get_u32(&in);
        uint32_t node = shl_bytes_get_u32(&in);
        uint32_t port = shl_bytes_get_u32(&in);
        uint64_t network = shl_bytes_get_u64(&in);
        bool ours = !in.failed && magic == BLOB_MAGIC && i != t->env->rank &&
                    network == (uint64_t)(uintptr_t)t->network &&
                    node < shl_sim_network_nodes(t->network);
        t->peers[i].node = node;
        t->peers[i].port = port;
        t->peers[i].attached = ours;
        reaches[i] = ours;
    }
    return SHOAL_OK;
}

/* ---- transfers ------------------------------------------------------------------------------ */

void sim_xfer_finish(struct shl_transport *t, struct shl_xfer *xfer, enum shoal_status status)
{
    if (shl_sim_network_random(t->network, 2) == 0) {
        *sim_xfer_status(xfer) = (uint64_t)(int64_t)status;
        shl_list_append(&t->finished, &xfer->link);
        return;
    }
    xfer->status = status;
    xfer->done(xfer);
}

struct shl_xfer *sim_xfer_find(struct shl_list *head, const struct shl_tag *tag)
{
    struct shl_list *at, *next;
    SHL_LIST_FOR_EACH(at, next, head)
    {
        struct shl_xfer *xfer = SHL_CONTAINER_OF(at, struct shl_xfer, link);
        if (shl_tag_equal(&xfer->tag, tag))
            return xfer;
    }
    return NULL;
}

static enum shoal_status start(struct shl_transport *t, struct shl_xfer *xfer)
{
    if (xfer->peer >= t->env->size || !t->peers[xfer->peer].attached)
        return shl_fail(SHOAL_ERR_INVALID, "rank %u cannot reach rank %u by the simulated network",
                        t->env->rank, xfer->peer);
    if (t->peers[xfer->peer].lost || t->peers[xfer->peer].dropped)
        return shl_fail(SHOAL_ERR_PEER, "rank %u has lost rank %u on the simulated network",
                        t->env->rank, xfer->peer);
    if (xfer->elem_bytes == 0)
        return shl_fail(SHOAL_ERR_INVALID, "a transfer with elements of 0 bytes");
    xfer->status = SHOAL_IN_PROGRESS;
    xfer->moved_bytes = 0;
    shl_list_init(&xfer->link);
    return SHOAL_OK;
}

static enum shoal_status sim_send(struct shl_transport *t, struct shl_xfer *xfer)
{
    SHL_TRY(start(t, xfer));
    if (xfer->bytes <= SIM_EAGER_BYTES) {
        SHL_TRY(sim_message_send(t, xfer, SIM_EAGER, 0, xfer->bytes));
        xfer->moved_bytes = xfer->bytes;
        sim_xfer_finish(t, xfer, SHOAL_OK);
        return SHOAL_OK;
    }
    shl_list_append(&t->peers[xfer->peer].sends, &xfer->link);
    sim_match_send(t, xfer);
    return SHOAL_OK;
}

static enum shoal_status sim_recv(struct shl_transport *t, struct shl_xfer *xfer)
{
    SHL_TRY(start(t, xfer));
    if (xfer->bytes > SIM_EAGER_BYTES)
        SHL_TRY(sim_message_send(t, xfer, SIM_ANNOUNCE, 0, 0));
    shl_list_append(&t->peers[xfer->peer].recvs, &xfer->link);
    sim_match_recv(t, xfer);
    return SHOAL_OK;
}

/* Only what was finished before the poll: a transfer posted by `done` waits for the next one. */
static unsigned tell_finished(struct shl_transport *t)
{
    size_t waiting = 0;
    struct shl_list *at, *next;
    SHL_LIST_FOR_EACH(at, next, &t->finished) waiting++;
    unsigned told = 0;
    while (waiting-- > 0 && (at = shl_list_pop(&t->finished)) != NULL) {
        struct shl_xfer *xfer = SHL_CONTAINER_OF(at, struct shl_xfer, link);
        xfer->status = (enum shoal_status)(int64_t)*sim_xfer_status(xfer);
        xfer->done(xfer);
        told++;
    }
    return told;
}

void sim_peer_lose(struct shl_transport *t, uint32_t rank, enum shoal_status status,
                   const char *cause)
{
    struct sim_peer *peer = &t->peers[rank];
    if (!peer->attached || peer->lost || peer->dropped)
        return;
    peer->lost = true;
    t->env->lost(t->env->arg, rank, status, cause);
}

static void lose_node(struct shl_transport *t, uint32_t node)
{
    for (uint32_t i = 0; i < t->env->size; i++) {
        if (t->peers[i].node == node)
            sim_peer_lose(t, i, SHOAL_ERR_PEER, "the simulated node crashed");
    }
}

static unsigned sim_poll(struct shl_transport *t)
{
    if (!shl_sim_network_alive(t->network, shl_sim_port_node(t->port)))
        return 0;
    unsigned happened = tell_finished(t);
    struct shl_sim_packet *packet;
    while ((packet = shl_sim_port_receive(t->port)) != NULL) {
        happened++;
        if (packet->kind == SHL_SIM_RESET) {
            uint32_t node = packet->from_node;
            shl_sim_packet_release(t->network, packet);
            lose_node(t, node);
        } else {
            sim_message_handle(t, packet);
        }
    }
    return happened + sim_flow(t);
}

static int sim_wait_fd(struct shl_transport *t)
{
    (void)t;
    return -1;
}

static bool sim_arm(struct shl_transport *t, bool sleeping)
{
    return !sleeping || (!shl_sim_port_ready(t->port) && shl_list_empty(&t->finished) &&
                         shl_list_empty(&t->flowing));
}

/* ---- cancelling ----------------------------------------------------------------------------- */

static void unlink_operation(struct shl_list *head, uint32_t comm, uint64_t seq)
{
    struct shl_list *at, *next;
    SHL_LIST_FOR_EACH(at, next, head)
    {
        struct shl_xfer *xfer = SHL_CONTAINER_OF(at, struct shl_xfer, link);
        if (xfer->tag.comm == comm && xfer->tag.seq == seq)
            shl_list_remove(at);
    }
}

static void sim_cancel(struct shl_transport *t, uint32_t comm, uint64_t seq)
{
    unlink_operation(&t->flowing, comm, seq);
    unlink_operation(&t->finished, comm, seq);
    for (uint32_t i = 0; i < t->env->size; i++) {
        unlink_operation(&t->peers[i].sends, comm, seq);
        unlink_operation(&t->peers[i].recvs, comm, seq);
        struct shl_list *at, *next;
        SHL_LIST_FOR_EACH(at, next, &t->peers[i].kept)
        {
            struct shl_sim_packet *packet = SHL_CONTAINER_OF(at, struct shl_sim_packet, link);
            const struct sim_header *header = sim_packet_header(packet);
            if (header->tag.comm != comm || header->tag.seq != seq)
                continue;
            shl_list_remove(at);
            shl_sim_packet_release(t->network, packet);
        }
    }
}

static struct shl_sim_packet *kept_at(const struct sim_peer *peer, size_t index)
{
    struct shl_list *at, *next;
    SHL_LIST_FOR_EACH(at, next, &peer->kept)
    {
        if (index-- == 0)
            return SHL_CONTAINER_OF(at, struct shl_sim_packet, link);
    }
    return NULL;
}

/* By index, since `seen` may cancel and so take packets off the list. */
static void sim_review(struct shl_transport *t, uint32_t comm, uint64_t seq)
{
    for (uint32_t i = 0; i < t->env->size; i++) {
        struct shl_sim_packet *packet;
        for (size_t k = 0; (packet = kept_at(&t->peers[i], k)) != NULL; k++) {
            struct sim_header header = *sim_packet_header(packet);
            if (header.tag.comm == comm && header.tag.seq == seq)
                t->env->seen(t->env->arg, i, &header.tag, &header.signature);
        }
    }
}

static void sim_drop_peer(struct shl_transport *t, uint32_t rank)
{
    struct sim_peer *peer = &t->peers[rank];
    peer->dropped = true;
    release_kept(t, peer);
    struct shl_list *at;
    while ((at = shl_list_pop(&peer->sends)) != NULL || (at = shl_list_pop(&peer->recvs)) != NULL)
        continue;
    struct shl_list *next;
    SHL_LIST_FOR_EACH(at, next, &t->flowing)
    {
        if (SHL_CONTAINER_OF(at, struct shl_xfer, link)->peer == rank)
            shl_list_remove(at);
    }
}

static size_t length(const struct shl_list *head)
{
    size_t count = 0;
    for (const struct shl_list *at = head->next; at != head; at = at->next)
        count++;
    return count;
}

static void sim_explain(struct shl_transport *t, uint32_t rank, char *text, size_t text_bytes)
{
    const struct sim_peer *peer = &t->peers[rank];
    const char *state = !peer->attached ? "not attached"
                        : peer->dropped ? "dropped"
                        : peer->lost    ? "lost"
                                        : "up";
    snprintf(text, text_bytes, "sim: %s, %zu sends not announced, %zu receives, %zu messages kept",
             state, length(&peer->sends), length(&peer->recvs), length(&peer->kept));
}

const struct shl_transport_ops shl_transport_sim = {
    .name = "sim",
    .eager_bytes = SIM_EAGER_BYTES,
    .open = sim_open,
    .close = sim_close,
    .describe = sim_describe,
    .attach = sim_attach,
    .send = sim_send,
    .recv = sim_recv,
    .poll = sim_poll,
    .wait_fd = sim_wait_fd,
    .arm = sim_arm,
    .cancel = sim_cancel,
    .review = sim_review,
    .drop_peer = sim_drop_peer,
    .explain = sim_explain,
};
