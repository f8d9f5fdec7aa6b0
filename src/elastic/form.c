/*
 * Forming a communicator: who shares memory with whom is asked, not inferred. Path: from world.c
 * or split.c, before any operation of the caller's.
 *
 * Invariant: every member ends with the same host map, and either all use the group or none does.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "core/sys.h"
#include "elastic/world.h"

#include <stdio.h>
#include <string.h>

/* What members tell each other first. */
struct first_word {
    uint64_t slots_offset; /* UINT64_MAX: not all members are in reach by shared memory */
    uint64_t window_offset;
    uint32_t leader;  /* the lowest member that shares memory with this one, itself included */
    uint32_t crowded; /* more local ranks than this one may use cores */
};

static enum shoal_status tell_all(struct shoal_comm *comm, const void *mine, void *all,
                                  size_t bytes)
{
    uint64_t timeout_ns = comm->world->options.init_timeout_ms * 1000000;
    return shl_request_allgather(comm, mine, all, bytes, timeout_ns);
}

static uint32_t lowest_local(const struct shoal_comm *comm)
{
    const struct shl_engine *engine = comm->engine;
    for (uint32_t i = 0; i < comm->rank; i++)
        if (strcmp(shl_engine_ops(engine, comm->members[i])->name, "shm") == 0)
            return i;
    return comm->rank;
}

static void number_hosts(const struct shoal_comm *comm, const struct first_word *words,
                         uint32_t *host_of)
{
    uint32_t hosts = 0;
    for (uint32_t i = 0; i < comm->size; i++) {
        uint32_t leader = words[i].leader;
        bool known = leader < i && words[leader].leader == leader;
        host_of[i] = known ? host_of[leader] : hosts++;
    }
}

/* Ranks may be bound to different numbers of cores; what follows from these is the same for all. */
static bool any_crowded(const struct shoal_comm *comm, const struct first_word *words)
{
    for (uint32_t i = 0; i < comm->size; i++)
        if (words[i].crowded)
            return true;
    return false;
}

static bool all_reach_all(const struct shoal_comm *comm, const struct first_word *words)
{
    for (uint32_t i = 0; i < comm->size; i++)
        if (words[i].slots_offset == UINT64_MAX)
            return false;
    return true;
}

/* Second round: everybody has mapped everybody, or nobody uses the group. */
static enum shoal_status join_group(struct shoal_comm *comm, const uint64_t *offsets,
                                    uint8_t *answers)
{
    shl_token_take(comm->engine);
    uint8_t joined = shl_comm_join_group(comm, offsets, offsets + comm->size) == SHOAL_OK;
    shl_token_give(comm->engine);
    SHL_TRY(tell_all(comm, &joined, answers, 1));
    bool all = memchr(answers, 0, comm->size) == NULL;
    shl_token_take(comm->engine);
    shl_comm_enable_group(comm, all);
    shl_token_give(comm->engine);
    return SHOAL_OK;
}

static enum shoal_status learn(struct shoal_comm *comm, struct first_word *words, uint32_t *host_of,
                               uint64_t *offsets, uint8_t *answers)
{
    struct first_word mine = {.slots_offset = UINT64_MAX,
                              .leader = lowest_local(comm),
                              .crowded = comm->engine->oversubscribed};
    shl_token_take(comm->engine);
    if (shl_comm_can_group(comm) &&
        shl_comm_reserve_group(comm, &mine.slots_offset, &mine.window_offset) != SHOAL_OK)
        mine.slots_offset = UINT64_MAX;
    shl_token_give(comm->engine);
    SHL_TRY(tell_all(comm, &mine, words, sizeof(mine)));
    number_hosts(comm, words, host_of);
    shl_token_take(comm->engine);
    shl_comm_set_hosts(comm, host_of);
    comm->window_crowded = any_crowded(comm, words);
    bool all = all_reach_all(comm, words);
    if (!all)
        shl_comm_enable_group(comm, false);
    shl_token_give(comm->engine);
    if (!all)
        return SHOAL_OK;
    for (uint32_t i = 0; i < comm->size; i++) {
        offsets[i] = words[i].slots_offset;
        offsets[comm->size + i] = words[i].window_offset;
    }
    return join_group(comm, offsets, answers);
}

void shl_world_say_absent(struct shl_world *world, uint32_t id, uint32_t rank)
{
    char text[SHL_ENGINE_TEXT];
    snprintf(text, sizeof(text), "%s", shl_error_text());
    shl_engine_say_left(world->engine, id, rank, 0);
    shl_error_set(text);
}

/* In a split nobody need be lost: a member that gave it up, or found out earlier, is not there. */
static enum shoal_status explain(struct shoal_comm *comm, enum shoal_status status)
{
    if (status != SHOAL_ERR_PEER || comm->origin_seq == 0)
        return status;
    bool left = false, lost = false;
    shl_token_take(comm->engine);
    for (uint32_t i = 0; i < comm->size; i++) {
        left |= comm->left_seq[i] != UINT64_MAX;
        lost |= comm->engine->peers[comm->members[i]].lost;
    }
    bool told = comm->broken == SHOAL_ERR_ABORTED;
    shl_token_give(comm->engine);
    if (told)
        return shl_fail(SHOAL_ERR_ABORTED, "%s", comm->broken_text);
    if (left && !lost)
        return shl_fail(SHOAL_ERR_ABORTED, "another rank gave up the split; nothing was formed");
    return status;
}

enum shoal_status shl_world_form(struct shl_world *world, const struct shl_comm_options *options,
                                 struct shoal_comm **out)
{
    struct shoal_comm *comm;
    shl_token_take(world->engine);
    enum shoal_status status = shl_comm_create(world->engine, options, &comm);
    shl_token_give(world->engine);
    if (status != SHOAL_OK) {
        if (options->size > 1)
            shl_world_say_absent(world, options->id, options->rank);
        return status;
    }
    comm->world = world;
    atomic_fetch_add(&world->references, 1);
    if (comm->size > 1) {
        struct first_word *words = shl_mem->alloc(comm->size * sizeof(*words));
        uint32_t *host_of = shl_mem->alloc(comm->size * sizeof(*host_of));
        uint64_t *offsets = shl_mem->alloc(2 * comm->size * sizeof(*offsets));
        uint8_t *answers = shl_mem->alloc(comm->size);
        if (!words || !host_of || !offsets || !answers)
            status = shl_fail_errno("cannot allocate the set-up of %u ranks", comm->size);
        else
            status = learn(comm, words, host_of, offsets, answers);
        shl_mem->free(answers);
        shl_mem->free(offsets);
        shl_mem->free(host_of);
        shl_mem->free(words);
    }
    if (status != SHOAL_OK) {
        status = explain(comm, status);
        shl_world_leave(comm);
        return status;
    }
    *out = comm;
    return SHOAL_OK;
}
