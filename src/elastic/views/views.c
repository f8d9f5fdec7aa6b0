/*
 * Life of an elastic world, and what its node tells.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "elastic/views/views.h"

#include "control/thread.h"
#include "core/log.h"
#include "core/sys.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#define MS 1000000ull
#define END_TOGETHER_MS 500

/* ---- what the node tells ----------------------------------------------------------------------
 */

static void on_fence(void *arg, const struct shl_record *prepared)
{
    struct shoal_world *world = arg;
    pthread_mutex_lock(&world->lock);
    shl_record_copy(world->prepared, prepared);
    world->fence_asked = true;
    world->usable = false;
    /* Here and now: whoever is in an operation or forms a view is to come out of it. */
    if (world->forming)
        shl_world_cut(world->forming, "the view is changing");
    pthread_cond_broadcast(&world->changed);
    pthread_mutex_unlock(&world->lock);
}

static void on_publish(void *arg, const struct shl_record *record)
{
    struct shoal_world *world = arg;
    pthread_mutex_lock(&world->lock);
    shl_record_copy(world->published, record);
    world->publish_asked = true;
    pthread_cond_broadcast(&world->changed);
    pthread_mutex_unlock(&world->lock);
}

static void on_end(void *arg, enum shoal_status status, const char *text)
{
    struct shoal_world *world = arg;
    pthread_mutex_lock(&world->lock);
    shl_views_end(world, status, text);
    pthread_mutex_unlock(&world->lock);
}

static void on_news(void *arg)
{
    struct shoal_world *world = arg;
    pthread_mutex_lock(&world->lock);
    world->news++;
    pthread_cond_broadcast(&world->changed);
    pthread_mutex_unlock(&world->lock);
}

static bool on_mail(void *arg, struct shl_node_letter *letter)
{
    struct shoal_world *world = arg;
    pthread_mutex_lock(&world->lock);
    const struct shl_follower *follower = world->follower;
    bool read = follower && follower->mail && follower->mail(follower->arg, letter);
    pthread_mutex_unlock(&world->lock);
    return read;
}

void shl_views_end(struct shoal_world *world, enum shoal_status status, const char *text)
{
    if (world->ended)
        return;
    shl_log(SHL_LOG_INFO, "membership over after epoch %llu: %s", (unsigned long long)world->epoch,
            text);
    world->ended = true;
    world->usable = false;
    world->end_status = status;
    snprintf(world->end_text, sizeof(world->end_text), "%s", text);
    atomic_store(&world->epoch_now, 0);
    if (world->forming)
        shl_world_cut(world->forming, "the membership is over");
    pthread_cond_broadcast(&world->changed);
}

void shl_views_show(struct shoal_world *world)
{
    shl_members_copy(&world->seen, &world->members);
    world->seen_epoch = world->epoch;
    world->seen_rank = world->rank;
}

/* Threads by numbers that are not used again, unlike the system's. */
static uint64_t this_thread(void)
{
    static _Atomic uint64_t last;
    /* Found without a call, in every operation. */
    static _Thread_local uint64_t number __attribute__((tls_model("initial-exec")));
    if (!number)
        number = atomic_fetch_add(&last, 1) + 1;
    return number;
}

void shl_views_call_from(struct shoal_world *world)
{
    world->caller = this_thread();
}

bool shl_views_is_caller(const struct shoal_world *world)
{
    return world->caller == this_thread();
}

enum shoal_status shl_views_ended(const struct shoal_world *world)
{
    if (world->end_status == SHOAL_OK)
        return shl_fail(SHOAL_ERR_EPOCH, "this member has left, as it asked to");
    return shl_fail(world->end_status, "%s", world->end_text);
}

bool shl_views_wait(struct shoal_world *world, uint64_t until_ns)
{
    if (until_ns == UINT64_MAX) {
        pthread_cond_wait(&world->changed, &world->lock);
        return true;
    }
    struct timespec until = {.tv_sec = (time_t)(until_ns / 1000000000u),
                             .tv_nsec = (long)(until_ns % 1000000000u)};
    return pthread_cond_timedwait(&world->changed, &world->lock, &until) == 0;
}

/* ---- life -------------------------------------------------------------------------------------
 */

static void init_locks(struct shoal_world *world)
{
    pthread_condattr_t monotonic;
    pthread_mutex_init(&world->lock, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&world->changed, &monotonic);
    pthread_condattr_destroy(&monotonic);
}

static enum shoal_status allocate(const struct shl_views_options *options, struct shoal_world **out)
{
    struct shoal_world *world = shl_mem->alloc(sizeof(*world));
    if (!world)
        return shl_fail_errno("cannot allocate an elastic world");
    world->options = *options;
    /* Until a view has measured them. */
    world->costs = (struct shl_costs){.alpha_local_s = 1e-6,
                                      .beta_local_s_per_byte = 0.15e-9,
                                      .alpha_net_s = 10e-6,
                                      .beta_net_s_per_byte = 1e-9,
                                      .gamma_s_per_byte = 0.1e-9,
                                      .cores_per_host = 1};
    init_locks(world);
    shl_started_init(world);
    world->noted = &world->last;
    size_t job_bytes = strlen(options->job) + 1;
    world->job = shl_mem->alloc(job_bytes);
    world->prepared = shl_mem->alloc(sizeof(*world->prepared));
    world->published = shl_mem->alloc(sizeof(*world->published));
    world->log = shl_mem->alloc(sizeof(*world->log));
    world->votes = shl_mem->alloc(SHL_MEMBERS_MAX * SHL_VOTES * sizeof(*world->votes));
    *out = world;
    if (!world->job || !world->prepared || !world->published || !world->log || !world->votes)
        return shl_fail_errno("cannot allocate an elastic world");
    memcpy(world->job, options->job, job_bytes);
    return SHOAL_OK;
}

static enum shoal_status create_node(struct shoal_world *world)
{
    const struct shl_views_options *options = &world->options;
    const struct shoal_world_options *given = &options->world;
    struct shl_node_options node = {
        .config = options->config,
        .store = options->store,
        .custom_store = given->custom_store,
        .job = world->job,
        .mode = (enum shl_step_mode)given->step_mode,
        .policy = (enum shl_partition_policy)given->partition,
        .world_start = given->world_start,
        .world_min = given->world_min,
        .world_max = given->world_max,
        .epoch_floor = given->epoch_floor,
        .recovery_ns = given->recovery_timeout_ms * MS,
        .join_ns = given->join_timeout_ms * MS,
        .owner = {world, on_fence, on_publish, on_end, on_news, on_mail},
    };
    return shl_node_create(&node, &world->node);
}

static enum shoal_status start(struct shoal_world *world)
{
    SHL_TRY(create_node(world));
    SHL_TRY(shl_thread_start(&world->builder, "shoal-views", shl_views_build, world));
    world->builder_runs = true;
    return shl_node_start(world->node);
}

/* A founder until its first view is there; a learner too, unless it is to catch up first. The node
 * ends it when the time is over. */
static enum shoal_status get_in(struct shoal_world *world)
{
    pthread_mutex_lock(&world->lock);
    while (!world->usable && !world->ended && !shl_views_learn(world))
        shl_views_wait(world, UINT64_MAX);
    enum shoal_status status = world->ended ? shl_views_ended(world) : SHOAL_OK;
    if (status == SHOAL_OK && !world->learning)
        shl_views_show(world);
    shl_views_call_from(world);
    pthread_mutex_unlock(&world->lock);
    return status;
}

enum shoal_status shl_views_join(const struct shl_views_options *options, struct shoal_world **out)
{
    struct shoal_world *world = NULL;
    enum shoal_status status = allocate(options, &world);
    if (status == SHOAL_OK)
        status = start(world);
    if (status == SHOAL_OK) {
        if (!options->world.catch_up)
            shl_node_caught_up(world->node);
        status = get_in(world);
    }
    if (status == SHOAL_OK) {
        *out = world;
        return SHOAL_OK;
    }
    char text[SHL_WORLD_TEXT];
    snprintf(text, sizeof(text), "%s", shl_error_text());
    if (world)
        shl_views_destroy(world);
    shl_error_set(text);
    return status;
}

/*
 * Members that end at the same time, as at the end of a job, wait for each other for a moment: what
 * one has got of the last operation another may still be waiting for, and nobody should take the
 * end for a failure. While a view is being made it may have to bring there what this member has.
 */
static void end_together(struct shoal_world *world)
{
    uint64_t until_ns = shl_now_ns() + END_TOGETHER_MS * MS;
    pthread_mutex_lock(&world->lock);
    bool in_time = world->epoch != 0;
    while (in_time && !world->usable && !world->ended)
        in_time = shl_views_wait(world, until_ns);
    uint64_t epoch = world->epoch;
    bool waits = world->usable && world->members.count > 1;
    pthread_mutex_unlock(&world->lock);
    if (waits)
        shl_node_done(world->node, epoch);
    while (waits) {
        pthread_mutex_lock(&world->lock);
        uint64_t news = world->news;
        pthread_mutex_unlock(&world->lock);
        waits = !shl_node_all_done(world->node, epoch);
        pthread_mutex_lock(&world->lock);
        while (waits && world->news == news)
            waits = world->usable && world->epoch == epoch && shl_views_wait(world, until_ns);
        pthread_mutex_unlock(&world->lock);
    }
}

static void stop_builder(struct shoal_world *world)
{
    if (!world->builder_runs)
        return;
    pthread_mutex_lock(&world->lock);
    world->stop = true;
    /* A view that is still being formed is given up; one that is in force is left in good order, so
     * that others get what they are owed of its last operation. */
    if (world->forming && !world->comm)
        shl_world_cut(world->forming, "the world is being destroyed");
    pthread_cond_broadcast(&world->changed);
    pthread_mutex_unlock(&world->lock);
    pthread_join(world->builder, NULL);
}

void shl_views_destroy(struct shoal_world *world)
{
    shl_started_detach(world);
    if (world->builder_runs)
        end_together(world);
    stop_builder(world);
    if (world->follower && world->follower->end)
        world->follower->end(world->follower->arg);
    shl_node_destroy(world->node);
    if (world->follower && world->follower->orphan)
        world->follower->orphan(world->follower->arg);
    if (world->follower)
        world->follower->gone = true;
    shl_streams_keep(world);
    if (world->log)
        shl_oplog_free(world->log);
    shl_mem->free(world->pool.at);
    shl_mem->free(world->votes);
    shl_mem->free(world->published);
    shl_mem->free(world->prepared);
    shl_mem->free(world->job);
    pthread_cond_destroy(&world->changed);
    pthread_mutex_destroy(&world->lock);
    shl_mem->free(world);
}
