/*
 * A client of a store whose requests wait for their answers.
 *
 * Threads  one at a time
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef SUPPORT_STORE_USER_H
#define SUPPORT_STORE_USER_H

#include "elastic/store/store.h"

#include <pthread.h>

struct store_user {
    struct shl_store *store;
    uint64_t last_id;
    pthread_mutex_t lock;
    pthread_cond_t answered;
    bool has_answer;
    uint32_t surplus;               /* answers to nothing that was asked */
    struct shl_store_answer answer; /* its bytes are in `value` */
    uint8_t value[SHL_STORE_VALUE_MAX];
};

/* A user that `options` know by arg and answer; the rest of the options is the caller's. */
void store_user_init(struct store_user *user, struct shl_store_options *options);
enum shoal_status store_user_open(struct store_user *user, struct shl_store_options *options);
void store_user_close(struct store_user *user);

/* Ask and wait; the result is valid until the next call. Fails the test when no answer comes in a
 * minute. */
const struct shl_store_answer *store_user_read(struct store_user *user);
const struct shl_store_answer *store_user_swap(struct store_user *user, uint64_t incarnation,
                                               uint64_t version, const void *bytes, size_t size);

/* Asks until the store answers; patience is the test's time limit. */
const struct shl_store_answer *store_user_read_known(struct store_user *user);

/* What an answer is; value NULL: any. */
void store_assert(const struct shl_store_answer *answer, enum shl_store_result result,
                  uint64_t version, const char *value);

#endif
