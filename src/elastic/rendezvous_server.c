/*
 * The rendezvous server: its thread and its life.
 *
 * Invariant: strangers end in the listener; only clients that proved the secret become members.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "control/control.h"
#include "control/mac.h"
#include "control/thread.h"
#include "core/log.h"
#include "core/sys.h"
#include "elastic/listen.h"
#include "elastic/rendezvous_internal.h"

#define LINGER_NS 2000000000ull

static enum shl_welcome admit(void *arg, const struct shl_hello *hello, bool local)
{
    (void)arg;
    (void)hello;
    (void)local;
    return SHL_WELCOME_OK;
}

static void accepted(void *arg, int fd, const struct shl_hello *hello, bool local)
{
    (void)hello;
    (void)local;
    shl_rendezvous_member_accept(arg, fd);
}

/* Whether someone is still reading its reply. */
static bool is_answering(const struct shl_rendezvous_server *server)
{
    struct shl_list *node, *next;
    SHL_LIST_FOR_EACH(node, next, &server->members)
    {
        if (SHL_CONTAINER_OF(node, struct shl_rendezvous_member, link)->reply)
            return true;
    }
    return false;
}

static void *run(void *arg)
{
    struct shl_rendezvous_server *server = arg;
    while (!atomic_load(&server->stop_requested))
        shl_loop_turn(&server->loop, UINT64_MAX);
    uint64_t deadline_ns = shl_now_ns() + LINGER_NS;
    while (is_answering(server) && shl_now_ns() < deadline_ns)
        shl_loop_turn(&server->loop, deadline_ns);
    return NULL;
}

enum shoal_status shl_rendezvous_serve(const struct shl_config *config, const char *address,
                                       const char *job, const struct shl_key *key,
                                       struct shl_rendezvous_server **served)
{
    struct shl_hello expect = {.kind = SHL_CHANNEL_RENDEZVOUS, .rank = SHL_RANK_ANY};
    SHL_TRY(shl_mac_job_hash(job, expect.job));
    struct shl_rendezvous_server *server = shl_mem->alloc(sizeof(*server));
    if (!server)
        return shl_fail(SHOAL_ERR_NOMEM, "no memory for the rendezvous");
    server->key = *key;
    shl_list_init(&server->members);
    enum shoal_status status = shl_loop_init(&server->loop);
    if (status < 0)
        goto free_server;
    shl_listener_init(&server->listener, &server->loop, &server->key, &expect);
    server->listener.arg = server;
    server->listener.admit = admit;
    server->listener.accepted = accepted;
    status = shl_listen_at(&server->listener, config, "rendezvous", address, server->address);
    if (status == SHOAL_OK)
        status = shl_listener_start(&server->listener);
    if (status == SHOAL_OK)
        status = shl_thread_start(&server->thread, "shoal-meet", run, server);
    if (status < 0)
        goto fini_listener;
    shl_log(SHL_LOG_DEBUG, "the rendezvous listens at %s", server->address);
    *served = server;
    return SHOAL_OK;

fini_listener:
    shl_listener_fini(&server->listener);
    shl_loop_fini(&server->loop);
free_server:
    shl_mem->free(server);
    return status;
}

const char *shl_rendezvous_address(const struct shl_rendezvous_server *server)
{
    return server->address;
}

void shl_rendezvous_stop(struct shl_rendezvous_server *server)
{
    if (!server)
        return;
    atomic_store(&server->stop_requested, true);
    shl_loop_wake(&server->loop);
    pthread_join(server->thread, NULL);
    shl_rendezvous_round_dismiss(server);
    while (!shl_list_empty(&server->members))
        shl_rendezvous_member_close(
            SHL_CONTAINER_OF(server->members.next, struct shl_rendezvous_member, link));
    shl_rendezvous_round_free(&server->round);
    shl_listener_fini(&server->listener);
    shl_loop_fini(&server->loop);
    shl_mem->free(server);
}
