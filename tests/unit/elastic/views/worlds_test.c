/*
 * Two members in one process, over a store in memory: one that lacks memory, one whose connections
 * break, and one that comes and goes a few hundred times (SHOAL_TEST_CHANGES: as often as that) and
 * leaves nothing behind.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "core/sys.h"
#include "elastic/views/views.h"
#include "elastic/world.h"
#include "support/leaks.h"
#include "support/test.h"
#include "unit/elastic/views/cell.h"

#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <shoal/shoal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define CHANGES 200 /* of membership: each visitor makes two */
#define WARM 20     /* visitors until all that is kept for good is there */
#define SLACK_PAGES 512

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define PAGES_COUNT false /* a sanitizer keeps what was freed */
#else
#define PAGES_COUNT true
#endif

/* ---- memory ------------------------------------------------------------------------------- */

static struct shl_sys_mem mem;
static _Atomic int64_t allocated;
static _Thread_local uint32_t to_fail; /* of this thread's next allocations */

static void *counted(void *p)
{
    allocated += p != NULL;
    return p;
}

static bool fails(void)
{
    if (!to_fail)
        return false;
    to_fail--;
    errno = ENOMEM;
    return true;
}

static void *alloc(size_t bytes)
{
    return fails() ? NULL : counted(shl_mem_kernel.alloc(bytes));
}

static void *alloc_aligned(size_t align, size_t bytes)
{
    return fails() ? NULL : counted(shl_mem_kernel.alloc_aligned(align, bytes));
}

static void *resize(void *p, size_t bytes)
{
    if (fails())
        return NULL;
    void *resized = shl_mem_kernel.resize(p, bytes);
    allocated += !p && resized;
    return resized;
}

static void release(void *p)
{
    allocated -= p != NULL;
    shl_mem_kernel.free(p);
}

/* ---- two members -------------------------------------------------------------------------- */

struct pair {
    struct cell cell;
    struct shoal_context *context;
    struct shoal_world *host;
    pthread_t thread;
    _Atomic bool stop;
    _Atomic int status;
    _Atomic uint32_t steps; /* of the host */
};

static struct pair pair;

static enum shoal_status join(uint32_t founders, struct shoal_world **world)
{
    struct shoal_store store = cell_store(&pair.cell);
    struct shoal_world_options options = {.struct_size = sizeof(options),
                                          .world_start = founders,
                                          .world_min = 1,
                                          .op_timeout_ms = 20000,
                                          .custom_store = &store};
    return shoal_world_join(pair.context, &options, world);
}

static int open_pair(void **state)
{
    const char *const settings[] = {"SHOAL_TRANSPORT=tcp"};
    struct shoal_context_options options = {
        .struct_size = sizeof(options), .settings = settings, .setting_count = 1};
    (void)state;
    memset(&pair, 0, sizeof(pair));
    cell_open(&pair.cell);
    mem = shl_mem_kernel;
    mem.alloc = alloc;
    mem.alloc_aligned = alloc_aligned;
    mem.resize = resize;
    mem.free = release;
    shl_mem = &mem;
    allocated = 0;
    ASSERT_OK(shoal_context_create(&options, &pair.context));
    return 0;
}

static int close_pair(void **state)
{
    (void)state;
    ASSERT_OK(shoal_context_destroy(pair.context));
    shl_mem = &shl_mem_kernel;
    cell_close(&pair.cell);
    return 0;
}

/* ---- memory is short ---------------------------------------------------------------------- */

#define SUMS 24

/* Alike on both, but for the allocations that fail: of a plan, since each length is new, and of
 * what would tell the other that the operation is given up. */
static void *sums(void *arg)
{
    struct shoal_world *world = NULL;
    bool short_of = arg != NULL;
    float send[SUMS], recv[SUMS];
    enum shoal_status status = join(2, &world);
    for (uint32_t i = 1; i < SUMS && status == SHOAL_OK; i++) {
        uint64_t epoch = shoal_world_epoch(world);
        for (uint32_t j = 0; j < i; j++)
            send[j] = 1;
        to_fail = short_of && i % 8 == 5 ? 2 : 0;
        status = shoal_world_allreduce(world, send, recv, i, SHOAL_F32, SHOAL_SUM);
        if (status < 0)
            print_error("%s: sum %u: %d, %s\n", short_of ? "short" : "other", i, (int)status,
                        shoal_last_error());
        else if (recv[0] != 2 || recv[i - 1] != 2 || to_fail ||
                 (short_of && (i % 8 == 5) != (shoal_world_epoch(world) != epoch))) {
            print_error("%s: sum %u is %g, epoch %llu after %llu, %u to fail\n",
                        short_of ? "short" : "other", i, (double)recv[0],
                        (unsigned long long)shoal_world_epoch(world), (unsigned long long)epoch,
                        to_fail);
            status = SHOAL_ERR_INTERNAL;
        }
    }
    to_fail = 0;
    shoal_world_destroy(world);
    return status == SHOAL_OK ? NULL : &pair;
}

static void who_lacks_memory_gets_what_the_other_gets(void **state)
{
    pthread_t other;
    void *failed = NULL;
    (void)state;
    assert_int_equal(pthread_create(&other, NULL, sums, NULL), 0);
    void *mine = sums(&pair);
    pthread_join(other, &failed);
    assert_null(mine);
    assert_null(failed);
}

static _Atomic uint32_t untold; /* so many members lack the memory to tell what they bring */

enum shoal_status __real_shl_node_tell(struct shl_node *node, uint64_t epoch, const void *blob,
                                       size_t bytes);
enum shoal_status __wrap_shl_node_tell(struct shl_node *node, uint64_t epoch, const void *blob,
                                       size_t bytes);

enum shoal_status __wrap_shl_node_tell(struct shl_node *node, uint64_t epoch, const void *blob,
                                       size_t bytes)
{
    uint32_t one = 1;
    to_fail = atomic_compare_exchange_strong(&untold, &one, 0) ? 1 : 0;
    enum shoal_status status = __real_shl_node_tell(node, epoch, blob, bytes);
    to_fail = 0;
    return status;
}

/* Founds a world, and is its only member in the end unless it is the one that lacks memory. */
static void *found(void *arg)
{
    struct shoal_world *world = NULL;
    float one = 1, sum = 0;
    (void)arg;
    enum shoal_status status = join(2, &world);
    if (status == SHOAL_ERR_NOMEM)
        return &untold;
    if (status == SHOAL_OK)
        status = shoal_world_allreduce(world, &one, &sum, 1, SHOAL_F32, SHOAL_SUM);
    if (status < 0 || sum != 1)
        print_error("status %d, sum %g: %s\n", (int)status, (double)sum, shoal_last_error());
    shoal_world_destroy(world);
    return status == SHOAL_OK && sum == 1 ? NULL : &pair;
}

/* The other would else wait for it until the time to join is over. */
static void who_cannot_tell_what_it_brings_goes_alone(void **state)
{
    pthread_t other;
    void *theirs = NULL;
    (void)state;
    untold = 1;
    assert_int_equal(pthread_create(&other, NULL, found, NULL), 0);
    void *mine = found(NULL);
    pthread_join(other, &theirs);
    assert_true(mine == &untold ? !theirs : !mine && theirs == &untold);
}

/* ---- connections break -------------------------------------------------------------------- */

/* Alike on both, but for one whose data connections and their control end in the middle, as if the
 * others had given it up. Its membership does not end: the session of the node lives. */
static void *sums_over_a_cut(void *arg)
{
    struct shoal_world *world = NULL;
    struct shoal_op_info info = {.struct_size = sizeof(info)};
    bool cuts = arg != NULL;
    float send[4] = {1, 2, 3, 4}, recv[4];
    uint64_t epoch = 0;
    enum shoal_status status = join(2, &world);
    for (uint32_t i = 0; i < 8 && status == SHOAL_OK; i++) {
        if (cuts && i == 4)
            shl_world_cut(world->comm->world, "cut by a test");
        status = shoal_world_allreduce(world, send, recv, 4, SHOAL_F32, SHOAL_SUM);
        if (status == SHOAL_OK)
            status = shoal_world_last(world, &info);
        if (status == SHOAL_OK && (recv[3] != 8 || info.contributors != 2))
            status = SHOAL_ERR_INTERNAL;
        epoch = i ? epoch : info.epoch;
    }
    if (status < 0)
        print_error("%s: %d, %s\n", cuts ? "cut" : "other", (int)status, shoal_last_error());
    bool anew = info.epoch > epoch;
    shoal_world_destroy(world);
    return status == SHOAL_OK && anew ? NULL : &pair;
}

static void connections_that_break_are_made_anew(void **state)
{
    pthread_t other;
    void *failed = NULL;
    (void)state;
    assert_int_equal(pthread_create(&other, NULL, sums_over_a_cut, NULL), 0);
    void *mine = sums_over_a_cut(&pair);
    pthread_join(other, &failed);
    assert_null(mine);
    assert_null(failed);
}

/* ---- coming and going --------------------------------------------------------------------- */

static int one_step(struct shoal_world *world)
{
    struct shoal_step step = {.struct_size = sizeof(step)};
    int status = shoal_step_begin(world, &step);
    if (status == SHOAL_OK)
        status = shoal_step_commit(world, 1);
    return status == SHOAL_ERR_STEP_RETRY ? SHOAL_OK : status;
}

static void *host(void *arg)
{
    (void)arg;
    while (!pair.stop && pair.status == SHOAL_OK) {
        pair.status = one_step(pair.host);
        pair.steps++;
        usleep(500); /* alone it would do nothing else */
    }
    return NULL;
}

static void visit(uint32_t number)
{
    struct shoal_world *world = NULL;
    struct shoal_view view = {.struct_size = sizeof(view)};
    ASSERT_OK(join(1, &world));
    ASSERT_OK(one_step(world));
    ASSERT_OK(shoal_leave(world, 0));
    if (number % 4 == 3) { /* without a farewell */
        ASSERT_OK(shoal_world_destroy(world));
        return;
    }
    while (one_step(world) == SHOAL_OK)
        ;
    ASSERT_OK(shoal_world_view(world, &view));
    assert_true(view.left);
    ASSERT_OK(shoal_world_destroy(world));
}

static bool is_alone(void *arg)
{
    struct shoal_view view = {.struct_size = sizeof(view)};
    (void)arg;
    return shoal_world_view(pair.host, &view) == SHOAL_OK && view.size == 1;
}

/* Before that the view without the visitor may still be formed, and nothing of it be there. */
static bool goes_on(void *arg)
{
    const uint32_t *steps = arg;
    return pair.steps >= *steps + 3;
}

static void await_host_alone(void)
{
    assert_true(shl_test_wait_for(is_alone, NULL, 20000));
    uint32_t steps = pair.steps;
    assert_true(shl_test_wait_for(goes_on, &steps, 20000));
}

struct usage {
    uint32_t fds, threads;
    int64_t allocated;
    long pages;
};

static long resident_pages(void)
{
    long all = 0, resident = 0;
    FILE *file = fopen("/proc/self/statm", "re");
    assert_non_null(file);
    assert_int_equal(fscanf(file, "%ld %ld", &all, &resident), 2);
    fclose(file);
    return resident;
}

static struct usage usage_now(void)
{
    return (struct usage){shl_test_open_fds(), shl_test_threads(), allocated, resident_pages()};
}

static bool is_down_to(void *arg)
{
    const struct usage *usage = arg;
    return shl_test_open_fds() <= usage->fds && shl_test_threads() <= usage->threads &&
           allocated <= usage->allocated;
}

/* The last view's transports are closed a moment after the next view is there. */
static struct usage settled(void)
{
    struct usage least = usage_now();
    for (int i = 0; i < 50; i++) {
        struct usage now = usage_now();
        least.fds = now.fds < least.fds ? now.fds : least.fds;
        least.threads = now.threads < least.threads ? now.threads : least.threads;
        least.allocated = now.allocated < least.allocated ? now.allocated : least.allocated;
        usleep(1000);
    }
    return least;
}

static void members_that_come_and_go_leave_nothing_behind(void **state)
{
    const char *given = getenv("SHOAL_TEST_CHANGES");
    uint32_t visits = (given ? (uint32_t)strtoul(given, NULL, 0) : CHANGES) / 2;
    struct usage before = {0};
    (void)state;
    ASSERT_OK(join(1, &pair.host));
    assert_int_equal(pthread_create(&pair.thread, NULL, host, NULL), 0);
    for (uint32_t i = 0; i < WARM + visits; i++) {
        visit(i);
        await_host_alone();
        if (i == WARM - 1)
            before = settled();
    }
    long pages = resident_pages();
    bool flat = shl_test_wait_for(is_down_to, &before, 5000);
    struct usage after = usage_now();
    print_message("%u changes: descriptors %u to %u, threads %u to %u, allocations %lld to %lld, "
                  "resident pages %ld to %ld\n",
                  2 * visits, before.fds, after.fds, before.threads, after.threads,
                  (long long)before.allocated, (long long)after.allocated, before.pages, pages);
    assert_true(flat);
    assert_true(!PAGES_COUNT || pages < before.pages + SLACK_PAGES);
    pair.stop = true;
    pthread_join(pair.thread, NULL);
    assert_int_equal(pair.status, SHOAL_OK);
    ASSERT_OK(shoal_world_destroy(pair.host));
}

int main(void)
{
    mallopt(M_ARENA_MAX, 1); /* else the C library takes a while to have an arena a thread */
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(who_lacks_memory_gets_what_the_other_gets, open_pair,
                                        close_pair),
        cmocka_unit_test_setup_teardown(who_cannot_tell_what_it_brings_goes_alone, open_pair,
                                        close_pair),
        cmocka_unit_test_setup_teardown(connections_that_break_are_made_anew, open_pair,
                                        close_pair),
        cmocka_unit_test_setup_teardown(members_that_come_and_go_leave_nothing_behind, open_pair,
                                        close_pair),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
