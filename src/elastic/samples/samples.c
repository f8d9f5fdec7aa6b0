/*
 * Streams: from places in an order to samples, and how a step is shared out.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "elastic/samples/samples.h"

#include "core/sys.h"

/* ---- making one ----------------------------------------------------------------------------- */

static void identify(struct shoal_samples *samples)
{
    uint64_t hash = shl_mix64(samples->seed ^ shl_mix64(samples->total));
    for (uint64_t i = 0; i < samples->shard_count; i++)
        hash = shl_mix64(hash ^ (samples->first[i + 1] - samples->first[i] + 1)) + i;
    samples->stream = hash;
}

enum shoal_status shl_samples_create(const struct shl_samples_shape *shape,
                                     struct shoal_samples **out)
{
    struct shoal_samples *samples = shl_mem->alloc(sizeof(*samples));
    if (!samples)
        return shl_fail_errno("cannot allocate a stream of samples");
    samples->seed = shape->seed;
    samples->total = shape->total;
    samples->batch = shape->batch;
    samples->mode = shape->mode;
    if (shape->lengths) {
        size_t bytes = (shape->shard_count + 1) * sizeof(uint64_t);
        samples->shard_count = shape->shard_count;
        samples->first = shl_mem->alloc(bytes);
        samples->orders[0].start = shl_mem->alloc(bytes);
        samples->orders[1].start = shl_mem->alloc(bytes);
        if (!samples->first || !samples->orders[0].start || !samples->orders[1].start) {
            enum shoal_status status = shl_fail_errno("cannot allocate the order of %llu shards",
                                                      (unsigned long long)shape->shard_count);
            shl_samples_free(samples);
            return status;
        }
        for (uint64_t i = 0; i < shape->shard_count; i++)
            samples->first[i + 1] = samples->first[i] + shape->lengths[i];
    }
    identify(samples);
    *out = samples;
    return SHOAL_OK;
}

void shl_samples_free(struct shoal_samples *samples)
{
    if (!samples)
        return;
    if (samples->tie)
        samples->untie(samples->tie);
    shl_mem->free(samples->orders[1].start);
    shl_mem->free(samples->orders[0].start);
    shl_mem->free(samples->first);
    shl_mem->free(samples);
}

/* ---- sharing out ---------------------------------------------------------------------------- */

static uint64_t batch_of(const struct shoal_samples *samples, uint32_t size)
{
    uint64_t batch;
    if (samples->mode == SHOAL_BATCH_GLOBAL)
        return samples->batch;
    return __builtin_mul_overflow(samples->batch, (uint64_t)size, &batch) ? UINT64_MAX : batch;
}

/* A step as it is shared out: what is left at its start, from where on it takes how much. */
struct step {
    uint64_t step, data_epoch;
    bool at_hand; /* in the data epoch at hand; else a whole one is left */
    struct shl_left_run run;
};

/* The step after `ahead` commits by all of `size` ranks. */
static struct step find_step(const struct shoal_samples *samples, uint32_t size, uint64_t ahead)
{
    const struct shl_samples_position *position = &samples->position;
    uint64_t batch = batch_of(samples, size);
    uint64_t left = samples->total - position->cursor + shl_position_skipped(position);
    uint64_t steps = (left - 1) / batch + 1; /* in what is left of this data epoch */
    struct step step = {.step = position->step + ahead,
                        .data_epoch = position->data_epoch,
                        .at_hand = ahead < steps};
    if (!step.at_hand) {
        ahead -= steps;
        left = samples->total;
        steps = (left - 1) / batch + 1;
        step.data_epoch += 1 + ahead / steps;
        ahead %= steps;
    }
    step.run.first = ahead * batch;
    step.run.count = left - step.run.first < batch ? left - step.run.first : batch;
    return step;
}

/* What of a step a rank gets. */
static struct shl_left_run share_of(const struct step *step, uint32_t rank, uint32_t size)
{
    uint64_t each = step->run.count / size, more = step->run.count % size;
    return (struct shl_left_run){.first =
                                     step->run.first + rank * each + (rank < more ? rank : more),
                                 .count = each + (rank < more)};
}

/* ---- from places to samples ----------------------------------------------------------------- */

static const struct shl_shard_order *shard_order(struct shoal_samples *samples,
                                                 const struct shl_permutation *permutation,
                                                 uint64_t data_epoch)
{
    struct shl_shard_order *order = &samples->orders[data_epoch % 2];
    if (order->made && order->data_epoch == data_epoch)
        return order;
    for (uint64_t i = 0; i < samples->shard_count; i++) {
        uint64_t shard = shl_permutation_at(permutation, i);
        order->start[i + 1] = order->start[i] + (samples->first[shard + 1] - samples->first[shard]);
    }
    order->made = true;
    order->data_epoch = data_epoch;
    return order;
}

/* The last shard in the order that begins at or before a place; empty ones begin where the next
 * does. */
static uint64_t shard_at(const struct shl_shard_order *order, uint64_t shards, uint64_t place)
{
    uint64_t low = 0, high = shards;
    while (high - low > 1) {
        uint64_t middle = low + (high - low) / 2;
        if (order->start[middle] <= place)
            low = middle;
        else
            high = middle;
    }
    return low;
}

struct listing {
    const struct shoal_samples *samples;
    struct shl_permutation permutation;
    const struct shl_shard_order *order;
    uint64_t *next;
};

static enum shoal_status list_places(void *arg, struct shl_places places)
{
    struct listing *listing = arg;
    const struct shoal_samples *samples = listing->samples;
    const struct shl_shard_order *order = listing->order;
    for (uint64_t place = places.first; place < places.first + places.count; place++) {
        if (!order) {
            *listing->next++ = shl_permutation_at(&listing->permutation, place);
            continue;
        }
        uint64_t at = shard_at(order, samples->shard_count, place);
        uint64_t shard = shl_permutation_at(&listing->permutation, at);
        *listing->next++ = samples->first[shard] + (place - order->start[at]);
    }
    return SHOAL_OK;
}

/* Writes share.count sample numbers. */
static void list(struct shoal_samples *samples, const struct step *step, struct shl_left_run share,
                 uint64_t *indices)
{
    struct listing listing = {.samples = samples, .next = indices};
    uint64_t items = samples->shard_count > 0 ? samples->shard_count : samples->total;
    shl_permutation_init(&listing.permutation, samples->seed, step->data_epoch, items);
    if (samples->shard_count > 0)
        listing.order = shard_order(samples, &listing.permutation, step->data_epoch);
    if (step->at_hand)
        (void)shl_position_walk(&samples->position, share, list_places, &listing);
    else
        (void)list_places(&listing, (struct shl_places){share.first, share.count});
}

enum shoal_status shl_samples_assign(struct shoal_samples *samples,
                                     const struct shoal_samples_view *view, uint64_t *indices,
                                     size_t capacity, struct shoal_samples_share *share)
{
    struct step step = find_step(samples, view->size, view->ahead);
    struct shl_left_run run = share_of(&step, view->rank, view->size);
    if ((indices || capacity > 0) && (!indices || capacity < run.count))
        return shl_fail(SHOAL_ERR_INVALID,
                        "no room for %llu sample numbers: %zu at %p; give at least so many",
                        (unsigned long long)run.count, capacity, (void *)indices);
    if (indices)
        list(samples, &step, run, indices);
    *share = (struct shoal_samples_share){.struct_size = sizeof(*share),
                                          .step = step.step,
                                          .data_epoch = step.data_epoch,
                                          .count = run.count,
                                          .total = step.run.count};
    return SHOAL_OK;
}

/* ---- positions as bytes --------------------------------------------------------------------- */

enum shoal_status shl_samples_check_origin(const struct shoal_samples *samples, uint64_t stream)
{
    if (stream != samples->stream)
        return shl_fail(SHOAL_ERR_INVALID,
                        "it is of another stream; seed and samples, or shard lengths, must be the "
                        "same");
    return SHOAL_OK;
}

enum shoal_status shl_samples_restore(struct shoal_samples *samples, const void *data, size_t bytes,
                                      struct shl_samples_position *read)
{
    uint64_t stream;
    if (!data || !shl_position_decode(data, bytes, read, &stream))
        return shl_fail(SHOAL_ERR_INVALID,
                        "%zu bytes at %p are no saved position; give what shoal_samples_save gave",
                        bytes, data);
    SHL_TRY(shl_samples_check_origin(samples, stream));
    /* At the end of a data epoch the next one begins. */
    if (read->cursor + (read->skipped.count == 0) > samples->total)
        return shl_fail(SHOAL_ERR_INVALID, "the saved position is beyond the %llu samples",
                        (unsigned long long)samples->total);
    samples->position = *read;
    return SHOAL_OK;
}

/* ---- committing ----------------------------------------------------------------------------- */

static enum shoal_status take_places(void *arg, struct shl_places places)
{
    return shl_places_append(arg, places);
}

enum shoal_status shl_samples_record(const struct shoal_samples *samples, uint32_t size,
                                     const uint8_t *contributed, struct shl_samples_record *record)
{
    struct step step = find_step(samples, size, 0);
    record->step = step.step;
    record->data_epoch = step.data_epoch;
    record->consumed.count = 0;
    if (!contributed)
        return shl_position_walk(&samples->position, step.run, take_places, &record->consumed);
    for (uint32_t rank = 0; rank < size; rank++) {
        struct shl_left_run share = share_of(&step, rank, size);
        if (contributed[rank] && share.count > 0)
            SHL_TRY(shl_position_walk(&samples->position, share, take_places, &record->consumed));
    }
    return SHOAL_OK;
}
