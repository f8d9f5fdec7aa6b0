/*
 * The members of a view compare what they registered, and tell who has it already.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "elastic/state/state.h"

#include "core/sys.h"

#include <string.h>

#define NS_PER_MS 1000000ull
#define SPELL_MS 100

enum shoal_status shl_state_allgather(struct shoal_comm *comm, const void *mine, void *all,
                                      size_t bytes)
{
    return shl_request_allgather(comm, mine, all, bytes, comm->op_timeout_ms * NS_PER_MS);
}

/* What a member tells. */
struct card {
    uint64_t known, veteran, caught_up;
    uint64_t arrays, bytes;
    uint8_t schema[SHL_HASH_BYTES];
};

enum shoal_status shl_state_schema(const struct shoal_state *state, uint8_t hash[SHL_HASH_BYTES])
{
    uint64_t cut[3] = {state->table.shards, state->table.width, state->background};
    size_t bytes = sizeof(cut);
    for (uint32_t i = 0; i < state->array_count; i++)
        bytes += strlen(state->arrays[i].name) + 1 + 3 * sizeof(uint64_t);
    uint8_t *text = shl_mem->alloc(bytes + 1), *at = text;
    if (!text)
        return shl_fail_errno("cannot allocate the list of the state's arrays");
    memcpy(at, cut, sizeof(cut));
    at += sizeof(cut);
    for (uint32_t i = 0; i < state->array_count; i++) {
        const struct shl_state_array *array = &state->arrays[i];
        uint64_t numbers[3] = {array->count, (uint64_t)array->dtype, (uint64_t)array->kind};
        memcpy(at, array->name, strlen(array->name) + 1);
        at += strlen(array->name) + 1;
        memcpy(at, numbers, sizeof(numbers));
        at += sizeof(numbers);
    }
    enum shoal_status status = shl_hash_data(text, bytes, hash);
    shl_mem->free(text);
    return status;
}

static enum shoal_status compare(const struct card *cards, uint32_t size)
{
    for (uint32_t i = 1; i < size; i++)
        if (memcmp(cards[i].schema, cards[0].schema, SHL_HASH_BYTES) != 0)
            return shl_fail(SHOAL_ERR_MISMATCH,
                            "rank %u registered %llu arrays of state with %llu bytes, rank 0 %llu "
                            "with %llu, or with other names, types, order, shards or replicas; "
                            "register the same on all",
                            i, (unsigned long long)cards[i].arrays,
                            (unsigned long long)cards[i].bytes, (unsigned long long)cards[0].arrays,
                            (unsigned long long)cards[0].bytes);
    return SHOAL_OK;
}

enum shoal_status shl_state_meet(const struct shoal_state *state, struct shoal_comm *comm,
                                 struct shl_meeting *meeting)
{
    struct card mine = {.known = state->known,
                        .veteran = state->world->streams.settled,
                        .caught_up = state->taker != NULL,
                        .arrays = state->array_count};
    for (uint32_t i = 0; i < state->array_count; i++)
        mine.bytes += state->arrays[i].bytes;
    SHL_TRY(shl_state_schema(state, mine.schema));
    struct card *cards = shl_mem->alloc(comm->size * sizeof(*cards));
    if (!cards)
        return shl_fail_errno("cannot allocate what %u members tell", comm->size);
    enum shoal_status status = shl_state_allgather(comm, &mine, cards, sizeof(mine));
    if (status == SHOAL_OK)
        status = compare(cards, comm->size);
    *meeting = (struct shl_meeting){.comm = comm, .veteran = comm->size, .caught_up = true};
    for (uint32_t i = 0; i < comm->size && status == SHOAL_OK; i++) {
        meeting->known[i] = cards[i].known != 0;
        meeting->known_count += meeting->known[i];
        meeting->caught_up &= cards[i].known || cards[i].caught_up;
        if (cards[i].veteran && meeting->veteran == comm->size)
            meeting->veteran = i;
    }
    shl_mem->free(cards);
    return status;
}

/* Who lacks memory asks all to decide, and ends by itself if that does not help: to the others it
 * is an operation that was interrupted. */
static enum shoal_status seen_by_others(enum shoal_status status)
{
    return status == SHOAL_ERR_NOMEM ? SHOAL_ERR_ABORTED : status;
}

/* *rank: the first whose status is an error, with *first; comm->size: all are well, or, by *first,
 * not done yet. */
static enum shoal_status find_error(struct shoal_comm *comm, enum shoal_status mine, uint32_t *rank,
                                    enum shoal_status *first)
{
    int64_t told = mine;
    int64_t *all = shl_mem->alloc(comm->size * sizeof(*all));
    if (!all)
        return shl_fail_errno("cannot allocate what %u members tell", comm->size);
    enum shoal_status status = shl_state_allgather(comm, &told, all, sizeof(told));
    *rank = comm->size;
    *first = SHOAL_OK;
    for (uint32_t i = comm->size; i-- > 0 && status == SHOAL_OK;) {
        if (all[i] < 0)
            *rank = i;
        if (all[i] < 0 || *first == SHOAL_OK)
            *first = (enum shoal_status)all[i];
    }
    shl_mem->free(all);
    return status;
}

enum shoal_status shl_state_agree(struct shoal_comm *comm, enum shoal_status status)
{
    uint32_t rank;
    enum shoal_status first;
    char text[SHL_WORLD_TEXT];
    memcpy(text, shl_error_text(), strnlen(shl_error_text(), sizeof(text) - 1) + 1);
    text[sizeof(text) - 1] = '\0';
    SHL_TRY(find_error(comm, status, &rank, &first));
    if (rank == comm->size)
        return first;
    if (rank == comm->rank)
        return shl_fail(status, "%s", text);
    return shl_fail(seen_by_others(first),
                    "rank %u could not take part in an operation of the state; its own error says "
                    "more",
                    rank);
}

enum shoal_status shl_state_poll(struct shoal_comm *comm, enum shoal_status mine,
                                 enum shoal_status *first)
{
    uint32_t rank;
    return find_error(comm, mine, &rank, first);
}

uint64_t shl_state_spell_ns(const struct shoal_comm *comm)
{
    uint64_t part_ns = comm->op_timeout_ms * NS_PER_MS / 4;
    return part_ns < SPELL_MS * NS_PER_MS ? part_ns : SPELL_MS * NS_PER_MS;
}
