/*
 * Samples: which rank trains on what, so that every sample is consumed exactly once per data epoch
 * whatever joins, fails or leaves.
 *
 * A stream is a seeded permutation of all samples, a new one each data epoch. A position in it is a
 * cursor, and the spans before it that were skipped because who had them failed: these are served
 * first. What a rank gets is a pure function of stream, position, rank and size, so ranks that are
 * at the same position need no word with each other. Only a commit moves the position; a step that
 * is given up needs no call, since its samples were never taken.
 *
 * Every rank holds its own object and commits the same steps with the same contributors. One that
 * missed a commit is given its record; one that joins, or begins at a checkpoint, a saved position.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef SHOAL_SAMPLES_H
#define SHOAL_SAMPLES_H

#include <shoal/status.h>

#ifdef __cplusplus
extern "C" {
#endif

struct shoal_samples; /* a stream, and a position in it */

#define SHOAL_SAMPLES_SPANS_MAX 1024                                /* in a position or record */
#define SHOAL_SAMPLES_BYTES_MAX (64 + 16 * SHOAL_SAMPLES_SPANS_MAX) /* of either when encoded */

enum shoal_batch_mode {
    SHOAL_BATCH_GLOBAL = 0,  /* `batch` samples a step, whatever the number of ranks */
    SHOAL_BATCH_PER_RANK = 1 /* `batch` samples a step for each rank */
};

struct shoal_samples_options {
    size_t struct_size;
    uint64_t seed;
    uint64_t samples; /* numbered from 0; with shards: 0, or the sum of their lengths */
    uint64_t batch;
    enum shoal_batch_mode mode;
    const uint64_t *shard_lengths; /* NULL: samples are permuted one by one. Else shards are, and
                                      samples of a shard, which are numbered one after another,
                                      stay together and in order. Copied */
    size_t shard_count;
};

/*
 * shoal_samples_create - a stream at its beginning. Purely local: nothing is sent, ever.
 *
 * Takes the same constant memory for any number of samples, and 24 bytes a shard. Orders are the
 * same on every machine and in every release.
 * Errors   SHOAL_ERR_INVALID: nothing to serve, or more than 2^62 samples
 * Threads  one at a time, as in all calls on one stream
 */
SHOAL_API enum shoal_status shoal_samples_create(const struct shoal_samples_options *options,
                                                 struct shoal_samples **samples);
/* shoal_samples_destroy - NULL is legal; not while a step has it (shoal_step_samples). */
SHOAL_API void shoal_samples_destroy(struct shoal_samples *samples);

/* Whose share of which step. */
struct shoal_samples_view {
    size_t struct_size;
    uint32_t rank;
    uint32_t size;
    uint64_t ahead; /* 0: the step at hand; k: the one after k commits by all of this many ranks,
                       for those that load ahead */
};

struct shoal_samples_share {
    size_t struct_size;
    uint64_t step;       /* its number, counted from 0 over all data epochs */
    uint64_t data_epoch; /* from 0 */
    uint64_t count;      /* samples of this rank; 0 is possible at the end of a data epoch */
    uint64_t total;      /* of all ranks: count / total is this rank's weight in a mean */
};

/*
 * shoal_samples_assign - the samples that a rank is to train on in a step.
 *
 * The last step of a data epoch takes what is left. Shares of a step differ by one sample at most.
 * indices  receives share->count sample numbers; NULL with capacity 0: only the share is told
 * Errors   SHOAL_ERR_INVALID: rank not below size, or capacity below the count
 */
SHOAL_API enum shoal_status shoal_samples_assign(struct shoal_samples *samples,
                                                 const struct shoal_samples_view *view,
                                                 uint64_t *indices, size_t capacity,
                                                 struct shoal_samples_share *share);

/*
 * shoal_samples_commit - the step at hand, as assigned to `size` ranks, has taken effect.
 *
 * contributed  a flag for each rank; what ranks with 0 had is skipped, and served first from the
 *              next step on. NULL: all contributed
 * record       receives at most SHOAL_SAMPLES_BYTES_MAX bytes that list what was consumed, for
 *              shoal_samples_apply elsewhere; NULL with record_bytes NULL: not wanted
 * Errors       SHOAL_ERR_INVALID: nobody contributed. SHOAL_ERR_UNSUPPORTED: the position would
 *              have more than SHOAL_SAMPLES_SPANS_MAX spans; give the step up instead. Nothing has
 *              changed then
 */
SHOAL_API enum shoal_status shoal_samples_commit(struct shoal_samples *samples, uint32_t size,
                                                 const uint8_t *contributed, void *record,
                                                 size_t *record_bytes);

/*
 * shoal_samples_apply - commit the step that a record of another rank tells of.
 * Errors   SHOAL_ERR_INVALID: no record, of another stream, not of the step at hand, or samples
 *          that were consumed before; nothing has changed then
 */
SHOAL_API enum shoal_status shoal_samples_apply(struct shoal_samples *samples, const void *record,
                                                size_t record_bytes);

/*
 * shoal_samples_save - encode the position, for a checkpoint or for a rank that joins. It does not
 * depend on batch, mode or number of ranks: all three may differ where it is restored.
 *
 * data     receives at most SHOAL_SAMPLES_BYTES_MAX bytes
 */
SHOAL_API enum shoal_status shoal_samples_save(const struct shoal_samples *samples, void *data,
                                               size_t *bytes);

/*
 * shoal_samples_restore - go to a position that was saved, of a stream with the same seed and
 * samples.
 * Errors   SHOAL_ERR_INVALID: no position, or one of another stream; nothing has changed then
 */
SHOAL_API enum shoal_status shoal_samples_restore(struct shoal_samples *samples, const void *data,
                                                  size_t bytes);

struct shoal_samples_info {
    size_t struct_size;
    uint64_t step; /* steps committed */
    uint64_t data_epoch;
    uint64_t samples;       /* of a data epoch */
    uint64_t consumed;      /* of this data epoch */
    uint64_t skipped;       /* of those not consumed, the ones before the cursor */
    uint64_t skipped_spans; /* that they form */
};

/* shoal_samples_info - where the stream is. */
SHOAL_API enum shoal_status shoal_samples_info(const struct shoal_samples *samples,
                                               struct shoal_samples_info *info);

#ifdef __cplusplus
}
#endif
#endif
