/*
 * The simulator. Path: simulate_load.c turns schedules into struct sim_step, this file runs them.
 *
 * Invariant: events leave the queue in order of time, so a port is given to whoever asks first.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "collectives/simulate.h"

#include "collectives/schedule_builder.h"
#include "collectives/simulate_load.h"
#include "core/array.h"
#include "core/sys.h"

enum event_kind {
    STARTS,  /* a sender's message may go: both ends are ready */
    LEAVES,  /* it has got the port out */
    ARRIVES, /* a receiver's message, or the operands of a local step, are there */
    DONE
};

struct event {
    double at;
    uint32_t step, order; /* number over all ranks and within its own */
    uint32_t kind;
};

struct sim {
    const struct shl_costs *costs;
    struct shl_sim_load load;
    double local_slowdown, core_s_per_byte;
    double *ports[2];      /* by rank: when the port out, in, is free */
    double *host_ports[2]; /* by host */
    double *busy;          /* by rank: until when it combines */
    double *known;         /* by step: when it got ready, < 0: not yet */
    double *arrival;       /* by sender: when its message arrived, < 0: not yet */
    double core_free, now;
    struct event *heap;
    uint32_t heap_count;
    size_t heap_capacity;
    uint32_t finished;
};

/* ---- event queue -------------------------------------------------------------------------- */

/* Ties go in the order in which ranks have their steps, and then by rank, so that no rank is ahead
 * of another by its number, and a simulation is the same on every machine. */
static bool sooner(const struct event *a, const struct event *b)
{
    if (a->at != b->at)
        return a->at < b->at;
    if (a->order != b->order)
        return a->order < b->order;
    return a->step < b->step || (a->step == b->step && a->kind < b->kind);
}

static enum shoal_status push(struct sim *sim, double at, uint32_t step, enum event_kind kind)
{
    SHL_TRY(shl_array_reserve(&sim->heap, &sim->heap_capacity, sim->heap_count, sizeof(*sim->heap),
                              "simulated events"));
    struct event event = {at, step, sim->load.steps[step].order, kind};
    uint32_t hole = sim->heap_count++;
    while (hole > 0 && sooner(&event, &sim->heap[(hole - 1) / 2])) {
        sim->heap[hole] = sim->heap[(hole - 1) / 2];
        hole = (hole - 1) / 2;
    }
    sim->heap[hole] = event;
    return SHOAL_OK;
}

static struct event pop(struct sim *sim)
{
    struct event top = sim->heap[0], last = sim->heap[--sim->heap_count];
    uint32_t hole = 0;
    for (;;) {
        uint32_t child = 2 * hole + 1;
        if (child + 1 < sim->heap_count && sooner(&sim->heap[child + 1], &sim->heap[child]))
            child++;
        if (child >= sim->heap_count || !sooner(&sim->heap[child], &last))
            break;
        sim->heap[hole] = sim->heap[child];
        hole = child;
    }
    if (sim->heap_count > 0)
        sim->heap[hole] = last;
    return top;
}

/* ---- the fabric --------------------------------------------------------------------------- */

static double later(double a, double b)
{
    return a > b ? a : b;
}

struct path {
    double hold, wire;
    double *out, *in;
    bool local;
};

static struct path path_of(const struct sim *sim, uint32_t sender)
{
    const struct shl_sim_step *step = &sim->load.steps[sender];
    const struct shl_costs *costs = sim->costs;
    uint32_t from = step->rank, to = sim->load.steps[step->partner].rank;
    uint32_t from_host = shl_sim_host(&sim->load, from), to_host = shl_sim_host(&sim->load, to);
    bool local = from_host == to_host;
    double alpha = local ? costs->alpha_local_s * sim->local_slowdown : costs->alpha_net_s;
    double beta =
        local ? costs->beta_local_s_per_byte * sim->local_slowdown : costs->beta_net_s_per_byte;
    struct path path = {.hold = SHL_MESSAGE_GAP * alpha + (double)step->bytes * beta,
                        .wire = (1 - SHL_MESSAGE_GAP) * alpha,
                        .out = local ? &sim->ports[0][from] : &sim->host_ports[0][from_host],
                        .in = local ? &sim->ports[1][to] : &sim->host_ports[1][to_host],
                        .local = local};
    return path;
}

static enum shoal_status start(struct sim *sim, uint32_t sender)
{
    struct path path = path_of(sim, sender);
    double leaves = later(sim->now, *path.out);
    *path.out = leaves + path.hold;
    return push(sim, leaves, sender, LEAVES);
}

/* The first byte is under way; the port in takes messages in this order and at its own speed. */
static enum shoal_status leave(struct sim *sim, uint32_t sender)
{
    const struct shl_sim_step *step = &sim->load.steps[sender];
    struct path path = path_of(sim, sender);
    double begins = later(sim->now, *path.in);
    if (!path.local) {
        sim->load.net_bytes += step->bytes;
        if (sim->core_s_per_byte > 0) {
            begins = later(begins, sim->core_free);
            sim->core_free = begins + (double)step->bytes * sim->core_s_per_byte;
        }
    }
    *path.in = begins + path.hold;
    sim->arrival[sender] = *path.in + path.wire;
    SHL_TRY(push(sim, sim->now + path.hold, sender, DONE));
    if (sim->known[step->partner] < 0)
        return SHOAL_OK; /* kept until the receiver asks */
    return push(sim, sim->arrival[sender], step->partner, ARRIVES);
}

static enum shoal_status arrive(struct sim *sim, uint32_t number)
{
    const struct shl_sim_step *step = &sim->load.steps[number];
    if (!step->combines)
        return push(sim, sim->now, number, DONE);
    double begins = later(sim->now, sim->busy[step->rank]);
    sim->busy[step->rank] =
        begins + (double)step->bytes * sim->costs->gamma_s_per_byte * sim->local_slowdown;
    return push(sim, sim->busy[step->rank], number, DONE);
}

/* ---- steps -------------------------------------------------------------------------------- */

/* A large message starts when its receiver has said that it is ready. */
static enum shoal_status ready(struct sim *sim, uint32_t number)
{
    const struct shl_sim_step *step = &sim->load.steps[number];
    uint32_t partner = step->partner;
    bool eager = step->bytes <= SHL_EAGER_BYTES;
    double announced = sim->costs->alpha_local_s;
    sim->known[number] = sim->now;
    if (partner == SHL_NONE)
        return push(sim, sim->now, number, ARRIVES);
    if (step->sends && eager)
        return push(sim, sim->now, number, STARTS);
    if (step->sends)
        return sim->known[partner] < 0
                   ? SHOAL_OK
                   : push(sim, later(sim->now, sim->known[partner] + announced), number, STARTS);
    if (eager)
        return sim->arrival[partner] < 0
                   ? SHOAL_OK
                   : push(sim, later(sim->now, sim->arrival[partner]), number, ARRIVES);
    return sim->known[partner] < 0 ? SHOAL_OK : push(sim, sim->now + announced, partner, STARTS);
}

static enum shoal_status finish(struct sim *sim, uint32_t number)
{
    struct shl_sim_step *step = &sim->load.steps[number];
    sim->finished++;
    if (step->partner != SHL_NONE && !step->sends) {
        uint32_t depth = sim->load.steps[step->partner].depth + 1;
        step->depth = depth > step->depth ? depth : step->depth;
    }
    for (uint32_t i = 0; i < step->next_count; i++) {
        uint32_t next = sim->load.nexts[step->first_next + i];
        struct shl_sim_step *waiting = &sim->load.steps[next];
        waiting->depth = step->depth > waiting->depth ? step->depth : waiting->depth;
        if (--waiting->waits == 0)
            SHL_TRY(ready(sim, next));
    }
    return SHOAL_OK;
}

static enum shoal_status run(struct sim *sim)
{
    for (uint32_t i = 0; i < sim->load.step_count; i++)
        sim->known[i] = sim->arrival[i] = -1;
    for (uint32_t i = 0; i < sim->load.step_count; i++) {
        if (sim->load.steps[i].waits == 0)
            SHL_TRY(ready(sim, i));
    }
    while (sim->heap_count > 0) {
        struct event event = pop(sim);
        sim->now = event.at;
        if (event.kind == STARTS)
            SHL_TRY(start(sim, event.step));
        else if (event.kind == LEAVES)
            SHL_TRY(leave(sim, event.step));
        else if (event.kind == ARRIVES)
            SHL_TRY(arrive(sim, event.step));
        else
            SHL_TRY(finish(sim, event.step));
    }
    if (sim->finished < sim->load.step_count)
        return shl_fail(SHOAL_ERR_INTERNAL, "simulated ranks are in a deadlock: %u of %u steps ran",
                        sim->finished, sim->load.step_count);
    return SHOAL_OK;
}

/* ---- set-up ------------------------------------------------------------------------------- */

double shl_busbw_factor(enum shoal_collective collective, uint32_t rank_count)
{
    double share = (double)(rank_count - 1) / rank_count;
    if (rank_count == 1)
        return 1;
    if (collective == SHOAL_ALLREDUCE)
        return 2 * share;
    return collective == SHOAL_REDUCE_SCATTER || collective == SHOAL_ALLGATHER ? share : 1;
}

static enum shoal_status prepare(struct sim *sim, const struct shl_simulate_query *query)
{
    const struct shl_costs *costs = query->costs;
    uint32_t ranks = query->shape.rank_count, hosts = sim->load.host_count;
    uint32_t cores = costs->cores_per_host ? costs->cores_per_host : UINT32_MAX;
    sim->costs = costs;
    sim->local_slowdown = sim->load.local_max > cores ? (double)sim->load.local_max / cores : 1;
    if (query->oversubscription > 1)
        sim->core_s_per_byte = costs->beta_net_s_per_byte * query->oversubscription / hosts;
    for (int i = 0; i < 2; i++) {
        sim->ports[i] = shl_mem->alloc(ranks * sizeof(double));
        sim->host_ports[i] = shl_mem->alloc(hosts * sizeof(double));
        if (!sim->ports[i] || !sim->host_ports[i])
            return shl_fail(SHOAL_ERR_NOMEM, "no memory to simulate %u ranks", ranks);
    }
    sim->busy = shl_mem->alloc(ranks * sizeof(double));
    sim->known = shl_mem->alloc(((size_t)sim->load.step_count + 1) * sizeof(double));
    sim->arrival = shl_mem->alloc(((size_t)sim->load.step_count + 1) * sizeof(double));
    if (!sim->busy || !sim->known || !sim->arrival)
        return shl_fail(SHOAL_ERR_NOMEM, "no memory to simulate %u steps", sim->load.step_count);
    return SHOAL_OK;
}

static void fini(struct sim *sim)
{
    for (int i = 0; i < 2; i++) {
        shl_mem->free(sim->ports[i]);
        shl_mem->free(sim->host_ports[i]);
    }
    shl_mem->free(sim->busy);
    shl_mem->free(sim->known);
    shl_mem->free(sim->arrival);
    shl_mem->free(sim->heap);
    shl_sim_load_fini(&sim->load);
}

static void report(const struct sim *sim, const struct shl_simulate_query *query,
                   struct shl_simulation *result)
{
    const struct shl_sim_load *load = &sim->load;
    *result = (struct shl_simulation){.seconds = sim->now,
                                      .bytes_sent_max = load->rank_bytes_max,
                                      .bytes_sent_total = load->total_bytes,
                                      .bytes_net_total = load->net_bytes,
                                      .messages_max = load->rank_messages_max,
                                      .steps_total = load->step_count,
                                      .steps_max = load->rank_steps_max};
    for (uint32_t i = 0; i < load->step_count; i++) {
        if (load->steps[i].depth > result->rounds)
            result->rounds = load->steps[i].depth;
    }
    if (sim->now > 0) {
        result->algbw_bytes_per_s = (double)query->bytes / sim->now;
        result->busbw_bytes_per_s =
            result->algbw_bytes_per_s *
            shl_busbw_factor(query->algorithm->collective, query->shape.rank_count);
    }
}

enum shoal_status shl_simulate(const struct shl_simulate_query *query,
                               struct shl_simulation *result)
{
    struct sim sim = {0};
    enum shoal_status status = shl_sim_load_init(&sim.load, query);
    if (status == SHOAL_OK)
        status = prepare(&sim, query);
    if (status == SHOAL_OK)
        status = run(&sim);
    if (status == SHOAL_OK)
        report(&sim, query, result);
    fini(&sim);
    return status;
}
