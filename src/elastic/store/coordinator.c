/*
 * The coordinator's life.
 *
 * Invariant: the journal is open before the first client is heard, and closed after the last one.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "elastic/store/coordinator.h"

#include "control/control.h"
#include "control/mac.h"
#include "core/sys.h"
#include "elastic/store/coordinator_internal.h"

static void accepted(void *arg, int fd)
{
    shl_guest_accept(arg, fd);
}

enum shoal_status shl_coordinator_serve(const struct shl_coordinator_options *options,
                                        struct shl_coordinator **served)
{
    struct shl_hello expect = {.kind = SHL_CHANNEL_STORE, .rank = SHL_RANK_ANY};
    SHL_TRY(shl_mac_job_hash(options->job, expect.job));
    struct shl_coordinator *coordinator = shl_mem->alloc(sizeof(*coordinator));
    if (!coordinator)
        return shl_fail(SHOAL_ERR_NOMEM, "no memory for the coordinator");
    shl_list_init(&coordinator->guests);
    enum shoal_status status =
        shl_journal_open(&coordinator->journal, options->journal, expect.job);
    if (status < 0)
        goto free_coordinator;
    const struct shl_server_options server = {.config = options->config,
                                              .what = "coordinator",
                                              .thread = "shoal-store",
                                              .address = options->address,
                                              .key = options->key,
                                              .expect = &expect,
                                              .arg = coordinator,
                                              .accepted = accepted};
    status = shl_server_start(&coordinator->base, &server);
    if (status < 0)
        goto close_journal;
    *served = coordinator;
    return SHOAL_OK;

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
    shl_server_stop(&coordinator->base);
    while (!shl_list_empty(&coordinator->guests))
        shl_guest_close(SHL_CONTAINER_OF(coordinator->guests.next, struct shl_guest, link));
    shl_server_fini(&coordinator->base);
    shl_journal_close(&coordinator->journal);
    shl_mem->free(coordinator);
}

const char *shl_coordinator_address(const struct shl_coordinator *coordinator)
{
    return coordinator->base.address;
}

uint64_t shl_coordinator_incarnation(const struct shl_coordinator *coordinator)
{
    return coordinator->journal.incarnation;
}

bool shl_coordinator_restored(const struct shl_coordinator *coordinator)
{
    return coordinator->journal.restored;
}
