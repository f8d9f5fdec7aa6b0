/*
 * What learners that caught up before they were let in have to get still. Givers hash their stripes
 * as they are now; learners compare with the hashes of what they have; and all learn which chunks
 * somebody lacks, which alone are moved.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "core/sys.h"
#include "elastic/state/state.h"

#include <string.h>

struct differ {
    struct shoal_state *state;
    const struct shl_meeting *meeting;
    struct shl_chunks *chunks;
    uint8_t *hashes; /* by chunk: of the own stripe, or received */
    uint8_t *lacks;  /* a bit for each chunk */
    uint8_t *all;    /* everybody's */
    size_t lacks_bytes;
    uint64_t next, end; /* chunks of the own stripe that are not hashed yet */
    struct shl_move_list list;
};

/* Stripe by stripe, in the order of ranks, from its giver to all who joined. */
static enum shoal_status plan(struct differ *differ)
{
    const struct shl_meeting *meeting = differ->meeting;
    uint32_t stripe = 0, stripes = meeting->known_count;
    for (uint32_t from = 0; from < meeting->comm->size; from++) {
        if (!meeting->known[from])
            continue;
        uint64_t first = shl_chunks_stripe(differ->chunks, stripe, stripes);
        uint64_t end = shl_chunks_stripe(differ->chunks, ++stripe, stripes);
        uint8_t *at = differ->hashes + first * SHL_HASH_BYTES;
        if (from == meeting->comm->rank) {
            differ->next = first;
            differ->end = end;
        }
        for (uint32_t to = 0; to < meeting->comm->size && end > first; to++)
            if (!meeting->known[to])
                SHL_TRY(shl_state_add_move(
                    &differ->list,
                    (struct shl_move){at, at, (end - first) * SHL_HASH_BYTES, from, to, 0}));
    }
    return SHOAL_OK;
}

/* SHOAL_IN_PROGRESS: there is more to hash than takes a moment. */
static enum shoal_status hash_some(struct differ *differ)
{
    uint64_t until_ns = shl_now_ns() + shl_state_spell_ns(differ->meeting->comm);
    while (differ->next < differ->end) {
        const struct shl_chunk *chunk = &differ->chunks->at[differ->next];
        SHL_TRY(shl_hash_data(differ->state->arrays[chunk->array].data + chunk->offset,
                              chunk->bytes, differ->hashes + differ->next * SHL_HASH_BYTES));
        differ->next++;
        if (shl_now_ns() >= until_ns)
            return SHOAL_IN_PROGRESS;
    }
    return SHOAL_OK;
}

static enum shoal_status prepare(struct differ *differ)
{
    uint64_t count = differ->chunks->count;
    differ->lacks_bytes = (count + 7) / 8;
    differ->hashes = shl_mem->alloc(count * SHL_HASH_BYTES + 1);
    differ->lacks = shl_mem->alloc(differ->lacks_bytes + 1);
    differ->all = shl_mem->alloc(differ->lacks_bytes * differ->meeting->comm->size + 1);
    if (!differ->hashes || !differ->lacks || !differ->all)
        return shl_fail_errno("cannot allocate the hashes of %llu chunks of state",
                              (unsigned long long)count);
    return plan(differ);
}

static void compare(const struct differ *differ)
{
    struct shl_taker *taker = differ->state->taker;
    for (uint64_t k = 0; taker && k < differ->chunks->count; k++) {
        const uint8_t *theirs = differ->hashes + k * SHL_HASH_BYTES;
        if (memcmp(shl_taker_hash(taker, k), theirs, SHL_HASH_BYTES) != 0)
            differ->lacks[k / 8] |= (uint8_t)(1u << (k % 8));
    }
}

static bool is_lacked(const struct differ *differ, uint64_t chunk)
{
    for (uint32_t i = 0; i < differ->meeting->comm->size; i++)
        if (differ->all[i * differ->lacks_bytes + chunk / 8] >> (chunk % 8) & 1)
            return true;
    return false;
}

/* What one of them lacks, all are sent; and what is about to be overwritten has no hash that is
 * known any more, should this be done again. */
static void keep_lacked(struct differ *differ)
{
    struct shl_taker *taker = differ->state->taker;
    struct shl_chunks *chunks = differ->chunks;
    uint64_t kept = 0;
    chunks->bytes = 0;
    for (uint64_t k = 0; k < chunks->count; k++) {
        if (!is_lacked(differ, k))
            continue;
        if (taker)
            memset(shl_taker_hash(taker, k), 0, SHL_HASH_BYTES);
        chunks->bytes += chunks->at[k].bytes;
        chunks->at[kept++] = chunks->at[k];
    }
    chunks->count = kept;
}

static enum shoal_status exchange(struct differ *differ)
{
    const struct shl_meeting *meeting = differ->meeting;
    SHL_TRY(shl_moves_run(meeting->comm, differ->list.at, differ->list.count));
    if (!meeting->known[meeting->comm->rank])
        compare(differ);
    SHL_TRY(shl_state_allgather(meeting->comm, differ->lacks, differ->all, differ->lacks_bytes));
    keep_lacked(differ);
    return SHOAL_OK;
}

enum shoal_status shl_state_differ(struct shoal_state *state, const struct shl_meeting *meeting,
                                   enum shoal_status status, struct shl_chunks *chunks)
{
    struct differ differ = {.state = state, .meeting = meeting, .chunks = chunks};
    if (status == SHOAL_OK)
        status = prepare(&differ);
    do
        status = shl_state_agree(meeting->comm, status < 0 ? status : hash_some(&differ));
    while (status == SHOAL_IN_PROGRESS);
    if (status == SHOAL_OK && chunks->count)
        status = exchange(&differ);
    shl_mem->free(differ.list.at);
    shl_mem->free(differ.all);
    shl_mem->free(differ.lacks);
    shl_mem->free(differ.hashes);
    return status;
}
