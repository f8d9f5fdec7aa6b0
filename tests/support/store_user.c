/*
 * Waiting for a store's answers.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "support/store_user.h"

#include "support/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static void on_answer(void *arg, const struct shl_store_answer *answer)
{
    struct store_user *user = arg;
    pthread_mutex_lock(&user->lock);
    if (user->has_answer || answer->id != user->last_id) {
        user->surplus++;
    } else {
        user->answer = *answer;
        user->has_answer = true;
        if (answer->size)
            memcpy(user->value, answer->bytes, answer->size);
        user->answer.bytes = user->value;
        pthread_cond_signal(&user->answered);
    }
    pthread_mutex_unlock(&user->lock);
}

void store_user_init(struct store_user *user, struct shl_store_options *options)
{
    memset(user, 0, sizeof(*user));
    pthread_mutex_init(&user->lock, NULL);
    pthread_cond_init(&user->answered, NULL);
    user->has_answer = true;
    options->arg = user;
    options->answer = on_answer;
}

enum shoal_status store_user_open(struct store_user *user, struct shl_store_options *options)
{
    store_user_init(user, options);
    return shl_store_open(options, &user->store);
}

void store_user_close(struct store_user *user)
{
    if (user->store)
        user->store->ops->close(user->store);
    pthread_cond_destroy(&user->answered);
    pthread_mutex_destroy(&user->lock);
}

static const struct shl_store_answer *ask(struct store_user *user,
                                          struct shl_store_request *request)
{
    struct timespec limit;
    clock_gettime(CLOCK_REALTIME, &limit);
    limit.tv_sec += 60;
    pthread_mutex_lock(&user->lock);
    request->id = ++user->last_id;
    user->has_answer = false;
    pthread_mutex_unlock(&user->lock);
    user->store->ops->request(user->store, request);
    pthread_mutex_lock(&user->lock);
    int error = 0;
    while (!user->has_answer && !error)
        error = pthread_cond_timedwait(&user->answered, &user->lock, &limit);
    bool answered = user->has_answer;
    pthread_mutex_unlock(&user->lock);
    if (!answered) { /* not fail(): threads other than the test's come here too */
        fprintf(stderr, "a request to the store got no answer within a minute\n");
        abort();
    }
    return &user->answer;
}

const struct shl_store_answer *store_user_read(struct store_user *user)
{
    struct shl_store_request request = {.swap = false};
    return ask(user, &request);
}

const struct shl_store_answer *store_user_swap(struct store_user *user, uint64_t incarnation,
                                               uint64_t version, const void *bytes, size_t size)
{
    struct shl_store_request request = {
        .swap = true, .incarnation = incarnation, .version = version, .bytes = bytes, .size = size};
    return ask(user, &request);
}

const struct shl_store_answer *store_user_read_known(struct store_user *user)
{
    const struct shl_store_answer *answer;
    do
        answer = store_user_read(user);
    while (answer->result == SHL_STORE_UNKNOWN);
    return answer;
}

void store_assert(const struct shl_store_answer *answer, enum shl_store_result result,
                  uint64_t version, const char *value)
{
    assert_int_equal(answer->result, result);
    assert_int_equal(answer->version, version);
    if (!value)
        return;
    assert_int_equal(answer->size, strlen(value));
    assert_memory_equal(answer->bytes, value, answer->size);
}
