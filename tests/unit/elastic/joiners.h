/*
 * Ranks that join a rendezvous, a thread each.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef ELASTIC_JOINERS_H
#define ELASTIC_JOINERS_H

#include "elastic/rendezvous.h"

#include <pthread.h>

/* One rank: a thread that joins. */
struct joiner {
    pthread_t thread;
    const char *address;
    const struct shl_config *config;
    const struct shl_key *key;
    uint32_t rank, size;
    uint64_t patience_ms, delay_ms;
    enum shoal_status status;
    char detail[1024];
    struct shl_rendezvous_result result;
};

/* joiners_prepare - ranks 0.. of `size`, each with 30 s of patience; the test may change them. */
void joiners_prepare(struct joiner *joiners, uint32_t size, const char *address,
                     const struct shl_config *config, const struct shl_key *key);

void *joiner_run(void *joiner); /* in the caller's thread */
void joiners_launch(struct joiner *joiners, uint32_t count);
void joiners_gather(struct joiner *joiners, uint32_t count); /* waits for all */

/* joiners_assert_met - all `size` ranks joined and hold the same world and everyone's blob. */
void joiners_assert_met(struct joiner *joiners, uint32_t size);
void joiners_release(struct joiner *joiners, uint32_t count);

#endif
