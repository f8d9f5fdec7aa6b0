/*
 * A client over a store that is called and blocks: etcd, the caller's own.
 *
 * What such a store keeps is a head and the register's value. The head has an incarnation, drawn by
 * the first client that finds nothing, and the version, so that the store itself needs to know
 * neither: a compare-and-swap on what was read, by its bytes or by a token of the store's, is all.
 *
 *   u32 magic "SHLC", u32 0, u64 incarnation, u64 version; then the value
 *
 * One thread calls, another one answers when the first takes longer than the patience.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef SHL_ELASTIC_STORE_BLOCKING_H
#define SHL_ELASTIC_STORE_BLOCKING_H

#include "elastic/store/store.h"

#define SHL_CELL_HEAD_BYTES 24u
#define SHL_CELL_BYTES_MAX (SHL_CELL_HEAD_BYTES + SHL_STORE_VALUE_MAX)

/* What the store keeps, as it was read. */
struct shl_cell {
    uint64_t token; /* the store's own, for its compare-and-swap; 0: there is no cell */
    size_t size;    /* 0: there is no cell */
    uint8_t bytes[SHL_CELL_BYTES_MAX];
};

/* Errors have a detail and mean: not known. They block until the deadline at most. */
struct shl_blocking_ops {
    enum shoal_status (*read)(void *store, uint64_t deadline_ns, struct shl_cell *cell);
    /* Replaces `expected` by `desired`, of which bytes and size count. */
    enum shoal_status (*swap)(void *store, uint64_t deadline_ns, const struct shl_cell *expected,
                              const struct shl_cell *desired, bool *done);
    void (*close)(void *store);
};

/* shl_blocking_open - owns `store` from now on, also when it fails. */
enum shoal_status shl_blocking_open(const struct shl_store_options *options,
                                    const struct shl_blocking_ops *ops, void *store,
                                    struct shl_store **opened);

#endif
