/*
 * A register in etcd v3, through the JSON gateway that every member of a cluster serves.
 *
 * The register is one key, "shoal/" and the job's name. A swap is a transaction that compares the
 * key's mod_revision with that of the read before it. Any endpoint serves; after a failure the next
 * one is asked.
 *
 * Invariant: a transaction whose reply was lost is read back before anything is said about it. Sent
 * again it can do no harm, since of those that name one revision one at most succeeds.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "control/base64.h"
#include "control/sock.h"
#include "core/sys.h"
#include "elastic/store/blocking.h"
#include "elastic/store/client.h"
#include "elastic/store/etcd_http.h"

#include <stdio.h>
#include <string.h>

#define ENDPOINTS_MAX 16
#define DEFAULT_PORT 2379

struct etcd {
    struct shl_etcd_http http;
    const struct shl_config *config; /* for user and password */
    char urls[ENDPOINTS_MAX][SHL_SOCK_TEXT_BYTES + 16];
    uint32_t count, current;
    char key[SHL_ETCD_KEY_MAX]; /* base64 */
    struct shl_cell seen;       /* what a transaction without a reply came to */
};

/* ---- one question to one endpoint ---------------------------------------------------------- */

/* What is asked: the value, or a transaction. */
struct question {
    const char *path;
    uint64_t mod_revision;
    const struct shl_cell *desired; /* NULL: read */
};

/* SHOAL_ERR_AUTH: etcd wants to know who asks. */
static enum shoal_status post(struct etcd *etcd, const char *path, uint64_t deadline_ns)
{
    struct shl_etcd_http *http = &etcd->http;
    const char *url = etcd->urls[etcd->current];
    char message[160];
    long code;
    SHL_TRY(shl_etcd_http_post(http, url, path, deadline_ns, &code));
    if (code == 200)
        return SHOAL_OK;
    shl_etcd_get_error(http->libs, http->answer, http->answer_bytes, message, sizeof(message));
    bool unknown_user = code == 401 || strstr(message, "invalid auth token") ||
                        strstr(message, "user name is empty");
    return shl_fail(unknown_user ? SHOAL_ERR_AUTH : SHOAL_ERR_STORE, "etcd at %s: HTTP %ld, %s",
                    url, code, message[0] ? message : "without a message");
}

static enum shoal_status log_in(struct etcd *etcd, uint64_t deadline_ns)
{
    struct shl_etcd_http *http = &etcd->http;
    if (!shl_etcd_put_login(http->request, etcd->config->etcd_user, etcd->config->etcd_password))
        return shl_fail(SHOAL_ERR_CONFIG, "SHOAL_ETCD_USER or SHOAL_ETCD_PASSWORD hold a quote, a "
                                          "backslash or a control character");
    enum shoal_status status = post(etcd, "/v3/auth/authenticate", deadline_ns);
    explicit_bzero(http->request, strlen(http->request));
    SHL_TRY(status);
    if (!shl_etcd_get_token(http->libs, http->answer, http->answer_bytes, http->token,
                            sizeof(http->token)))
        return shl_fail(SHOAL_ERR_STORE, "etcd at %s gave no token that can be read",
                        etcd->urls[etcd->current]);
    return SHOAL_OK;
}

static enum shoal_status ask_once(struct etcd *etcd, const struct question *question,
                                  uint64_t deadline_ns)
{
    bool user = etcd->config->etcd_user[0] != '\0';
    enum shoal_status status = SHOAL_OK;
    for (int round = 0; round < 2; round++) {
        if (user && !etcd->http.token[0])
            SHL_TRY(log_in(etcd, deadline_ns));
        if (question->desired)
            shl_etcd_put_txn(etcd->http.request, etcd->key, question->mod_revision,
                             question->desired);
        else
            shl_etcd_put_range(etcd->http.request, etcd->key);
        status = post(etcd, question->path, deadline_ns);
        if (status != SHOAL_ERR_AUTH || !user)
            return status;
        etcd->http.token[0] = '\0'; /* tokens expire */
    }
    return status;
}

/* After a failure the next question goes to the next endpoint. */
static enum shoal_status ask(struct etcd *etcd, const struct question *question,
                             uint64_t deadline_ns)
{
    enum shoal_status status = ask_once(etcd, question, deadline_ns);
    if (status < 0)
        etcd->current = (etcd->current + 1) % etcd->count;
    return status;
}

static uint64_t share_of(uint64_t deadline_ns, uint32_t parts)
{
    uint64_t now = shl_now_ns();
    return now < deadline_ns ? now + (deadline_ns - now) / parts : deadline_ns;
}

static enum shoal_status cannot_read(const struct etcd *etcd)
{
    return shl_fail(SHOAL_ERR_STORE, "etcd at %s sent an answer that cannot be read",
                    etcd->urls[etcd->current]);
}

/* ---- a register ---------------------------------------------------------------------------- */

static enum shoal_status read_it(void *arg, uint64_t deadline_ns, struct shl_cell *cell)
{
    static const struct question question = {.path = "/v3/kv/range"};
    struct etcd *etcd = arg;
    enum shoal_status status = SHOAL_OK;
    for (uint32_t left = etcd->count; left; left--) {
        status = ask(etcd, &question, share_of(deadline_ns, left));
        if (status == SHOAL_OK)
            break;
    }
    SHL_TRY(status);
    if (!shl_etcd_get_range(etcd->http.libs, etcd->http.answer, etcd->http.answer_bytes, cell))
        return cannot_read(etcd);
    return SHOAL_OK;
}

static bool is_same(const struct shl_cell *one, const struct shl_cell *other)
{
    return one->size == other->size && memcmp(one->bytes, other->bytes, one->size) == 0;
}

static enum shoal_status swap_it(void *arg, uint64_t deadline_ns, const struct shl_cell *expected,
                                 const struct shl_cell *desired, bool *done)
{
    struct etcd *etcd = arg;
    struct question question = {
        .path = "/v3/kv/txn", .mod_revision = expected->token, .desired = desired};
    bool unsure = false; /* an earlier transaction may have succeeded */
    do {
        bool succeeded = false;
        enum shoal_status status = ask(etcd, &question, share_of(deadline_ns, 2));
        if (status == SHOAL_OK && !shl_etcd_get_txn(etcd->http.libs, etcd->http.answer,
                                                    etcd->http.answer_bytes, &succeeded))
            status = cannot_read(etcd);
        if (status == SHOAL_OK && (succeeded || !unsure)) {
            *done = succeeded;
            return SHOAL_OK;
        }
        unsure = true;
        SHL_TRY(read_it(etcd, deadline_ns, &etcd->seen));
        if (is_same(&etcd->seen, desired)) {
            *done = true;
            return SHOAL_OK;
        }
        if (etcd->seen.token != expected->token)
            return shl_fail(SHOAL_ERR_STORE, "the reply of etcd was lost, and the register has "
                                             "changed since");
    } while (shl_now_ns() < deadline_ns);
    return shl_fail(SHOAL_ERR_TIMEOUT, "etcd did not answer in time");
}

/* ---- life ---------------------------------------------------------------------------------- */

static void close_it(void *arg)
{
    struct etcd *etcd = arg;
    shl_etcd_http_close(&etcd->http);
    shl_mem->free(etcd);
}

static const struct shl_blocking_ops ops = {.read = read_it, .swap = swap_it, .close = close_it};

static enum shoal_status add_endpoint(struct etcd *etcd, const char *scheme, const char *text,
                                      size_t length)
{
    char endpoint[SHL_SOCK_TEXT_BYTES], host[SHL_SOCK_TEXT_BYTES];
    uint16_t port;
    if (length >= sizeof(endpoint) || etcd->count == ENDPOINTS_MAX)
        return shl_fail(SHOAL_ERR_INVALID,
                        "an etcd store has at most %d endpoints, each of at most %zu characters",
                        ENDPOINTS_MAX, sizeof(endpoint) - 1);
    snprintf(endpoint, sizeof(endpoint), "%.*s", (int)length, text);
    SHL_TRY(shl_sock_split(endpoint, DEFAULT_PORT, host, sizeof(host), &port));
    snprintf(etcd->urls[etcd->count++], sizeof(etcd->urls[0]),
             strchr(host, ':') ? "%s://[%s]:%u" : "%s://%s:%u", scheme, host, port);
    return SHOAL_OK;
}

static enum shoal_status set_endpoints(struct etcd *etcd, const char *address)
{
    bool tls = strncmp(address, "etcds://", 8) == 0;
    const char *at = address + (tls ? 8 : 7);
    for (;;) {
        size_t length = strcspn(at, ",");
        SHL_TRY(add_endpoint(etcd, tls ? "https" : "http", at, length));
        if (!at[length])
            return SHOAL_OK;
        at += length + 1;
    }
}

static enum shoal_status set_key(struct etcd *etcd, const char *job)
{
    char key[SHL_ETCD_KEY_MAX / 4 * 3];
    if (snprintf(key, sizeof(key), "shoal/%s", job) >= (int)sizeof(key) - 3)
        return shl_fail(SHOAL_ERR_INVALID, "the job name is too long for a key in etcd: %s", job);
    shl_base64_encode(etcd->key, key, strlen(key));
    return SHOAL_OK;
}

enum shoal_status shl_store_open_etcd(const struct shl_store_options *options,
                                      struct shl_store **opened)
{
    uint32_t chance = 0;
    struct etcd *etcd = shl_mem->alloc(sizeof(*etcd));
    if (!etcd)
        return shl_fail(SHOAL_ERR_NOMEM, "no memory for a client of etcd");
    etcd->config = options->config;
    enum shoal_status status = set_endpoints(etcd, options->address);
    if (status == SHOAL_OK)
        status = set_key(etcd, options->job);
    if (status == SHOAL_OK)
        status = shl_etcd_http_open(options->config, &etcd->http);
    if (status < 0) {
        shl_mem->free(etcd);
        return status;
    }
    /* Not all workers begin with the same endpoint; without randomness they do. */
    (void)shl_random->bytes(&chance, sizeof(chance));
    etcd->current = chance % etcd->count;
    return shl_blocking_open(options, &ops, etcd, opened);
}
