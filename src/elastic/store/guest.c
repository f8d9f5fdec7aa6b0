/*
 * One client's connection at the coordinator: read a request, act on it, write the reply, again.
 *
 * Invariant: a reply to a swap that was done is written only after the journal has it. When the
 * journal cannot be written the connection is closed without a reply, because then nobody knows.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "core/log.h"
#include "core/sys.h"
#include "elastic/store/coordinator_internal.h"

#include <errno.h>
#include <sys/epoll.h>

#define MS 1000000ull
#define SLOW_MS 5000 /* for a request to be whole, and for a reply to be taken */

void shl_guest_close(struct shl_guest *guest)
{
    struct shl_coordinator *coordinator = guest->coordinator;
    int fd = guest->watch.fd;
    shl_loop_unwatch(&coordinator->base.loop, &guest->watch);
    shl_loop_timer_stop(&coordinator->base.loop, &guest->timer);
    shl_fd->close(fd);
    shl_list_remove(&guest->link);
    coordinator->guest_count--;
    shl_mem->free(guest->body);
    shl_mem->free(guest->reply);
    shl_mem->free(guest);
}

static void on_timer(void *arg)
{
    shl_guest_close(arg);
}

/* ---- writing ------------------------------------------------------------------------------- */

/* False: closed. */
static bool write_some(struct shl_guest *guest)
{
    struct shl_loop *loop = &guest->coordinator->base.loop;
    while (guest->sent < guest->reply_bytes) {
        ssize_t wrote =
            shl_sock->send(guest->watch.fd, guest->reply + guest->sent,
                           guest->reply_bytes - guest->sent, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (wrote < 0 && errno == EINTR)
            continue;
        if (wrote < 0 && errno == EAGAIN)
            break;
        if (wrote < 0) {
            shl_guest_close(guest);
            return false;
        }
        guest->sent += (size_t)wrote;
    }
    bool whole = guest->sent == guest->reply_bytes;
    if (whole) {
        shl_mem->free(guest->reply);
        guest->reply = NULL;
        shl_loop_timer_stop(loop, &guest->timer);
    }
    /* While it does not take its reply, nothing more is read from it. */
    if (shl_loop_watch(loop, &guest->watch, guest->watch.fd, whole ? EPOLLIN : EPOLLOUT) < 0) {
        shl_guest_close(guest);
        return false;
    }
    return true;
}

/* ---- acting -------------------------------------------------------------------------------- */

/* False: nobody knows what became of it. */
static bool act(struct shl_journal *journal, const struct shl_store_request *request,
                struct shl_store_answer *reply)
{
    bool fits = (!request->incarnation || request->incarnation == journal->incarnation) &&
                request->version == journal->version;
    *reply = (struct shl_store_answer){.id = request->id, .result = SHL_STORE_OK};
    if (request->swap && fits) {
        if (shl_journal_write(journal, request->bytes, request->size) < 0) {
            shl_log(SHL_LOG_ERROR, "the coordinator cannot keep the register: %s",
                    shl_error_text());
            return false;
        }
    } else {
        reply->result = request->swap ? SHL_STORE_CONFLICT : SHL_STORE_OK;
        reply->bytes = journal->value;
        reply->size = journal->size;
    }
    reply->incarnation = journal->incarnation;
    reply->version = journal->version;
    return true;
}

/* False: closed. */
static bool on_request(struct shl_guest *guest)
{
    struct shl_store_request request;
    struct shl_store_answer reply;
    /* Memory first: a swap that is done is also answered. */
    guest->reply = shl_mem->alloc(SHL_STORE_FRAME_MAX);
    if (!guest->reply || !shl_store_get_request(guest->body, guest->body_bytes, &request) ||
        !act(&guest->coordinator->journal, &request, &reply)) {
        shl_guest_close(guest);
        return false;
    }
    guest->reply_bytes = shl_store_put_reply(guest->reply, &reply);
    guest->sent = 0;
    shl_mem->free(guest->body);
    guest->body = NULL;
    guest->at = 0;
    shl_list_remove(&guest->link);
    shl_list_append(&guest->coordinator->guests, &guest->link);
    return write_some(guest);
}

/* ---- reading ------------------------------------------------------------------------------- */

static bool on_header(struct shl_guest *guest)
{
    if (!shl_store_get_header(guest->header, &guest->body_bytes))
        return false;
    guest->body = shl_mem->alloc(guest->body_bytes);
    return guest->body != NULL;
}

/* One recv; false: nothing more for now, or the guest is gone. */
static bool read_some(struct shl_guest *guest)
{
    struct shl_loop *loop = &guest->coordinator->base.loop;
    bool header = guest->at < SHL_STORE_HEADER_BYTES;
    size_t at = header ? guest->at : guest->at - SHL_STORE_HEADER_BYTES;
    void *to = header ? guest->header + at : guest->body + at;
    size_t want = (header ? SHL_STORE_HEADER_BYTES : guest->body_bytes) - at;
    ssize_t got = shl_sock->recv(guest->watch.fd, to, want, MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return false;
    if (got <= 0) {
        shl_guest_close(guest);
        return false;
    }
    if (!guest->at)
        shl_loop_timer_set(loop, &guest->timer, shl_now_ns() + SLOW_MS * MS);
    guest->at += (size_t)got;
    if (header && guest->at == SHL_STORE_HEADER_BYTES && !on_header(guest)) {
        shl_guest_close(guest);
        return false;
    }
    if (!header && guest->at == SHL_STORE_HEADER_BYTES + guest->body_bytes) {
        (void)on_request(guest);
        return false; /* others first; what follows is still there in the next turn */
    }
    return true;
}

static void on_ready(void *arg, uint32_t events)
{
    struct shl_guest *guest = arg;
    (void)events;
    if (guest->reply) {
        (void)write_some(guest);
        return;
    }
    while (read_some(guest))
        ;
}

void shl_guest_accept(struct shl_coordinator *coordinator, int fd)
{
    struct shl_guest *guest = shl_mem->alloc(sizeof(*guest));
    if (!guest)
        goto close_fd;
    guest->coordinator = coordinator;
    shl_watch_init(&guest->watch, on_ready, guest);
    shl_timer_init(&guest->timer, on_timer, guest);
    if (shl_loop_watch(&coordinator->base.loop, &guest->watch, fd, EPOLLIN) < 0)
        goto free_guest;
    if (coordinator->guest_count == SHL_COORDINATOR_GUESTS)
        shl_guest_close(SHL_CONTAINER_OF(coordinator->guests.next, struct shl_guest, link));
    shl_list_append(&coordinator->guests, &guest->link);
    coordinator->guest_count++;
    return;

free_guest:
    shl_mem->free(guest);
close_fd:
    shl_fd->close(fd);
}
