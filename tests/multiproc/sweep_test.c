/*
 * One rank of two fails its k-th allocation, mapping, descriptor or socket call, anywhere from the
 * context's creation to its end. Both ranks end in bounded time, with success or an error that says
 * something, and leave no descriptor and no thread behind.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "support/fault.h"
#include "support/leaks.h"
#include "support/test.h"

#include <shoal/shoal.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define RUNS 30 /* for each kind of call and transport, of the thousands that there are */
#define LIMIT_S 25
#define COUNT 200000

struct outcome {
    int status;
    char text[512];
    char site[64];
    uint64_t calls;
    uint32_t fds, threads; /* more than before */
};

struct sweep {
    const char *transport;
    unsigned kinds;
};

static struct outcome *outcomes; /* by rank, shared with the children */
static unsigned serial;

static int work(struct shoal_comm *comm)
{
    static int32_t data[COUNT];
    int32_t one = 1, sum;
    struct shoal_comm *child = NULL;
    int status = shoal_allreduce(comm, &one, &sum, 1, SHOAL_I32, SHOAL_SUM);
    if (status == SHOAL_OK && sum != 2)
        return SHOAL_ERR_INTERNAL;
    if (status == SHOAL_OK)
        status = shoal_broadcast(comm, data, data, COUNT, SHOAL_I32, 1);
    if (status == SHOAL_OK)
        status = shoal_comm_split(comm, 0, 0, &child);
    if (status == SHOAL_OK)
        status = shoal_allreduce(child, data, data, COUNT, SHOAL_I32, SHOAL_SUM);
    char text[512];
    snprintf(text, sizeof(text), "%s", shoal_last_error());
    shoal_comm_destroy(child);
    shl_error_set(text);
    return status;
}

static int live(uint32_t rank, const char *address, const char *transport)
{
    char setting[64];
    snprintf(setting, sizeof(setting), "SHOAL_TRANSPORT=%s", transport);
    const char *const settings[] = {setting, "SHOAL_LOG_LEVEL=off"};
    struct shoal_context_options context_options = {sizeof(context_options), NULL, settings, 2};
    struct shoal_comm_options options = {.struct_size = sizeof(options),
                                         .rank = rank,
                                         .size = 2,
                                         .rendezvous = address,
                                         .init_timeout_ms = 1500,
                                         .op_timeout_ms = 1500};
    struct shoal_context *context = NULL;
    struct shoal_comm *comm = NULL;
    char text[512];
    int status = shoal_context_create(&context_options, &context);
    if (status == SHOAL_OK)
        status = shoal_comm_create(context, &options, &comm);
    if (status == SHOAL_OK)
        status = work(comm);
    snprintf(text, sizeof(text), "%s", shoal_last_error());
    shoal_comm_destroy(comm);
    if (context && shoal_context_destroy(context) != SHOAL_OK)
        status = SHOAL_ERR_INTERNAL;
    shl_error_set(text);
    return status;
}

static bool threads_are_back(void *arg)
{
    return shl_test_threads() <= *(uint32_t *)arg;
}

static struct outcome *own_outcome;

/* What failed is the first question when a run hangs. */
static void note_site_and_die(int number)
{
    strncpy(own_outcome->site, shl_fault_site(), sizeof(own_outcome->site) - 1);
    signal(number, SIG_DFL);
    raise(number);
}

static void be_rank(uint32_t rank, const char *address, const struct sweep *sweep, uint64_t k)
{
    struct outcome *outcome = &outcomes[rank];
    uint32_t fds = shl_test_open_fds(), threads = shl_test_threads();
    own_outcome = outcome;
    signal(SIGALRM, note_site_and_die);
    alarm(LIMIT_S);
    if (rank == 0) {
        shl_fault_install();
        shl_fault_arm(sweep->kinds, k);
    }
    outcome->status = live(rank, address, sweep->transport);
    snprintf(outcome->text, sizeof(outcome->text), "%s", shoal_last_error());
    if (rank == 0) {
        outcome->calls = shl_fault_calls();
        snprintf(outcome->site, sizeof(outcome->site), "%s", shl_fault_site());
        shl_fault_pause();
    }
    (void)shl_test_wait_for(threads_are_back, &threads, 2000);
    outcome->threads = shl_test_threads() - threads;
    outcome->fds = shl_test_open_fds() - fds;
    _exit(0);
}

static void run_once(const struct sweep *sweep, uint64_t k, unsigned seed)
{
    pid_t pids[2];
    char address[64];
    memset(outcomes, 0, 2 * sizeof(*outcomes));
    snprintf(address, sizeof(address), "@shoal-sweep-%d-%u", (int)getpid(), serial++);
    for (uint32_t r = 0; r < 2; r++) {
        pids[r] = fork();
        assert_true(pids[r] >= 0);
        if (pids[r] == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            be_rank(r, address, sweep, k);
        }
    }
    for (uint32_t r = 0; r < 2; r++) {
        int status = 0;
        assert_int_equal(waitpid(pids[r], &status, 0), pids[r]);
        const struct outcome *o = &outcomes[r];
        if (status != 0 || o->fds != 0 || o->threads != 0 || o->status > 0 ||
            o->status == SHOAL_ERR_INTERNAL || (o->status != SHOAL_OK && !o->text[0]))
            fail_msg("%s, call %llu (%s), seed %u: rank %u ended with %#x (%d: hung), %d \"%s\", "
                     "%d descriptors and %d threads left",
                     sweep->transport, (unsigned long long)k, outcomes[0].site, seed, r, status,
                     SIGALRM, o->status, o->text, (int)o->fds, (int)o->threads);
    }
}

static void sweep_kinds(const char *transport, unsigned kinds)
{
    struct sweep sweep = {transport, kinds};
    const char *given = getenv("SHOAL_TEST_SEED");
    unsigned seed = given ? (unsigned)strtoul(given, NULL, 0) : (unsigned)time(NULL);
    unsigned state = seed;
    run_once(&sweep, 0, seed); /* counts */
    assert_int_equal(outcomes[0].status, SHOAL_OK);
    assert_int_equal(outcomes[1].status, SHOAL_OK);
    uint64_t calls = outcomes[0].calls;
    uint64_t step = calls / RUNS + 1;
    for (uint64_t k = 1; k <= calls; k += step)
        run_once(&sweep, k + (uint64_t)rand_r(&state) % step, seed);
}

static void test_memory(void **state)
{
    (void)state;
    sweep_kinds("shm", SHL_FAULT_MEM);
    sweep_kinds("tcp", SHL_FAULT_MEM);
}

static void test_descriptors(void **state)
{
    (void)state;
    sweep_kinds("shm", SHL_FAULT_FD);
    sweep_kinds("tcp", SHL_FAULT_FD);
}

/* Few of the calls above, and each may be the one that wakes a thread that must end. */
static void test_bells(void **state)
{
    (void)state;
    sweep_kinds("shm", SHL_FAULT_WRITE);
    sweep_kinds("tcp", SHL_FAULT_WRITE);
}

static void test_sockets(void **state)
{
    (void)state;
    sweep_kinds("shm", SHL_FAULT_SOCK);
    sweep_kinds("tcp", SHL_FAULT_SOCK);
}

int main(int argc, char **argv)
{
    cmocka_set_test_filter(argc > 1 ? argv[1] : NULL);
    outcomes = mmap(NULL, 2 * sizeof(*outcomes), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
                    -1, 0);
    if (outcomes == MAP_FAILED)
        return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_memory),
        cmocka_unit_test(test_descriptors),
        cmocka_unit_test(test_bells),
        cmocka_unit_test(test_sockets),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
