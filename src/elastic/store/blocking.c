/*
 * Two threads: one calls the store, one keeps the time.
 *
 * Invariant: each request is answered once, by whichever thread takes it out of `open` first.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "elastic/store/blocking.h"

#include "control/thread.h"
#include "core/bytes.h"
#include "core/list.h"
#include "core/log.h"
#include "core/sys.h"

#include <string.h>
#include <time.h>

#define MS 1000000ull
#define MAGIC 0x434c4853u /* "SHLC" */

struct job {
    struct shl_store_request request; /* its bytes are in `value` */
    uint64_t deadline_ns;
    uint8_t value[SHL_STORE_VALUE_MAX];
};

struct client {
    struct shl_store store; /* first: it is what the owner holds */
    const struct shl_blocking_ops *ops;
    void *backend;
    void *arg;
    void (*answer)(void *arg, const struct shl_store_answer *answer);
    uint64_t patience_ns;
    pthread_t caller, keeper;

    pthread_mutex_t lock; /* of the next group */
    pthread_cond_t changed;
    bool stop;
    bool open;   /* a request has no answer yet */
    bool posted; /* and the caller has not taken it */
    struct job *post;

    pthread_mutex_t answering; /* held while an answer is given, so that they do not overlap */

    /* The caller's own. */
    struct job *taken;
    bool silent;           /* the last call failed, and that was said */
    struct shl_cell *seen; /* the newest cell known */
    struct shl_cell *desired;
};

/* ---- cells --------------------------------------------------------------------------------- */

static bool get_cell(const uint8_t *bytes, size_t size, uint64_t *incarnation, uint64_t *version)
{
    struct shl_bytes in = shl_bytes_reader(bytes, size);
    uint32_t magic = shl_bytes_get_u32(&in), zero = shl_bytes_get_u32(&in);
    *incarnation = shl_bytes_get_u64(&in);
    *version = shl_bytes_get_u64(&in);
    return !in.failed && magic == MAGIC && !zero && *incarnation && size <= SHL_CELL_BYTES_MAX;
}

static void put_cell(struct shl_cell *cell, uint64_t incarnation, uint64_t version,
                     const void *value, size_t size)
{
    struct shl_bytes out = shl_bytes_writer(cell->bytes, sizeof(cell->bytes));
    shl_bytes_put_u32(&out, MAGIC);
    shl_bytes_put_u32(&out, 0);
    shl_bytes_put_u64(&out, incarnation);
    shl_bytes_put_u64(&out, version);
    if (size)
        shl_bytes_put(&out, value, size);
    SHL_ASSERT(!out.failed);
    cell->size = out.at;
    cell->token = 0;
}

static enum shoal_status read_once(struct client *client, uint64_t deadline_ns)
{
    client->seen->token = 0;
    client->seen->size = 0;
    return client->ops->read(client->backend, deadline_ns, client->seen);
}

/* A store without a cell gets one, without a value and with an incarnation of its own. Of several
 * clients that try, one succeeds. */
static enum shoal_status found(struct client *client, uint64_t deadline_ns)
{
    uint64_t incarnation = 0;
    bool done;
    while (!incarnation)
        if (shl_random->bytes(&incarnation, sizeof(incarnation)))
            return shl_fail_errno("no random bytes for the incarnation of a register");
    put_cell(client->desired, incarnation, 0, NULL, 0);
    SHL_TRY(client->ops->swap(client->backend, deadline_ns, client->seen, client->desired, &done));
    return read_once(client, deadline_ns);
}

static enum shoal_status read_cell(struct client *client, uint64_t deadline_ns,
                                   struct shl_store_answer *answer)
{
    const struct shl_cell *cell = client->seen;
    SHL_TRY(read_once(client, deadline_ns));
    if (!cell->size)
        SHL_TRY(found(client, deadline_ns));
    if (!get_cell(cell->bytes, cell->size, &answer->incarnation, &answer->version))
        return shl_fail(SHOAL_ERR_STORE,
                        "the store holds %zu bytes that Shoal has not written; is the key of this "
                        "job used by something else?",
                        cell->size);
    answer->bytes = cell->bytes + SHL_CELL_HEAD_BYTES;
    answer->size = cell->size - SHL_CELL_HEAD_BYTES;
    return SHOAL_OK;
}

/* ---- calling ------------------------------------------------------------------------------- */

static enum shoal_status swap_cell(struct client *client, const struct job *job,
                                   struct shl_store_answer *answer)
{
    const struct shl_store_request *request = &job->request;
    bool done = false;
    SHL_TRY(read_cell(client, job->deadline_ns, answer));
    answer->result = SHL_STORE_CONFLICT;
    if ((request->incarnation && request->incarnation != answer->incarnation) ||
        request->version != answer->version)
        return SHOAL_OK;
    put_cell(client->desired, answer->incarnation, request->version + 1, request->bytes,
             request->size);
    SHL_TRY(
        client->ops->swap(client->backend, job->deadline_ns, client->seen, client->desired, &done));
    if (!done) /* somebody was quicker */
        return read_cell(client, job->deadline_ns, answer);
    *answer = (struct shl_store_answer){.id = request->id,
                                        .result = SHL_STORE_OK,
                                        .incarnation = answer->incarnation,
                                        .version = request->version + 1};
    return SHOAL_OK;
}

static void carry_out(struct client *client, const struct job *job, struct shl_store_answer *answer)
{
    enum shoal_status status;
    *answer = (struct shl_store_answer){.id = job->request.id, .result = SHL_STORE_OK};
    if (job->request.swap)
        status = swap_cell(client, job, answer);
    else
        status = read_cell(client, job->deadline_ns, answer);
    if (status < 0) {
        if (!client->silent)
            shl_log(SHL_LOG_WARN, "the store does not answer: %s", shl_error_text());
        *answer = (struct shl_store_answer){.id = job->request.id, .result = SHL_STORE_UNKNOWN};
    }
    client->silent = status < 0;
}

/* ---- answering ----------------------------------------------------------------------------- */

/* Whoever closes the request answers it. */
static void give_answer(struct client *client, const struct shl_store_answer *answer)
{
    pthread_mutex_lock(&client->answering);
    pthread_mutex_lock(&client->lock);
    bool mine = client->open && client->post->request.id == answer->id && !client->stop;
    if (mine) {
        client->open = client->posted = false;
        pthread_cond_broadcast(&client->changed);
    }
    pthread_mutex_unlock(&client->lock);
    if (mine)
        client->answer(client->arg, answer);
    pthread_mutex_unlock(&client->answering);
}

static void *run_caller(void *arg)
{
    struct client *client = arg;
    struct shl_store_answer answer;
    for (;;) {
        pthread_mutex_lock(&client->lock);
        while (!client->stop && !client->posted)
            pthread_cond_wait(&client->changed, &client->lock);
        bool stop = client->stop;
        if (!stop) {
            /* A copy: the owner may post another one while this is being carried out. */
            memcpy(client->taken->value, client->post->value, client->post->request.size);
            client->taken->request = client->post->request;
            client->taken->request.bytes = client->taken->value;
            client->taken->deadline_ns = client->post->deadline_ns;
            client->posted = false;
        }
        pthread_mutex_unlock(&client->lock);
        if (stop)
            return NULL;
        carry_out(client, client->taken, &answer);
        give_answer(client, &answer);
    }
}

static void wait_until(struct client *client, uint64_t at_ns)
{
    struct timespec at = {.tv_sec = (time_t)(at_ns / 1000000000ull),
                          .tv_nsec = (long)(at_ns % 1000000000ull)};
    pthread_cond_timedwait(&client->changed, &client->lock, &at);
}

static void *run_keeper(void *arg)
{
    struct client *client = arg;
    struct shl_store_answer unknown = {.result = SHL_STORE_UNKNOWN};
    pthread_mutex_lock(&client->lock);
    while (!client->stop) {
        uint64_t now = shl_now_ns();
        if (!client->open) {
            pthread_cond_wait(&client->changed, &client->lock);
        } else if (now < client->post->deadline_ns) {
            wait_until(client, client->post->deadline_ns);
        } else {
            unknown.id = client->post->request.id;
            pthread_mutex_unlock(&client->lock);
            give_answer(client, &unknown);
            pthread_mutex_lock(&client->lock);
        }
    }
    pthread_mutex_unlock(&client->lock);
    return NULL;
}

static void request(struct shl_store *store, const struct shl_store_request *request)
{
    struct client *client = SHL_CONTAINER_OF(store, struct client, store);
    SHL_ASSERT(request->size <= SHL_STORE_VALUE_MAX);
    pthread_mutex_lock(&client->lock);
    client->post->request = *request;
    client->post->request.size = request->swap ? request->size : 0;
    if (client->post->request.size)
        memcpy(client->post->value, request->bytes, request->size);
    client->post->deadline_ns = shl_now_ns() + client->patience_ns;
    client->open = client->posted = true;
    pthread_cond_broadcast(&client->changed);
    pthread_mutex_unlock(&client->lock);
}

/* ---- life ---------------------------------------------------------------------------------- */

static void stop(struct client *client)
{
    pthread_mutex_lock(&client->lock);
    client->stop = true;
    pthread_cond_broadcast(&client->changed);
    pthread_mutex_unlock(&client->lock);
}

static void free_client(struct client *client)
{
    pthread_cond_destroy(&client->changed);
    pthread_mutex_destroy(&client->lock);
    pthread_mutex_destroy(&client->answering);
    shl_mem->free(client->post);
    shl_mem->free(client->taken);
    shl_mem->free(client->seen);
    shl_mem->free(client->desired);
    shl_mem->free(client);
}

static void close_client(struct shl_store *store)
{
    struct client *client = SHL_CONTAINER_OF(store, struct client, store);
    stop(client);
    pthread_join(client->keeper, NULL);
    pthread_join(client->caller, NULL);
    client->ops->close(client->backend);
    free_client(client);
}

static const struct shl_store_ops store_ops = {.request = request, .close = close_client};

static enum shoal_status start(struct client *client)
{
    SHL_TRY(shl_thread_start(&client->caller, "shoal-store", run_caller, client));
    enum shoal_status status =
        shl_thread_start(&client->keeper, "shoal-patience", run_keeper, client);
    if (status < 0) {
        stop(client);
        pthread_join(client->caller, NULL);
    }
    return status;
}

static void prepare(struct client *client, const struct shl_store_options *options,
                    const struct shl_blocking_ops *ops, void *backend)
{
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&client->changed, &monotonic);
    pthread_condattr_destroy(&monotonic);
    pthread_mutex_init(&client->lock, NULL);
    pthread_mutex_init(&client->answering, NULL);
    client->store.ops = &store_ops;
    client->ops = ops;
    client->backend = backend;
    client->arg = options->arg;
    client->answer = options->answer;
    client->patience_ns = options->config->store_timeout_ms * MS;
}

enum shoal_status shl_blocking_open(const struct shl_store_options *options,
                                    const struct shl_blocking_ops *ops, void *backend,
                                    struct shl_store **opened)
{
    enum shoal_status status = SHOAL_OK;
    struct client *client = shl_mem->alloc(sizeof(*client));
    if (!client) {
        ops->close(backend);
        return shl_fail(SHOAL_ERR_NOMEM, "no memory for a client of the store");
    }
    prepare(client, options, ops, backend);
    client->post = shl_mem->alloc(sizeof(*client->post));
    client->taken = shl_mem->alloc(sizeof(*client->taken));
    client->seen = shl_mem->alloc(sizeof(*client->seen));
    client->desired = shl_mem->alloc(sizeof(*client->desired));
    if (!client->post || !client->taken || !client->seen || !client->desired)
        status = shl_fail(SHOAL_ERR_NOMEM, "no memory for a client of the store");
    else
        status = start(client);
    if (status < 0) {
        ops->close(backend);
        free_client(client);
        return status;
    }
    *opened = &client->store;
    return SHOAL_OK;
}
