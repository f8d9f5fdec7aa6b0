/*
 * Streams of samples behind the C ABI: checks, and records and positions as bytes. Path: next
 * elastic/samples/samples.c.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "elastic/samples/samples.h"

#include "api/context.h"
#include "core/sys.h"

static enum shoal_status check_stream(const struct shoal_samples *samples)
{
    if (SHL_UNLIKELY(!samples))
        return shl_fail(SHOAL_ERR_INVALID,
                        "samples is NULL; create a stream with shoal_samples_create");
    return SHOAL_OK;
}

static enum shoal_status check_shards(const struct shoal_samples_options *options, uint64_t *total)
{
    uint64_t sum = 0;
    if (options->shard_count == 0 || options->shard_count > SIZE_MAX / 64)
        return shl_fail(SHOAL_ERR_INVALID, "shard_lengths is given, with shard_count %zu",
                        options->shard_count);
    for (size_t i = 0; i < options->shard_count; i++)
        if (__builtin_add_overflow(sum, options->shard_lengths[i], &sum) || sum > SHL_SAMPLES_MAX)
            return shl_fail(SHOAL_ERR_INVALID, "shards up to %zu hold more than 2^62 samples", i);
    if (options->samples != 0 && options->samples != sum)
        return shl_fail(SHOAL_ERR_INVALID,
                        "samples is %llu, but the shards hold %llu; give 0 or their sum",
                        (unsigned long long)options->samples, (unsigned long long)sum);
    *total = sum;
    return SHOAL_OK;
}

enum shoal_status shoal_samples_create(const struct shoal_samples_options *options,
                                       struct shoal_samples **samples)
{
    struct shoal_samples_options given = {0};
    if (!options || !samples)
        return shl_fail(SHOAL_ERR_INVALID, "options or the place for the stream is NULL");
    SHL_TRY(shl_copy_options(&given, sizeof(given), options));
    uint64_t total = given.samples;
    if (given.shard_lengths)
        SHL_TRY(check_shards(&given, &total));
    if (total == 0 || total > SHL_SAMPLES_MAX)
        return shl_fail(SHOAL_ERR_INVALID, "%llu samples; a stream has 1 to 2^62",
                        (unsigned long long)total);
    if (given.batch == 0)
        return shl_fail(SHOAL_ERR_INVALID, "batch is 0; give the samples of a step");
    if (given.mode != SHOAL_BATCH_GLOBAL && given.mode != SHOAL_BATCH_PER_RANK)
        return shl_fail(SHOAL_ERR_INVALID, "mode %d is unknown; use one of enum shoal_batch_mode",
                        (int)given.mode);
    struct shl_samples_shape shape = {.seed = given.seed,
                                      .batch = given.batch,
                                      .total = total,
                                      .mode = given.mode,
                                      .lengths = given.shard_lengths,
                                      .shard_count = given.shard_count};
    return shl_samples_create(&shape, samples);
}

void shoal_samples_destroy(struct shoal_samples *samples)
{
    shl_samples_free(samples);
}

enum shoal_status shoal_samples_assign(struct shoal_samples *samples,
                                       const struct shoal_samples_view *view, uint64_t *indices,
                                       size_t capacity, struct shoal_samples_share *share)
{
    struct shoal_samples_view given = {0};
    SHL_TRY(check_stream(samples));
    if (!view)
        return shl_fail(SHOAL_ERR_INVALID, "view is NULL");
    SHL_TRY(shl_copy_options(&given, sizeof(given), view));
    if (given.rank >= given.size)
        return shl_fail(SHOAL_ERR_INVALID, "rank %u is not below size %u; ranks count from 0",
                        given.rank, given.size);
    struct shoal_samples_share told;
    SHL_TRY(shl_samples_assign(samples, &given, indices, capacity, &told));
    return shl_give_struct(share, &told, sizeof(told));
}

static bool none_contributed(uint32_t size, const uint8_t *contributed)
{
    for (uint32_t rank = 0; contributed && rank < size; rank++)
        if (contributed[rank])
            return false;
    return contributed || size == 0;
}

enum shoal_status shoal_samples_commit(struct shoal_samples *samples, uint32_t size,
                                       const uint8_t *contributed, void *record,
                                       size_t *record_bytes)
{
    SHL_TRY(check_stream(samples));
    if (none_contributed(size, contributed))
        return shl_fail(SHOAL_ERR_INVALID,
                        "none of %u ranks contributed; a step that is given up is not committed",
                        size);
    if (!record != !record_bytes)
        return shl_fail(SHOAL_ERR_INVALID, "one of record and record_bytes is NULL");
    struct shl_samples_record *made = shl_mem->alloc(sizeof(*made));
    if (!made)
        return shl_fail_errno("cannot allocate the record of a step");
    enum shoal_status status = shl_samples_record(samples, size, contributed, made);
    if (status == SHOAL_OK)
        status = shl_position_apply(&samples->position, made, samples->total);
    if (status == SHOAL_OK && record)
        *record_bytes = shl_record_encode(made, samples->stream, record);
    shl_mem->free(made);
    return status;
}

enum shoal_status shoal_samples_apply(struct shoal_samples *samples, const void *record,
                                      size_t record_bytes)
{
    uint64_t stream;
    SHL_TRY(check_stream(samples));
    struct shl_samples_record *read = shl_mem->alloc(sizeof(*read));
    if (!read)
        return shl_fail_errno("cannot allocate the record of a step");
    enum shoal_status status = SHOAL_OK;
    if (!record || !shl_record_decode(record, record_bytes, read, &stream))
        status = shl_fail(SHOAL_ERR_INVALID, "%zu bytes at %p are no record of a step",
                          record_bytes, record);
    if (status == SHOAL_OK)
        status = shl_samples_check_origin(samples, stream);
    if (status == SHOAL_OK)
        status = shl_position_apply(&samples->position, read, samples->total);
    shl_mem->free(read);
    return status;
}

enum shoal_status shoal_samples_save(const struct shoal_samples *samples, void *data, size_t *bytes)
{
    SHL_TRY(check_stream(samples));
    if (!data || !bytes)
        return shl_fail(SHOAL_ERR_INVALID, "the place for the position or its size is NULL");
    *bytes = shl_position_encode(&samples->position, samples->stream, data);
    return SHOAL_OK;
}

enum shoal_status shoal_samples_restore(struct shoal_samples *samples, const void *data,
                                        size_t bytes)
{
    SHL_TRY(check_stream(samples));
    struct shl_samples_position *read = shl_mem->alloc(sizeof(*read));
    if (!read)
        return shl_fail_errno("cannot allocate a position in the samples");
    enum shoal_status status = shl_samples_restore(samples, data, bytes, read);
    shl_mem->free(read);
    return status;
}

enum shoal_status shoal_samples_info(const struct shoal_samples *samples,
                                     struct shoal_samples_info *info)
{
    SHL_TRY(check_stream(samples));
    const struct shl_samples_position *position = &samples->position;
    uint64_t skipped = shl_position_skipped(position);
    struct shoal_samples_info told = {.step = position->step,
                                      .data_epoch = position->data_epoch,
                                      .samples = samples->total,
                                      .consumed = position->cursor - skipped,
                                      .skipped = skipped,
                                      .skipped_spans = position->skipped.count};
    return shl_give_struct(info, &told, sizeof(told));
}
