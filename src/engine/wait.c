/*
 * Waiting: whoever waits drives. Spin for some tens of microseconds, then sleep on descriptors.
 *
 * Invariant: no loop here runs without looking at its deadline, or without letting another thread
 * have the token.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "core/sys.h"
#include "engine/comm.h"

#include <stdio.h>

#define FAST_ROUNDS 64       /* looks at one group operation between looks at everything else */
#define CLOCK_ROUNDS 16      /* empty polls between looks at the clock */
#define CLOCK_ROUNDS_SHORT 2 /* the same while spinning does not pay */
#define SPIN_NS_LEAST 1000   /* spinning for less is not spinning */
/* A wait is long when a sleep takes so many times SHOAL_SPIN_US. Waking takes about as long as
 * spinning, and both sides may sleep, so that a short wait looks longer than it would be. */
#define LONG_FACTOR 4
#define BUSY_ROUNDS 256   /* polls between looks at the clock while things happen */
#define CHECK_NS 10000000 /* between looks at incidents and long waits */

static inline void relax(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

void shl_engine_look_after(struct shl_engine *engine, uint64_t now_ns)
{
    const uint64_t why_ns = engine->config->why_after_ms * 1000000;
    struct shl_list *c, *c_next;
    shl_incident_check_deadlines(engine, now_ns);
    SHL_LIST_FOR_EACH(c, c_next, &engine->comms)
    {
        struct shoal_comm *comm = SHL_CONTAINER_OF(c, struct shoal_comm, link);
        if (comm->active == 0)
            continue;
        struct shoal_request *oldest = SHL_CONTAINER_OF(comm->ops.next, struct shoal_request, link);
        if (oldest->start_ns == 0) {
            oldest->start_ns = now_ns;
            oldest->why_ns = now_ns + why_ns;
        } else if (oldest->state != SHL_REQUEST_STOPPED && now_ns >= oldest->why_ns)
            shl_why_ask(oldest, now_ns);
    }
}

/* The first look at the clock fixes the deadline: an operation that finishes at once never looks.
 */
static bool in_time(struct shl_idle *idle, uint64_t now_ns)
{
    if (idle->deadline_ns == 0)
        idle->deadline_ns =
            now_ns + idle->timeout_ns < now_ns ? UINT64_MAX : now_ns + idle->timeout_ns;
    return now_ns < idle->deadline_ns;
}

/* Spinning pays where what is waited for comes soon. On a slow link it takes milliseconds, and a
 * core that spins until then is missing elsewhere: each long sleep halves the time of the next
 * waits, each short one doubles it. */
static void sleep_and_learn(struct shl_engine *engine, uint64_t now_ns, uint64_t until_ns)
{
    const uint64_t most_ns = engine->config->spin_us * 1000;
    shl_engine_sleep(engine, until_ns);
    if (shl_now_ns() - now_ns > LONG_FACTOR * most_ns)
        engine->spin_ns /= 2;
    else
        engine->spin_ns = 2 * engine->spin_ns + SPIN_NS_LEAST;
    engine->spin_ns = engine->spin_ns < most_ns ? engine->spin_ns : most_ns;
}

bool shl_idle_step(struct shl_engine *engine, struct shl_idle *idle)
{
    const bool spins = engine->spin_ns >= SPIN_NS_LEAST;
    if (engine->oversubscribed)
        shl_time->yield();
    else
        relax();
    if (++idle->rounds % (spins ? CLOCK_ROUNDS : CLOCK_ROUNDS_SHORT) != 0)
        return true;
    /* Ranks of this job that share our cores unseen, in other containers, and the kernel's own
     * threads wait for as long as we spin: what is waited for may have to come from them. */
    if (!engine->oversubscribed)
        shl_time->yield();
    uint64_t now_ns = shl_now_ns();
    if (idle->since_ns == 0)
        idle->since_ns = now_ns;
    if (now_ns - idle->checked_ns >= CHECK_NS) {
        idle->checked_ns = now_ns;
        shl_engine_look_after(engine, now_ns);
    }
    if (!in_time(idle, now_ns))
        return false;
    if (!spins || now_ns - idle->since_ns >= engine->spin_ns)
        sleep_and_learn(engine, now_ns, idle->deadline_ns);
    return true;
}

void shl_idle_end(struct shl_idle *idle)
{
    idle->rounds = 0;
    idle->since_ns = 0;
}

/* With more ranks than cores: is looking again of no use, since it is this core that is missing? A
 * rank of another core comes sooner than one that this core is given to meanwhile would give it
 * back. */
static bool has_to_yield(struct shoal_request *request)
{
    const struct shl_group_run *run = &request->group;
    if (!request->comm->engine->oversubscribed)
        return false;
    return request->state != SHL_REQUEST_GATHER || !run->posted ||
           shl_group_waits_for_core(request->comm->group, request->seq, run->phase, &run->look);
}

static bool spin_group(struct shoal_request *request)
{
    for (unsigned i = 0; i < FAST_ROUNDS && request->status == SHOAL_IN_PROGRESS; i++) {
        if (request->state != SHL_REQUEST_GATHER && request->state != SHL_REQUEST_MOVE)
            break;
        if (shl_group_advance(request) == 0) {
            if (has_to_yield(request))
                break;
            relax();
        }
    }
    return request->status != SHOAL_IN_PROGRESS;
}

enum shoal_status shl_request_drive(struct shoal_request *request, uint64_t timeout_ns)
{
    struct shl_engine *engine = request->comm->engine;
    struct shl_idle idle = {.timeout_ns = timeout_ns};
    unsigned polls = 0;
    struct shoal_comm *comm = request->comm;
    bool counted = !request->waited && request->status == SHOAL_IN_PROGRESS;
    comm->drivers++;
    if (counted) {
        request->waited = true;
        engine->waited++;
    }
    while (request->status == SHOAL_IN_PROGRESS) {
        if (spin_group(request))
            break;
        unsigned events = shl_engine_poll(engine);
        if (request->status != SHOAL_IN_PROGRESS)
            break;
        if (events != 0)
            shl_idle_end(&idle);
        else if (!shl_idle_step(engine, &idle))
            break;
        /* A steady trickle of events must not outlast the deadline either. */
        if (++polls % BUSY_ROUNDS == 0 && !in_time(&idle, shl_now_ns()))
            break;
        shl_token_offer(engine);
    }
    if (counted && request->waited) {
        request->waited = false;
        engine->waited--;
    }
    comm->drivers--;
    shl_engine_stop_driving(engine);
    return request->status;
}

void shl_request_expire(struct shoal_request *request)
{
    char reason[64];
    snprintf(reason, sizeof(reason), "it was not done within %llu ms",
             (unsigned long long)(request->timeout_ns / 1000000));
    shl_incident_raise(request->comm, request->seq, SHOAL_ERR_TIMEOUT, reason);
}

enum shoal_status shl_request_wait(struct shoal_request *request, uint64_t wait_ns)
{
    uint64_t left_ns = request->timeout_ns;
    if (request->deadline_ns != 0) {
        uint64_t now_ns = shl_now_ns();
        left_ns = now_ns < request->deadline_ns ? request->deadline_ns - now_ns : 0;
    }
    if (left_ns <= wait_ns && left_ns != UINT64_MAX) {
        if (shl_request_drive(request, left_ns) == SHOAL_IN_PROGRESS) {
            shl_request_expire(request);
            shl_request_drive(request, UINT64_MAX); /* The incident has a deadline: this ends. */
        }
        return request->status;
    }
    /* An operation that finishes at once never looks at the clock. */
    if (shl_request_drive(request, wait_ns) == SHOAL_IN_PROGRESS && request->deadline_ns == 0 &&
        left_ns != UINT64_MAX)
        request->deadline_ns = shl_now_ns() + (left_ns - wait_ns);
    return request->status;
}

enum shoal_status shl_request_run(struct shoal_comm *comm, const struct shoal_call *call,
                                  uint64_t timeout_ns)
{
    return shl_request_run_planned(comm, call, NULL, timeout_ns);
}

enum shoal_status shl_request_run_beside(struct shoal_comm *comm, const struct shoal_call *call,
                                         const struct shl_beside *beside, uint64_t timeout_ns)
{
    struct shoal_request *request;
    shl_token_take(comm->engine);
    enum shoal_status status = shl_request_start_beside(comm, call, beside, &request);
    if (SHL_LIKELY(status == SHOAL_OK)) {
        request->timeout_ns = timeout_ns;
        shl_request_tell_posted(request);
        if (SHL_UNLIKELY(!spin_group(request))) {
            beside->waits(beside->arg);
            shl_request_wait(request, UINT64_MAX);
        }
        status = request->status;
        if (SHL_UNLIKELY(status < 0))
            shl_fail(status, "%s", request->text);
        shl_request_free(request);
    } else {
        beside->posted(beside->arg);
    }
    shl_token_give(comm->engine);
    return status;
}

enum shoal_status shl_request_run_planned(struct shoal_comm *comm, const struct shoal_call *call,
                                          struct shl_plan *plan, uint64_t timeout_ns)
{
    struct shl_engine *engine = comm->engine;
    struct shoal_request *request;
    shl_token_take(engine);
    enum shoal_status status = shl_request_start_planned(comm, call, plan, &request);
    if (SHL_LIKELY(status == SHOAL_OK)) {
        request->timeout_ns = timeout_ns;
        status = shl_request_wait(request, UINT64_MAX);
        if (SHL_UNLIKELY(status < 0))
            shl_fail(status, "%s", request->text);
        shl_request_free(request);
    } else if (plan) {
        shl_plan_free(plan);
    }
    shl_token_give(engine);
    return status;
}

enum shoal_status shl_request_allgather(struct shoal_comm *comm, const void *mine, void *all,
                                        size_t bytes, uint64_t timeout_ns)
{
    const struct shoal_call call = {.struct_size = sizeof(call),
                                    .collective = SHOAL_ALLGATHER,
                                    .dtype = SHOAL_U8,
                                    .count = bytes,
                                    .send = mine,
                                    .recv = all};
    return shl_request_run(comm, &call, timeout_ns);
}
