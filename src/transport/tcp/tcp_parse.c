/*
 * Bytes arrive: one read a step, then every whole frame in it is acted on.
 *
 * Small frames are read through the flow's staging buffer, header and payload in one call. The
 * payload of a chunk is read straight to its place; the same call fetches the start of the next
 * frame into staging, so a stream of chunks costs one call a chunk and no copy.
 *
 * Invariant: while a chunk lacks payload, staging is empty. Callbacks into the engine come last for
 * each frame: they may post, cancel or drop the peer, so the flow is looked at anew after them.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "transport/tcp/tcp_link.h"

#include "control/sock.h"

#include <errno.h>

/* While chunks are expected only this much is read ahead: what lands in staging must be copied. */
#define READ_AHEAD_BYTES (SHL_TCP_HEADER_BYTES + 1024)

/* Act on one frame. `payload` is that of an EAGER. */
static void dispatch(struct shl_tcp_flow *flow, const struct shl_tcp_header *header,
                     const uint8_t *payload)
{
    struct shl_tcp_link *link = flow->link;
    if (header->type == SHL_TCP_ACK)
        return;
    enum shl_tcp_sequence_kind kind = shl_tcp_sequence_kind(link, header->sequence);
    if (SHL_UNLIKELY(kind == SHL_TCP_ALIEN)) {
        shl_tcp_link_fail(link, SHOAL_ERR_PEER,
                          "rank %u sent %s frame %u where %u is due: beyond the window", link->peer,
                          shl_tcp_type_name(header->type), header->sequence, link->rx_next);
        return;
    }
    if (header->type == SHL_TCP_CHUNK) {
        shl_tcp_chunk_begin(flow, header);
        return;
    }
    if (kind == SHL_TCP_DUPLICATE) {
        link->ack_due = true; /* it was sent again because our acknowledgement got lost */
        return;
    }
    shl_tcp_arrived(link, header->sequence);
    if (header->type == SHL_TCP_EAGER)
        shl_tcp_eager_arrived(link, header, payload);
    else if (header->type == SHL_TCP_ANNOUNCE)
        shl_tcp_announce_arrived(link, header);
    else if (header->type == SHL_TCP_ASK)
        shl_tcp_ask_arrived(link, header);
    else {
        link->bye = true;
        link->bye_sequence = header->sequence;
    }
}

/* The chunk's payload and trailer, as far as they are in staging. false: more must be read. */
static bool parse_chunk(struct shl_tcp_flow *flow)
{
    struct shl_tcp_chunk *chunk = &flow->chunk;
    uint32_t have = flow->end - flow->begin, rest = chunk->length - chunk->at;
    uint32_t take = have < rest ? have : rest;
    if (take) {
        shl_tcp_chunk_feed(flow, flow->staging + flow->begin, take);
        flow->begin += take;
    }
    if (take < rest || have - take < SHL_TCP_TRAILER_BYTES)
        return false;
    uint32_t trailer = shl_tcp_trailer_decode(flow->staging + flow->begin);
    flow->begin += SHL_TCP_TRAILER_BYTES;
    if (trailer == 0) {
        shl_tcp_link_fail(flow->link, SHOAL_ERR_PEER,
                          "rank %u sent CHUNK frame %u without a legal trailer", flow->link->peer,
                          chunk->sequence);
        return false;
    }
    shl_tcp_chunk_finish(flow, trailer == SHL_TCP_TRAILER_VALID);
    return true;
}

/* One frame header, and its payload unless it is a chunk. false: more must be read. */
static bool parse_frame(struct shl_tcp_flow *flow)
{
    struct shl_tcp_link *link = flow->link;
    const uint8_t *at = flow->staging + flow->begin;
    uint32_t have = flow->end - flow->begin, payload_bytes = 0;
    struct shl_tcp_header header;
    char cause[SHL_TCP_CAUSE_BYTES];
    if (have < SHL_TCP_HEADER_BYTES)
        return false;
    if (!shl_tcp_header_decode(at, (uint32_t)link->t->env->epoch, &header, cause, sizeof(cause))) {
        shl_tcp_link_fail(link, SHOAL_ERR_PEER, "rank %u sent %s", link->peer, cause);
        return false;
    }
    if (header.type == SHL_TCP_EAGER)
        payload_bytes = header.length;
    if (have < SHL_TCP_HEADER_BYTES + payload_bytes)
        return false;
    flow->begin += SHL_TCP_HEADER_BYTES + payload_bytes;
    flow->held = false;
    link->futile_breaks = 0;
    if (shl_tcp_acked(link, &header) && flow->fd >= 0)
        dispatch(flow, &header, at + SHL_TCP_HEADER_BYTES);
    return true;
}

static void parse(struct shl_tcp_flow *flow)
{
    const struct shl_tcp_link *link = flow->link;
    while (flow->fd >= 0 && (flow->chunk.active ? parse_chunk(flow) : parse_frame(flow)))
        ;
    if (SHL_UNLIKELY(link->bye && (int32_t)(link->rx_next - link->bye_sequence) > 0))
        shl_tcp_link_ended(flow->link);
    if (flow->begin == flow->end) {
        flow->begin = flow->end = 0;
    } else if (SHL_TCP_STAGING_BYTES - flow->begin < SHL_TCP_HEADER_BYTES + SHL_TCP_EAGER_BYTES) {
        flow->end -= flow->begin;
        memmove(flow->staging, flow->staging + flow->begin, flow->end);
        flow->begin = 0;
    }
}

static void read_failed(struct shl_tcp_flow *flow, ssize_t got)
{
    const struct shl_tcp_chunk *chunk = &flow->chunk;
    int error = got < 0 ? errno : 0;
    bool empty = got < 0 && (error == EAGAIN || error == EWOULDBLOCK);
    if (got < 0 && error == EINTR)
        return;
    if (empty && !flow->tx_errno)
        return;
    const char *what = empty   ? strerror(flow->tx_errno)
                       : error ? strerror(error)
                               : "closed by the peer";
    if (chunk->active)
        shl_tcp_flow_break(flow, "%s, in CHUNK frame %u at %u of %u bytes", what, chunk->sequence,
                           chunk->at, chunk->length);
    else
        shl_tcp_flow_break(flow, "%s", what);
}

unsigned shl_tcp_rx_step(struct shl_tcp_flow *flow)
{
    struct iovec parts[2];
    size_t direct = 0;
    int count = 0;
    uint32_t room = SHL_TCP_STAGING_BYTES - flow->end;
    if (flow->fd < 0)
        return 0;
    if (flow->link->large_posted && room > READ_AHEAD_BYTES)
        room = READ_AHEAD_BYTES;
    if (flow->chunk.active && flow->chunk.at < flow->chunk.length) {
        void *target;
        direct = shl_tcp_chunk_target(flow, &target);
        parts[count++] = (struct iovec){target, direct};
    }
    if (direct == flow->chunk.length - flow->chunk.at || !direct)
        parts[count++] = (struct iovec){flow->staging + flow->end, room};

    struct msghdr message = {.msg_iov = parts, .msg_iovlen = (size_t)count};
    ssize_t got = count == 1
                      ? shl_sock->recv(flow->fd, parts[0].iov_base, parts[0].iov_len, MSG_DONTWAIT)
                      : shl_sock->recvmsg(flow->fd, &message, MSG_DONTWAIT);
    if (got <= 0) {
        read_failed(flow, got);
        return 0;
    }
    flow->link->bytes_received += (uint64_t)got;
    size_t landed = (size_t)got < direct ? (size_t)got : direct;
    if (landed)
        shl_tcp_chunk_landed(flow, landed);
    flow->end += (uint32_t)((size_t)got - landed);
    parse(flow);
    return 1;
}
