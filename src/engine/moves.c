/*
 * Moves as runs of a reshard whose two buffers are all of the address space.
 *
 * Invariant: offsets count from the lowest place that this rank names, so none is negative.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "engine/moves.h"

#include "collectives/reshard.h"
#include "core/sys.h"

#define PACK_BELOW_BYTES 8192
#define NS_PER_MS 1000000ull

static const struct shl_algorithm moves_algorithm = {.name = "moves"};

struct places {
    uintptr_t src, dst; /* the lowest of this rank */
};

static struct places lowest(const struct shl_move *moves, size_t count, uint32_t rank)
{
    struct places places = {UINTPTR_MAX, UINTPTR_MAX};
    for (size_t i = 0; i < count; i++) {
        uintptr_t src = (uintptr_t)moves[i].src, dst = (uintptr_t)moves[i].dst;
        if (moves[i].bytes && moves[i].from == rank && src < places.src)
            places.src = src;
        if (moves[i].bytes && moves[i].to == rank && dst < places.dst)
            places.dst = dst;
    }
    return places;
}

static uint64_t mix(uint64_t hash, uint64_t value)
{
    hash = (hash ^ value) * 0x9e3779b97f4a7c15ull;
    return hash ^ hash >> 29;
}

/* The call that all ranks must agree on; its `root` is a hash of the list. */
static struct shoal_call describe(const struct shl_move *moves, size_t count, struct places places)
{
    uint64_t hash = count, bytes = 0;
    for (size_t i = 0; i < count; i++) {
        hash = mix(mix(hash, (uint64_t)moves[i].from << 32 | moves[i].to), moves[i].bytes);
        hash = mix(hash, moves[i].lot);
        bytes += moves[i].bytes;
    }
    return (struct shoal_call){
        .collective = (enum shoal_collective)SHL_RESHARD,
        .dtype = SHOAL_U8,
        .root = (uint32_t)(hash ^ hash >> 32),
        .count = bytes,
        .send = (const void *)(places.src == UINTPTR_MAX ? 0 : places.src),
        .recv = (void *)(places.dst == UINTPTR_MAX ? 0 : places.dst),
    };
}

static enum shoal_status make_plan(const struct shoal_comm *comm, const struct shl_move *moves,
                                   size_t count, struct places places, struct shl_plan **plan)
{
    struct shl_schedule *schedule = NULL;
    struct shl_reshard_run *runs = shl_mem->alloc((count + 1) * sizeof(*runs));
    if (!runs)
        return shl_fail_errno("cannot allocate a plan of %zu moves", count);
    for (size_t i = 0; i < count; i++) {
        const struct shl_move *move = &moves[i];
        bool sends = move->from == comm->rank, gets = move->to == comm->rank;
        runs[i] = (struct shl_reshard_run){
            .src = sends && move->bytes ? (uintptr_t)move->src - places.src : 0,
            .dst = gets && move->bytes ? (uintptr_t)move->dst - places.dst : 0,
            .count = move->bytes,
            .from = move->from,
            .to = move->to,
            .lot = move->lot};
    }
    enum shoal_status status =
        shl_runs_build(runs, count, comm->size, comm->rank, PACK_BELOW_BYTES, &schedule);
    shl_mem->free(runs);
    SHL_TRY(status);
    schedule->algorithm = &moves_algorithm;
    SHL_TRY(shl_plan_own(schedule, 1, plan));
    (*plan)->choice.algorithm = &moves_algorithm;
    return SHOAL_OK;
}

enum shoal_status shl_moves_start(struct shoal_comm *comm, const struct shl_move *moves,
                                  size_t count, struct shoal_request **request)
{
    struct shl_plan *plan;
    struct places places = lowest(moves, count, comm->rank);
    struct shoal_call call = describe(moves, count, places);
    SHL_TRY(make_plan(comm, moves, count, places, &plan));
    shl_token_take(comm->engine);
    enum shoal_status status = shl_request_start_planned(comm, &call, plan, request);
    if (status == SHOAL_OK) {
        (*request)->timeout_ns = comm->op_timeout_ms * NS_PER_MS;
        shl_engine_kick_service(comm->engine); /* it goes on while the caller does other things */
    } else {
        shl_plan_free(plan);
    }
    shl_token_give(comm->engine);
    return status;
}

enum shoal_status shl_moves_wait(struct shoal_request *request)
{
    struct shl_engine *engine = request->comm->engine;
    shl_token_take(engine);
    enum shoal_status status = shl_request_wait(request, UINT64_MAX);
    if (status < 0)
        shl_fail(status, "%s", request->text);
    shl_request_free(request);
    shl_token_give(engine);
    return status;
}

enum shoal_status shl_moves_run(struct shoal_comm *comm, const struct shl_move *moves, size_t count)
{
    struct shoal_request *request;
    SHL_TRY(shl_moves_start(comm, moves, count, &request));
    return shl_moves_wait(request);
}
