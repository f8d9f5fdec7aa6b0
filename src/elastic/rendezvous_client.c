/*
 * Joining a rendezvous: find it, prove the secret, hand over a blob, wait for everyone's.
 *
 * Invariant: whatever fails on the way is tried again until the deadline, except what trying again
 * cannot mend: a verdict of the server, another version, a wrong secret.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "control/control.h"
#include "control/dial.h"
#include "control/mac.h"
#include "control/resolve.h"
#include "core/log.h"
#include "core/sys.h"
#include "elastic/rendezvous_internal.h"

#include <stdio.h>
#include <string.h>

#define MS 1000000ull
#define RETRY_FIRST_MS 20
#define RETRY_LAST_MS 1000
#define DIAL_AGAIN_MS 3000 /* then the name is looked up again: it may lead elsewhere by now */

struct client {
    const char *address;
    const struct shl_key *key;
    struct shl_hello hello;
    uint64_t begun_ns, deadline_ns;
    uint32_t retry_ms;
    struct shl_dial_target target;
    char cause[512]; /* of the last failure */
    /* Set by the dialler's callback. */
    bool dialled;
    enum shl_dial_outcome outcome;
    enum shoal_status status;
    int fd;
};

static void remember(struct client *client, const char *cause)
{
    if (!client->cause[0])
        shl_log(SHL_LOG_INFO, "waiting for the rendezvous at %s: %s", client->address, cause);
    snprintf(client->cause, sizeof(client->cause), "%.500s", cause);
}

static void pause_before_retry(struct client *client)
{
    uint32_t chance = 0x80000000u;
    (void)shl_random->bytes(&chance, sizeof(chance)); /* without it there is less jitter */
    uint64_t wait = client->retry_ms * MS / 2 + ((client->retry_ms * MS) * chance >> 32);
    uint64_t now = shl_now_ns();
    uint64_t left = now < client->deadline_ns ? client->deadline_ns - now : 0;
    shl_time->sleep_ns(wait < left ? wait : left);
    client->retry_ms = client->retry_ms * 2 > RETRY_LAST_MS ? RETRY_LAST_MS : client->retry_ms * 2;
}

/* ---- reaching the server ----------------------------------------------------------------- */

static enum shoal_status find(struct client *client)
{
    char host[SHL_SOCK_TEXT_BYTES];
    uint16_t port;
    struct shl_dial_target *target = &client->target;
    if (client->address[0] == '@') {
        target->count = 1;
        return shl_sockaddr_unix(client->address + 1, &target->addresses[0]);
    }
    SHL_TRY(shl_sock_split(client->address, -1, host, sizeof(host), &port));
    target->count = 0;
    /* "*" is for who serves; it then is on this host. */
    return shl_resolve(strcmp(host, "*") == 0 ? "127.0.0.1" : host, port, client->deadline_ns,
                       target->addresses, SHL_DIAL_CANDIDATES, &target->count);
}

static void on_dialled(void *arg, const struct shl_dial_result *result)
{
    struct client *client = arg;
    client->dialled = true;
    client->outcome = result->outcome;
    client->status = result->status;
    client->fd = result->fd;
    if (result->outcome != SHL_DIAL_CONNECTED)
        remember(client, result->cause);
}

/* An authenticated connection in client->fd, or the reason in client->outcome and cause. */
static enum shoal_status dial(struct client *client)
{
    struct shl_loop loop;
    struct shl_dialler dialler;
    uint64_t again = shl_now_ns() + DIAL_AGAIN_MS * MS;
    SHL_TRY(shl_loop_init(&loop));
    shl_dialler_init(&dialler, &loop);
    dialler.key = client->key;
    dialler.hello = client->hello;
    dialler.target = &client->target;
    dialler.deadline_ns = again < client->deadline_ns ? again : client->deadline_ns;
    dialler.arg = client;
    dialler.done = on_dialled;
    client->dialled = false;
    shl_dialler_start(&dialler);
    while (!client->dialled)
        shl_loop_turn(&loop, UINT64_MAX);
    shl_dialler_stop(&dialler);
    shl_loop_fini(&loop);
    return SHOAL_OK;
}

/* ---- the exchange ------------------------------------------------------------------------ */

/* SHOAL_IN_PROGRESS: the connection broke, try again. */
static enum shoal_status recv_reply(struct client *client, uint32_t size,
                                    struct shl_rendezvous_result *result)
{
    uint8_t header[SHL_RENDEZVOUS_HEADER_BYTES];
    uint64_t most = 64 + SHL_RENDEZVOUS_TEXT_MAX + (uint64_t)size * (SHL_RENDEZVOUS_BLOB_MAX + 4);
    uint32_t bytes;
    if (shl_sock_recv_all(client->fd, header, sizeof(header), client->deadline_ns) < 0)
        return SHOAL_IN_PROGRESS;
    if (!shl_rendezvous_get_header(header, most > UINT32_MAX ? UINT32_MAX : (uint32_t)most, &bytes))
        return shl_fail(SHOAL_ERR_INTERNAL, "the rendezvous sent an answer that cannot be read");
    uint8_t *body = shl_mem->alloc(bytes ? bytes : 1);
    if (!body)
        return shl_fail(SHOAL_ERR_NOMEM, "no memory for a rendezvous answer of %u bytes", bytes);
    enum shoal_status status = SHOAL_IN_PROGRESS;
    if (shl_sock_recv_all(client->fd, body, bytes, client->deadline_ns) == SHOAL_OK)
        status = shl_rendezvous_get_reply(body, bytes, result);
    shl_mem->free(body);
    return status;
}

static enum shoal_status exchange(struct client *client, struct shl_rendezvous_join *join,
                                  struct shl_rendezvous_result *result)
{
    uint64_t now = shl_now_ns();
    uint64_t patience_ms = now < client->deadline_ns ? (client->deadline_ns - now) / MS : 0;
    size_t capacity = SHL_RENDEZVOUS_HEADER_BYTES + SHL_RENDEZVOUS_JOIN_BYTES + join->blob_bytes;
    uint8_t *wire = shl_mem->alloc(capacity);
    if (!wire)
        return shl_fail(SHOAL_ERR_NOMEM, "no memory for a rendezvous message");
    join->patience_ms = patience_ms > UINT32_MAX ? UINT32_MAX : (uint32_t)patience_ms;
    size_t bytes = shl_rendezvous_put_join(wire, capacity, join);
    enum shoal_status status = shl_sock_send_all(client->fd, wire, bytes, client->deadline_ns);
    shl_mem->free(wire);
    status = status < 0 ? SHOAL_IN_PROGRESS : recv_reply(client, join->size, result);
    if (status == SHOAL_IN_PROGRESS)
        remember(client, shl_error_text());
    if (status == SHOAL_OK && result->size != join->size) {
        shl_rendezvous_result_free(result);
        status = shl_fail(SHOAL_ERR_INTERNAL, "the rendezvous answered for another size");
    }
    return status;
}

/* One attempt from name to answer. SHOAL_IN_PROGRESS: worth another. */
static enum shoal_status attempt(struct client *client, struct shl_rendezvous_join *join,
                                 struct shl_rendezvous_result *result)
{
    enum shoal_status status = find(client);
    if (status == SHOAL_ERR_INVALID)
        return status;
    if (status < 0) {
        remember(client, shl_error_text());
        return SHOAL_IN_PROGRESS;
    }
    SHL_TRY(dial(client));
    if (client->outcome == SHL_DIAL_DENIED)
        return shl_fail(client->status, "the rendezvous at %s cannot be joined: %s",
                        client->address, client->cause);
    if (client->outcome != SHL_DIAL_CONNECTED)
        return SHOAL_IN_PROGRESS;
    status = exchange(client, join, result);
    shl_fd->close(client->fd);
    return status;
}

enum shoal_status shl_rendezvous_join(const struct shl_config *config, const char *address,
                                      const char *job, const struct shl_key *key, uint32_t rank,
                                      uint32_t size, const void *blob, size_t blob_bytes,
                                      uint64_t deadline_ns, struct shl_rendezvous_result *result)
{
    if (blob_bytes > SHL_RENDEZVOUS_BLOB_MAX || rank >= size || size > SHL_RENDEZVOUS_SIZE_MAX)
        return shl_fail(SHOAL_ERR_INVALID, "rank %u of %u cannot publish %zu bytes; %d are allowed",
                        rank, size, blob_bytes, SHL_RENDEZVOUS_BLOB_MAX);
    struct client client = {
        .address = address,
        .key = key,
        .hello = {.kind = SHL_CHANNEL_RENDEZVOUS, .rank = rank, .target_rank = SHL_RANK_ANY},
        .begun_ns = shl_now_ns(),
        .deadline_ns = deadline_ns,
        .retry_ms = RETRY_FIRST_MS};
    struct shl_rendezvous_join join = {.rank = rank,
                                       .size = size,
                                       .digest = shl_config_digest(config),
                                       .blob = blob,
                                       .blob_bytes = (uint32_t)blob_bytes};
    SHL_TRY(shl_mac_job_hash(job, client.hello.job));
    if (shl_random->bytes(join.instance, sizeof(join.instance)))
        return shl_fail_errno("no random bytes for the rendezvous");
    do {
        enum shoal_status status = attempt(&client, &join, result);
        if (status != SHOAL_IN_PROGRESS)
            return status;
        pause_before_retry(&client);
    } while (shl_now_ns() < deadline_ns);
    return shl_fail(SHOAL_ERR_ABSENT,
                    "rank %u found no rendezvous at %s within %.3g s: %s; check that rank 0 or "
                    "`shoal run` serves it and that SHOAL_RENDEZVOUS is right",
                    rank, address, (double)(shl_now_ns() - client.begun_ns) / 1e9,
                    client.cause[0] ? client.cause : "no answer");
}
