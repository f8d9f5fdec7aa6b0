/*
 * Intrusive circular doubly linked list. A node is a member of the object it links; no allocation.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef SHL_CORE_LIST_H
#define SHL_CORE_LIST_H

#include <stdbool.h>
#include <stddef.h>

struct shl_list {
    struct shl_list *next, *prev;
};

#define SHL_CONTAINER_OF(pointer, type, member) ((type *)((char *)(pointer)-offsetof(type, member)))

static inline void shl_list_init(struct shl_list *head)
{
    head->next = head->prev = head;
}

static inline bool shl_list_empty(const struct shl_list *head)
{
    return head->next == head;
}

static inline void shl_list_append(struct shl_list *head, struct shl_list *node)
{
    node->prev = head->prev;
    node->next = head;
    head->prev->next = node;
    head->prev = node;
}

static inline void shl_list_remove(struct shl_list *node)
{
    node->prev->next = node->next;
    node->next->prev = node->prev;
    node->next = node->prev = node;
}

static inline struct shl_list *shl_list_pop(struct shl_list *head)
{
    struct shl_list *node = head->next;
    if (node == head)
        return NULL;
    shl_list_remove(node);
    return node;
}

/* Safe against removal of `node` inside the body. */
#define SHL_LIST_FOR_EACH(node, temporary, head)                                                   \
    for ((node) = (head)->next, (temporary) = (node)->next; (node) != (head);                      \
         (node) = (temporary), (temporary) = (node)->next)

#endif
