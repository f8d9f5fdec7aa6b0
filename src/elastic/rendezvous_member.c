/*
 * One client's connection at the rendezvous: read its join, wait, write the reply.
 *
 * Invariant: a member is on the server's list until it is closed, and has a timer all that time.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "control/sock.h"
#include "core/sys.h"
#include "elastic/rendezvous_internal.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>

#define MS 1000000ull
#define READ_MS 5000   /* for the join to be whole, and for the reply to be read */
#define MARGIN_MS 400u /* the answer leaves so much before the client stops waiting */

void shl_rendezvous_member_close(struct shl_rendezvous_member *member)
{
    struct shl_rendezvous_server *server = member->server;
    int fd = member->watch.fd;
    if (member->joined && !member->reply)
        shl_rendezvous_round_depart(member);
    shl_loop_unwatch(&server->base.loop, &member->watch);
    shl_loop_timer_stop(&server->base.loop, &member->timer);
    shl_fd->close(fd);
    shl_list_remove(&member->link);
    shl_rendezvous_reply_release(member->reply);
    shl_mem->free(member->body);
    shl_mem->free(member);
}

static void on_timer(void *arg)
{
    struct shl_rendezvous_member *member = arg;
    if (member->joined && !member->reply)
        shl_rendezvous_round_expire(member);
    else
        shl_rendezvous_member_close(member);
}

/* ---- reading ----------------------------------------------------------------------------- */

/* False: closed. */
static bool on_whole_join(struct shl_rendezvous_member *member)
{
    struct shl_rendezvous_server *server = member->server;
    if (!shl_rendezvous_get_join(member->body, member->body_bytes, &member->join)) {
        shl_rendezvous_member_close(member);
        return false;
    }
    uint32_t patience = member->join.patience_ms;
    uint32_t margin = patience / 5 < MARGIN_MS ? patience / 5 : MARGIN_MS;
    member->joined = true;
    member->joined_ns = shl_now_ns();
    shl_loop_timer_set(&server->base.loop, &member->timer,
                       member->joined_ns + (uint64_t)(patience - margin) * MS);
    shl_rendezvous_round_arrive(member);
    return false; /* whatever became of it, there is nothing more to read now */
}

static bool on_header(struct shl_rendezvous_member *member)
{
    uint32_t bytes;
    if (!shl_rendezvous_get_header(member->header,
                                   SHL_RENDEZVOUS_JOIN_BYTES + SHL_RENDEZVOUS_BLOB_MAX, &bytes) ||
        bytes < SHL_RENDEZVOUS_JOIN_BYTES)
        return false;
    member->body = shl_mem->alloc(bytes);
    member->body_bytes = bytes;
    return member->body != NULL;
}

/* One recv; false: nothing more for now, or the member is gone. */
static bool read_some(struct shl_rendezvous_member *member)
{
    bool header = member->at < SHL_RENDEZVOUS_HEADER_BYTES;
    size_t at = header ? member->at : member->at - SHL_RENDEZVOUS_HEADER_BYTES;
    uint8_t beyond; /* a client that waits says nothing; what comes is its end, or nonsense */
    void *to = member->joined ? &beyond : header ? member->header + at : member->body + at;
    size_t want = member->joined ? 1
                  : header       ? SHL_RENDEZVOUS_HEADER_BYTES - at
                                 : member->body_bytes - at;
    ssize_t got = shl_sock->recv(member->watch.fd, to, want, MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return false;
    if (got <= 0 || member->joined) {
        shl_rendezvous_member_close(member);
        return false;
    }
    member->at += (size_t)got;
    if (header && member->at == SHL_RENDEZVOUS_HEADER_BYTES && !on_header(member)) {
        shl_rendezvous_member_close(member);
        return false;
    }
    if (!header && member->at == SHL_RENDEZVOUS_HEADER_BYTES + member->body_bytes)
        return on_whole_join(member);
    return true;
}

/* ---- writing ----------------------------------------------------------------------------- */

bool shl_rendezvous_member_write(struct shl_rendezvous_member *member)
{
    const struct shl_rendezvous_reply *reply = member->reply;
    while (member->sent < reply->bytes) {
        ssize_t wrote = shl_sock->send(member->watch.fd, reply->data + member->sent,
                                       reply->bytes - member->sent, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (wrote < 0 && errno == EINTR)
            continue;
        if (wrote < 0 && errno == EAGAIN)
            break;
        if (wrote < 0) {
            shl_rendezvous_member_close(member);
            return false;
        }
        member->sent += (size_t)wrote;
    }
    /* The client closes once it has read everything; its end of file is the acknowledgement. */
    uint32_t events = member->sent < reply->bytes ? EPOLLIN | EPOLLOUT : EPOLLIN;
    if (shl_loop_watch(&member->server->base.loop, &member->watch, member->watch.fd, events) < 0) {
        shl_rendezvous_member_close(member);
        return false;
    }
    return true;
}

void shl_rendezvous_member_answer(struct shl_rendezvous_member *member,
                                  struct shl_rendezvous_reply *reply)
{
    struct shl_loop *loop = &member->server->base.loop;
    if (member->reply)
        return; /* the first answer counts */
    if (!reply) {
        shl_loop_timer_set(loop, &member->timer, shl_now_ns());
        member->joined = false; /* the timer then closes it */
        return;
    }
    reply->references++;
    member->reply = reply;
    shl_loop_timer_set(loop, &member->timer, shl_now_ns() + READ_MS * MS);
    /* Not from here: the round may be in the middle of answering everyone. */
    if (shl_loop_watch(loop, &member->watch, member->watch.fd, EPOLLIN | EPOLLOUT) < 0)
        shl_loop_timer_set(loop, &member->timer, shl_now_ns());
}

static void on_ready(void *arg, uint32_t events)
{
    struct shl_rendezvous_member *member = arg;
    if ((events & EPOLLOUT) && member->reply && !shl_rendezvous_member_write(member))
        return;
    if (events & (EPOLLIN | EPOLLHUP | EPOLLERR))
        while (read_some(member))
            ;
}

void shl_rendezvous_member_accept(struct shl_rendezvous_server *server, int fd)
{
    struct shl_rendezvous_member *member = shl_mem->alloc(sizeof(*member));
    if (!member) {
        shl_fd->close(fd);
        return;
    }
    member->server = server;
    shl_watch_init(&member->watch, on_ready, member);
    shl_timer_init(&member->timer, on_timer, member);
    if (shl_loop_watch(&server->base.loop, &member->watch, fd, EPOLLIN) < 0) {
        shl_fd->close(fd);
        shl_mem->free(member);
        return;
    }
    shl_list_append(&server->members, &member->link);
    shl_loop_timer_set(&server->base.loop, &member->timer, shl_now_ns() + READ_MS * MS);
}
