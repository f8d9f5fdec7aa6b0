/*
 * Members that have nothing get the replicated arrays: from all that have them at once, each giving
 * its stripe, or, where nobody has them yet, from rank 0 by broadcast.
 *
 * Of two rounds one travels while the chunks of the other are verified.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "core/sys.h"
#include "elastic/state/state.h"
#include "engine/moves.h"

#include <string.h>

#define NS_PER_MS 1000000ull
#define BROADCAST_BYTES (64u << 20)

/* ---- a job begins --------------------------------------------------------------------------- */

static enum shoal_status broadcast_all(const struct shoal_state *state,
                                       const struct shl_meeting *meeting)
{
    for (uint32_t i = 0; i < state->array_count; i++) {
        const struct shl_state_array *array = &state->arrays[i];
        uint64_t end = array->kind == SHOAL_STATE_REPLICATED ? array->bytes : 0;
        for (uint64_t at = 0; at < end; at += BROADCAST_BYTES) {
            uint64_t bytes = end - at < BROADCAST_BYTES ? end - at : BROADCAST_BYTES;
            struct shoal_call call = {.struct_size = sizeof(call),
                                      .collective = SHOAL_BROADCAST,
                                      .dtype = SHOAL_U8,
                                      .root = meeting->veteran,
                                      .count = bytes,
                                      .send = array->data + at,
                                      .recv = array->data + at};
            SHL_TRY(
                shl_request_run(meeting->comm, &call, meeting->comm->op_timeout_ms * NS_PER_MS));
        }
    }
    return SHOAL_OK;
}

/* ---- members join --------------------------------------------------------------------------- */

struct stripe {
    uint64_t next, end; /* chunks not given yet */
    uint64_t first[2];  /* of the rounds under way, by parity */
    uint64_t last[2];   /* behind them */
    uint8_t *hashes[2]; /* of their chunks: made here, or received */
    uint32_t giver;     /* rank */
};

struct pull {
    struct shoal_state *state;
    const struct shl_meeting *meeting;
    struct shl_chunks chunks;
    struct stripe *stripes; /* one for each giver */
    uint32_t stripe_count;
    struct shl_move *moves; /* of one round */
    size_t move_count, move_capacity;
    uint8_t *hashes; /* memory of the stripes */
};

static enum shoal_status open_pull(struct pull *pull)
{
    const struct shl_meeting *meeting = pull->meeting;
    const size_t hashes_bytes = (size_t)SHL_ROUND_CHUNKS * SHL_HASH_BYTES;
    uint32_t wants = meeting->comm->size - meeting->known_count;
    SHL_TRY(shl_chunks_make(pull->state->arrays, pull->state->array_count, &pull->chunks));
    pull->stripes = shl_mem->alloc(meeting->known_count * sizeof(*pull->stripes));
    pull->hashes = shl_mem->alloc(2 * meeting->known_count * hashes_bytes);
    pull->move_capacity = (size_t)wants * meeting->known_count * (SHL_ROUND_CHUNKS + 1);
    pull->moves = shl_mem->alloc(pull->move_capacity * sizeof(*pull->moves));
    if (!pull->stripes || !pull->hashes || !pull->moves)
        return shl_fail_errno("cannot allocate what it takes to move the state");
    for (uint32_t rank = 0; rank < meeting->comm->size; rank++) {
        uint32_t i = pull->stripe_count;
        if (!meeting->known[rank])
            continue;
        struct stripe *stripe = &pull->stripes[i];
        stripe->giver = rank;
        stripe->next = shl_chunks_stripe(&pull->chunks, i, meeting->known_count);
        stripe->end = shl_chunks_stripe(&pull->chunks, i + 1, meeting->known_count);
        stripe->hashes[0] = pull->hashes + 2 * i * hashes_bytes;
        stripe->hashes[1] = stripe->hashes[0] + hashes_bytes;
        pull->stripe_count++;
    }
    return SHOAL_OK;
}

static void close_pull(struct pull *pull)
{
    shl_mem->free(pull->moves);
    shl_mem->free(pull->hashes);
    shl_mem->free(pull->stripes);
    shl_chunks_free(&pull->chunks);
}

static uint8_t *place(const struct pull *pull, uint64_t chunk)
{
    const struct shl_chunk *at = &pull->chunks.at[chunk];
    return pull->state->arrays[at->array].data + at->offset;
}

/* The chunks of a stripe's round, piece by piece, and their hashes, to one member. */
static void add_moves(struct pull *pull, const struct stripe *stripe, unsigned parity, uint32_t to)
{
    uint64_t bytes, first = stripe->first[parity], last = stripe->last[parity];
    if (first == last)
        return;
    for (uint64_t at = first; at < last;) {
        uint64_t chunks = shl_chunks_piece(&pull->chunks, at, last, &bytes);
        uint8_t *data = place(pull, at);
        pull->moves[pull->move_count++] = (struct shl_move){data, data, bytes, stripe->giver, to};
        at += chunks;
    }
    uint8_t *hashes = stripe->hashes[parity];
    pull->moves[pull->move_count++] =
        (struct shl_move){hashes, hashes, (last - first) * SHL_HASH_BYTES, stripe->giver, to};
}

/* Begin the next round of all stripes. *request is NULL when there is none. */
static enum shoal_status start_round(struct pull *pull, unsigned parity,
                                     struct shoal_request **request)
{
    const struct shl_meeting *meeting = pull->meeting;
    pull->move_count = 0;
    for (uint32_t i = 0; i < pull->stripe_count; i++) {
        struct stripe *stripe = &pull->stripes[i];
        stripe->first[parity] = stripe->next;
        stripe->next = shl_chunks_round(&pull->chunks, stripe->next, stripe->end);
        stripe->last[parity] = stripe->next;
        for (uint64_t k = stripe->first[parity];
             stripe->giver == meeting->comm->rank && k < stripe->last[parity]; k++)
            SHL_TRY(shl_hash_data(place(pull, k), pull->chunks.at[k].bytes,
                                  stripe->hashes[parity] +
                                      (k - stripe->first[parity]) * SHL_HASH_BYTES));
        for (uint32_t to = 0; to < meeting->comm->size; to++)
            if (!meeting->known[to])
                add_moves(pull, stripe, parity, to);
    }
    *request = NULL;
    if (pull->move_count == 0)
        return SHOAL_OK;
    return shl_moves_start(meeting->comm, pull->moves, pull->move_count, request);
}

static enum shoal_status verify_stripe(const struct pull *pull, const struct stripe *stripe,
                                       unsigned parity)
{
    uint8_t hash[SHL_HASH_BYTES];
    for (uint64_t k = stripe->first[parity]; k < stripe->last[parity]; k++) {
        const struct shl_chunk *chunk = &pull->chunks.at[k];
        SHL_TRY(shl_hash_data(place(pull, k), chunk->bytes, hash));
        if (memcmp(hash, stripe->hashes[parity] + (k - stripe->first[parity]) * SHL_HASH_BYTES,
                   SHL_HASH_BYTES) != 0)
            return shl_fail(SHOAL_ERR_MISMATCH,
                            "bytes %llu to %llu of '%s' from rank %u are not what it hashed; its "
                            "program changed them meanwhile, or memory or the network did",
                            (unsigned long long)chunk->offset,
                            (unsigned long long)(chunk->offset + chunk->bytes),
                            pull->state->arrays[chunk->array].name, stripe->giver);
    }
    return SHOAL_OK;
}

/* A member that received looks whether that is what was sent. */
static enum shoal_status verify_round(struct pull *pull, unsigned parity)
{
    struct shl_state_stats *stats = &pull->state->stats;
    const struct shl_meeting *meeting = pull->meeting;
    bool gives = meeting->known[meeting->comm->rank];
    enum shoal_status status = SHOAL_OK;
    for (uint32_t i = 0; i < pull->stripe_count && status == SHOAL_OK; i++) {
        const struct stripe *stripe = &pull->stripes[i];
        uint64_t bytes = 0;
        for (uint64_t k = stripe->first[parity]; k < stripe->last[parity]; k++)
            bytes += pull->chunks.at[k].bytes;
        if (stripe->giver == meeting->comm->rank)
            stats->sent += bytes * (meeting->comm->size - meeting->known_count);
        if (!gives) {
            stats->received += bytes;
            status = verify_stripe(pull, stripe, parity);
        }
    }
    return status;
}

/* Errors of moves are the same on all, as they are the engine's; a bad chunk is told at the end. */
static enum shoal_status move_all(struct pull *pull, enum shoal_status *verified)
{
    struct shoal_request *now = NULL, *next = NULL;
    *verified = SHOAL_OK;
    SHL_TRY(start_round(pull, 0, &now));
    for (unsigned parity = 0; now; parity ^= 1, now = next) {
        enum shoal_status started = start_round(pull, parity ^ 1, &next);
        enum shoal_status status = shl_moves_wait(now);
        if (status == SHOAL_OK && *verified == SHOAL_OK)
            *verified = verify_round(pull, parity);
        if (status == SHOAL_OK)
            status = started;
        if (status != SHOAL_OK) {
            if (started == SHOAL_OK && next)
                shl_moves_wait(next); /* it ends too, and lets go of the memory */
            return status;
        }
    }
    return SHOAL_OK;
}

enum shoal_status shl_state_pull(struct shoal_state *state, const struct shl_meeting *meeting)
{
    struct pull pull = {.state = state, .meeting = meeting};
    enum shoal_status verified = SHOAL_OK;
    if (meeting->known_count == meeting->comm->size)
        return SHOAL_OK;
    if (meeting->known_count == 0)
        return broadcast_all(state, meeting);
    enum shoal_status status = shl_state_agree(meeting->comm, open_pull(&pull));
    if (status == SHOAL_OK)
        status = move_all(&pull, &verified);
    if (status == SHOAL_OK)
        status = shl_state_agree(meeting->comm, verified);
    close_pull(&pull);
    return status;
}
