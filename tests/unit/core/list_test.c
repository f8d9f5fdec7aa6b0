/*
 * The intrusive list.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "core/list.h"

#include "support/test.h"

struct item {
    int value;
    struct shl_list link;
};

static struct item *item_of(struct shl_list *node)
{
    return SHL_CONTAINER_OF(node, struct item, link);
}

static void nodes_come_out_in_the_order_they_went_in(void **state)
{
    (void)state;
    struct shl_list head;
    struct item items[3] = {{.value = 1}, {.value = 2}, {.value = 3}};
    shl_list_init(&head);
    assert_true(shl_list_empty(&head));
    assert_null(shl_list_pop(&head));
    for (int i = 0; i < 3; i++)
        shl_list_append(&head, &items[i].link);
    assert_false(shl_list_empty(&head));
    for (int i = 1; i <= 3; i++)
        assert_int_equal(item_of(shl_list_pop(&head))->value, i);
    assert_true(shl_list_empty(&head));
}

static void a_removed_node_can_be_removed_again(void **state)
{
    (void)state;
    struct shl_list head;
    struct item items[2] = {{.value = 1}, {.value = 2}};
    shl_list_init(&head);
    shl_list_append(&head, &items[0].link);
    shl_list_append(&head, &items[1].link);
    shl_list_remove(&items[0].link);
    shl_list_remove(&items[0].link);
    assert_ptr_equal(head.next, &items[1].link);
    assert_ptr_equal(head.prev, &items[1].link);
}

static void the_body_of_a_walk_may_remove_its_node(void **state)
{
    (void)state;
    struct shl_list head, *node, *next;
    struct item items[5];
    shl_list_init(&head);
    for (int i = 0; i < 5; i++) {
        items[i].value = i;
        shl_list_append(&head, &items[i].link);
    }
    int sum = 0;
    SHL_LIST_FOR_EACH(node, next, &head)
    {
        sum += item_of(node)->value;
        if (item_of(node)->value % 2)
            shl_list_remove(node);
    }
    assert_int_equal(sum, 10);
    sum = 0;
    SHL_LIST_FOR_EACH(node, next, &head)
    sum += item_of(node)->value;
    assert_int_equal(sum, 6);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nodes_come_out_in_the_order_they_went_in),
        cmocka_unit_test(a_removed_node_can_be_removed_again),
        cmocka_unit_test(the_body_of_a_walk_may_remove_its_node),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
