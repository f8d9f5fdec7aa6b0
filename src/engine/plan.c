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

static uint64_t offset(const struct shl_layout *layout, const struct shl_span *span,
                       uint32_t elem_bytes)
{
    return shl_layout_offset(layout, (enum shl_buffer)span->buffer, span->first) * elem_bytes;
}

static void resolve_units(struct shl_plan *plan)
{
    const struct shl_schedule *schedule = plan->schedule;
    struct shl_layout layout = shl_layout_make(schedule, plan->count, plan->elem_bytes);
    plan->scratch_bytes =
        shl_layout_offset(&layout, SHL_SCRATCH, schedule->scratch_units) * plan->elem_bytes;
    for (uint32_t i = 0; i < schedule->step_count; i++) {
        const struct shl_step *step = &schedule->steps[i];
        bool sends = step->kind == SHL_STEP_SEND;
        const struct shl_span *span = sends ? &step->src : &step->dst;
        struct shl_bound *bound = &plan->bound[i];
        bound->dst = offset(&layout, &step->dst, plan->elem_bytes);
        bound->src = offset(&layout, &step->src, plan->elem_bytes);
        bound->src2 = offset(&layout, &step->src2, plan->elem_bytes);
        bound->bytes = shl_layout_length(&layout, span) * plan->elem_bytes;
    }
}

static void resolve_extents(struct shl_plan *plan)
{
    const struct shl_schedule *schedule = plan->schedule;
    plan->scratch_bytes = schedule->scratch_elems * plan->elem_bytes;
    for (uint32_t i = 0; i < schedule->step_count; i++) {
        const struct shl_extent *extent = &schedule->extents[i];
        plan->bound[i] = (struct shl_bound){.dst = extent->dst * plan->elem_bytes,
                                            .src = extent->src * plan->elem_bytes,
                                            .bytes = extent->count * plan->elem_bytes};
    }
}

/* Resolve spans to bytes once, not every time the plan runs. */
static enum shoal_status resolve(struct shl_plan *plan)
{
    const struct shl_schedule *schedule = plan->schedule;
    plan->bound = shl_mem->alloc((schedule->step_count + 1) * sizeof(*plan->bound));
    if (!plan->bound)
        return shl_fail_errno("cannot allocate a plan of %u steps", schedule->step_count);
    if (schedule->extents)
        resolve_extents(plan);
    else
        resolve_units(plan);
    for (uint32_t i = 0; i < schedule->step_count; i++) {
        const struct shl_step *step = &schedule->steps[i];
        const struct shl_bound *bound = &plan->bound[i];
        if (step->kind == SHL_STEP_SEND)
            plan->bytes_sent += bound->bytes;
        if (step->kind == SHL_STEP_RECV_REDUCE || step->kind == SHL_STEP_REDUCE)
            plan->bytes_reduced += bound->bytes;
    }
    return SHOAL_OK;
}

void shl_plan_free(struct shl_plan *plan)
{
    struct shl_list *node;
    SHL_ASSERT(plan->busy == 0);
    while ((node = shl_list_pop(&plan->idle)))
        shl_exec_free(shl_exec_from_link(node));
    if (plan->schedule)
        shl_schedule_free(plan->schedule);
    shl_mem->free(plan->bound);
    shl_mem->free(plan);
}

enum shoal_status shl_plan_own(struct shl_schedule *schedule, uint32_t elem_bytes,
                               struct shl_plan **out)
{
    struct shl_plan *plan = shl_mem->alloc(sizeof(*plan));
    if (!plan) {
        shl_schedule_free(schedule);
        return shl_fail_errno("cannot allocate a plan");
    }
    plan->collective = (enum shoal_collective)schedule->collective;
    plan->elem_bytes = elem_bytes;
    plan->schedule = schedule;
    shl_list_init(&plan->idle);
    enum shoal_status status = resolve(plan);
    if (status != SHOAL_OK) {
        shl_plan_free(plan);
        return status;
    }
    *out = plan;
    return SHOAL_OK;
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
    if (status == SHOAL_OK)
        status = resolve(plan);
    if (status != SHOAL_OK) {
        shl_plan_free(plan);
        return status;
    }
    *out = plan;
    return SHOAL_OK;
}

static bool matches(const struct shl_plan *plan, const struct shoal_call *call, bool commutes)
{
    return plan->collective == call->collective && plan->count == call->count &&
           plan->commutes == commutes && plan->root == call->root &&
           (call->collective == SHOAL_BARRIER ||
            plan->elem_bytes == shoal_dtype_bytes(call->dtype));
}

/* A place for one more: a free one, or that of the plan that was used longest ago. */
static struct shl_plan **place(struct shoal_comm *comm)
{
    struct shl_plan **victim = NULL;
    if (comm->plan_count < SHL_COMM_PLANS)
        return &comm->plans[comm->plan_count];
    for (size_t i = 0; i < SHL_COMM_PLANS; i++) {
        struct shl_plan **plan = &comm->plans[i];
        if ((*plan)->busy == 0 && (!victim || (*plan)->used < (*victim)->used))
            victim = plan;
    }
    /* At most SHL_COMM_WINDOW plans are busy, so there is always a victim. */
    SHL_ASSERT(victim);
    return victim;
}

/* As a rule it is the one used last. */
static struct shl_plan *find(struct shoal_comm *comm, const struct shoal_call *call, bool commutes)
{
    for (size_t i = 0, at = comm->plan_last; i < comm->plan_count; i++) {
        if (matches(comm->plans[at], call, commutes)) {
            comm->plan_last = at;
            return comm->plans[at];
        }
        at = at + 1 < comm->plan_count ? at + 1 : 0;
    }
    return NULL;
}

enum shoal_status shl_plan_get(struct shoal_comm *comm, const struct shoal_call *call,
                               struct shl_plan **out)
{
    bool commutes = call_commutes(comm, call);
    struct shl_plan *plan = find(comm, call, commutes);
    if (SHL_UNLIKELY(!plan)) {
        SHL_TRY(make(comm, call, commutes, &plan));
        struct shl_plan **at = place(comm);
        if (*at)
            shl_plan_free(*at);
        else
            comm->plan_count++;
        *at = plan;
        comm->plan_last = (size_t)(at - comm->plans);
    }
    plan->used = ++comm->plan_clock;
    *out = plan;
    return SHOAL_OK;
}
