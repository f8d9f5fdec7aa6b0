/*
 * Splitting a communicator by color. One allgather tells everybody who goes where; the children
 * then form by themselves.
 *
 * Ids. A communicator's id is (world rank of its first member, a count kept by that rank), so two
 * communicators that share any member never have the same id, without asking anybody.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "core/sys.h"
#include "elastic/world.h"

#include <stdlib.h>

#define COUNTER_BITS 14

struct vote {
    uint32_t color;
    int32_t key;
    uint32_t counter; /* for the id, should this rank become first */
    uint32_t rank;
};

static int by_key(const void *a, const void *b)
{
    const struct vote *x = a, *y = b;
    if (x->key != y->key)
        return x->key < y->key ? -1 : 1;
    return x->rank < y->rank ? -1 : x->rank > y->rank;
}

/* Keep the votes for my color, in order; returns how many. */
static uint32_t select_mine(struct vote *votes, uint32_t count, uint32_t color)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (votes[i].color != color)
            continue;
        votes[kept] = votes[i];
        votes[kept++].rank = i;
    }
    qsort(votes, kept, sizeof(*votes), by_key);
    return kept;
}

static enum shoal_status form_child(struct shoal_comm *parent, const struct vote *votes,
                                    uint32_t count, uint64_t seq, struct shoal_comm **child)
{
    uint32_t *members = shl_mem->alloc(count * sizeof(*members));
    if (!members)
        return shl_fail_errno("cannot allocate a communicator of %u ranks", count);
    struct shl_comm_options options = {
        .members = members,
        .size = count,
        .op_timeout_ms = parent->op_timeout_ms,
        .origin_id = parent->id,
        .origin_seq = seq,
    };
    for (uint32_t i = 0; i < count; i++) {
        members[i] = parent->members[votes[i].rank];
        if (votes[i].rank == parent->rank)
            options.rank = i;
    }
    options.id = members[0] << COUNTER_BITS | votes[0].counter;
    enum shoal_status status;
    if (votes[0].counter >= 1u << COUNTER_BITS) /* All members see that, so all fail alike. */
        status = shl_fail(SHOAL_ERR_UNSUPPORTED,
                          "rank %u has taken part in %u splits, the most there can be",
                          votes[0].rank, votes[0].counter - 1);
    else
        status = shl_world_form(parent->world, &options, child);
    shl_mem->free(members);
    return status;
}

/*
 * Everybody's vote. When it fails here it may yet succeed elsewhere (an abort races with the last
 * vote), so the others are told not to wait for this rank in a child.
 */
static enum shoal_status gather_votes(struct shoal_comm *parent, struct vote *mine,
                                      struct vote *votes, uint64_t *seq)
{
    struct shl_engine *engine = parent->engine;
    struct shoal_call call = {.struct_size = sizeof(call),
                              .collective = SHOAL_ALLGATHER,
                              .dtype = SHOAL_U8,
                              .count = sizeof(*mine),
                              .send = mine,
                              .recv = votes};
    struct shoal_request *request;
    mine->counter = ++engine->comm_counter;
    enum shoal_status status = shl_request_start(parent, &call, &request);
    if (status != SHOAL_OK)
        return status;
    *seq = request->seq;
    request->timeout_ns = parent->world->options.init_timeout_ms * 1000000;
    status = shl_request_wait(request, UINT64_MAX);
    if (status < 0) {
        shl_comm_say_unsplit(parent, *seq, request->text);
        shl_fail(status, "%s", request->text);
    }
    shl_request_free(request);
    return status;
}

enum shoal_status shl_world_split(struct shoal_comm *parent, uint32_t color, int32_t key,
                                  struct shoal_comm **child)
{
    struct shl_engine *engine = parent->engine;
    struct vote mine = {.color = color, .key = key};
    uint64_t seq = 0;
    struct vote *votes = shl_mem->alloc(parent->size * sizeof(*votes));
    if (!votes)
        return shl_fail_errno("cannot allocate a split of %u ranks", parent->size);
    shl_token_take(engine);
    parent->splits++;
    enum shoal_status status = gather_votes(parent, &mine, votes, &seq);
    shl_token_give(engine);
    if (status == SHOAL_OK && color == SHOAL_COLOR_NONE)
        *child = NULL;
    else if (status == SHOAL_OK)
        status = form_child(parent, votes, select_mine(votes, parent->size, color), seq, child);
    shl_token_take(engine);
    parent->splits--;
    shl_token_give(engine);
    shl_mem->free(votes);
    return status;
}
