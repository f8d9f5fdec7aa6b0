/*
 * Rendezvous: `size` processes that know one address learn everything about each other.
 *
 * The server collects one blob a rank and, when all are there, sends everyone all blobs, a fresh
 * random incarnation and the epoch. It is embedded: `shoal run` serves it, or rank 0 does.
 * Every connection is authenticated first (control/handshake.h); strangers never disturb it.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef SHL_ELASTIC_RENDEZVOUS_H
#define SHL_ELASTIC_RENDEZVOUS_H

#include "control/handshake.h"
#include "core/config.h"

#define SHL_RENDEZVOUS_BLOB_MAX 16384

struct shl_rendezvous_server;

/* Listen on address ("host:port"; port 0: any). Serves in a thread of its own. Several rounds: once
 * a round is complete the next one may begin (a new epoch). */
enum shoal_status shl_rendezvous_serve(const struct shl_config *config, const char *address,
                                       const char *job, const struct shl_key *key,
                                       struct shl_rendezvous_server **server);
/* The address to give to ranks, with the real port. */
const char *shl_rendezvous_address(const struct shl_rendezvous_server *server);
void shl_rendezvous_stop(struct shl_rendezvous_server *server);

struct shl_rendezvous_result {
    uint64_t incarnation, epoch;
    uint32_t size;
    uint8_t **blobs; /* index: rank */
    size_t *blob_bytes;
};

/*
 * shl_rendezvous_join - publish a blob, wait for everyone's. Retries to connect (address not up
 * yet, DNS name not there yet) with jitter until the deadline. SHOAL_ERR_ABSENT lists the ranks
 * that did not come; two processes with one rank, or different sizes, is SHOAL_ERR_INVALID on both.
 */
enum shoal_status shl_rendezvous_join(const struct shl_config *config, const char *address,
                                      const char *job, const struct shl_key *key, uint32_t rank,
                                      uint32_t size, const void *blob, size_t blob_bytes,
                                      uint64_t deadline_ns, struct shl_rendezvous_result *result);
void shl_rendezvous_result_free(struct shl_rendezvous_result *result);

#endif
