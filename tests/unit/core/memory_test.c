/*
 * Memory that the caller keeps: what is found, what is refused, and who is told.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "core/memory.h"

#include "support/fault.h"
#include "support/test.h"

#define RANGES 100
#define STEP 64
#define LENGTH 48

static uint8_t area[RANGES * STEP];
static struct shl_memory *memory;

static int set_up(void **state)
{
    (void)state;
    ASSERT_OK(shl_memory_create(&memory));
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    shl_memory_destroy(memory);
    return 0;
}

static bool found(const uint8_t *start, size_t bytes)
{
    struct shl_memory_range range;
    return shl_memory_find(memory, start, bytes, &range);
}

/* Added in an order that is neither up nor down. */
static void add_all(void)
{
    for (uint32_t i = 0; i < RANGES; i++)
        ASSERT_OK(shl_memory_add(memory, area + i * 37 % RANGES * STEP, LENGTH));
}

static void only_what_lies_inside_is_found(void **state)
{
    (void)state;
    assert_false(found(area, 1));
    add_all();
    for (uint32_t i = 0; i < RANGES; i++) {
        const uint8_t *start = area + (size_t)i * STEP;
        assert_true(found(start, LENGTH) && found(start + 1, LENGTH - 1) && found(start, 0));
        assert_false(found(start, LENGTH + 1) || found(start + LENGTH, 1) ||
                     found(start + LENGTH - 1, 2));
    }
}

static void what_overlaps_or_is_no_range_is_refused(void **state)
{
    (void)state;
    add_all();
    ASSERT_STATUS(SHOAL_ERR_INVALID, shl_memory_add(memory, area + LENGTH - 1, 2));
    ASSERT_DETAIL("overlaps");
    ASSERT_STATUS(SHOAL_ERR_INVALID, shl_memory_add(memory, area + LENGTH, STEP - LENGTH + 1));
    ASSERT_STATUS(SHOAL_ERR_INVALID, shl_memory_add(memory, area, sizeof(area)));
    ASSERT_OK(shl_memory_add(memory, area + LENGTH, STEP - LENGTH));
    ASSERT_STATUS(SHOAL_ERR_INVALID, shl_memory_add(memory, NULL, 8));
    ASSERT_STATUS(SHOAL_ERR_INVALID, shl_memory_add(memory, area, 0));
    ASSERT_STATUS(SHOAL_ERR_INVALID, shl_memory_add(memory, area, SIZE_MAX));
    ASSERT_STATUS(SHOAL_ERR_INVALID, shl_memory_remove(memory, area + 1));
    ASSERT_STATUS(SHOAL_ERR_INVALID, shl_memory_remove(memory, area + sizeof(area)));
}

static void a_dmabuf_is_remembered(void **state)
{
    struct shl_memory_range range;
    (void)state;
    ASSERT_OK(shl_memory_add(memory, area, LENGTH));
    ASSERT_OK(shl_memory_add_dmabuf(memory, area + STEP, LENGTH, 7, 4096));
    assert_true(shl_memory_find(memory, area + 1, 1, &range));
    assert_false(range.dmabuf.given);
    assert_true(shl_memory_find(memory, area + STEP + 1, 1, &range));
    assert_true(range.dmabuf.given);
    assert_int_equal(range.dmabuf.fd, 7);
    assert_int_equal(range.dmabuf.offset, 4096);
    ASSERT_STATUS(SHOAL_ERR_INVALID, shl_memory_add_dmabuf(memory, area + STEP, 8, 7, 0));
    ASSERT_DETAIL("overlaps");
    ASSERT_STATUS(SHOAL_ERR_INVALID, shl_memory_add_dmabuf(memory, area + LENGTH, 8, -1, 0));
    ASSERT_DETAIL("of the dmabuf -1");
    ASSERT_STATUS(SHOAL_ERR_INVALID,
                  shl_memory_add_dmabuf(memory, area + LENGTH, 8, 7, UINT64_MAX - 3));
    ASSERT_OK(shl_memory_remove(memory, area + STEP));
    assert_false(shl_memory_find(memory, area + STEP + 1, 1, &range));
}

struct watcher {
    struct shl_memory_user user;
    struct shl_memory_range last;
    unsigned calls;
};

static void note_gone(struct shl_memory_user *user, const struct shl_memory_range *range)
{
    struct watcher *watcher = SHL_CONTAINER_OF(user, struct watcher, user);
    watcher->last = *range;
    watcher->calls++;
}

/* The same addresses again are another range. */
static void users_are_told_which_range_ends(void **state)
{
    struct watcher one = {.user.gone = note_gone}, other = {.user.gone = note_gone};
    struct shl_memory_range first, second;
    (void)state;
    shl_memory_watch(memory, &one.user);
    shl_memory_watch(memory, &other.user);
    add_all();
    assert_true(shl_memory_find(memory, area + STEP, 1, &first));
    ASSERT_OK(shl_memory_remove(memory, area + STEP));
    assert_int_equal(one.calls, 1);
    assert_int_equal(other.calls, 1);
    assert_true(one.last.id == first.id && one.last.start == (uintptr_t)(area + STEP));
    assert_false(found(area + STEP, 1));
    assert_true(found(area, LENGTH) && found(area + 2 * STEP, LENGTH));
    ASSERT_OK(shl_memory_add(memory, area + STEP, LENGTH));
    assert_true(shl_memory_find(memory, area + STEP, 1, &second));
    assert_true(second.id != first.id);
    shl_memory_unwatch(memory, &one.user);
    ASSERT_OK(shl_memory_remove(memory, area + STEP));
    assert_int_equal(one.calls, 1);
    assert_int_equal(other.calls, 2);
    shl_memory_unwatch(memory, &other.user);
}

static enum shoal_status fill(void *arg)
{
    struct shl_memory *made;
    enum shoal_status status = SHOAL_OK;
    (void)arg;
    SHL_TRY(shl_memory_create(&made));
    for (uint32_t i = 0; i < RANGES && status == SHOAL_OK; i++)
        status = shl_memory_add(made, area + (size_t)i * STEP, LENGTH);
    shl_memory_destroy(made);
    return status;
}

static void kth_call_fails(void **state)
{
    (void)state;
    assert_true(shl_fault_sweep(SHL_FAULT_MEM, fill, NULL, 50) >= 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(only_what_lies_inside_is_found, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_overlaps_or_is_no_range_is_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_dmabuf_is_remembered, set_up, tear_down),
        cmocka_unit_test_setup_teardown(users_are_told_which_range_ends, set_up, tear_down),
        cmocka_unit_test(kth_call_fails),
    };
    return cmocka_run_group_tests_name("core_memory", tests, NULL, NULL);
}
