/*
 * The kernel's tables, and the stand-ins that tests put over them.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "core/sys.h"

#include "support/clock.h"
#include "support/fault.h"
#include "support/random.h"
#include "support/test.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

/* A table with a hole would crash only in the one test that needs it. */
static void tables_have_no_holes(void **state)
{
    (void)state;
    const struct {
        const void *table;
        size_t bytes;
    } tables[] = {{&shl_mem_kernel, sizeof(shl_mem_kernel)},
                  {&shl_time_kernel, sizeof(shl_time_kernel)},
                  {&shl_random_kernel, sizeof(shl_random_kernel)},
                  {&shl_fd_kernel, sizeof(shl_fd_kernel)}};
    for (size_t i = 0; i < 4; i++) {
        void *const *entries = tables[i].table;
        for (size_t j = 0; j < tables[i].bytes / sizeof(void *); j++)
            assert_non_null(entries[j]);
    }
    shl_fault_install();
    void *const *faults = (void *const *)shl_mem;
    for (size_t j = 0; j < sizeof(*shl_mem) / sizeof(void *); j++)
        assert_non_null(faults[j]);
    faults = (void *const *)shl_fd;
    for (size_t j = 0; j < sizeof(*shl_fd) / sizeof(void *); j++)
        assert_non_null(faults[j]);
    shl_fault_remove();
}

static void blocks_are_zero_and_aligned(void **state)
{
    (void)state;
    unsigned char *block = shl_mem->alloc(1000);
    for (size_t i = 0; i < 1000; i++)
        assert_int_equal(block[i], 0);
    block = shl_mem->resize(block, 5000);
    assert_non_null(block);
    shl_mem->free(block);
    for (size_t align = 1; align <= 65536; align *= 4) {
        block = shl_mem->alloc_aligned(align, 777);
        assert_non_null(block);
        assert_int_equal((uintptr_t)block % align, 0);
        assert_int_equal(block[0] | block[776], 0);
        shl_mem->free(block);
    }
    void *nothing = shl_mem->alloc(0);
    assert_non_null(nothing); /* NULL would read as a failure */
    shl_mem->free(nothing);
    shl_mem->free(NULL);
}

static void a_sealed_memfd_keeps_its_size_and_gives_pages_back(void **state)
{
    (void)state;
    int fd = shl_mem->memfd("test", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    assert_true(fd >= 0);
    assert_int_equal(shl_mem->truncate(fd, 8192), 0);
    assert_int_equal(shl_mem->seal(fd, F_SEAL_SHRINK), 0);
    assert_int_equal(shl_mem->truncate(fd, 4096), -1);
    char *map = shl_mem->map(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    assert_ptr_not_equal(map, MAP_FAILED);
    map[0] = map[4096] = 1;
    assert_int_equal(shl_mem->punch(fd, 4096, 4096), 0);
    assert_int_equal(map[0], 1);
    assert_int_equal(map[4096], 0);
    assert_int_equal(shl_mem->unmap(map, 8192), 0);
    assert_int_equal(shl_fd->close(fd), 0);
}

static void own_memory_can_be_read_and_written_by_pid(void **state)
{
    (void)state;
    uint64_t source = 42, target = 0;
    struct iovec local = {.iov_base = &target, .iov_len = sizeof(target)};
    struct iovec remote = {.iov_base = &source, .iov_len = sizeof(source)};
    ssize_t got = shl_mem->vm_readv(getpid(), &local, 1, &remote, 1, 0);
    if (got < 0 && (errno == ENOSYS || errno == EPERM))
        TEST_SKIP("process_vm_readv is not permitted here");
    assert_int_equal(got, sizeof(target));
    assert_int_equal(target, 42);
    target = 7;
    assert_int_equal(shl_mem->vm_writev(getpid(), &local, 1, &remote, 1, 0), sizeof(target));
    assert_int_equal(source, 7);
}

static void descriptors_work(void **state)
{
    (void)state;
    int event = shl_fd->eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    int epoll = shl_fd->epoll_create(EPOLL_CLOEXEC);
    assert_true(event >= 0 && epoll >= 0);
    struct epoll_event wanted = {.events = EPOLLIN, .data.u64 = 9}, got = {.events = 0};
    assert_int_equal(shl_fd->epoll_ctl(epoll, EPOLL_CTL_ADD, event, &wanted), 0);
    assert_int_equal(shl_fd->epoll_wait(epoll, &got, 1, 0), 0);
    uint64_t one = 1;
    assert_int_equal(shl_fd->write(event, &one, sizeof(one)), sizeof(one));
    assert_int_equal(shl_fd->epoll_wait(epoll, &got, 1, 0), 1);
    assert_int_equal(got.data.u64, 9);
    assert_int_equal(shl_fd->read(event, &one, sizeof(one)), sizeof(one));
    int other = shl_fd->open("/dev/null", O_WRONLY | O_CLOEXEC, 0);
    assert_int_equal(shl_fd->dup3(event, other, O_CLOEXEC), other);
    assert_int_equal(shl_fd->close(other), 0);
    assert_int_equal(shl_fd->close(epoll), 0);
    assert_int_equal(shl_fd->close(event), 0);
}

static void time_goes_forward_and_random_bytes_differ(void **state)
{
    (void)state;
    uint64_t before = shl_now_ns();
    shl_time->sleep_ns(1000);
    shl_time->yield();
    assert_true(shl_now_ns() >= before + 1000);
    uint8_t first[32] = {0}, second[32] = {0};
    assert_int_equal(shl_random->bytes(first, sizeof(first)), 0);
    assert_int_equal(shl_random->bytes(second, sizeof(second)), 0);
    assert_memory_not_equal(first, second, sizeof(first));
    assert_int_equal(shl_random->bytes(NULL, 0), 0);
}

/* ---- stand-ins --------------------------------------------------------------------------- */

static void the_virtual_clock_moves_only_when_told(void **state)
{
    (void)state;
    shl_test_clock_install(5000);
    assert_int_equal(shl_now_ns(), 5000);
    assert_int_equal(shl_now_ns(), 5000);
    shl_test_clock_advance(10);
    shl_time->sleep_ns(1000000);
    assert_int_equal(shl_now_ns(), 1005010);
    shl_time->yield();
    assert_int_equal(shl_now_ns(), 1006010);
    shl_test_clock_remove();
    assert_ptr_equal(shl_time, &shl_time_kernel);
}

static void a_seed_repeats_random_bytes(void **state)
{
    (void)state;
    uint8_t first[32], again[32], other[32];
    shl_test_random_install(7);
    shl_random->bytes(first, sizeof(first));
    shl_test_random_install(7);
    shl_random->bytes(again, 16);
    shl_random->bytes(again + 16, 16);
    shl_test_random_install(8);
    shl_random->bytes(other, sizeof(other));
    shl_test_random_remove();
    assert_memory_equal(first, again, sizeof(first));
    assert_memory_not_equal(first, other, sizeof(first));
}

static enum shoal_status three_calls(void *arg)
{
    unsigned *tolerated = arg;
    void *block = shl_mem->alloc(8);
    if (!block)
        return shl_fail(SHOAL_ERR_NOMEM, "no memory");
    int fd = shl_fd->eventfd(0, EFD_CLOEXEC);
    if (fd < 0) {
        shl_mem->free(block);
        return shl_fail_errno("eventfd");
    }
    *tolerated += shl_random->bytes(block, 8) != 0;
    shl_fd->close(fd);
    shl_mem->free(block);
    return SHOAL_OK;
}

static void a_sweep_fails_each_call_once(void **state)
{
    (void)state;
    unsigned tolerated = 0;
    assert_int_equal(shl_fault_sweep(SHL_FAULT_ALL, three_calls, &tolerated, 10), 3);
    assert_int_equal(tolerated, 1);
    assert_int_equal(shl_fault_sweep(SHL_FAULT_FD, three_calls, &tolerated, 10), 1);
    assert_ptr_equal(shl_mem, &shl_mem_kernel);
    assert_ptr_equal(shl_fd, &shl_fd_kernel);
}

static void only_armed_calls_fail(void **state)
{
    (void)state;
    shl_fault_install();
    shl_fault_arm(SHL_FAULT_MEM, 2);
    void *first = shl_mem->alloc(1), *second = shl_mem->alloc(1), *third = shl_mem->alloc(1);
    assert_string_equal(shl_fault_site(), "mem.alloc");
    assert_int_equal(shl_fault_calls(), 3);
    shl_fault_pause();
    void *paused = shl_mem->alloc(1);
    assert_true(shl_fault_fired());
    shl_fault_arm(SHL_FAULT_MEM | SHL_FAULT_STICKY, 2);
    void *before = shl_mem->alloc(1), *at = shl_mem->alloc(1), *after = shl_mem->alloc(1);
    void *const results[] = {first, third, paused, before};
    for (size_t i = 0; i < 4; i++)
        shl_mem->free(results[i]);
    shl_fault_remove();
    for (size_t i = 0; i < 4; i++)
        assert_non_null(results[i]);
    assert_null(second);
    assert_null(at);
    assert_null(after);
}

static _Atomic unsigned failures;

static void *allocate_many(void *arg)
{
    (void)arg;
    for (int i = 0; i < 500; i++) {
        void *block = shl_mem->alloc(8);
        if (!block)
            atomic_fetch_add(&failures, 1);
        shl_mem->free(block);
    }
    return NULL;
}

static void exactly_one_call_fails_among_threads(void **state)
{
    (void)state;
    pthread_t threads[4];
    atomic_store(&failures, 0);
    shl_fault_install();
    shl_fault_arm(SHL_FAULT_MEM, 1000);
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, allocate_many, NULL), 0);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    uint64_t calls = shl_fault_calls();
    shl_fault_remove();
    assert_int_equal(atomic_load(&failures), 1);
    assert_int_equal(calls, 2000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tables_have_no_holes),
        cmocka_unit_test(blocks_are_zero_and_aligned),
        cmocka_unit_test(a_sealed_memfd_keeps_its_size_and_gives_pages_back),
        cmocka_unit_test(own_memory_can_be_read_and_written_by_pid),
        cmocka_unit_test(descriptors_work),
        cmocka_unit_test(time_goes_forward_and_random_bytes_differ),
        cmocka_unit_test(the_virtual_clock_moves_only_when_told),
        cmocka_unit_test(a_seed_repeats_random_bytes),
        cmocka_unit_test(a_sweep_fails_each_call_once),
        cmocka_unit_test(only_armed_calls_fail),
        cmocka_unit_test(exactly_one_call_fails_among_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
