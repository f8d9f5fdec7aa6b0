/*
 * A stream of samples and this rank's position in it: what include/shoal/samples.h promises, for
 * arguments that have been checked. Path: from api/samples.c, next position.h, permutation.h.
 *
 * Invariant: nothing here depends on anything but the options and the commits, so ranks that were
 * given the same are in the same state.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef SHL_ELASTIC_SAMPLES_SAMPLES_H
#define SHL_ELASTIC_SAMPLES_SAMPLES_H

#include "elastic/samples/permutation.h"
#include "elastic/samples/position.h"

#define SHL_SAMPLES_MAX (UINT64_C(1) << 62)

/* The order of shards in a data epoch: place start[i] is where the i-th of them begins. */
struct shl_shard_order {
    bool made;
    uint64_t data_epoch;
    uint64_t *start; /* shard_count + 1 */
};

struct shoal_samples {
    uint64_t seed, total, batch;
    enum shoal_batch_mode mode;
    uint64_t stream;      /* hash of what the order depends on */
    uint64_t shard_count; /* 0: samples are permuted one by one */
    uint64_t *first;      /* first sample of a shard; shard_count + 1 */
    /* Of two neighbouring data epochs, since loaders look ahead. */
    struct shl_shard_order orders[2];
    struct shl_samples_position position;
    struct shl_stream_tie *tie;                /* to an elastic world (views/streams.h), or NULL */
    void (*untie)(struct shl_stream_tie *tie); /* when the samples are destroyed */
};

/* lengths NULL: `count` samples. Else so many shards, with `total` samples together. */
struct shl_samples_shape {
    uint64_t seed, batch, total;
    enum shoal_batch_mode mode;
    const uint64_t *lengths;
    uint64_t shard_count;
};

enum shoal_status shl_samples_create(const struct shl_samples_shape *shape,
                                     struct shoal_samples **samples);
void shl_samples_free(struct shoal_samples *samples);

/* shl_samples_assign - as shoal_samples_assign, for a rank below the size. */
enum shoal_status shl_samples_assign(struct shoal_samples *samples,
                                     const struct shoal_samples_view *view, uint64_t *indices,
                                     size_t capacity, struct shoal_samples_share *share);

/* A position or a record is of this stream. */
enum shoal_status shl_samples_check_origin(const struct shoal_samples *samples, uint64_t stream);

/* shl_samples_restore - as shoal_samples_restore; `read` is room for it. */
enum shoal_status shl_samples_restore(struct shoal_samples *samples, const void *data, size_t bytes,
                                      struct shl_samples_position *read);

/* The record of the step at hand; contributed NULL: all. */
enum shoal_status shl_samples_record(const struct shoal_samples *samples, uint32_t size,
                                     const uint8_t *contributed, struct shl_samples_record *record);

#endif
