/*
 * The library as a plug-in: loaded, used, unloaded and loaded again, by threads of any age, and in
 * a process that exits in the middle of things.
 *
 * Each case is two processes that open the shared library themselves, as a plug-in's host does.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "support/test.h"

#include <dlfcn.h>
#include <pthread.h>
#include <shoal/shoal.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define RANKS 2
#define THREADS 4
#define CALLS 200
#define LEAVES 5 /* exit status of a process that does not clean up */

static struct {
    void *library;
    __typeof__(shoal_context_create) *context_create;
    __typeof__(shoal_context_destroy) *context_destroy;
    __typeof__(shoal_comm_create_from_env) *comm_create;
    __typeof__(shoal_comm_destroy) *comm_destroy;
    __typeof__(shoal_allreduce) *allreduce;
    __typeof__(shoal_last_error) *last_error;
    struct shoal_context *context;
    struct shoal_comm *comm;
} lib; /* of a child */

static _Atomic int *done; /* ranks that have ended their calls; in memory that all share */

static void need(bool holds, const char *what)
{
    if (holds)
        return;
    fprintf(stderr, "%s: %s\n", what, lib.last_error ? lib.last_error() : dlerror());
    _exit(1);
}

static void load(void)
{
    lib.library = dlopen(SHOAL_LIBRARY_FILE, RTLD_NOW | RTLD_LOCAL);
    need(lib.library, "dlopen");
    lib.context_create = dlsym(lib.library, "shoal_context_create");
    lib.context_destroy = dlsym(lib.library, "shoal_context_destroy");
    lib.comm_create = dlsym(lib.library, "shoal_comm_create_from_env");
    lib.comm_destroy = dlsym(lib.library, "shoal_comm_destroy");
    lib.allreduce = dlsym(lib.library, "shoal_allreduce");
    lib.last_error = dlsym(lib.library, "shoal_last_error");
    need(lib.context_create && lib.context_destroy && lib.comm_create && lib.comm_destroy &&
             lib.allreduce && lib.last_error,
         "dlsym");
}

static void join(void)
{
    need(lib.context_create(NULL, &lib.context) == SHOAL_OK, "context");
    need(lib.comm_create(lib.context, &lib.comm) == SHOAL_OK, "communicator");
}

static void add(void)
{
    float mine = 1, sum = 0;
    need(lib.allreduce(lib.comm, &mine, &sum, 1, SHOAL_F32, SHOAL_SUM) == SHOAL_OK, "allreduce");
    need(sum == RANKS, "a wrong sum");
}

static void leave(void)
{
    need(lib.comm_destroy(lib.comm) == SHOAL_OK, "end of the communicator");
    need(lib.context_destroy(lib.context) == SHOAL_OK, "end of the context");
}

/* ---- cases: what each of two processes does ------------------------------------------------ */

static void load_again_and_again(void)
{
    for (int i = 0; i < 3; i++) {
        load();
        join();
        add();
        leave();
        need(dlclose(lib.library) == 0, "dlclose");
    }
}

static void *join_in_thread(void *arg)
{
    join();
    return arg;
}

static void *add_in_thread(void *arg)
{
    for (int i = 0; i < CALLS; i++)
        add();
    return arg;
}

static void in_thread(void *(*body)(void *), int count)
{
    pthread_t threads[THREADS];
    for (int i = 0; i < count; i++)
        need(pthread_create(&threads[i], NULL, body, NULL) == 0, "thread");
    for (int i = 0; i < count; i++)
        pthread_join(threads[i], NULL);
}

/* Made by a thread that has ended, used by several at once, which take turns, ended by another. */
static void let_many_threads_share(void)
{
    load();
    in_thread(join_in_thread, 1);
    in_thread(add_in_thread, THREADS);
    leave();
    need(dlclose(lib.library) == 0, "dlclose");
}

static void unload_in_use_and_exit(void)
{
    load();
    join();
    add();
    need(dlclose(lib.library) == 0, "dlclose"); /* its threads go on */
    add();
    /* A rank that is gone fails what the others are still in. */
    atomic_fetch_add(done, 1);
    for (int i = 0; i < 10000 && atomic_load(done) < RANKS; i++)
        usleep(1000);
    need(atomic_load(done) == RANKS, "the other rank");
    exit(LEAVES);
}

/* ---- running them --------------------------------------------------------------------------- */

static void run(void (*body)(void), int expected)
{
    static int runs;
    char meeting[64], number[8];
    pid_t pids[RANKS];
    done = mmap(NULL, sizeof(*done), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(done, MAP_FAILED);
    snprintf(meeting, sizeof(meeting), "@shoal-loading-%d-%d", getpid(), runs++);
    snprintf(number, sizeof(number), "%d", RANKS);
    setenv("SHOAL_RENDEZVOUS", meeting, 1);
    setenv("SHOAL_SIZE", number, 1);
    setenv("SHOAL_TIMEOUT_MS", "30000", 1);
    for (int rank = 0; rank < RANKS; rank++) {
        snprintf(number, sizeof(number), "%d", rank);
        setenv("SHOAL_RANK", number, 1);
        pids[rank] = fork();
        assert_true(pids[rank] >= 0);
        if (pids[rank] == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            body();
            _exit(0);
        }
    }
    int ended[RANKS] = {0};
    for (int rank = 0; rank < RANKS; rank++)
        assert_int_equal(waitpid(pids[rank], &ended[rank], 0), pids[rank]);
    for (int rank = 0; rank < RANKS; rank++) {
        int status = ended[rank];
        if (!WIFEXITED(status) || WEXITSTATUS(status) != expected)
            fail_msg("rank %d ended with status 0x%x", rank, (unsigned)status);
    }
    munmap((void *)done, sizeof(*done));
}

static void it_is_loaded_again_and_again(void **state)
{
    (void)state;
    run(load_again_and_again, 0);
}

static void many_threads_share_a_communicator(void **state)
{
    (void)state;
    run(let_many_threads_share, 0);
}

static void it_is_unloaded_in_use_and_the_process_exits(void **state)
{
    (void)state;
    run(unload_in_use_and_exit, LEAVES);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_is_loaded_again_and_again),
        cmocka_unit_test(many_threads_share_a_communicator),
        cmocka_unit_test(it_is_unloaded_in_use_and_the_process_exits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
