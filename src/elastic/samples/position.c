/*
 * Walking and advancing a position. Path: from samples.c; wire.c encodes it.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "elastic/samples/position.h"

#include "core/sys.h"

uint64_t shl_position_skipped(const struct shl_samples_position *position)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < position->skipped.count; i++)
        sum += position->skipped.at[i].count;
    return sum;
}

enum shoal_status shl_position_walk(const struct shl_samples_position *position,
                                    struct shl_left_run run, shl_places_fn visit, void *arg)
{
    uint64_t before = 0; /* places of spans that have been passed */
    for (uint32_t i = 0; i < position->skipped.count && run.count > 0; i++) {
        struct shl_places span = position->skipped.at[i];
        uint64_t into = run.first - before;
        before += span.count;
        if (into >= span.count)
            continue;
        uint64_t count = span.count - into < run.count ? span.count - into : run.count;
        SHL_TRY(visit(arg, (struct shl_places){span.first + into, count}));
        run.first += count;
        run.count -= count;
    }
    if (run.count == 0)
        return SHOAL_OK;
    return visit(arg, (struct shl_places){position->cursor + (run.first - before), run.count});
}

enum shoal_status shl_places_append(struct shl_places_list *list, struct shl_places places)
{
    struct shl_places *last = list->count > 0 ? &list->at[list->count - 1] : NULL;
    if (places.count == 0)
        return SHOAL_OK;
    if (last && last->first + last->count == places.first) {
        last->count += places.count;
        return SHOAL_OK;
    }
    if (list->count == SHOAL_SAMPLES_SPANS_MAX)
        return shl_fail(SHOAL_ERR_UNSUPPORTED,
                        "the step would leave more than %d spans of samples; give it up and let "
                        "all ranks that are there do it again",
                        SHOAL_SAMPLES_SPANS_MAX);
    list->at[list->count++] = places;
    return SHOAL_OK;
}

/* What the record did not take of the spans that are cut goes to `to`. `at`: the first span of the
 * record that was not found yet. */
struct cut {
    const struct shl_places_list *consumed;
    uint32_t at;
    struct shl_places_list *to;
};

static enum shoal_status cut_span(struct cut *cut, struct shl_places from)
{
    uint64_t end = from.first + from.count;
    while (cut->at < cut->consumed->count && cut->consumed->at[cut->at].first < end) {
        struct shl_places taken = cut->consumed->at[cut->at];
        if (taken.first < from.first || taken.count > end - taken.first)
            return shl_fail(SHOAL_ERR_INVALID,
                            "places %llu..+%llu of the data epoch were consumed before, in part at "
                            "least",
                            (unsigned long long)taken.first, (unsigned long long)taken.count);
        struct shl_places kept = {from.first, taken.first - from.first};
        SHL_TRY(shl_places_append(cut->to, kept));
        from.first = taken.first + taken.count;
        cut->at++;
    }
    return shl_places_append(cut->to, (struct shl_places){from.first, end - from.first});
}

static enum shoal_status advance(const struct shl_samples_position *position,
                                 const struct shl_samples_record *record, uint64_t total,
                                 struct shl_samples_position *next)
{
    struct cut cut = {.consumed = &record->consumed, .to = &next->skipped};
    const struct shl_places_list *consumed = &record->consumed;
    uint64_t end = 0;
    if (consumed->count > 0) {
        const struct shl_places *last = &consumed->at[consumed->count - 1];
        if (last->first >= total || last->count > total - last->first)
            return shl_fail(SHOAL_ERR_INVALID, "the record goes beyond the %llu samples there are",
                            (unsigned long long)total);
        end = last->first + last->count;
    }
    next->cursor = end > position->cursor ? end : position->cursor;
    for (uint32_t i = 0; i < position->skipped.count; i++)
        SHL_TRY(cut_span(&cut, position->skipped.at[i]));
    struct shl_places fresh = {position->cursor, next->cursor - position->cursor};
    SHL_TRY(cut_span(&cut, fresh));
    if (cut.at != consumed->count)
        return shl_fail(SHOAL_ERR_INVALID, "place %llu of the data epoch was consumed before",
                        (unsigned long long)consumed->at[cut.at].first);
    next->step = position->step + 1;
    next->data_epoch = position->data_epoch;
    if (next->cursor == total && next->skipped.count == 0) {
        next->data_epoch++;
        next->cursor = 0;
    }
    return SHOAL_OK;
}

enum shoal_status shl_position_after(const struct shl_samples_position *position,
                                     const struct shl_samples_record *record, uint64_t total,
                                     struct shl_samples_position *next)
{
    if (record->step != position->step || record->data_epoch != position->data_epoch)
        return shl_fail(SHOAL_ERR_INVALID,
                        "the record is of step %llu in data epoch %llu, but step %llu of data "
                        "epoch %llu is at hand",
                        (unsigned long long)record->step, (unsigned long long)record->data_epoch,
                        (unsigned long long)position->step,
                        (unsigned long long)position->data_epoch);
    next->skipped.count = 0;
    return advance(position, record, total, next);
}

enum shoal_status shl_position_apply(struct shl_samples_position *position,
                                     const struct shl_samples_record *record, uint64_t total)
{
    struct shl_samples_position *next = shl_mem->alloc(sizeof(*next));
    if (!next)
        return shl_fail_errno("cannot allocate a position in the samples");
    enum shoal_status status = shl_position_after(position, record, total, next);
    if (status == SHOAL_OK)
        *position = *next;
    shl_mem->free(next);
    return status;
}
