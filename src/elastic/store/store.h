/*
 * A client of the register that membership is decided in (elastic/membership/membership.h).
 *
 * Whatever holds the register, a coordinator, etcd or the caller's own store, is reached through
 * this one contract. A request never waits; its answer comes later, exactly once, also when nothing
 * was heard within the client's patience, SHOAL_STORE_TIMEOUT_MS: then as SHL_STORE_UNKNOWN. That
 * also comes at once when a swap was sent and the connection broke before its answer: whether it
 * was done is for the caller to read. Clients never repeat a swap by themselves.
 *
 * Threads  request and close: the owner's, one at a time. `answer` is called in a thread of the
 *          client's and must not block or call back into it; after close has returned no answer
 *          comes.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef SHL_ELASTIC_STORE_STORE_H
#define SHL_ELASTIC_STORE_STORE_H

#include "control/handshake.h"
#include "core/config.h"
#include "elastic/membership/membership.h"

#include <shoal/store.h>

#define SHL_STORE_VALUE_MAX (256u * 1024u)

_Static_assert(SHL_RECORD_BYTES_MAX <= SHL_STORE_VALUE_MAX, "every record fits into a register");

struct shl_store;

struct shl_store_ops {
    /* Copies the request. A request while another has no answer takes its place; the former then
     * may be answered or not. */
    void (*request)(struct shl_store *store, const struct shl_store_request *request);
    void (*close)(struct shl_store *store);
};

struct shl_store {
    const struct shl_store_ops *ops;
};

struct shl_store_options {
    const struct shl_config *config; /* borrowed, outlives the client */
    const char *address; /* "host:port": coordinator; "etcd://host:port,...", "etcds://..." */
    const struct shoal_store *custom; /* not NULL: the caller's own, instead of the address */
    const char *job;
    const struct shl_key *key;
    void *arg;
    void (*answer)(void *arg, const struct shl_store_answer *answer);
};

/* SHOAL_ERR_INVALID names an address that no kind of store understands. Does not wait for the
 * store to be there: requests made before are answered when it comes, or SHL_STORE_UNKNOWN. */
enum shoal_status shl_store_open(const struct shl_store_options *options, struct shl_store **store);

#endif
