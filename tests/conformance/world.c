/*
 * Making, polling and ending the worlds of the conformance suite.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "conformance/world.h"

#include <pthread.h>

#define NS_PER_SECOND 1000000000u
#define DEADLINE_NS (30 * (uint64_t)NS_PER_SECOND)
#define QUIET_PASSES 2000

/* ---- the engine's side of the contract ------------------------------------------------------ */

static bool on_wanted(void *arg, const struct shl_tag *tag)
{
    struct world_rank *rank = arg;
    rank->asked++;
    for (size_t i = 0; i < rank->unwanted_count; i++) {
        if (rank->unwanted[i].comm == tag->comm && rank->unwanted[i].seq == tag->seq)
            return false;
    }
    return true;
}

static void on_seen(void *arg, uint32_t peer, const struct shl_tag *tag,
                    const struct shl_signature *signature)
{
    struct world_rank *rank = arg;
    if (rank->seen_count < WORLD_RECORDS_MAX)
        rank->seen[rank->seen_count] = (struct world_seen){peer, *tag, *signature};
    rank->seen_count++;
}

static void on_lost(void *arg, uint32_t peer, enum shoal_status status, const char *cause)
{
    struct world_rank *rank = arg;
    if (peer >= rank->world->size || status >= 0 || cause == NULL || cause[0] == '\0')
        world_fail(rank->world, "lost() names a rank of the world, an error and a cause", __FILE__,
                   __LINE__);
    rank->lost[peer] = status;
    rank->lost_calls[peer]++;
}

/* ---- making --------------------------------------------------------------------------------- */

struct attach_job {
    struct world_rank *rank;
    const void *const *blobs;
    const size_t *blob_bytes;
    enum shoal_status status;
    char detail[512];
};

static void *attach_one(void *arg)
{
    struct attach_job *job = arg;
    struct world *world = job->rank->world;
    job->status = world->ops->attach(job->rank->t, job->blobs, job->blob_bytes,
                                     shl_now_ns() + DEADLINE_NS, job->rank->reaches);
    if (job->status < 0)
        snprintf(job->detail, sizeof(job->detail), "%s", shl_error_text());
    return NULL;
}

static enum shoal_status attach_all(struct world *world, const void *const *blobs,
                                    const size_t *blob_bytes)
{
    struct attach_job jobs[WORLD_RANKS_MAX] = {0};
    pthread_t threads[WORLD_RANKS_MAX];
    for (uint32_t i = 0; i < world->size; i++) {
        jobs[i] = (struct attach_job){&world->ranks[i], blobs, blob_bytes, SHOAL_OK, ""};
        if (!world->adapter->attach_blocks)
            attach_one(&jobs[i]);
        else if (pthread_create(&threads[i], NULL, attach_one, &jobs[i]) != 0)
            abort();
    }
    enum shoal_status status = SHOAL_OK;
    for (uint32_t i = 0; i < world->size; i++) {
        if (world->adapter->attach_blocks)
            pthread_join(threads[i], NULL);
        if (jobs[i].status < 0 && status == SHOAL_OK) {
            status = jobs[i].status;
            shl_error_set(jobs[i].detail);
        }
    }
    return status;
}

static enum shoal_status connect_ranks(struct world *world)
{
    static uint64_t blobs[WORLD_RANKS_MAX][512];
    const void *blob_of[WORLD_RANKS_MAX];
    size_t blob_bytes[WORLD_RANKS_MAX];
    for (uint32_t i = 0; i < world->size; i++) {
        struct world_rank *rank = &world->ranks[i];
        SHL_TRY(world->ops->open(&rank->env, &rank->t));
        blob_of[i] = blobs[i];
        blob_bytes[i] = world->ops->describe(rank->t, blobs[i], sizeof(blobs[i]));
    }
    for (uint32_t i = 0; i < world->size; i++) {
        world->ranks[i].env.epoch = 1;
        world->ranks[i].env.incarnation = 0x5eed0000 + world->seed;
    }
    if (world->adapter->meet != NULL)
        SHL_TRY(world->adapter->meet(world));
    return attach_all(world, blob_of, blob_bytes);
}

enum shoal_status world_create(const struct conformance_adapter *adapter, uint32_t size,
                               uint64_t seed, struct world **world)
{
    struct world *made = calloc(1, sizeof(*made));
    if (made == NULL)
        abort();
    made->adapter = adapter;
    made->seed = made->random_state = seed;
    made->size = size;
    for (uint32_t i = 0; i < size; i++) {
        struct world_rank *rank = &made->ranks[i];
        rank->world = made;
        rank->env.arg = rank;
        rank->env.rank = i;
        rank->env.size = size;
        rank->env.wanted = on_wanted;
        rank->env.seen = on_seen;
        rank->env.lost = on_lost;
    }
    enum shoal_status status = adapter->prepare(made);
    if (status == SHOAL_OK) {
        status = connect_ranks(made);
        if (status == SHOAL_OK) {
            *world = made;
            return SHOAL_OK;
        }
        world_close(made);
    } else {
        free(made);
    }
    return status;
}

struct world *world_open(const struct conformance_adapter *adapter, uint32_t size, uint64_t seed)
{
    struct world *world = NULL;
    enum shoal_status status = world_create(adapter, size, seed, &world);
    if (status != SHOAL_OK)
        fail_msg("%s: a world of %u ranks: %d %s", adapter->name, size, status, shl_error_text());
    for (uint32_t i = 0; i < size; i++) {
        for (uint32_t j = 0; j < size; j++)
            CHECK(world, world->ranks[i].reaches[j] == (i != j) || i == j);
    }
    return world;
}

void world_close(struct world *world)
{
    for (uint32_t i = 0; i < world->size; i++) {
        if (world->ranks[i].t != NULL)
            world->ops->close(world->ranks[i].t);
    }
    world->adapter->cleanup(world);
    free(world);
}

/* ---- running -------------------------------------------------------------------------------- */

bool world_poll(struct world *world)
{
    unsigned happened = 0;
    for (uint32_t i = 0; i < world->size; i++) {
        if (!world->ranks[i].crashed)
            happened += world->ops->poll(world->ranks[i].t);
    }
    return happened > 0;
}

/* Real time, since a simulated clock that stands still would never reach a deadline. */
static uint64_t real_now_ns(void)
{
    return shl_time_kernel.now_ns();
}

void world_run(struct world *world, bool (*done)(void *arg), void *arg)
{
    uint64_t give_up_ns = real_now_ns() + DEADLINE_NS;
    while (!done(arg)) {
        if (world_poll(world))
            continue;
        if (!world->adapter->idle(world) && !done(arg))
            world_fail(world, "nothing can happen any more, and the test waits", __FILE__,
                       __LINE__);
        if (real_now_ns() > give_up_ns)
            world_fail(world, "what the test waits for did not happen in time", __FILE__, __LINE__);
    }
}

void world_settle(struct world *world)
{
    unsigned quiet = 0;
    while (quiet < QUIET_PASSES) {
        if (world_poll(world))
            quiet = 0;
        else if (world->adapter->idle(world))
            quiet++;
        else
            return;
    }
}

void world_unwant(struct world *world, uint32_t rank, uint32_t comm, uint64_t seq)
{
    struct world_rank *at = &world->ranks[rank];
    assert_true(at->unwanted_count < WORLD_OPERATIONS_MAX);
    at->unwanted[at->unwanted_count++] = (struct shl_tag){.seq = seq, .comm = comm};
}

bool world_saw(const struct world *world, uint32_t rank, uint32_t peer, const struct shl_tag *tag,
               const struct shl_signature *signature)
{
    const struct world_rank *at = &world->ranks[rank];
    for (size_t i = 0; i < at->seen_count && i < WORLD_RECORDS_MAX; i++) {
        const struct world_seen *seen = &at->seen[i];
        if (seen->peer == peer && shl_tag_equal(&seen->tag, tag) &&
            shl_signature_equal(&seen->signature, signature))
            return true;
    }
    return false;
}

uint64_t world_random(struct world *world, uint64_t bound)
{
    world->random_state = world->random_state * 6364136223846793005u + 1442695040888963407u;
    return (world->random_state >> 33) % bound;
}

void world_fail(const struct world *world, const char *what, const char *file, int line)
{
    print_error("%s, seed %llu, %u ranks: %s\n", world->adapter->name,
                (unsigned long long)world->seed, world->size, what);
    _fail(file, line);
}

void world_fail_status(const struct world *world, const char *what, enum shoal_status status,
                       const char *file, int line)
{
    print_error("%s, seed %llu: %s returned %d: %s\n", world->adapter->name,
                (unsigned long long)world->seed, what, status, shl_error_text());
    _fail(file, line);
}
