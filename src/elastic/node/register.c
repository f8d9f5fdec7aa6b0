/*
 * Between the core and the store: requests as they come, answers through a queue, since the store's
 * client has a thread of its own.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "core/sys.h"
#include "elastic/node/internal.h"

#include <string.h>

void shl_node_store_request(void *arg, const struct shl_store_request *request)
{
    struct shl_node *node = arg;
    node->store->ops->request(node->store, request);
}

/* Without memory for it the answer is lost, which the core is prepared for. */
void shl_node_store_answer(void *arg, const struct shl_store_answer *answer)
{
    struct shl_node *node = arg;
    size_t bytes = answer->bytes ? answer->size : 0;
    struct shl_node_answer *copy = shl_mem->alloc(sizeof(*copy) + bytes);
    if (!copy)
        return;
    copy->answer = *answer;
    copy->answer.bytes = copy->bytes;
    copy->answer.size = bytes;
    if (bytes)
        memcpy(copy->bytes, answer->bytes, bytes);
    pthread_mutex_lock(&node->lock);
    shl_list_append(&node->answers, &copy->link);
    pthread_mutex_unlock(&node->lock);
    shl_loop_wake(&node->loop);
}

void shl_node_store_deliver(struct shl_node *node)
{
    for (;;) {
        pthread_mutex_lock(&node->lock);
        struct shl_list *at = shl_list_pop(&node->answers);
        pthread_mutex_unlock(&node->lock);
        if (!at)
            return;
        struct shl_node_answer *answer = SHL_CONTAINER_OF(at, struct shl_node_answer, link);
        if (!node->ended)
            shl_membership_answer(node->core, shl_now_ns(), &answer->answer);
        shl_mem->free(answer);
    }
}
