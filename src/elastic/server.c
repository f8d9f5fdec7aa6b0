/*
 * The thread and life that the servers of a job share.
 *
 * Invariant: strangers end in the listener; nothing that they send is read before they have proved
 * the secret.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "elastic/server.h"

#include "control/thread.h"
#include "core/log.h"
#include "elastic/listen.h"

/* Who it is comes with its first message. */
static enum shl_welcome admit(void *arg, const struct shl_hello *hello, bool local)
{
    (void)arg;
    (void)hello;
    (void)local;
    return SHL_WELCOME_OK;
}

static void accepted(void *arg, int fd, const struct shl_hello *hello, bool local)
{
    struct shl_server *server = arg;
    (void)hello;
    (void)local;
    server->accepted(server->arg, fd);
}

static void *run(void *arg)
{
    struct shl_server *server = arg;
    while (!atomic_load(&server->stop_requested))
        shl_loop_turn(&server->loop, UINT64_MAX);
    if (server->stopping)
        server->stopping(server->arg);
    return NULL;
}

enum shoal_status shl_server_start(struct shl_server *server,
                                   const struct shl_server_options *options)
{
    struct shl_listener *listener = &server->listener;
    server->key = *options->key;
    server->arg = options->arg;
    server->accepted = options->accepted;
    server->stopping = options->stopping;
    SHL_TRY(shl_loop_init(&server->loop));
    shl_listener_init(listener, &server->loop, &server->key, options->expect);
    listener->arg = server;
    listener->admit = admit;
    listener->accepted = accepted;
    enum shoal_status status =
        shl_listen_at(listener, options->config, options->what, options->address, server->address);
    if (status == SHOAL_OK)
        status = shl_listener_start(listener);
    if (status == SHOAL_OK)
        status = shl_thread_start(&server->thread, options->thread, run, server);
    if (status < 0) {
        shl_server_fini(server);
        return status;
    }
    shl_log(SHL_LOG_DEBUG, "the %s listens at %s", options->what, server->address);
    return SHOAL_OK;
}

void shl_server_stop(struct shl_server *server)
{
    atomic_store(&server->stop_requested, true);
    shl_loop_wake(&server->loop);
    pthread_join(server->thread, NULL);
}

void shl_server_fini(struct shl_server *server)
{
    shl_listener_fini(&server->listener);
    shl_loop_fini(&server->loop);
}
