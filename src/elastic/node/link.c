/*
 * Frames to and from one member: u32 magic, u8 kind, three bytes 0, u32 bytes, then these.
 *
 * Invariant: nothing here calls the core but shl_node_link_read, and only from the loop.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "core/bytes.h"
#include "core/log.h"
#include "core/sys.h"
#include "elastic/node/internal.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>

#define MAGIC 0x4e4c4853u /* "SHLN" */
#define MESSAGE_MAX (SHL_MESSAGE_BYTES_MAX + 64u)
#define PAYLOAD_MAX (MESSAGE_MAX > SHL_NODE_MAIL_MAX ? MESSAGE_MAX : SHL_NODE_MAIL_MAX)
#define READS_A_TURN 16
#define KEPT_BYTES (256u << 10) /* of a buffer that is empty */

static void broken(struct shl_node_peer *peer, const char *why)
{
    if (!peer->broke)
        snprintf(peer->why, sizeof(peer->why), "%s", why);
    peer->broke = true;
}

static bool reserve(struct shl_node_buffer *buffer, size_t more)
{
    if (buffer->at && buffer->at == buffer->end)
        buffer->at = buffer->end = 0;
    if (buffer->at && buffer->end + more > buffer->capacity) {
        memmove(buffer->data, buffer->data + buffer->at, buffer->end - buffer->at);
        buffer->end -= buffer->at;
        buffer->at = 0;
    }
    if (buffer->end + more <= buffer->capacity)
        return true;
    size_t capacity = 2 * (buffer->end + more);
    uint8_t *grown = shl_mem->resize(buffer->data, capacity);
    if (!grown)
        return false;
    buffer->data = grown;
    buffer->capacity = capacity;
    return true;
}

static void shrink(struct shl_node_buffer *buffer)
{
    if (buffer->capacity <= KEPT_BYTES || buffer->at < buffer->end)
        return;
    shl_mem->free(buffer->data);
    *buffer = (struct shl_node_buffer){.data = NULL};
}

void shl_node_link_shrink(struct shl_node_peer *peer)
{
    shrink(&peer->tx);
    shrink(&peer->rx);
}

/* ---- sending -------------------------------------------------------------------------------- */

static void flush(struct shl_node_peer *peer)
{
    struct shl_node_buffer *tx = &peer->tx;
    while (tx->at < tx->end && !peer->broke) {
        ssize_t sent = shl_sock->send(peer->watch.fd, tx->data + tx->at, tx->end - tx->at,
                                      MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent < 0 && errno == EINTR)
            continue;
        if (sent < 0 && errno == EAGAIN)
            break;
        if (sent <= 0) {
            broken(peer, strerrordesc_np(errno));
            return;
        }
        tx->at += (size_t)sent;
    }
    uint32_t events = EPOLLIN | (tx->at < tx->end ? EPOLLOUT : 0u);
    if (shl_loop_watch(&peer->node->loop, &peer->watch, peer->watch.fd, events) < 0)
        broken(peer, shl_error_text());
}

void shl_node_link_send(struct shl_node_peer *peer, enum shl_node_frame kind, const void *head,
                        size_t head_bytes, const void *body, size_t body_bytes)
{
    struct shl_node_buffer *tx = &peer->tx;
    size_t bytes = head_bytes + body_bytes;
    if (peer->watch.fd < 0 || peer->broke)
        return;
    /* What is lost here is said again in the next session, and only there. */
    if (tx->end - tx->at > SHL_NODE_TX_MAX) {
        broken(peer, "it reads nothing: too much waits to be sent to it");
        return;
    }
    if (!reserve(tx, SHL_NODE_HEADER_BYTES + bytes)) {
        broken(peer, "no memory for what is sent to it");
        return;
    }
    struct shl_bytes out = shl_bytes_writer(tx->data + tx->end, SHL_NODE_HEADER_BYTES + bytes);
    shl_bytes_put_u32(&out, MAGIC);
    shl_bytes_put_u32(&out, kind);
    shl_bytes_put_u32(&out, (uint32_t)bytes);
    shl_bytes_put(&out, head, head_bytes);
    shl_bytes_put(&out, body, body_bytes);
    tx->end += out.at;
    flush(peer);
}

void shl_node_link_tell(struct shl_node_peer *peer)
{
    const struct shl_node *node = peer->node;
    uint8_t head[8];
    struct shl_bytes out = shl_bytes_writer(head, sizeof(head));
    shl_bytes_put_u64(&out, node->blob_epoch);
    if (node->blob_epoch)
        shl_node_link_send(peer, SHL_NODE_BLOB, head, out.at, node->blob, node->blob_bytes);
}

void shl_node_link_tell_done(struct shl_node_peer *peer)
{
    uint8_t head[8];
    struct shl_bytes out = shl_bytes_writer(head, sizeof(head));
    shl_bytes_put_u64(&out, peer->node->done_epoch);
    if (peer->node->done_epoch)
        shl_node_link_send(peer, SHL_NODE_DONE, head, out.at, NULL, 0);
}

/* ---- receiving ------------------------------------------------------------------------------ */

static void take_blob(struct shl_node_peer *peer, struct shl_bytes *in)
{
    struct shl_node *node = peer->node;
    uint64_t epoch = shl_bytes_get_u64(in);
    size_t bytes = shl_bytes_left(in);
    if (in->failed || bytes > SHL_NODE_BLOB_MAX) {
        broken(peer, "it sent a description that cannot be one");
        return;
    }
    uint8_t *copy = shl_mem->alloc(bytes + 1);
    if (!copy) {
        broken(peer, "no memory for what it sent");
        return;
    }
    shl_bytes_get(in, copy, bytes);
    shl_mem->free(peer->blob);
    peer->blob = copy;
    peer->blob_bytes = bytes;
    peer->blob_epoch = epoch;
    node->owner.news(node->owner.arg);
}

static void on_frame(struct shl_node_peer *peer, uint32_t kind, const uint8_t *data, size_t bytes)
{
    struct shl_bytes in = shl_bytes_reader(data, bytes);
    switch (kind) {
    case SHL_NODE_BEAT:
        peer->seen_epoch = shl_bytes_get_u64(&in);
        peer->seen_started = shl_bytes_get_u64(&in);
        break;
    case SHL_NODE_MEMBERSHIP:
        if (shl_membership_receive(peer->node->core, shl_now_ns(), peer->id, data, bytes) < 0)
            broken(peer, shl_error_text());
        break;
    case SHL_NODE_BLOB:
        take_blob(peer, &in);
        break;
    case SHL_NODE_DONE:
        peer->done_epoch = shl_bytes_get_u64(&in);
        peer->node->owner.news(peer->node->owner.arg);
        break;
    case SHL_NODE_MAIL:
        shl_node_mail_read(peer, data, bytes);
        break;
    default:
        broken(peer, "it sent a frame of no known kind");
    }
}

/* false: no whole frame is there. */
static bool next_frame(struct shl_node_peer *peer)
{
    struct shl_node_buffer *rx = &peer->rx;
    struct shl_bytes in = shl_bytes_reader(rx->data + rx->at, rx->end - rx->at);
    if (rx->end - rx->at < SHL_NODE_HEADER_BYTES || peer->broke)
        return false;
    uint32_t magic = shl_bytes_get_u32(&in), kind = shl_bytes_get_u32(&in);
    uint32_t bytes = shl_bytes_get_u32(&in);
    if (magic != MAGIC || bytes > PAYLOAD_MAX) {
        broken(peer, "what it sent is no frame");
        return false;
    }
    if (shl_bytes_left(&in) < bytes) {
        if (!reserve(rx, bytes))
            broken(peer, "no memory for what it sent");
        return false;
    }
    rx->at += SHL_NODE_HEADER_BYTES + bytes;
    peer->spoke = true;
    peer->backoff_ms = 0;
    on_frame(peer, kind, in.data + in.at, bytes);
    return true;
}

/* false: nothing more for now. */
static bool read_some(struct shl_node_peer *peer)
{
    struct shl_node_buffer *rx = &peer->rx;
    if (!reserve(rx, 4096)) {
        broken(peer, "no memory for what it sent");
        return false;
    }
    ssize_t got =
        shl_sock->recv(peer->watch.fd, rx->data + rx->end, rx->capacity - rx->end, MSG_DONTWAIT);
    if (got < 0 && errno == EINTR)
        return true;
    if (got < 0 && errno == EAGAIN)
        return false;
    if (got <= 0) {
        broken(peer, got == 0 ? "it closed the connection" : strerrordesc_np(errno));
        return false;
    }
    rx->end += (size_t)got;
    peer->heard_ns = shl_now_ns();
    while (next_frame(peer))
        ;
    return !peer->broke;
}

void shl_node_link_read(struct shl_node_peer *peer)
{
    for (int i = 0; i < READS_A_TURN && peer->watch.fd >= 0 && read_some(peer); i++)
        ;
}

static void on_ready(void *arg, uint32_t events)
{
    struct shl_node_peer *peer = arg;
    if (peer->broke)
        return;
    if (events & EPOLLOUT)
        flush(peer);
    if (events & (EPOLLIN | EPOLLHUP | EPOLLERR))
        shl_node_link_read(peer);
}

/* Children that it forked, as those that load data, may hold its sockets open and say nothing. */
static void on_process_end(void *arg, uint32_t events)
{
    struct shl_node_peer *peer = arg;
    (void)events;
    shl_loop_unwatch(&peer->node->loop, &peer->process);
    broken(peer, "its process ended");
    shl_node_peer_suspect(peer, "its process ended");
}

static void follow_process(struct shl_node_peer *peer, int fd)
{
    if (peer->pidfd >= 0)
        return;
    peer->pidfd = shl_node_pidfd_of(fd);
    if (peer->pidfd >= 0 &&
        shl_loop_watch(&peer->node->loop, &peer->process, peer->pidfd, EPOLLIN) < 0)
        shl_log(SHL_LOG_INFO, "the end of member %016llx shows by its sockets only: %s",
                (unsigned long long)peer->id, shl_error_text());
}

/* ---- connections ---------------------------------------------------------------------------- */

void shl_node_link_init(struct shl_node_peer *peer)
{
    shl_watch_init(&peer->watch, on_ready, peer);
    shl_watch_init(&peer->process, on_process_end, peer);
    peer->pidfd = -1;
}

bool shl_node_link_attach(struct shl_node_peer *peer, int fd)
{
    shl_node_link_detach(peer);
    peer->broke = peer->stalls = peer->refuses = peer->spoke = false;
    peer->heard_ns = shl_now_ns();
    peer->session = ++peer->node->sessions;
    shl_sock_keep_pace(fd);
    follow_process(peer, fd);
    if (shl_loop_watch(&peer->node->loop, &peer->watch, fd, EPOLLIN) < 0) {
        shl_log(SHL_LOG_WARN, "session with member %016llx: %s", (unsigned long long)peer->id,
                shl_error_text());
        shl_fd->close(fd);
        return false;
    }
    shl_node_link_tell(peer);
    shl_node_link_tell_done(peer);
    return true;
}

void shl_node_link_detach(struct shl_node_peer *peer)
{
    int fd = peer->watch.fd;
    peer->broke = false;
    peer->tx.at = peer->tx.end = 0;
    peer->rx.at = peer->rx.end = 0;
    if (fd < 0)
        return;
    shl_loop_unwatch(&peer->node->loop, &peer->watch);
    shl_sock->shutdown(fd, SHUT_RDWR); /* also where children of this process have it */
    shl_fd->close(fd);
}

void shl_node_link_free(struct shl_node_peer *peer)
{
    shl_node_link_detach(peer);
    shl_loop_unwatch(&peer->node->loop, &peer->process);
    if (peer->pidfd >= 0)
        shl_fd->close(peer->pidfd);
    shl_mem->free(peer->tx.data);
    shl_mem->free(peer->rx.data);
    shl_mem->free(peer->blob);
}
