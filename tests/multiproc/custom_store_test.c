/*
 * A world whose store is the program's own: a value in memory that its processes share.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "support/test.h"

#include <pthread.h>
#include <shoal/shoal.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define MEMBERS 3

struct shared {
    pthread_mutex_t lock;
    size_t size;
    uint8_t value[SHOAL_STORE_BYTES_MAX];
};

static enum shoal_status read_it(void *arg, uint32_t timeout_ms, void *value, size_t capacity,
                                 size_t *size)
{
    struct shared *shared = arg;
    (void)timeout_ms;
    pthread_mutex_lock(&shared->lock);
    enum shoal_status status = shared->size <= capacity ? SHOAL_OK : SHOAL_ERR_INVALID;
    if (status == SHOAL_OK)
        memcpy(value, shared->value, shared->size);
    *size = shared->size;
    pthread_mutex_unlock(&shared->lock);
    return status;
}

static enum shoal_status swap_it(void *arg, uint32_t timeout_ms, const void *expected,
                                 size_t expected_size, const void *desired, size_t desired_size,
                                 int *done)
{
    struct shared *shared = arg;
    (void)timeout_ms;
    pthread_mutex_lock(&shared->lock);
    *done = shared->size == expected_size && memcmp(shared->value, expected, expected_size) == 0;
    if (*done) {
        memcpy(shared->value, desired, desired_size);
        shared->size = desired_size;
    }
    pthread_mutex_unlock(&shared->lock);
    return SHOAL_OK;
}

static struct shared *make_shared(void)
{
    pthread_mutexattr_t between_processes;
    struct shared *shared =
        mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(shared != MAP_FAILED);
    pthread_mutexattr_init(&between_processes);
    pthread_mutexattr_setpshared(&between_processes, PTHREAD_PROCESS_SHARED);
    pthread_mutex_init(&shared->lock, &between_processes);
    return shared;
}

/* Sums of one until all have come; then it is over for all alike. */
static int be_member(struct shared *shared)
{
    struct shoal_store store = {
        .struct_size = sizeof(store), .arg = shared, .read = read_it, .swap = swap_it};
    struct shoal_world_options options = {
        .struct_size = sizeof(options), .world_start = MEMBERS, .custom_store = &store};
    struct shoal_context *context;
    struct shoal_world *world;
    if (shoal_context_create(NULL, &context) || shoal_world_join(context, &options, &world)) {
        fprintf(stderr, "%s\n", shoal_last_error());
        return 1;
    }
    int64_t one = 1, sum = 0;
    enum shoal_status status = SHOAL_OK;
    for (int i = 0; i < 20 && status == SHOAL_OK; i++)
        status = shoal_world_allreduce(world, &one, &sum, 1, SHOAL_I64, SHOAL_SUM);
    if (status != SHOAL_OK)
        fprintf(stderr, "%s\n", shoal_last_error());
    shoal_world_destroy(world);
    shoal_context_destroy(context);
    return status == SHOAL_OK && sum == MEMBERS ? 0 : 1;
}

static void members_meet_in_it(void **state)
{
    struct shared *shared = make_shared();
    pid_t pids[MEMBERS];
    (void)state;
    for (uint32_t i = 0; i < MEMBERS; i++) {
        pids[i] = fork();
        if (pids[i] == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            _exit(be_member(shared));
        }
    }
    for (uint32_t i = 0; i < MEMBERS; i++) {
        int status;
        assert_int_equal(waitpid(pids[i], &status, 0), pids[i]);
        assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    }
    assert_true(shared->size > 0);
    munmap(shared, sizeof(*shared));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(members_meet_in_it)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
