/*
 * Streams of samples that follow the steps of a world. Path: from step.c; elastic/samples/ has the
 * pure part.
 *
 * What a member is to read follows from the position of the stream and from a list of members that
 * all have alike, the parties of the step: who contributed to the last step that was committed or,
 * when somebody has joined or a step was given up since then, the view in which that was. The view
 * that a member sees when it begins a step will not do: one member may begin before a loss, and
 * another one after it. A party that does not contribute costs its share of one step, which comes
 * next.
 *
 * Invariant: the position moves in shoal_step_commit, on all members by the same parties and
 * contributors, and nowhere else.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef SHL_ELASTIC_VIEWS_STREAMS_H
#define SHL_ELASTIC_VIEWS_STREAMS_H

#include "elastic/samples/samples.h"
#include "elastic/views/oplog.h"

struct shoal_world;

/* What holders of a position give to those that are new, as u64s of which the largest counts. All
 * holders give the same, which shows in the first two; others give zeros. The first of two offers
 * is of members that have committed steps with the stream, the second of those that have committed
 * others, or founded the job: it counts when there is no first one. */
struct shl_stream_offer {
    uint64_t hash, hash_inverted;
    uint64_t batch, mode, bytes;
    uint8_t position[SHOAL_SAMPLES_BYTES_MAX];
};

#define SHL_STREAM_OFFERS 2
#define SHL_STREAM_WORDS (SHL_STREAM_OFFERS * sizeof(struct shl_stream_offer) / sizeof(uint64_t))

/* What a stream needs to follow a world. Allocated before the first step, so that no commit lacks
 * memory. */
struct shl_stream_tie {
    uint64_t member, turn;      /* in whose step it is, and in which */
    uint64_t joins;             /* of the member's world at the last commit with this stream */
    struct shoal_samples *next; /* in the same step */
    struct shl_stream_offer mine[SHL_STREAM_OFFERS], theirs[SHL_STREAM_OFFERS];
    struct shl_samples_record record;
    struct shl_samples_position after;
    /* Of a step that is not safe yet (behind.c). */
    struct shl_samples_position before; /* its end */
    uint64_t joins_before;
    struct shoal_samples *samples; /* NULL: destroyed */
    struct shl_stream_tie *ahead;  /* the next one */
    bool is_ahead;
};

struct shl_streams {
    struct shoal_samples *first;    /* in the step under way */
    struct shl_stream_tie *ahead;   /* in the one before, which is not safe yet */
    uint64_t turn;                  /* counts steps that were begun */
    uint64_t joins, step_joins;     /* views with new members; and when the step began */
    bool settled;                   /* this member founded the job, or has committed a step */
    struct shl_voters step;         /* parties of the step under way */
    uint8_t flags[SHL_MEMBERS_MAX]; /* who of these contributed */
};

/* lock: a view was adopted, and its decision followed. */
void shl_streams_adopt(struct shoal_world *world, bool first);
/* lock: a step begins, and no stream is in it yet. */
void shl_streams_begin(struct shoal_world *world);
/* lock: the step is committed, and so are its streams.
 * Errors   SHOAL_ERR_UNSUPPORTED on all members alike: a position would have too many spans */
enum shoal_status shl_streams_commit(struct shoal_world *world);

/* lock: the same for a step that may be given up, and what becomes of it. */
enum shoal_status shl_streams_advance(struct shoal_world *world);
void shl_streams_rewind(struct shoal_world *world);
void shl_streams_keep(struct shoal_world *world);

/* shoal_step_samples, arguments checked. */
enum shoal_status shl_views_samples(struct shoal_world *world, struct shoal_samples *samples,
                                    uint64_t *indices, size_t capacity,
                                    struct shoal_samples_share *share);

#endif
