/*
 * Storms: real processes exchange messages of random sizes, kinds of memory and posting order, and
 * check every byte. What is sent is a pure function of the seed, so all ranks know the plan.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "support/random.h"
#include "unit/transport/shm_world.h"

#include "core/sys.h"

#include <poll.h>
#include <stdlib.h>
#include <string.h>

#define ITEMS_MAX 4096
#define STORM_NS (50ull * 1000000000u)

enum memory { ORDINARY, MISALIGNED, HEAP, HEAP_MISALIGNED, MEMORIES };

struct storm {
    uint64_t seed;
    uint32_t size;
    unsigned items;
    uint64_t most_bytes;
    bool sends_first; /* so that most messages come before their receives */
    bool sleepy;      /* sleep on the doorbell when there is nothing to do */
};

struct item {
    uint32_t from, to, msg;
    uint64_t bytes;
    enum memory send_memory, recv_memory;
    uint32_t elem_bytes;
    bool sinks;
};

struct job {
    struct shl_xfer xfer;
    const struct item *item;
    bool is_send, posted, done;
    uint8_t *store;
    uint64_t poured;
};

struct rank_state {
    struct shm_rank self;
    const struct storm *storm;
    struct item items[ITEMS_MAX];
    struct job jobs[ITEMS_MAX];
    unsigned job_count, done_count;
    uint64_t random;
};

/* ---- the plan --------------------------------------------------------------------------- */

static uint64_t random_bytes(uint64_t *state, uint64_t most)
{
    uint64_t r = shl_test_random(state);
    switch (shl_test_random(state) % 8) {
    case 0:
        return 0;
    case 1:
    case 2:
        return r % 64;
    case 3:
        return r % 4200; /* around the eager limit */
    case 4:
    case 5:
        return r % 70000; /* a few cells */
    case 6:
        return 4090 + r % 12;
    default:
        return r % most;
    }
}

static void make_plan(const struct storm *storm, struct item *items)
{
    uint64_t state = storm->seed;
    for (unsigned i = 0; i < storm->items; i++) {
        struct item *item = &items[i];
        static const uint32_t elems[] = {1, 2, 4, 8, 16, 12};
        item->from = (uint32_t)(shl_test_random(&state) % storm->size);
        item->to = (item->from + 1 + (uint32_t)(shl_test_random(&state) % (storm->size - 1))) %
                   storm->size;
        item->msg = i;
        item->elem_bytes = elems[shl_test_random(&state) % 6];
        item->bytes = random_bytes(&state, storm->most_bytes);
        item->bytes -= item->bytes % item->elem_bytes;
        item->send_memory = shl_test_random(&state) % MEMORIES;
        item->recv_memory = shl_test_random(&state) % MEMORIES;
        item->sinks = shl_test_random(&state) % 3 == 0;
    }
}

static uint8_t expected(const struct item *item, uint64_t at)
{
    uint64_t x = (at >> 3) * 0x9e3779b97f4a7c15u + item->msg * 0xbf58476d1ce4e5b9u;
    return (uint8_t)((x >> 32) + at);
}

/* ---- jobs ------------------------------------------------------------------------------- */

static uint8_t *get_memory(struct rank_state *state, enum memory memory, uint64_t bytes)
{
    void *p = NULL;
    if (memory == HEAP || memory == HEAP_MISALIGNED)
        MUST(shl_heap_alloc(state->self.heap, bytes + 64, &p) == SHOAL_OK);
    else
        MUST((p = malloc(bytes + 64)) != NULL);
    return p;
}

static size_t skew_of(enum memory memory)
{
    return memory == MISALIGNED ? 3 : memory == HEAP_MISALIGNED ? 5 : 0;
}

static enum memory memory_of(const struct job *job)
{
    return job->is_send ? job->item->send_memory : job->item->recv_memory;
}

static void sink(struct shl_xfer *xfer, uint64_t offset, const void *piece, size_t bytes)
{
    struct job *job = xfer->owner;
    uint8_t *to = job->store + skew_of(memory_of(job)) + offset;
    const uint8_t *from = piece;
    MUST(offset % xfer->elem_bytes == 0 && bytes % xfer->elem_bytes == 0);
    MUST(offset + bytes <= xfer->bytes);
    for (size_t i = 0; i < bytes; i++)
        to[i] = (uint8_t)(to[i] + from[i]);
    job->poured += bytes;
}

static void done(struct shl_xfer *xfer)
{
    struct job *job = xfer->owner;
    MUST(!job->done && xfer->status == SHOAL_OK);
    job->done = true;
}

static void post(struct rank_state *state, struct job *job)
{
    const struct item *item = job->item;
    enum memory memory = memory_of(job);
    job->store = get_memory(state, memory, item->bytes);
    uint8_t *data = job->store + skew_of(memory);
    memset(job->store, 0, item->bytes + 64);
    for (uint64_t i = 0; job->is_send && i < item->bytes; i++)
        data[i] = expected(item, i);
    shm_xfer_init(&job->xfer, job->is_send ? item->to : item->from, 1 + item->msg % 3, item->msg,
                  data, item->bytes);
    job->xfer.elem_bytes = item->elem_bytes;
    job->xfer.owner = job;
    job->xfer.done = done;
    if (item->sinks && !job->is_send)
        job->xfer.sink = sink;
    job->posted = true;
    const struct shl_transport_ops *ops = &shl_transport_shm;
    MUST((job->is_send ? ops->send : ops->recv)(state->self.t, &job->xfer) == SHOAL_OK);
}

/* Checks contents and the guard bytes behind and before. */
static void verify(struct rank_state *state, struct job *job)
{
    const struct item *item = job->item;
    size_t skew = skew_of(memory_of(job));
    if (!job->is_send) {
        if (item->sinks)
            MUST(job->poured == item->bytes);
        for (uint64_t i = 0; i < item->bytes; i++)
            MUST(job->store[skew + i] == expected(item, i));
        for (size_t i = 0; i < skew; i++)
            MUST(job->store[i] == 0);
        for (size_t i = skew + item->bytes; i < item->bytes + 64; i++)
            MUST(job->store[i] == 0);
    }
    if (memory_of(job) == HEAP || memory_of(job) == HEAP_MISALIGNED)
        MUST(shl_heap_free(state->self.heap, job->store) == SHOAL_OK);
    else
        free(job->store);
}

static void shuffle(struct rank_state *state)
{
    for (unsigned i = state->job_count; i > 1; i--) {
        unsigned j = (unsigned)(shl_test_random(&state->random) % i);
        struct job job = state->jobs[i - 1];
        state->jobs[i - 1] = state->jobs[j];
        state->jobs[j] = job;
    }
    if (!state->storm->sends_first)
        return;
    unsigned sends = 0;
    for (unsigned i = 0; i < state->job_count; i++) {
        if (!state->jobs[i].is_send)
            continue;
        struct job job = state->jobs[sends];
        state->jobs[sends++] = state->jobs[i];
        state->jobs[i] = job;
    }
}

static void make_jobs(struct rank_state *state, uint32_t rank)
{
    make_plan(state->storm, state->items);
    for (unsigned i = 0; i < state->storm->items; i++) {
        const struct item *item = &state->items[i];
        if (item->from != rank && item->to != rank)
            continue;
        state->jobs[state->job_count++] = (struct job){.item = item, .is_send = item->from == rank};
    }
    shuffle(state);
}

/* ---- running ---------------------------------------------------------------------------- */

static void rest(struct rank_state *state)
{
    const struct shl_transport_ops *ops = &shl_transport_shm;
    if (!state->storm->sleepy) {
        shl_time->yield();
        return;
    }
    if (!ops->arm(state->self.t, true))
        return;
    struct pollfd bell = {.fd = ops->wait_fd(state->self.t), .events = POLLIN};
    /* A lost doorbell shows as a test that takes this long, and then fails its deadline. */
    MUST(poll(&bell, 1, 20000) == 1);
    ops->arm(state->self.t, false);
}

static void collect(struct rank_state *state, unsigned posted)
{
    for (unsigned i = 0; i < posted; i++) {
        struct job *job = &state->jobs[i];
        if (job->done && job->posted) {
            verify(state, job);
            job->posted = false;
            state->done_count++;
        }
    }
}

static void run_jobs(struct rank_state *state)
{
    unsigned next = 0;
    uint64_t deadline_ns = shl_now_ns() + STORM_NS;
    unsigned at_once = state->storm->sends_first ? state->job_count : 4;
    while (state->done_count < state->job_count) {
        for (uint64_t n = shl_test_random(&state->random) % at_once; n && next < state->job_count;
             n--)
            post(state, &state->jobs[next++]);
        unsigned events = shl_transport_shm.poll(state->self.t);
        collect(state, next);
        if (!events && (next == state->job_count || shl_test_random(&state->random) % 2))
            if (next == state->job_count && state->done_count < state->job_count)
                rest(state);
        MUST(shl_now_ns() < deadline_ns);
    }
}

static unsigned leave_done;

static void count_leave(struct shl_xfer *xfer)
{
    (void)xfer;
    leave_done++;
}

/* Nobody closes before all have all. */
static void leave_together(struct rank_state *state, uint32_t rank)
{
    static struct shl_xfer xfers[2 * SHM_WORLD_MAX];
    unsigned count = 0;
    for (uint32_t peer = 0; peer < state->storm->size; peer++) {
        if (peer == rank)
            continue;
        for (int send = 0; send < 2; send++) {
            struct shl_xfer *xfer = &xfers[count++];
            shm_xfer_init(xfer, peer, 99, 0, NULL, 0);
            xfer->done = count_leave;
            MUST((send ? shl_transport_shm.send : shl_transport_shm.recv)(state->self.t, xfer) ==
                 SHOAL_OK);
        }
    }
    while (leave_done < count) {
        if (!shl_transport_shm.poll(state->self.t))
            shl_time->yield();
    }
}

static int storm_rank(struct shm_world *world, uint32_t rank, void *arg)
{
    struct rank_state *state = calloc(1, sizeof(*state));
    MUST(state != NULL);
    state->storm = arg;
    state->random = state->storm->seed * 31 + rank;
    MUST(shm_rank_open(world, &state->self, rank) == SHOAL_OK);
    for (uint32_t i = 0; i < world->size; i++)
        MUST(state->self.reaches[i] == (i != rank));
    make_jobs(state, rank);
    run_jobs(state);
    leave_together(state, rank);
    MUST(state->self.lost == 0);
    shm_rank_close(&state->self);
    free(state);
    return 0;
}

static void run_storm(struct storm storm, uint32_t copy, uint64_t nt_bytes)
{
    struct shm_world world;
    storm.seed = shl_test_seed();
    shm_world_init(&world, storm.size);
    world.copy = copy;
    world.nt_bytes = nt_bytes;
    unsigned wrong = shm_world_fork(&world, UINT32_MAX, storm_rank, &storm);
    shm_world_close(&world);
    assert_int_equal(wrong, 0);
}

static void test_two_ranks(void **s)
{
    (void)s;
    run_storm((struct storm){.size = 2, .items = 600, .most_bytes = 3u << 20}, 0, 0);
}

static void test_two_ranks_staged(void **s)
{
    (void)s;
    run_storm((struct storm){.size = 2, .items = 400, .most_bytes = 3u << 20}, 1, 0);
}

static void test_two_ranks_cma(void **s)
{
    (void)s;
    run_storm((struct storm){.size = 2, .items = 400, .most_bytes = 3u << 20}, 2, 0);
}

static void test_two_ranks_streaming_stores(void **s)
{
    (void)s;
    run_storm((struct storm){.size = 2, .items = 300, .most_bytes = 1u << 20}, 0, 1);
}

static void test_most_come_early(void **s)
{
    (void)s;
    struct storm storm = {.size = 2, .items = 1500, .most_bytes = 20000, .sends_first = true};
    run_storm(storm, 0, 0);
    run_storm(storm, 1, 0);
}

static void test_three_ranks(void **s)
{
    (void)s;
    run_storm((struct storm){.size = 3, .items = 600, .most_bytes = 1u << 20}, 0, 0);
}

static void test_five_ranks_asleep(void **s)
{
    (void)s;
    run_storm((struct storm){.size = 5, .items = 800, .most_bytes = 300000, .sleepy = true}, 0, 0);
    run_storm((struct storm){.size = 5, .items = 800, .most_bytes = 300000, .sleepy = true}, 1, 0);
}

static void test_eight_ranks(void **s)
{
    (void)s;
    run_storm((struct storm){.size = 8, .items = 1500, .most_bytes = 300000, .sleepy = true}, 0, 0);
}

static void test_eight_ranks_early(void **s)
{
    (void)s;
    struct storm storm = {
        .size = 8, .items = 4000, .most_bytes = 8000, .sends_first = true, .sleepy = true};
    run_storm(storm, 0, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_two_ranks),         cmocka_unit_test(test_two_ranks_staged),
        cmocka_unit_test(test_two_ranks_cma),     cmocka_unit_test(test_two_ranks_streaming_stores),
        cmocka_unit_test(test_most_come_early),   cmocka_unit_test(test_three_ranks),
        cmocka_unit_test(test_five_ranks_asleep), cmocka_unit_test(test_eight_ranks),
        cmocka_unit_test(test_eight_ranks_early),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
