/*
 * The coordinator: a process, or a thread in one, that holds the register of one job.
 *
 * It keeps one linearizable value in a journal on its disk and answers reads and compare-and-swap.
 * It may be ended and started again with the same journal while the job runs. Connections prove the
 * job's secret first (control/handshake.h); strangers end in the listener.
 *
 * Threads  each function: any one at a time; the server has a thread of its own
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef SHL_ELASTIC_STORE_COORDINATOR_H
#define SHL_ELASTIC_STORE_COORDINATOR_H

#include "control/handshake.h"
#include "core/config.h"

#include <stdbool.h>
#include <stdint.h>

struct shl_coordinator;

struct shl_coordinator_options {
    const struct shl_config *config; /* borrowed during the call */
    const char *address;             /* "host:port", port 0: any; "*:port"; "@name" */
    const char *job;
    const struct shl_key *key;
    const char *journal; /* NULL: in memory, gone with this process */
};

/* shl_coordinator_serve - see shl_journal_open and shl_listen_at for the errors. */
enum shoal_status shl_coordinator_serve(const struct shl_coordinator_options *options,
                                        struct shl_coordinator **coordinator);
void shl_coordinator_stop(struct shl_coordinator *coordinator); /* NULL is legal */

/* Where it listens, with the port that it got. */
const char *shl_coordinator_address(const struct shl_coordinator *coordinator);
uint64_t shl_coordinator_incarnation(const struct shl_coordinator *coordinator);
/* The register went on from a journal. */
bool shl_coordinator_restored(const struct shl_coordinator *coordinator);

#endif
