/*
 * Streams of samples that follow the steps of a world.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "elastic/views/streams.h"

#include "core/sys.h"
#include "elastic/views/views.h"

#include <string.h>

_Static_assert(sizeof(struct shl_stream_offer) % sizeof(uint64_t) == 0, "compared by words");

/* ---- with the world ---------------------------------------------------------------------------
 */

void shl_streams_adopt(struct shoal_world *world, bool first)
{
    const struct shl_decision *decision = &world->published->decision;
    struct shl_voters *parties = &world->log->parties;
    if (first)
        world->streams.settled = decision->started == 0; /* a founder */
    world->streams.joins += world->joined != 0;
    if (!first && !world->joined && !decision->retry)
        return;
    parties->count = world->members.count;
    for (uint32_t i = 0; i < world->members.count; i++)
        parties->ids[i] = world->members.at[i].id;
}

void shl_streams_begin(struct shoal_world *world)
{
    struct shl_streams *streams = &world->streams;
    const struct shl_voters *parties = &world->log->parties;
    streams->first = NULL;
    streams->turn++;
    streams->step_joins = streams->joins;
    streams->step.count = parties->count;
    memcpy(streams->step.ids, parties->ids, parties->count * sizeof(parties->ids[0]));
}

static uint32_t find(const struct shl_voters *voters, uint64_t id)
{
    for (uint32_t i = 0; i < voters->count; i++)
        if (voters->ids[i] == id)
            return i;
    return SHL_MEMBER_NONE;
}

static enum shoal_status commit(struct shl_streams *streams, struct shoal_samples *samples)
{
    struct shl_stream_tie *tie = samples->tie;
    SHL_TRY(shl_samples_record(samples, streams->step.count, streams->flags, &tie->record));
    SHL_TRY(shl_position_after(&samples->position, &tie->record, samples->total, &tie->after));
    samples->position = tie->after;
    tie->joins = streams->step_joins;
    return SHOAL_OK;
}

enum shoal_status shl_streams_commit(struct shoal_world *world)
{
    struct shl_streams *streams = &world->streams;
    enum shoal_status status = SHOAL_OK;
    const struct shl_voters *committed = &world->log->committed;
    uint32_t found = 0; /* contributors are parties, in the same order */
    for (uint32_t i = 0; i < streams->step.count; i++) {
        streams->flags[i] =
            found < committed->count && committed->ids[found] == streams->step.ids[i];
        found += streams->flags[i];
    }
    for (struct shoal_samples *at = streams->first; at && status == SHOAL_OK; at = at->tie->next)
        status = commit(streams, at);
    streams->first = NULL;
    streams->settled = true;
    return status;
}

/* ---- a step that may be given up --------------------------------------------------------------
 */

enum shoal_status shl_streams_advance(struct shoal_world *world)
{
    struct shl_streams *streams = &world->streams;
    for (struct shoal_samples *at = streams->first; at; at = at->tie->next) {
        struct shl_stream_tie *tie = at->tie;
        tie->before = at->position;
        tie->joins_before = tie->joins;
        tie->samples = at;
        tie->is_ahead = true;
        tie->ahead = streams->ahead;
        streams->ahead = tie;
    }
    return shl_streams_commit(world);
}

/* Those that were destroyed meanwhile are gone now. */
static void forget_ahead(struct shl_streams *streams)
{
    while (streams->ahead) {
        struct shl_stream_tie *tie = streams->ahead;
        streams->ahead = tie->ahead;
        tie->is_ahead = false;
        if (!tie->samples)
            shl_mem->free(tie);
    }
}

void shl_streams_rewind(struct shoal_world *world)
{
    for (struct shl_stream_tie *tie = world->streams.ahead; tie; tie = tie->ahead) {
        tie->joins = tie->joins_before;
        if (tie->samples)
            tie->samples->position = tie->before;
    }
    forget_ahead(&world->streams);
}

void shl_streams_keep(struct shoal_world *world)
{
    forget_ahead(&world->streams);
}

/* The samples are destroyed. */
static void untie(struct shl_stream_tie *tie)
{
    tie->samples = NULL;
    if (!tie->is_ahead)
        shl_mem->free(tie);
}

/* ---- the position to those that are new -------------------------------------------------------
 */

static uint64_t hash_of(const struct shl_stream_offer *offer)
{
    uint64_t hash = shl_mix64(offer->batch ^ shl_mix64(offer->mode));
    for (size_t i = 0; i < offer->bytes; i++)
        hash = shl_mix64(hash ^ offer->position[i]) + i;
    return hash;
}

static void make_offer(const struct shoal_samples *samples, struct shl_stream_offer *offer)
{
    offer->batch = samples->batch;
    offer->mode = (uint64_t)samples->mode;
    offer->bytes = shl_position_encode(&samples->position, samples->stream, offer->position);
    offer->hash = hash_of(offer);
    offer->hash_inverted = ~offer->hash;
}

static enum shoal_status take_offer(struct shoal_samples *samples,
                                    const struct shl_stream_offer *offer)
{
    if (offer->hash != ~offer->hash_inverted)
        return shl_fail(SHOAL_ERR_MISMATCH,
                        "members hold different positions in the samples, or other batches; make "
                        "and restore streams alike");
    if (offer->batch != samples->batch || offer->mode != (uint64_t)samples->mode)
        return shl_fail(SHOAL_ERR_MISMATCH,
                        "batches of %llu in mode %llu here, of %llu in mode %llu on the members "
                        "that were there before",
                        (unsigned long long)samples->batch, (unsigned long long)samples->mode,
                        (unsigned long long)offer->batch, (unsigned long long)offer->mode);
    return shl_samples_restore(samples, offer->position, offer->bytes, &samples->tie->after);
}

static bool is_there(const struct shl_stream_offer *offer)
{
    return offer->hash || offer->hash_inverted;
}

/* Whoever of those that give the same is lost meanwhile, the others give it. */
static enum shoal_status meet(struct shoal_world *world, struct shoal_samples *samples)
{
    struct shl_stream_tie *tie = samples->tie;
    struct shoal_call call = {.struct_size = sizeof(call),
                              .collective = SHOAL_ALLREDUCE,
                              .dtype = SHOAL_U64,
                              .op = SHOAL_MAX,
                              .count = SHL_STREAM_WORDS,
                              .send = tie->mine,
                              .recv = tie->theirs};
    memset(tie->mine, 0, sizeof(tie->mine));
    if (tie->joins)
        make_offer(samples, &tie->mine[0]);
    else if (world->streams.settled)
        make_offer(samples, &tie->mine[1]);
    SHL_TRY(shl_views_call_locked(world, &call, NULL));
    for (int i = 0; i < SHL_STREAM_OFFERS; i++)
        if (is_there(&tie->theirs[i]))
            return take_offer(samples, &tie->theirs[i]);
    return shl_fail(SHOAL_ERR_EPOCH, "all members that had the position in the samples are lost; "
                                     "begin at a checkpoint");
}

/* ---- a share ----------------------------------------------------------------------------------
 */

static enum shoal_status enter(struct shoal_world *world, struct shoal_samples *samples)
{
    struct shl_streams *streams = &world->streams;
    uint64_t self = shl_node_id(world->node);
    if (!samples->tie) {
        samples->tie = shl_mem->alloc(sizeof(*samples->tie));
        if (!samples->tie)
            return shl_fail_errno("cannot allocate what ties samples to a world");
        samples->untie = untie;
    }
    struct shl_stream_tie *tie = samples->tie;
    if (tie->member != self) {
        tie->member = self;
        tie->joins = tie->turn = 0;
    }
    if (tie->turn == streams->turn)
        return SHOAL_OK;
    if (tie->joins != streams->step_joins)
        SHL_TRY(meet(world, samples));
    tie->turn = streams->turn;
    tie->next = streams->first;
    streams->first = samples;
    return SHOAL_OK;
}

static enum shoal_status samples_locked(struct shoal_world *world, struct shoal_samples *samples,
                                        uint64_t *indices, size_t capacity,
                                        struct shoal_samples_share *share)
{
    const struct shl_voters *step = &world->streams.step;
    if (world->log->retry)
        return shl_fail(SHOAL_ERR_STEP_RETRY, "members changed within the step; begin it again");
    if (!shl_views_in_step(world))
        return shl_fail(SHOAL_ERR_INVALID, "no step is open; begin one with shoal_step_begin");
    SHL_TRY(enter(world, samples));
    struct shoal_samples_view view = {.struct_size = sizeof(view),
                                      .rank = find(step, shl_node_id(world->node)),
                                      .size = step->count};
    return shl_samples_assign(samples, &view, indices, capacity, share);
}

enum shoal_status shl_views_samples(struct shoal_world *world, struct shoal_samples *samples,
                                    uint64_t *indices, size_t capacity,
                                    struct shoal_samples_share *share)
{
    shl_views_enter(world);
    enum shoal_status status = samples_locked(world, samples, indices, capacity, share);
    shl_views_exit(world);
    return status;
}
