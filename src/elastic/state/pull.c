/*
 * Members that have nothing get the replicated arrays: from all that have them at once, each giving
 * its stripe, or, where nobody has them yet, from rank 0 by broadcast.
 *
 * From those that brought some over before (catch_up.h) only what they lack still is moved.
 *
 * Of two rounds one travels while the chunks of the other are verified. Chunks that are not what
 * their giver hashed come from the next giver in the end.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "core/log.h"
#include "core/sys.h"
#include "elastic/state/state.h"
#include "engine/moves.h"

#include <stdio.h>
#include <string.h>

#define NS_PER_MS 1000000ull
#define BROADCAST_BYTES (64u << 20)
#define BAD_MAX 16 /* chunks that one member takes from another giver; with more it gives up */

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

/* Chunks that came here and were not what their giver hashed. */
struct bad {
    uint64_t chunk, giver;
};

struct bad_list {
    uint64_t count;
    struct bad at[BAD_MAX];
};

struct pull {
    struct shoal_state *state;
    struct bad_list bad;
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
        pull->moves[pull->move_count++] =
            (struct shl_move){data, data, bytes, stripe->giver, to, 0};
        at += chunks;
    }
    uint8_t *hashes = stripe->hashes[parity];
    pull->moves[pull->move_count++] =
        (struct shl_move){hashes, hashes, (last - first) * SHL_HASH_BYTES, stripe->giver, to, 0};
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

static void say_bad(const struct pull *pull, uint64_t chunk, uint32_t giver, char *text,
                    size_t bytes)
{
    const struct shl_chunk *at = &pull->chunks.at[chunk];
    snprintf(text, bytes,
             "bytes %llu to %llu of '%s' from rank %u are not what it hashed; its program changed "
             "them meanwhile, or memory or the network did",
             (unsigned long long)at->offset, (unsigned long long)(at->offset + at->bytes),
             pull->state->arrays[at->array].name, giver);
}

static enum shoal_status fail_bad(const struct pull *pull, uint64_t chunk, uint32_t giver)
{
    char text[SHL_WORLD_TEXT];
    say_bad(pull, chunk, giver, text, sizeof(text));
    return shl_fail(SHOAL_ERR_MISMATCH, "%s", text);
}

/* It is to come from another. */
static enum shoal_status note_bad(struct pull *pull, uint64_t chunk, uint32_t giver)
{
    char text[SHL_WORLD_TEXT];
    struct bad_list *bad = &pull->bad;
    if (bad->count == BAD_MAX || pull->stripe_count < 2)
        return fail_bad(pull, chunk, giver);
    say_bad(pull, chunk, giver, text, sizeof(text));
    shl_log(SHL_LOG_WARN, "%s; they come from another", text);
    bad->at[bad->count++] = (struct bad){chunk, giver};
    pull->state->stats.bad_chunks++;
    pull->state->stats.bad_giver = giver;
    return SHOAL_OK;
}

static enum shoal_status is_right(const struct pull *pull, uint64_t chunk, const uint8_t *wanted,
                                  bool *right)
{
    uint8_t hash[SHL_HASH_BYTES];
    SHL_TRY(shl_hash_data(place(pull, chunk), pull->chunks.at[chunk].bytes, hash));
    *right = memcmp(hash, wanted, SHL_HASH_BYTES) == 0;
    return SHOAL_OK;
}

static enum shoal_status verify_stripe(struct pull *pull, const struct stripe *stripe,
                                       unsigned parity)
{
    for (uint64_t k = stripe->first[parity]; k < stripe->last[parity]; k++) {
        bool right;
        const uint8_t *wanted =
            stripe->hashes[parity] + (k - stripe->first[parity]) * SHL_HASH_BYTES;
        SHL_TRY(is_right(pull, k, wanted, &right));
        if (!right)
            SHL_TRY(note_bad(pull, k, stripe->giver));
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

/* Errors of moves are the same on all, as they are the engine's; what is bad is told at the end. */
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

/* ---- what was not right ---------------------------------------------------------------------- */

/* The giver after that one. */
static uint32_t other_giver(const struct pull *pull, uint64_t giver)
{
    for (uint32_t i = 0; i < pull->stripe_count; i++)
        if (pull->stripes[i].giver == giver)
            return pull->stripes[(i + 1) % pull->stripe_count].giver;
    return pull->stripes[0].giver;
}

/* The chunks of one rank's list, with hashes that begin at `hashes`, to that rank. */
static enum shoal_status add_mends(struct pull *pull, const struct bad_list *bad, uint32_t to,
                                   uint8_t *hashes, struct shl_move_list *list)
{
    for (uint64_t i = 0; i < bad->count && i < BAD_MAX; i++) {
        uint64_t chunk = bad->at[i].chunk;
        uint32_t from = other_giver(pull, bad->at[i].giver);
        uint8_t *hash = hashes + i * SHL_HASH_BYTES;
        if (chunk >= pull->chunks.count)
            return shl_fail(SHOAL_ERR_INTERNAL, "rank %u asks for a chunk that is not there", to);
        uint8_t *data = place(pull, chunk);
        uint64_t bytes = pull->chunks.at[chunk].bytes;
        if (from == pull->meeting->comm->rank)
            SHL_TRY(shl_hash_data(data, bytes, hash));
        SHL_TRY(shl_state_add_move(list, (struct shl_move){data, data, bytes, from, to, 0}));
        SHL_TRY(
            shl_state_add_move(list, (struct shl_move){hash, hash, SHL_HASH_BYTES, from, to, 0}));
    }
    return SHOAL_OK;
}

static enum shoal_status verify_mends(const struct pull *pull, const uint8_t *hashes)
{
    for (uint64_t i = 0; i < pull->bad.count; i++) {
        const struct bad *bad = &pull->bad.at[i];
        bool right;
        SHL_TRY(is_right(pull, bad->chunk, hashes + i * SHL_HASH_BYTES, &right));
        if (!right)
            return fail_bad(pull, bad->chunk, other_giver(pull, bad->giver));
    }
    return SHOAL_OK;
}

/* All know all lists, and do the same moves. */
static enum shoal_status mend_all(struct pull *pull, const struct bad_list *lists, uint8_t *hashes)
{
    struct shoal_comm *comm = pull->meeting->comm;
    struct shl_move_list list = {.count = 0};
    enum shoal_status status = SHOAL_OK;
    for (uint32_t rank = 0; rank < comm->size && status == SHOAL_OK; rank++)
        status = add_mends(pull, &lists[rank], rank,
                           hashes + (size_t)rank * BAD_MAX * SHL_HASH_BYTES, &list);
    bool any = list.count > 0; /* alike on all, but where one failed */
    status = any || status != SHOAL_OK ? shl_state_agree(comm, status) : SHOAL_OK;
    if (status == SHOAL_OK && any)
        status = shl_moves_run(comm, list.at, list.count);
    if (status == SHOAL_OK && any)
        status = shl_state_agree(
            comm, verify_mends(pull, hashes + (size_t)comm->rank * BAD_MAX * SHL_HASH_BYTES));
    shl_mem->free(list.at);
    return status;
}

static enum shoal_status mend(struct pull *pull)
{
    struct shoal_comm *comm = pull->meeting->comm;
    struct bad_list *lists = shl_mem->alloc(comm->size * sizeof(*lists));
    uint8_t *hashes = shl_mem->alloc((size_t)comm->size * BAD_MAX * SHL_HASH_BYTES);
    enum shoal_status status = SHOAL_OK;
    if (!lists || !hashes)
        status = shl_fail_errno("cannot allocate what %u members tell of chunks", comm->size);
    status = shl_state_agree(comm, status);
    if (status == SHOAL_OK)
        status = shl_state_allgather(comm, &pull->bad, lists, sizeof(pull->bad));
    if (status == SHOAL_OK)
        status = mend_all(pull, lists, hashes);
    shl_mem->free(hashes);
    shl_mem->free(lists);
    return status;
}

/* `status`: how this member comes to it. */
static enum shoal_status pull_chunks(struct pull *pull, enum shoal_status status)
{
    struct shoal_comm *comm = pull->meeting->comm;
    enum shoal_status verified = SHOAL_OK;
    SHL_TRY(shl_state_agree(comm, status == SHOAL_OK ? open_pull(pull) : status));
    SHL_TRY(move_all(pull, &verified));
    SHL_TRY(shl_state_agree(comm, verified));
    return mend(pull);
}

enum shoal_status shl_state_pull(struct shoal_state *state, const struct shl_meeting *meeting)
{
    struct pull pull = {.state = state, .meeting = meeting};
    bool differs = meeting->known_count > 0 && meeting->caught_up;
    if (meeting->known_count == meeting->comm->size)
        return SHOAL_OK;
    /* What was verified before is not any more, should this be interrupted. */
    if (state->taker && !differs)
        shl_taker_forget_hashes(state->taker);
    if (meeting->known_count == 0)
        return broadcast_all(state, meeting);
    enum shoal_status status = shl_chunks_make(state->arrays, state->array_count, &pull.chunks);
    if (!differs) {
        status = pull_chunks(&pull, status);
    } else {
        status = shl_state_differ(state, meeting, status, &pull.chunks);
        if (status == SHOAL_OK && pull.chunks.count)
            status = pull_chunks(&pull, status);
    }
    close_pull(&pull);
    return status;
}
