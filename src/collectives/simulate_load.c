/*
 * Loading: one rank's schedule is built, copied into compact form and freed before the next, and
 * message ends find each other in a table that holds only those whose partner is yet to come.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "collectives/simulate_load.h"

#include "collectives/rank_map.h"
#include "collectives/schedule_builder.h"
#include "core/sys.h"

/* Open addressing by (sender, receiver, number). Slots are never emptied, only grown. */
struct ends {
    struct end {
        uint64_t pair;
        uint32_t msg, step; /* step + 1; 0: empty */
    } * slots;
    uint32_t mask, count;
};

static struct end *find_end(const struct ends *ends, uint64_t pair, uint32_t msg)
{
    uint64_t hash = (pair ^ (uint64_t)msg << 20) * UINT64_C(0x9e3779b97f4a7c15);
    for (uint32_t slot = (uint32_t)(hash >> 32) & ends->mask;; slot = (slot + 1) & ends->mask) {
        struct end *end = &ends->slots[slot];
        if (end->step == 0 || (end->pair == pair && end->msg == msg))
            return end;
    }
}

static enum shoal_status grow_ends(struct ends *ends)
{
    if (ends->slots && ends->count < ends->mask / 4 * 3)
        return SHOAL_OK;
    struct ends larger = {.mask = ends->slots ? ends->mask * 2 + 1 : 1023, .count = ends->count};
    larger.slots = shl_mem->alloc(((size_t)larger.mask + 1) * sizeof(*larger.slots));
    if (!larger.slots)
        return shl_fail(SHOAL_ERR_NOMEM, "no memory to match %u simulated messages", ends->count);
    for (uint32_t i = 0; ends->slots && i <= ends->mask; i++) {
        const struct end *end = &ends->slots[i];
        if (end->step)
            *find_end(&larger, end->pair, end->msg) = *end;
    }
    shl_mem->free(ends->slots);
    *ends = larger;
    return SHOAL_OK;
}

static enum shoal_status connect(struct shl_sim_load *load, struct ends *ends,
                                 const struct shl_step *step, uint32_t number)
{
    struct shl_sim_step *mine = &load->steps[number];
    uint64_t rank = mine->rank, peer = step->peer;
    SHL_TRY(grow_ends(ends));
    struct end *end =
        find_end(ends, mine->sends ? rank << 32 | peer : peer << 32 | rank, step->msg);
    if (end->step == 0) {
        *end = (struct end){mine->sends ? rank << 32 | peer : peer << 32 | rank, step->msg,
                            number + 1};
        ends->count++;
        return SHOAL_OK;
    }
    mine->partner = end->step - 1;
    load->steps[mine->partner].partner = number;
    return SHOAL_OK;
}

static enum shoal_status reserve(void **array, uint32_t *capacity, uint64_t count, size_t bytes)
{
    if (count <= *capacity)
        return SHOAL_OK;
    if (count > SHL_SIMULATED_STEPS_MAX * UINT64_C(8))
        return shl_fail(SHOAL_ERR_UNSUPPORTED, "too many dependencies to simulate");
    uint64_t larger = count + count / 2 + 1024;
    void *moved = shl_mem->resize(*array, larger * bytes);
    if (!moved)
        return shl_fail(SHOAL_ERR_NOMEM, "no memory to simulate %llu steps",
                        (unsigned long long)count);
    *array = moved;
    *capacity = (uint32_t)larger;
    return SHOAL_OK;
}

static enum shoal_status make_room(struct shl_sim_load *load, const struct shl_schedule *schedule)
{
    uint64_t steps = (uint64_t)load->step_count + schedule->step_count;
    uint64_t nexts = (uint64_t)load->next_count + schedule->dep_count;
    void *array = load->steps;
    /* Ranks have about equally many, so the first one tells before memory is spent. */
    uint64_t expected = (uint64_t)schedule->step_count * schedule->rank_count / 2;
    if (steps > SHL_SIMULATED_STEPS_MAX ||
        (schedule->rank == 0 && expected > SHL_SIMULATED_STEPS_MAX))
        return shl_fail(SHOAL_ERR_UNSUPPORTED,
                        "%s on %u ranks has more than %u steps; simulate fewer ranks or chunks, or "
                        "an algorithm with fewer rounds",
                        schedule->algorithm->name, schedule->rank_count, SHL_SIMULATED_STEPS_MAX);
    enum shoal_status status = reserve(&array, &load->step_capacity, steps, sizeof(*load->steps));
    load->steps = array;
    SHL_TRY(status);
    array = load->nexts;
    status = reserve(&array, &load->next_capacity, nexts, sizeof(*load->nexts));
    load->nexts = array;
    return status;
}

static enum shoal_status add_rank(struct shl_sim_load *load, struct ends *ends,
                                  const struct shl_schedule *schedule,
                                  const struct shl_layout *layout, uint32_t elem_bytes)
{
    uint64_t sent = 0, messages = 0;
    uint32_t first = load->step_count;
    SHL_TRY(make_room(load, schedule));
    for (uint32_t i = 0; i < schedule->step_count; i++) {
        const struct shl_step *step = &schedule->steps[i];
        bool sends = step->kind == SHL_STEP_SEND;
        load->steps[load->step_count] = (struct shl_sim_step){
            .bytes = shl_layout_length(layout, sends ? &step->src : &step->dst) * elem_bytes,
            .rank = schedule->rank,
            .order = i,
            .partner = SHL_NONE,
            .waits = step->dep_count,
            .first_next = load->next_count,
            .next_count = step->next_count,
            .sends = sends,
            .combines = step->kind == SHL_STEP_RECV_REDUCE || step->kind == SHL_STEP_REDUCE};
        for (uint32_t next = 0; next < step->next_count; next++)
            load->nexts[load->next_count++] = first + schedule->nexts[step->first_next + next];
        sent += sends ? load->steps[load->step_count].bytes : 0;
        messages += sends;
        if (step->kind != SHL_STEP_REDUCE && step->kind != SHL_STEP_COPY)
            SHL_TRY(connect(load, ends, step, load->step_count));
        load->step_count++;
    }
    load->total_bytes += sent;
    load->rank_bytes_max = sent > load->rank_bytes_max ? sent : load->rank_bytes_max;
    if (messages > load->rank_messages_max)
        load->rank_messages_max = messages;
    if (schedule->step_count > load->rank_steps_max)
        load->rank_steps_max = schedule->step_count;
    return SHOAL_OK;
}

static uint64_t call_count(const struct shl_simulate_query *query)
{
    bool by_rank = query->algorithm->collective == SHOAL_REDUCE_SCATTER ||
                   query->algorithm->collective == SHOAL_ALLGATHER;
    uint64_t one = (uint64_t)query->elem_bytes * (by_rank ? query->shape.rank_count : 1);
    return query->bytes / one + (query->bytes % one != 0);
}

static enum shoal_status load_ranks(struct shl_sim_load *load, struct ends *ends,
                                    const struct shl_simulate_query *query,
                                    const struct shl_host_map *hosts)
{
    struct shl_shape shape = query->shape;
    struct shl_schedule *schedule;
    shape.hosts = hosts;
    for (shape.rank = 0; shape.rank < shape.rank_count; shape.rank++) {
        SHL_TRY(shl_schedule_build(query->algorithm, &shape, &schedule));
        struct shl_layout layout = shl_layout_make(schedule, call_count(query), query->elem_bytes);
        enum shoal_status status = add_rank(load, ends, schedule, &layout, query->elem_bytes);
        shl_schedule_free(schedule);
        SHL_TRY(status);
    }
    return SHOAL_OK;
}

enum shoal_status shl_sim_load_init(struct shl_sim_load *load,
                                    const struct shl_simulate_query *query)
{
    struct ends ends = {0};
    struct shl_host_map hosts;
    struct shl_host_index *made = NULL;
    const struct shl_host_index *index = NULL;
    *load = (struct shl_sim_load){
        .hosts = query->shape.hosts, .host_count = query->shape.rank_count, .local_max = 1};
    SHL_TRY(shl_host_index_get(query->shape.hosts, &index, &made));
    if (index) { /* made once, not once a rank */
        hosts = *query->shape.hosts;
        hosts.index = index;
        load->host_count = index->host_count;
        load->local_max = index->local_max;
    }
    enum shoal_status status = load_ranks(load, &ends, query, index ? &hosts : NULL);
    shl_mem->free(ends.slots);
    shl_host_index_free(made);
    return status;
}

void shl_sim_load_fini(struct shl_sim_load *load)
{
    shl_mem->free(load->steps);
    shl_mem->free(load->nexts);
}
