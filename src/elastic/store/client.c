/*
 * A client of the coordinator: one thread, one connection that is made again when it breaks, one
 * request at a time.
 *
 * Invariant: a swap is sent whole at most once. A read is sent again on a new connection.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "elastic/store/client.h"

#include "control/control.h"
#include "control/dial.h"
#include "control/mac.h"
#include "control/resolve.h"
#include "control/thread.h"
#include "core/log.h"
#include "core/sys.h"
#include "elastic/store/wire.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>

#define MS 1000000ull
#define RETRY_FIRST_MS 10
#define RETRY_LAST_MS 1000
#define DIAL_MS 1000 /* then the name is looked up again: it may lead elsewhere by now */

struct client {
    struct shl_store store; /* first: it is what the owner holds */
    void *arg;
    void (*answer)(void *arg, const struct shl_store_answer *answer);
    struct shl_key key;
    char address[SHL_SOCK_TEXT_BYTES];
    char host[SHL_SOCK_TEXT_BYTES]; /* "": a Unix socket, already in target */
    uint16_t port;
    uint64_t patience_ns;
    pthread_t thread;
    _Atomic bool stop_requested;

    pthread_mutex_t lock; /* of what the owner posts */
    bool posted;
    uint64_t posted_id;
    bool posted_swap;
    uint8_t *post; /* the frame */
    size_t post_bytes;

    /* The thread's own. */
    struct shl_loop loop;
    struct shl_dialler dialler;
    struct shl_dial_target target;
    struct shl_watch watch; /* the connection; fd -1: none */
    struct shl_timer patience, retry;
    uint32_t retry_ms;
    bool unreachable; /* and said so */
    bool waiting;     /* for the answer to this request */
    uint64_t id;
    bool swap;
    uint8_t *out;
    size_t out_bytes, sent;
    uint8_t header[SHL_STORE_HEADER_BYTES];
    uint8_t *body;
    size_t at;
    uint32_t body_bytes;
};

static void dial(struct client *client);

/* ---- answering ----------------------------------------------------------------------------- */

static void give_answer(struct client *client, const struct shl_store_answer *answer)
{
    client->waiting = false;
    shl_loop_timer_stop(&client->loop, &client->patience);
    client->answer(client->arg, answer);
}

static void give_up(struct client *client)
{
    struct shl_store_answer unknown = {.id = client->id, .result = SHL_STORE_UNKNOWN};
    if (client->waiting)
        give_answer(client, &unknown);
}

/* ---- the connection ------------------------------------------------------------------------ */

static void retry_later(struct client *client)
{
    uint32_t chance = 0x80000000u;
    (void)shl_random->bytes(&chance, sizeof(chance)); /* without it there is less jitter */
    uint64_t half = client->retry_ms * MS / 2;
    shl_loop_timer_set(&client->loop, &client->retry, shl_now_ns() + half + (half * chance >> 32));
    client->retry_ms = client->retry_ms * 2 > RETRY_LAST_MS ? RETRY_LAST_MS : client->retry_ms * 2;
}

static void disconnect(struct client *client)
{
    int fd = client->watch.fd;
    if (fd < 0)
        return;
    shl_loop_unwatch(&client->loop, &client->watch);
    shl_fd->close(fd);
    client->at = 0;
}

/* The connection broke, or nothing comes over it. */
static void break_off(struct client *client)
{
    disconnect(client);
    if (client->waiting && client->swap && client->sent == client->out_bytes)
        give_up(client); /* it may have been done, or not */
    client->sent = 0;
    retry_later(client);
}

/* False: the connection is gone. */
static bool send_some(struct client *client)
{
    while (client->waiting && client->sent < client->out_bytes) {
        ssize_t wrote =
            shl_sock->send(client->watch.fd, client->out + client->sent,
                           client->out_bytes - client->sent, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (wrote < 0 && errno == EINTR)
            continue;
        if (wrote < 0 && errno == EAGAIN)
            break;
        if (wrote < 0)
            goto broken;
        client->sent += (size_t)wrote;
    }
    bool more = client->waiting && client->sent < client->out_bytes;
    if (shl_loop_watch(&client->loop, &client->watch, client->watch.fd,
                       more ? EPOLLIN | EPOLLOUT : EPOLLIN) == SHOAL_OK)
        return true;
broken:
    break_off(client);
    return false;
}

/* False: the connection is of no use any more. */
static bool on_part(struct client *client)
{
    struct shl_store_answer answer;
    if (client->at == SHL_STORE_HEADER_BYTES)
        return shl_store_get_header(client->header, &client->body_bytes);
    if (client->at < SHL_STORE_HEADER_BYTES + client->body_bytes)
        return true;
    client->at = 0;
    if (!shl_store_get_reply(client->body, client->body_bytes, &answer))
        return false;
    if (client->waiting && answer.id == client->id && client->sent == client->out_bytes)
        give_answer(client, &answer);
    return true;
}

/* One recv; false: nothing more for now, or no connection. */
static bool read_some(struct client *client)
{
    bool header = client->at < SHL_STORE_HEADER_BYTES;
    size_t at = header ? client->at : client->at - SHL_STORE_HEADER_BYTES;
    void *to = header ? client->header + at : client->body + at;
    size_t want = (header ? SHL_STORE_HEADER_BYTES : client->body_bytes) - at;
    ssize_t got = shl_sock->recv(client->watch.fd, to, want, MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return false;
    if (got > 0) {
        client->at += (size_t)got;
        if (on_part(client))
            return true;
    }
    break_off(client);
    return false;
}

static void on_ready(void *arg, uint32_t events)
{
    struct client *client = arg;
    if ((events & EPOLLOUT) && !send_some(client))
        return;
    if (events & (EPOLLIN | EPOLLHUP | EPOLLERR))
        while (read_some(client))
            ;
}

/* ---- reaching the coordinator -------------------------------------------------------------- */

static void fail_to_reach(struct client *client, const char *cause)
{
    if (!client->unreachable)
        shl_log(SHL_LOG_WARN, "cannot reach the coordinator at %s: %s", client->address, cause);
    client->unreachable = true;
    retry_later(client);
}

static void on_dialled(void *arg, const struct shl_dial_result *result)
{
    struct client *client = arg;
    if (result->outcome != SHL_DIAL_CONNECTED) {
        fail_to_reach(client, result->cause);
        return;
    }
    if (client->unreachable)
        shl_log(SHL_LOG_INFO, "reached the coordinator at %s", client->address);
    client->unreachable = false;
    client->retry_ms = RETRY_FIRST_MS;
    client->sent = 0;
    if (shl_loop_watch(&client->loop, &client->watch, result->fd, EPOLLIN) < 0) {
        shl_fd->close(result->fd);
        fail_to_reach(client, shl_error_text());
        return;
    }
    (void)send_some(client);
}

static void dial(struct client *client)
{
    uint64_t now = shl_now_ns();
    if (client->host[0] &&
        shl_resolve(client->host, client->port, now + client->patience_ns, client->target.addresses,
                    SHL_DIAL_CANDIDATES, &client->target.count) < 0) {
        fail_to_reach(client, shl_error_text());
        return;
    }
    client->dialler.deadline_ns = now + DIAL_MS * MS;
    shl_dialler_start(&client->dialler);
}

static void on_retry(void *arg)
{
    dial(arg);
}

/* ---- requests ------------------------------------------------------------------------------ */

static void on_patience(void *arg)
{
    struct client *client = arg;
    bool unanswered = client->watch.fd >= 0;
    give_up(client);
    /* A coordinator that lives answers; maybe its host does not. */
    if (unanswered)
        break_off(client);
}

static void take_post(struct client *client)
{
    pthread_mutex_lock(&client->lock);
    bool posted = client->posted;
    bool half_sent = client->waiting && client->sent && client->sent < client->out_bytes;
    if (posted) {
        uint8_t *taken = client->post;
        client->post = client->out;
        client->out = taken;
        client->out_bytes = client->post_bytes;
        client->id = client->posted_id;
        client->swap = client->posted_swap;
        client->posted = false;
    }
    pthread_mutex_unlock(&client->lock);
    if (!posted)
        return;
    client->waiting = true;
    client->sent = 0;
    shl_loop_timer_set(&client->loop, &client->patience, shl_now_ns() + client->patience_ns);
    if (half_sent) {
        break_off(client);
    } else if (client->watch.fd >= 0) {
        (void)send_some(client);
        return;
    }
    if (client->retry.armed) /* somebody waits now */
        shl_loop_timer_set(&client->loop, &client->retry, shl_now_ns());
    client->retry_ms = RETRY_FIRST_MS;
}

static void *run(void *arg)
{
    struct client *client = arg;
    dial(client);
    while (!atomic_load(&client->stop_requested)) {
        shl_loop_turn(&client->loop, UINT64_MAX);
        take_post(client);
    }
    shl_dialler_stop(&client->dialler);
    disconnect(client);
    return NULL;
}

static void request(struct shl_store *store, const struct shl_store_request *request)
{
    struct client *client = SHL_CONTAINER_OF(store, struct client, store);
    SHL_ASSERT(request->size <= SHL_STORE_VALUE_MAX);
    pthread_mutex_lock(&client->lock);
    client->posted = true;
    client->posted_id = request->id;
    client->posted_swap = request->swap;
    client->post_bytes = shl_store_put_request(client->post, request);
    pthread_mutex_unlock(&client->lock);
    shl_loop_wake(&client->loop);
}

/* ---- life ---------------------------------------------------------------------------------- */

static void free_client(struct client *client)
{
    pthread_mutex_destroy(&client->lock);
    explicit_bzero(&client->key, sizeof(client->key));
    shl_mem->free(client->post);
    shl_mem->free(client->out);
    shl_mem->free(client->body);
    shl_mem->free(client);
}

static void close_client(struct shl_store *store)
{
    struct client *client = SHL_CONTAINER_OF(store, struct client, store);
    atomic_store(&client->stop_requested, true);
    shl_loop_wake(&client->loop);
    pthread_join(client->thread, NULL);
    shl_loop_fini(&client->loop);
    free_client(client);
}

static const struct shl_store_ops ops = {.request = request, .close = close_client};

static enum shoal_status set_address(struct client *client, const char *address)
{
    snprintf(client->address, sizeof(client->address), "%s", address);
    if (address[0] != '@')
        return shl_sock_split(address, -1, client->host, sizeof(client->host), &client->port);
    client->target.count = 1;
    return shl_sockaddr_unix(address + 1, &client->target.addresses[0]);
}

static void prepare(struct client *client, const struct shl_store_options *options,
                    const struct shl_hello *hello)
{
    client->store.ops = &ops;
    client->arg = options->arg;
    client->answer = options->answer;
    client->key = *options->key;
    client->patience_ns = options->config->store_timeout_ms * MS;
    client->retry_ms = RETRY_FIRST_MS;
    shl_watch_init(&client->watch, on_ready, client);
    shl_timer_init(&client->patience, on_patience, client);
    shl_timer_init(&client->retry, on_retry, client);
    shl_dialler_init(&client->dialler, &client->loop);
    client->dialler.key = &client->key;
    client->dialler.hello = *hello;
    client->dialler.target = &client->target;
    client->dialler.give_up_when_refused = true;
    client->dialler.arg = client;
    client->dialler.done = on_dialled;
}

enum shoal_status shl_store_open_coordinator(const struct shl_store_options *options,
                                             struct shl_store **store)
{
    struct shl_hello hello = {
        .kind = SHL_CHANNEL_STORE, .rank = SHL_RANK_ANY, .target_rank = SHL_RANK_ANY};
    SHL_TRY(shl_mac_job_hash(options->job, hello.job));
    struct client *client = shl_mem->alloc(sizeof(*client));
    if (!client)
        return shl_fail(SHOAL_ERR_NOMEM, "no memory for a client of the coordinator");
    pthread_mutex_init(&client->lock, NULL);
    client->post = shl_mem->alloc(SHL_STORE_FRAME_MAX);
    client->out = shl_mem->alloc(SHL_STORE_FRAME_MAX);
    client->body = shl_mem->alloc(SHL_STORE_BODY_MAX);
    enum shoal_status status = set_address(client, options->address);
    if (status == SHOAL_OK && (!client->post || !client->out || !client->body))
        status = shl_fail(SHOAL_ERR_NOMEM, "no memory for a client of the coordinator");
    if (status < 0)
        goto free_client;
    status = shl_loop_init(&client->loop);
    if (status < 0)
        goto free_client;
    prepare(client, options, &hello);
    status = shl_thread_start(&client->thread, "shoal-store", run, client);
    if (status < 0)
        goto fini_loop;
    *store = &client->store;
    return SHOAL_OK;

fini_loop:
    shl_loop_fini(&client->loop);
free_client:
    free_client(client);
    return status;
}
