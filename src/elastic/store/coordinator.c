/*
 * The coordinator's thread and life.
 *
 * Invariant: nothing that the register's clients send is read before they proved the secret.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "elastic/store/coordinator.h"

#include "control/control.h"
#include "control/mac.h"
#include "control/thread.h"
#include "core/log.h"
#include "core/sys.h"
#include "elastic/listen.h"
#include "elastic/store/coordinator_internal.h"

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
    shl_guest_accept(arg, fd);
}

static void *run(void *arg)
{
    struct shl_coordinator *coordinator = arg;
    while (!atomic_load(&coordinator->stop_requested))
        shl_loop_turn(&coordinator->loop, UINT64_MAX);
    return NULL;
}

/* The journal and the loop are there: listen and run. */
static enum shoal_status start(struct shl_coordinator *coordinator,
                               const struct shl_coordinator_options *options,
                               const struct shl_hello *expect)
{
    struct shl_listener *listener = &coordinator->listener;
    shl_listener_init(listener, &coordinator->loop, &coordinator->key, expect);
    listener->arg = coordinator;
    listener->admit = admit;
    listener->accepted = accepted;
    enum shoal_status status = shl_listen_at(listener, options->config, "coordinator",
                                             options->address, coordinator->address);
    if (status == SHOAL_OK)
        status = shl_listener_start(listener);
    if (status == SHOAL_OK)
        status = shl_thread_start(&coordinator->thread, "shoal-store", run, coordinator);
    if (status < 0)
        shl_listener_fini(listener);
    return status;
}

enum shoal_status shl_coordinator_serve(const struct shl_coordinator_options *options,
                                        struct shl_coordinator **served)
{
    struct shl_hello expect = {.kind = SHL_CHANNEL_STORE, .rank = SHL_RANK_ANY};
    SHL_TRY(shl_mac_job_hash(options->job, expect.job));
    struct shl_coordinator *coordinator = shl_mem->alloc(sizeof(*coordinator));
    if (!coordinator)
        return shl_fail(SHOAL_ERR_NOMEM, "no memory for the coordinator");
    coordinator->key = *options->key;
    shl_list_init(&coordinator->guests);
    enum shoal_status status =
        shl_journal_open(&coordinator->journal, options->journal, expect.job);
    if (status < 0)
        goto free_coordinator;
    status = shl_loop_init(&coordinator->loop);
    if (status < 0)
        goto close_journal;
    status = start(coordinator, options, &expect);
    if (status < 0)
        goto fini_loop;
    shl_log(SHL_LOG_DEBUG, "the coordinator listens at %s", coordinator->address);
    *served = coordinator;
    return SHOAL_OK;

fini_loop:
    shl_loop_fini(&coordinator->loop);
close_journal:
    shl_journal_close(&coordinator->journal);
free_coordinator:
    shl_mem->free(coordinator);
    return status;
}

void shl_coordinator_stop(struct shl_coordinator *coordinator)
{
    if (!coordinator)
        return;
    atomic_store(&coordinator->stop_requested, true);
    shl_loop_wake(&coordinator->loop);
    pthread_join(coordinator->thread, NULL);
    while (!shl_list_empty(&coordinator->guests))
        shl_guest_close(SHL_CONTAINER_OF(coordinator->guests.next, struct shl_guest, link));
    shl_listener_fini(&coordinator->listener);
    shl_loop_fini(&coordinator->loop);
    shl_journal_close(&coordinator->journal);
    shl_mem->free(coordinator);
}

const char *shl_coordinator_address(const struct shl_coordinator *coordinator)
{
    return coordinator->address;
}

uint64_t shl_coordinator_incarnation(const struct shl_coordinator *coordinator)
{
    return coordinator->journal.incarnation;
}

bool shl_coordinator_restored(const struct shl_coordinator *coordinator)
{
    return coordinator->journal.restored;
}
