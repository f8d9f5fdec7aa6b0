/*
 * Where a stream of samples stands, and what a commit does to it. Path: samples.c turns places in
 * the order of a data epoch, which are all that is known here, into samples.
 *
 * A position is a cursor and the spans before it that were not consumed. What is left of a data
 * epoch, in the order in which it is served: the skipped spans, ascending, then everything from the
 * cursor on. A record lists what one commit took.
 *
 * Invariant: spans ascend, are not empty and do not touch each other or the cursor, which they lie
 * before. So equal states have equal bytes. The data epoch has something left: when it has not, the
 * next one has begun.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef SHL_ELASTIC_SAMPLES_POSITION_H
#define SHL_ELASTIC_SAMPLES_POSITION_H

#include "core/bytes.h"
#include "core/status.h"

#include <shoal/samples.h>

struct shl_places {
    uint64_t first, count;
};

struct shl_places_list {
    uint32_t count;
    struct shl_places at[SHOAL_SAMPLES_SPANS_MAX];
};

struct shl_samples_position {
    uint64_t step; /* steps committed */
    uint64_t data_epoch, cursor;
    struct shl_places_list skipped;
};

struct shl_samples_record {
    uint64_t step; /* the number of the step that it commits */
    uint64_t data_epoch;
    struct shl_places_list consumed;
};

/* Places that all skipped spans hold together. */
uint64_t shl_position_skipped(const struct shl_samples_position *position);

/* A run of what is left, in the order in which it is served. `total`: places of a data epoch. */
struct shl_left_run {
    uint64_t first, count;
};

typedef enum shoal_status (*shl_places_fn)(void *arg, struct shl_places places);

/* shl_position_walk - the places of a run, span by span, ascending. It must lie in what is left. */
enum shoal_status shl_position_walk(const struct shl_samples_position *position,
                                    struct shl_left_run run, shl_places_fn visit, void *arg);

/* Places that come after all in the list. SHOAL_ERR_UNSUPPORTED when there is no room for them. */
enum shoal_status shl_places_append(struct shl_places_list *list, struct shl_places places);

/* shl_position_after - *next is the position after a commit; undefined after an error.
 * Errors   as shl_position_apply, which allocates */
enum shoal_status shl_position_after(const struct shl_samples_position *position,
                                     const struct shl_samples_record *record, uint64_t total,
                                     struct shl_samples_position *next);

/* shl_position_apply - carry a commit out. Nothing has changed after an error.
 * total    places of a data epoch
 * Errors   SHOAL_ERR_INVALID: another step, or places that are not left; _UNSUPPORTED, _NOMEM */
enum shoal_status shl_position_apply(struct shl_samples_position *position,
                                     const struct shl_samples_record *record, uint64_t total);

/* Wire forms; docs/samples.md. `stream` identifies the order that places refer to. The get
 * functions check everything that can be checked without a position; false: no such thing. */
size_t shl_record_encode(const struct shl_samples_record *record, uint64_t stream, void *data);
bool shl_record_decode(const void *data, size_t bytes, struct shl_samples_record *record,
                       uint64_t *stream);
size_t shl_position_encode(const struct shl_samples_position *position, uint64_t stream,
                           void *data);
bool shl_position_decode(const void *data, size_t bytes, struct shl_samples_position *position,
                         uint64_t *stream);

#endif
