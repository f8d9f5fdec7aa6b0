/*
 * Growing arrays.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "core/array.h"

#include "core/sys.h"
#include "support/fault.h"
#include "support/test.h"

#define ITEMS 1000

struct item {
    uint32_t number;
    uint8_t rest[13];
};

static void items_stay_while_the_array_grows(void **state)
{
    (void)state;
    struct item *items = NULL;
    size_t capacity = 0;
    for (uint32_t i = 0; i < ITEMS; i++) {
        ASSERT_OK(shl_array_reserve(&items, &capacity, i, sizeof(*items), "items"));
        assert_true(capacity > i);
        items[i] = (struct item){.number = i};
    }
    for (uint32_t i = 0; i < ITEMS; i++)
        assert_int_equal(items[i].number, i);
    assert_true(capacity < 2 * ITEMS + 64);
    shl_mem->free(items);
}

static void an_array_with_room_is_left_where_it_is(void **state)
{
    (void)state;
    struct item one, *items = &one;
    size_t capacity = 1;
    ASSERT_OK(shl_array_reserve(&items, &capacity, 0, sizeof(*items), "items"));
    assert_ptr_equal(items, &one);
    assert_int_equal(capacity, 1);
}

static void without_memory_the_items_stay_and_the_error_names_them(void **state)
{
    (void)state;
    uint64_t *items = NULL;
    size_t capacity = 0;
    ASSERT_OK(shl_array_reserve(&items, &capacity, 0, sizeof(*items), "numbers"));
    size_t first = capacity;
    uint64_t *before = items;
    items[0] = 7;
    shl_fault_install();
    shl_fault_arm(SHL_FAULT_ALL, 1);
    enum shoal_status status =
        shl_array_reserve(&items, &capacity, first, sizeof(*items), "numbers");
    shl_fault_remove();
    assert_int_equal(status, SHOAL_ERR_NOMEM);
    assert_non_null(strstr(shoal_last_error(), "numbers"));
    assert_ptr_equal(items, before);
    assert_int_equal(capacity, first);
    assert_int_equal(items[0], 7);
    shl_mem->free(items);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(items_stay_while_the_array_grows),
        cmocka_unit_test(an_array_with_room_is_left_where_it_is),
        cmocka_unit_test(without_memory_the_items_stay_and_the_error_names_them),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
