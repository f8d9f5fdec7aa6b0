/*
 * Reshards: from two layouts to a plan and the call that all ranks must agree on. Path: from
 * api/reshard.c, next collectives/reshard.h; request.c starts the plan.
 *
 * Invariant: the call's `root` is a hash of both layouts, so ranks that disagree on one find out as
 * ranks that disagree on a count do.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "collectives/reshard.h"

#include "engine/comm.h"

/* Runs of a pair that are shorter than this on average are cheaper to copy than to send one by one:
 * about what moves in the time of a message. */
#define PACK_BELOW_BYTES 8192

static const struct shl_algorithm spans = {.name = "spans"};

static enum shoal_status plan_spreads(const struct shoal_comm *comm,
                                      const struct shl_spread *spreads, uint32_t elem_bytes,
                                      struct shl_plan **plan)
{
    struct shl_schedule *schedule;
    struct shl_reshard_shape shape = {.from = &spreads[0],
                                      .to = &spreads[1],
                                      .rank = comm->rank,
                                      .pack_below = PACK_BELOW_BYTES / elem_bytes};
    SHL_TRY(shl_reshard_build(&shape, &schedule));
    schedule->algorithm = &spans;
    SHL_TRY(shl_plan_own(schedule, elem_bytes, plan));
    (*plan)->choice.algorithm = &spans;
    return SHOAL_OK;
}

enum shoal_status shl_reshard_prepare(const struct shoal_comm *comm,
                                      const struct shoal_reshard_call *from,
                                      struct shoal_call *call, struct shl_plan **plan)
{
    struct shl_spread spreads[2] = {{0}, {0}};
    uint32_t elem_bytes = (uint32_t)shoal_dtype_bytes(from->dtype);
    enum shoal_status status =
        shl_spread_init(&spreads[0], from->from, from->count, comm->size, "from");
    if (status == SHOAL_OK)
        status = shl_spread_init(&spreads[1], from->to, from->count, comm->size, "to");
    if (status == SHOAL_OK)
        status = plan_spreads(comm, spreads, elem_bytes, plan);
    if (status == SHOAL_OK) {
        uint64_t hash = shl_spread_hash(&spreads[0]) * 3 + shl_spread_hash(&spreads[1]);
        *call = (struct shoal_call){.collective = (enum shoal_collective)SHL_RESHARD,
                                    .dtype = from->dtype,
                                    .root = (uint32_t)(hash ^ hash >> 32),
                                    .count = from->count,
                                    .send = from->send,
                                    .recv = from->recv,
                                    .timeout_ms = from->timeout_ms};
    }
    shl_spread_fini(&spreads[1]);
    shl_spread_fini(&spreads[0]);
    return status;
}
