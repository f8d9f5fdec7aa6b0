/*
 * The shareable heap: alignment, zeroing, reuse, bounds, sharing, and failing calls.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "core/heap.h"

#include "core/sys.h"
#include "support/fault.h"
#include "support/random.h"
#include "support/test.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#define PAGE 4096u
#define MIB (1u << 20)

static int set_up(void **state)
{
    struct shl_heap *heap = NULL;
    ASSERT_OK(shl_heap_create(&heap));
    *state = heap;
    return 0;
}

static int tear_down(void **state)
{
    shl_heap_destroy(*state);
    return 0;
}

static bool is_zero(const void *data, size_t bytes)
{
    const unsigned char *at = data;
    for (size_t i = 0; i < bytes; i++)
        if (at[i])
            return false;
    return true;
}

static void ranges_are_aligned_and_zero(void **state)
{
    struct shl_heap *heap = *state;
    static const size_t sizes[] = {0, 1, PAGE - 1, PAGE, PAGE + 1, 100000, 2 * MIB, 5 * MIB + 1};
    void *pointers[8];
    for (size_t i = 0; i < 8; i++) {
        ASSERT_OK(shl_heap_alloc(heap, sizes[i], &pointers[i]));
        assert_int_equal((uintptr_t)pointers[i] % PAGE, 0);
        uint64_t offset = shl_heap_offset(heap, pointers[i], sizes[i]);
        assert_true(offset != UINT64_MAX);
        if (sizes[i] >= 2 * MIB)
            assert_int_equal(offset % (2 * MIB), 0);
        assert_true(is_zero(pointers[i], sizes[i]));
        memset(pointers[i], 0xa5, sizes[i]);
    }
    assert_int_equal(shl_heap_in_use(heap), 8);
    for (size_t i = 0; i < 8; i++) {
        for (size_t j = 0; j < sizes[i]; j += 511)
            assert_int_equal(((unsigned char *)pointers[i])[j], 0xa5);
        ASSERT_OK(shl_heap_free(heap, pointers[i]));
    }
    assert_int_equal(shl_heap_in_use(heap), 0);
}

static uint64_t resident_blocks(const struct shl_heap *heap)
{
    struct stat info;
    assert_int_equal(fstat(shl_heap_fd(heap), &info), 0);
    return (uint64_t)info.st_blocks;
}

static void freed_pages_go_back_and_read_zero(void **state)
{
    struct shl_heap *heap = *state;
    void *first = NULL, *again = NULL;
    uint64_t before = resident_blocks(heap);
    ASSERT_OK(shl_heap_alloc(heap, MIB, &first));
    memset(first, 1, MIB);
    assert_true(resident_blocks(heap) > before);
    ASSERT_OK(shl_heap_free(heap, first));
    assert_int_equal(resident_blocks(heap), before);
    ASSERT_OK(shl_heap_alloc(heap, MIB, &again));
    assert_ptr_equal(again, first);
    assert_true(is_zero(again, MIB));
    ASSERT_OK(shl_heap_free(heap, again));
}

static int punch_attempts;

static int punch_refused(int fd, off_t offset, off_t bytes)
{
    (void)fd;
    (void)offset;
    (void)bytes;
    errno = punch_attempts++ == 0 ? EINTR : EOPNOTSUPP;
    return -1;
}

static void ranges_are_zero_even_when_pages_cannot_go_back(void **state)
{
    struct shl_heap *heap = *state;
    struct shl_sys_mem without_punch = shl_mem_kernel;
    without_punch.punch = punch_refused;
    void *first = NULL, *again = NULL;
    punch_attempts = 0;
    ASSERT_OK(shl_heap_alloc(heap, 3 * PAGE, &first));
    memset(first, 1, 3 * PAGE);
    shl_mem = &without_punch;
    enum shoal_status status = shl_heap_free(heap, first);
    shl_mem = &shl_mem_kernel;
    ASSERT_OK(status);
    assert_int_equal(punch_attempts, 2);
    ASSERT_OK(shl_heap_alloc(heap, 3 * PAGE, &again));
    assert_ptr_equal(again, first);
    assert_true(is_zero(again, 3 * PAGE));
    ASSERT_OK(shl_heap_free(heap, again));
}

/* The pages that lie wholly within; what a part has of others stays. */
static void parts_of_a_range_are_trimmed(void **state)
{
    struct shl_heap *heap = *state;
    void *pointer;
    ASSERT_OK(shl_heap_alloc(heap, 4 * PAGE, &pointer));
    unsigned char *at = pointer;
    memset(at, 7, 4 * PAGE);
    shl_heap_trim(heap, at + 100, 3 * PAGE);
    for (size_t i = 0; i < 4 * PAGE; i++)
        assert_int_equal(at[i], i / PAGE == 1 || i / PAGE == 2 ? 0 : 7);
    shl_heap_trim(heap, at + 1, PAGE); /* no whole page */
    assert_int_equal(at[PAGE - 1], 7);
    shl_heap_trim(heap, &heap, PAGE); /* not of it */
    assert_int_equal(shl_heap_in_use(heap), 1);
    ASSERT_OK(shl_heap_free(heap, pointer));
}

static void only_live_starts_can_be_freed(void **state)
{
    struct shl_heap *heap = *state;
    char *pointer = NULL;
    char outside;
    ASSERT_OK(shl_heap_free(heap, NULL));
    ASSERT_OK(shl_heap_alloc(heap, 2 * PAGE, (void **)&pointer));
    ASSERT_STATUS(SHOAL_ERR_INVALID, shl_heap_free(heap, pointer + PAGE));
    ASSERT_STATUS(SHOAL_ERR_INVALID, shl_heap_free(heap, pointer + 1));
    ASSERT_STATUS(SHOAL_ERR_INVALID, shl_heap_free(heap, pointer + 2 * PAGE));
    ASSERT_STATUS(SHOAL_ERR_INVALID, shl_heap_free(heap, &outside));
    ASSERT_OK(shl_heap_free(heap, pointer));
    ASSERT_STATUS(SHOAL_ERR_INVALID, shl_heap_free(heap, pointer));
    ASSERT_DETAIL("already free");
}

static void offsets_end_at_the_heap(void **state)
{
    struct shl_heap *heap = *state;
    uint64_t size = shl_heap_size(heap);
    void *range;
    char outside[16];
    ASSERT_OK(shl_heap_alloc(heap, 1, &range));
    char *base = (char *)range - shl_heap_offset(heap, range, 1);
    assert_true(shl_heap_offset(heap, base, size) == 0);
    assert_true(shl_heap_offset(heap, base, size + 1) == UINT64_MAX);
    assert_true(shl_heap_offset(heap, base + 1, size) == UINT64_MAX);
    assert_true(shl_heap_offset(heap, base + size - 1, 1) == size - 1);
    assert_true(shl_heap_offset(heap, base + size, 0) == UINT64_MAX);
    assert_true(shl_heap_offset(heap, base - 1, 1) == UINT64_MAX);
    assert_true(shl_heap_offset(heap, base + 8, SIZE_MAX) == UINT64_MAX);
    assert_true(shl_heap_offset(heap, outside, sizeof(outside)) == UINT64_MAX);
    assert_true(shl_heap_offset(heap, NULL, 0) == UINT64_MAX);
    ASSERT_OK(shl_heap_free(heap, range));
}

static void what_does_not_fit_is_refused(void **state)
{
    struct shl_heap *heap = *state;
    void *pointer = heap, *second = NULL;
    uint64_t size = shl_heap_size(heap);
    ASSERT_STATUS(SHOAL_ERR_NOMEM, shl_heap_alloc(heap, SIZE_MAX, &pointer));
    ASSERT_STATUS(SHOAL_ERR_NOMEM, shl_heap_alloc(heap, size + 1, &pointer));
    assert_ptr_equal(pointer, heap);
    ASSERT_OK(shl_heap_alloc(heap, size, &pointer)); /* untouched, so it costs nothing */
    ASSERT_STATUS(SHOAL_ERR_NOMEM, shl_heap_alloc(heap, 1, &second));
    ASSERT_DETAIL("free buffers");
    ASSERT_OK(shl_heap_free(heap, pointer));
    ASSERT_OK(shl_heap_alloc(heap, size, &pointer));
    ASSERT_OK(shl_heap_free(heap, pointer));
}

static void a_second_mapping_sees_the_same_bytes(void **state)
{
    struct shl_heap *heap = *state;
    char *pointer = NULL;
    ASSERT_OK(shl_heap_alloc(heap, 3 * MIB, (void **)&pointer));
    uint64_t offset = shl_heap_offset(heap, pointer, 3 * MIB);
    char *other =
        mmap(NULL, 3 * MIB, PROT_READ | PROT_WRITE, MAP_SHARED, shl_heap_fd(heap), (off_t)offset);
    assert_ptr_not_equal(other, MAP_FAILED);
    strcpy(pointer + MIB, "shoal");
    assert_string_equal(other + MIB, "shoal");
    other[0] = 7;
    assert_int_equal(pointer[0], 7);
    munmap(other, 3 * MIB);
    ASSERT_OK(shl_heap_free(heap, pointer));
}

static void the_file_cannot_shrink(void **state)
{
    struct shl_heap *heap = *state;
    int fd = shl_heap_fd(heap);
    assert_int_equal(ftruncate(fd, 0), -1);
    assert_int_equal(errno, EPERM);
    assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE), -1);
    assert_int_equal(fcntl(fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
}

/* Against a shadow list: no overlap, contents kept, and at the end one free range again. */
static void random_use_keeps_ranges_apart(void **state)
{
    struct shl_heap *heap = *state;
    uint64_t seed = shl_test_seed();
    struct {
        unsigned char *pointer;
        size_t bytes;
    } live[40] = {{NULL, 0}};
    for (int step = 0; step < 3000; step++) {
        size_t slot = shl_test_random(&seed) % 40;
        if (live[slot].pointer) {
            size_t bytes = live[slot].bytes;
            assert_int_equal(live[slot].pointer[0], (unsigned char)slot);
            assert_int_equal(live[slot].pointer[bytes - 1], (unsigned char)slot);
            ASSERT_OK(shl_heap_free(heap, live[slot].pointer));
            live[slot].pointer = NULL;
            continue;
        }
        size_t bytes = 1 + shl_test_random(&seed) % (step % 7 ? 5 * PAGE : 3 * MIB);
        ASSERT_OK(shl_heap_alloc(heap, bytes, (void **)&live[slot].pointer));
        live[slot].bytes = bytes;
        assert_int_equal(live[slot].pointer[0] | live[slot].pointer[bytes - 1], 0);
        for (size_t i = 0; i < 40; i++)
            if (i != slot && live[i].pointer)
                assert_true(live[i].pointer + live[i].bytes <= live[slot].pointer ||
                            live[slot].pointer + bytes <= live[i].pointer);
        live[slot].pointer[0] = live[slot].pointer[bytes - 1] = (unsigned char)slot;
    }
    for (size_t i = 0; i < 40; i++)
        ASSERT_OK(shl_heap_free(heap, live[i].pointer));
    void *all = NULL;
    ASSERT_OK(shl_heap_alloc(heap, shl_heap_size(heap), &all));
    ASSERT_OK(shl_heap_free(heap, all));
}

/* ---- threads ---------------------------------------------------------------------------- */

static void *allocate_and_free(void *arg)
{
    struct shl_heap *heap = arg;
    for (int i = 0; i < 200; i++) {
        unsigned char *pointer = NULL;
        size_t bytes = PAGE * (size_t)(1 + i % 5);
        if (shl_heap_alloc(heap, bytes, (void **)&pointer) != SHOAL_OK || pointer[0] ||
            pointer[bytes - 1])
            return (void *)1;
        memset(pointer, i + 1, bytes);
        if (pointer[0] != pointer[bytes - 1] || shl_heap_free(heap, pointer) != SHOAL_OK)
            return (void *)1;
    }
    return NULL;
}

static void threads_share_the_heap(void **state)
{
    struct shl_heap *heap = *state;
    pthread_t threads[4];
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, allocate_and_free, heap), 0);
    for (int i = 0; i < 4; i++) {
        void *failed = NULL;
        pthread_join(threads[i], &failed);
        assert_null(failed);
    }
    assert_int_equal(shl_heap_in_use(heap), 0);
}

/* ---- failing calls ---------------------------------------------------------------------- */

/* Small and large ranges in turn, so that a gap has to be recorded in front of the large one.
 * Counts in *arg the runs that left a range behind. */
static enum shoal_status use_heap(void *arg)
{
    struct shl_heap *heap = NULL;
    void *first = NULL, *second = NULL, *all = NULL;
    SHL_TRY(shl_heap_create(&heap));
    enum shoal_status status = shl_heap_alloc(heap, PAGE, &first);
    if (status == SHOAL_OK)
        status = shl_heap_alloc(heap, 2 * MIB, &second);
    if (second)
        memset(second, 1, PAGE);
    shl_heap_free(heap, first);
    shl_heap_free(heap, second);
    shl_fault_pause();
    bool whole = shl_heap_alloc(heap, shl_heap_size(heap), &all) == SHOAL_OK;
    *(unsigned *)arg += !whole || shl_heap_in_use(heap) != 1;
    shl_heap_destroy(heap);
    return status;
}

static void every_failing_call_leaves_the_heap_whole(void **state)
{
    (void)state;
    unsigned not_whole = 0;
    assert_true(shl_fault_sweep(SHL_FAULT_ALL, use_heap, &not_whole, 100) >= 8);
    assert_int_equal(not_whole, 0);
}

/* mmap keeps failing: the reservation is halved a few times, then given up. */
static void a_lack_of_addresses_is_reported(void **state)
{
    (void)state;
    struct shl_heap *heap = NULL;
    shl_fault_install();
    shl_fault_arm(SHL_FAULT_MEM | SHL_FAULT_STICKY, 5); /* two records, memfd, truncate, map... */
    enum shoal_status status = shl_heap_create(&heap);
    const char *site = shl_fault_site();
    shl_fault_remove();
    assert_string_equal(site, "mem.map");
    ASSERT_STATUS(SHOAL_ERR_NOMEM, status);
    assert_null(heap);
}

static void small_limits_make_a_small_heap(void **state)
{
    (void)state;
    struct rlimit saved, small;
    struct shl_heap *heap = NULL;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &saved), 0);
    small = saved;
    small.rlim_cur = 10 * PAGE + 5;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    enum shoal_status status = shl_heap_create(&heap);
    small.rlim_cur = 0;
    setrlimit(RLIMIT_FSIZE, &small);
    struct shl_heap *none = NULL;
    enum shoal_status refused = shl_heap_create(&none);
    setrlimit(RLIMIT_FSIZE, &saved);
    ASSERT_OK(status);
    assert_int_equal(shl_heap_size(heap), 10 * PAGE);
    assert_int_equal(refused, SHOAL_ERR_NOMEM);
    assert_null(none);
    shl_heap_destroy(heap);
    shl_heap_destroy(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(ranges_are_aligned_and_zero, set_up, tear_down),
        cmocka_unit_test_setup_teardown(freed_pages_go_back_and_read_zero, set_up, tear_down),
        cmocka_unit_test_setup_teardown(ranges_are_zero_even_when_pages_cannot_go_back, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(parts_of_a_range_are_trimmed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(only_live_starts_can_be_freed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(offsets_end_at_the_heap, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_does_not_fit_is_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_second_mapping_sees_the_same_bytes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_file_cannot_shrink, set_up, tear_down),
        cmocka_unit_test_setup_teardown(random_use_keeps_ranges_apart, set_up, tear_down),
        cmocka_unit_test_setup_teardown(threads_share_the_heap, set_up, tear_down),
        cmocka_unit_test(every_failing_call_leaves_the_heap_whole),
        cmocka_unit_test(a_lack_of_addresses_is_reported),
        cmocka_unit_test(small_limits_make_a_small_heap),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
