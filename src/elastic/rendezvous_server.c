/*
 * The life of the rendezvous.
 *
 * Invariant: whoever waits is told how it ended, before the server goes away.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "control/control.h"
#include "control/mac.h"
#include "core/sys.h"
#include "elastic/rendezvous_internal.h"

#define LINGER_NS 2000000000ull

static void accepted(void *arg, int fd)
{
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

static void linger(void *arg)
{
    struct shl_rendezvous_server *server = arg;
    uint64_t deadline_ns = shl_now_ns() + LINGER_NS;
    while (is_answering(server) && shl_now_ns() < deadline_ns)
        shl_loop_turn(&server->base.loop, deadline_ns);
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
    shl_list_init(&server->members);
    const struct shl_server_options options = {.config = config,
                                               .what = "rendezvous",
                                               .thread = "shoal-meet",
                                               .address = address,
                                               .key = key,
                                               .expect = &expect,
                                               .arg = server,
                                               .accepted = accepted,
                                               .stopping = linger};
    enum shoal_status status = shl_server_start(&server->base, &options);
    if (status < 0)
        shl_mem->free(server);
    else
        *served = server;
    return status;
}

const char *shl_rendezvous_address(const struct shl_rendezvous_server *server)
{
    return server->base.address;
}

void shl_rendezvous_stop(struct shl_rendezvous_server *server)
{
    if (!server)
        return;
    shl_server_stop(&server->base);
    shl_rendezvous_round_dismiss(server);
    while (!shl_list_empty(&server->members))
        shl_rendezvous_member_close(
            SHL_CONTAINER_OF(server->members.next, struct shl_rendezvous_member, link));
    shl_rendezvous_round_free(&server->round);
    shl_server_fini(&server->base);
    shl_mem->free(server);
}
