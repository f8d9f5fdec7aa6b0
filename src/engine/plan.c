/*
 * Plans: the schedule chosen for a call shape, kept so that the data path neither selects, builds
 * nor allocates. Path: from request.c or group.c, next exec.c.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "core/sys.h"
#include "engine/comm.h"

static bool call_commutes(const struct shoal_comm *comm, const struct shoal_call *call)
{
    bool reduces = call->collective == SHOAL_ALLREDUCE || call->collective == SHOAL_REDUCE ||
                   call->collective == SHOAL_REDUCE_SCATTER;
    if (!reduces || call->op < SHOAL_OP_COUNT)
        return true;
    return shl_comm_user_op(comm, call->op)->commutes;
}

static void count_bytes(struct shl_plan *plan)
{
    for (uint32_t i = 0; i < plan->schedule->step_count; i++) {
        const struct shl_step *step = &plan->schedule->steps[i];
        const struct shl_span *span = step->kind == SHL_STEP_SEND ? &step->src : &step->dst;
        uint64_t first = shl_layout_offset(&plan->layout, span->buffer, span->first);
        uint64_t end = shl_layout_offset(&plan->layout, span->buffer, span->first + span->count);
        if (step->kind == SHL_STEP_SEND)
            plan->bytes_sent += (end - first) * plan->elem_bytes;
        if (step->kind == SHL_STEP_RECV_REDUCE || step->kind == SHL_STEP_REDUCE)
            plan->bytes_reduced += (end - first) * plan->elem_bytes;
    }
}

static enum shoal_status make(struct shoal_comm *comm, const struct shoal_call *call, bool commutes,
                              struct shl_plan **out)
{
    struct shl_plan *plan = shl_mem->alloc(sizeof(*plan));
    if (!plan)
        return shl_fail_errno("cannot allocate a plan");
    plan->collective = call->collective;
    plan->root = call->root;
    plan->elem_bytes =
        call->collective == SHOAL_BARRIER ? 1 : (uint32_t)shoal_dtype_bytes(call->dtype);
    plan->count = call->count;
    plan->commutes = commutes;
    shl_list_init(&plan->idle);
    struct shl_select_query query = {.collective = call->collective,
                                     .rank_count = comm->size,
                                     .root = call->root,
                                     .bytes =
                                         shl_call_count_total(call, comm->size) * plan->elem_bytes,
                                     .commutes = commutes,
                                     .hosts = &comm->hosts,
                                     .forced = comm->engine->config->algorithm};
    enum shoal_status status = shl_select(&query, &comm->engine->costs, &plan->choice);
    struct shl_shape shape = {.rank_count = comm->size,
                              .rank = comm->rank,
                              .root = call->root,
                              .chunks = plan->choice.chunks,
                              .hosts = &comm->hosts};
    if (status == SHOAL_OK)
        status = shl_schedule_build(plan->choice.algorithm, &shape, &plan->schedule);
    if (status != SHOAL_OK) {
        shl_mem->free(plan);
        return status;
    }
    plan->layout = shl_layout_make(plan->schedule, call->count, plan->elem_bytes);
    count_bytes(plan);
    *out = plan;
    return SHOAL_OK;
}

void shl_plan_free(struct shl_plan *plan)
{
    struct shl_list *node;
    SHL_ASSERT(plan->busy == 0);
    while ((node = shl_list_pop(&plan->idle)))
        shl_exec_free(shl_exec_from_link(node));
    shl_schedule_free(plan->schedule);
    shl_mem->free(plan);
}

static bool matches(const struct shl_plan *plan, const struct shoal_call *call, bool commutes)
{
    return plan->collective == call->collective && plan->count == call->count &&
           plan->commutes == commutes && plan->root == call->root &&
           (call->collective == SHOAL_BARRIER ||
            plan->elem_bytes == shoal_dtype_bytes(call->dtype));
}

enum shoal_status shl_plan_get(struct shoal_comm *comm, const struct shoal_call *call,
                               struct shl_plan **out)
{
    bool commutes = call_commutes(comm, call);
    size_t victim = SHL_COMM_PLANS;
    for (size_t i = 0; i < SHL_COMM_PLANS; i++) {
        struct shl_plan *plan = comm->plans[i];
        if (plan && matches(plan, call, commutes)) {
            plan->used = ++comm->plan_clock;
            *out = plan;
            return SHOAL_OK;
        }
        if (plan && plan->busy > 0)
            continue;
        if (victim == SHL_COMM_PLANS || !plan ||
            (comm->plans[victim] && plan->used < comm->plans[victim]->used))
            victim = i;
    }
    /* At most SHL_COMM_WINDOW plans are busy, so there is always a victim. */
    SHL_ASSERT(victim < SHL_COMM_PLANS);
    struct shl_plan *plan = NULL;
    SHL_TRY(make(comm, call, commutes, &plan));
    if (comm->plans[victim])
        shl_plan_free(comm->plans[victim]);
    comm->plans[victim] = plan;
    plan->used = ++comm->plan_clock;
    *out = plan;
    return SHOAL_OK;
}
