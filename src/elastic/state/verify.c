/*
 * Do all members have the same replicated arrays? Each hashes its own; the hashes are compared.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "core/sys.h"
#include "elastic/state/state.h"

#include <string.h>

uint32_t shl_state_deviants(const uint8_t *hashes, size_t stride, uint32_t ranks, bool *deviates)
{
    uint32_t best = 0, best_count = 0;
    for (uint32_t i = 0; i < ranks && best_count <= ranks / 2; i++) {
        uint32_t count = 0;
        for (uint32_t k = 0; k < ranks; k++)
            count += !memcmp(hashes + i * stride, hashes + k * stride, SHL_HASH_BYTES);
        if (count > best_count) {
            best = i;
            best_count = count;
        }
    }
    for (uint32_t k = 0; k < ranks; k++)
        deviates[k] = memcmp(hashes + best * stride, hashes + k * stride, SHL_HASH_BYTES) != 0;
    return ranks - best_count;
}

struct verify {
    const struct shoal_state *state;
    struct shoal_state_divergence *found;
    size_t capacity, count;
};

/* All members' hashes: for each rank those of the arrays in order. */
static void compare(struct verify *verify, const uint8_t *all, uint32_t ranks)
{
    const struct shoal_state *state = verify->state;
    size_t stride = (size_t)state->array_count * SHL_HASH_BYTES;
    bool deviates[SHL_MEMBERS_MAX];
    verify->count = 0; /* it may be done again in another view */
    for (uint32_t i = 0; i < state->array_count; i++) {
        if (!shl_state_deviants(all + i * SHL_HASH_BYTES, stride, ranks, deviates))
            continue;
        for (uint32_t rank = 0; rank < ranks; rank++) {
            if (!deviates[rank])
                continue;
            if (verify->count < verify->capacity)
                verify->found[verify->count] =
                    (struct shoal_state_divergence){state->arrays[i].name, rank};
            verify->count++;
        }
    }
}

/* Chunk by chunk: the hash so far, and then that of the chunk, are hashed. */
static enum shoal_status hash_chunk(const struct shl_state_array *array, uint64_t at,
                                    uint8_t hash[SHL_HASH_BYTES])
{
    uint8_t both[2 * SHL_HASH_BYTES];
    uint64_t left = array->bytes - at;
    memcpy(both, hash, SHL_HASH_BYTES);
    SHL_TRY(shl_hash_data(array->data + at, left < SHL_CHUNK_BYTES ? left : SHL_CHUNK_BYTES,
                          both + SHL_HASH_BYTES));
    return shl_hash_data(both, sizeof(both), hash);
}

/* How far this member has hashed its arrays. */
struct hashing {
    uint32_t array;
    uint64_t at;
};

/* SHOAL_IN_PROGRESS: there is more to hash than takes a moment. */
static enum shoal_status hash_some(const struct shoal_state *state, const struct shoal_comm *comm,
                                   struct hashing *hashing, uint8_t *mine)
{
    uint64_t until_ns = shl_now_ns() + shl_state_spell_ns(comm);
    for (; hashing->array < state->array_count; hashing->array++, hashing->at = 0) {
        const struct shl_state_array *array = &state->arrays[hashing->array];
        uint64_t end = array->kind == SHOAL_STATE_REPLICATED ? array->bytes : 0;
        while (hashing->at < end) {
            SHL_TRY(hash_chunk(array, hashing->at, mine + hashing->array * SHL_HASH_BYTES));
            hashing->at += SHL_CHUNK_BYTES;
            if (shl_now_ns() >= until_ns)
                return SHOAL_IN_PROGRESS;
        }
    }
    return SHOAL_OK;
}

static enum shoal_status run(void *arg, struct shoal_comm *comm, const struct shl_members *members)
{
    struct verify *verify = arg;
    const struct shoal_state *state = verify->state;
    struct shl_meeting meeting;
    struct hashing hashing = {.array = 0};
    size_t bytes = (size_t)state->array_count * SHL_HASH_BYTES;
    (void)members;
    SHL_TRY(shl_state_meet(state, comm, &meeting));
    uint8_t *mine = shl_mem->alloc(bytes + 1);
    uint8_t *all = shl_mem->alloc(bytes * comm->size + 1);
    enum shoal_status status = SHOAL_OK;
    if (!mine || !all)
        status = shl_fail_errno("cannot allocate the hashes of %u members", comm->size);
    do
        status =
            shl_state_agree(comm, status < 0 ? status : hash_some(state, comm, &hashing, mine));
    while (status == SHOAL_IN_PROGRESS);
    if (status == SHOAL_OK && bytes > 0)
        status = shl_state_allgather(comm, mine, all, bytes);
    if (status == SHOAL_OK)
        compare(verify, all, comm->size);
    shl_mem->free(all);
    shl_mem->free(mine);
    return status;
}

enum shoal_status shl_state_verify(struct shoal_state *state, struct shoal_state_divergence *found,
                                   size_t capacity, size_t *count)
{
    struct verify verify = {.state = state, .found = found, .capacity = capacity};
    struct shl_task task = {.run = run, .arg = &verify};
    SHL_TRY(shl_views_task(state->world, &task, false));
    *count = verify.count;
    return SHOAL_OK;
}
