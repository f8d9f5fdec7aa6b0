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

static enum shoal_status hash_arrays(const struct shoal_state *state, uint8_t *mine)
{
    memset(mine, 0, (size_t)state->array_count * SHL_HASH_BYTES);
    for (uint32_t i = 0; i < state->array_count; i++)
        if (state->arrays[i].kind == SHOAL_STATE_REPLICATED)
            SHL_TRY(shl_hash_data(state->arrays[i].data, state->arrays[i].bytes,
                                  mine + i * SHL_HASH_BYTES));
    return SHOAL_OK;
}

static enum shoal_status run(void *arg, struct shoal_comm *comm, const struct shl_members *members)
{
    struct verify *verify = arg;
    const struct shoal_state *state = verify->state;
    struct shl_meeting meeting;
    size_t bytes = (size_t)state->array_count * SHL_HASH_BYTES;
    (void)members;
    SHL_TRY(shl_state_meet(state, comm, &meeting));
    uint8_t *mine = shl_mem->alloc(bytes + 1);
    uint8_t *all = shl_mem->alloc(bytes * comm->size + 1);
    enum shoal_status status = SHOAL_OK;
    if (!mine || !all)
        status = shl_fail_errno("cannot allocate the hashes of %u members", comm->size);
    if (status == SHOAL_OK)
        status = hash_arrays(state, mine);
    status = shl_state_agree(comm, status);
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
