/*
 * Memory of slots: apart from each other, in the shareable heap, and given back.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "elastic/state/slots.h"

#include "support/test.h"

#include <string.h>

#define SLOTS 5

static const size_t sizes[SLOTS] = {1, 100, 4096, 5000, 64};

static size_t room_of_all(void)
{
    size_t room = 0;
    for (int i = 0; i < SLOTS; i++)
        room += shl_slot_room(sizes[i]);
    return room;
}

static void slots_are_apart_and_in_the_heap(void **state)
{
    (void)state;
    struct shl_heap *heap;
    struct shl_slab *slab;
    struct shl_slot slots[SLOTS];
    ASSERT_OK(shl_heap_create(&heap));
    ASSERT_OK(shl_slab_make(heap, room_of_all(), &slab));
    for (int i = 0; i < SLOTS; i++) {
        slots[i] = shl_slab_cut(slab, sizes[i]);
        assert_int_not_equal(shl_heap_offset(heap, slots[i].at, sizes[i]), UINT64_MAX);
        for (size_t k = 0; k < sizes[i]; k++)
            assert_int_equal(slots[i].at[k], 0);
        memset(slots[i].at, i + 1, sizes[i]);
    }
    for (int i = 0; i < SLOTS; i++)
        for (size_t k = 0; k < sizes[i]; k++)
            assert_int_equal(slots[i].at[k], i + 1);
    assert_int_equal(shl_heap_in_use(heap), 1);
    /* What is left stays as it is until the last one is gone. */
    for (int i = SLOTS; i-- > 0;) {
        assert_int_equal(shl_heap_in_use(heap), 1);
        for (size_t k = 0; k < sizes[i]; k++)
            assert_int_equal(slots[i].at[k], i + 1);
        shl_slot_free(&slots[i]);
        assert_null(slots[i].at);
        shl_slot_free(&slots[i]); /* nothing */
    }
    assert_int_equal(shl_heap_in_use(heap), 0);
    shl_heap_destroy(heap);
}

static void want_of_memory_leaves_nothing_behind(void **state)
{
    (void)state;
    struct shl_heap *heap;
    struct shl_slab *slab = NULL;
    ASSERT_OK(shl_heap_create(&heap));
    assert_int_equal(shl_slab_make(heap, shl_heap_size(heap) + 1, &slab), SHOAL_ERR_NOMEM);
    assert_null(slab);
    assert_int_equal(shl_heap_in_use(heap), 0);
    shl_heap_destroy(heap);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(slots_are_apart_and_in_the_heap),
        cmocka_unit_test(want_of_memory_leaves_nothing_behind),
    };
    return cmocka_run_group_tests_name("slots", tests, NULL, NULL);
}
