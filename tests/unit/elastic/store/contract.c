/*
 * One test for all stores.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "unit/elastic/store/contract.h"

#include "support/store_user.h"
#include "support/test.h"

#define RIVALS 6
#define INCREMENTS 20

void store_contract_register(const struct shl_store_options *options)
{
    static uint8_t large[SHL_STORE_VALUE_MAX];
    static struct store_user user, other;
    struct shl_store_options of_user = *options, of_other = *options;
    ASSERT_OK(store_user_open(&user, &of_user));
    ASSERT_OK(store_user_open(&other, &of_other));
    store_assert(store_user_read(&user), SHL_STORE_OK, user.answer.version, NULL);
    uint64_t version = user.answer.version, incarnation = user.answer.incarnation;
    store_assert(store_user_swap(&user, incarnation, version, "one", 3), SHL_STORE_OK, version + 1,
                 "");
    incarnation = user.answer.incarnation;
    version++;
    assert_true(incarnation != 0);
    store_assert(store_user_read(&other), SHL_STORE_OK, version, "one");
    assert_true(other.answer.incarnation == incarnation);
    store_assert(store_user_swap(&other, incarnation, version - 1, "late", 4), SHL_STORE_CONFLICT,
                 version, "one");
    store_assert(store_user_swap(&other, incarnation, version + 1, "early", 5), SHL_STORE_CONFLICT,
                 version, "one");
    store_assert(store_user_swap(&other, incarnation + 1, version, "of another", 10),
                 SHL_STORE_CONFLICT, version, "one");
    assert_true(other.answer.incarnation == incarnation);
    memset(large, 7, sizeof(large));
    store_assert(store_user_swap(&other, incarnation, version, large, sizeof(large)), SHL_STORE_OK,
                 version + 1, "");
    version++;
    store_assert(store_user_read(&user), SHL_STORE_OK, version, NULL);
    assert_int_equal(user.answer.size, sizeof(large));
    assert_memory_equal(user.answer.bytes, large, sizeof(large));
    store_assert(store_user_swap(&user, 0, version, "", 0), SHL_STORE_OK, version + 1, "");
    store_assert(store_user_read(&other), SHL_STORE_OK, version + 1, "");
    assert_int_equal(user.surplus + other.surplus, 0);
    store_user_close(&other);
    store_user_close(&user);
}

struct rival {
    struct store_user user;
    pthread_t thread;
    uint32_t wins;
    uint64_t number, version; /* the last known */
};

/* Increments the number in the register so many times, whoever else does too. */
static void *increment(void *arg)
{
    struct rival *rival = arg;
    while (rival->wins < INCREMENTS) {
        uint64_t next = rival->number + 1;
        const struct shl_store_answer *answer =
            store_user_swap(&rival->user, 0, rival->version, &next, sizeof(next));
        rival->version = answer->version;
        rival->number = next;
        if (answer->result == SHL_STORE_OK)
            rival->wins++;
        else
            memcpy(&rival->number, answer->bytes, sizeof(rival->number));
    }
    return NULL;
}

void store_contract_rivals(const struct shl_store_options *options)
{
    static struct rival rivals[RIVALS];
    static struct store_user reader;
    struct shl_store_options mine = *options;
    uint64_t number = 0;
    ASSERT_OK(store_user_open(&reader, &mine));
    uint64_t version = store_user_read(&reader)->version;
    store_assert(store_user_swap(&reader, 0, version, &number, sizeof(number)), SHL_STORE_OK,
                 version + 1, "");
    version = reader.answer.version;
    for (uint32_t i = 0; i < RIVALS; i++) {
        mine = *options;
        rivals[i].wins = 0;
        rivals[i].number = 0;
        rivals[i].version = version;
        ASSERT_OK(store_user_open(&rivals[i].user, &mine));
        pthread_create(&rivals[i].thread, NULL, increment, &rivals[i]);
    }
    for (uint32_t i = 0; i < RIVALS; i++) {
        pthread_join(rivals[i].thread, NULL);
        store_user_close(&rivals[i].user);
    }
    store_assert(store_user_read(&reader), SHL_STORE_OK, version + RIVALS * INCREMENTS, NULL);
    memcpy(&number, reader.answer.bytes, sizeof(number));
    assert_int_equal(number, RIVALS * INCREMENTS);
    store_user_close(&reader);
}
