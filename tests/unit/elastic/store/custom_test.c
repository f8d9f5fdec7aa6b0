/*
 * A store of the caller's, through the C ABI: one in memory that fails when told to.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "core/log.h"
#include "elastic/store/blocking.h"
#include "support/config.h"
#include "support/fault.h"
#include "support/leaks.h"
#include "support/store_user.h"
#include "support/test.h"
#include "unit/elastic/store/contract.h"

#include <pthread.h>

enum trouble { NONE, FAILS, FAILS_AFTERWARDS, BLOCKS, LIES };

static struct {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    enum trouble trouble;
    uint32_t blocked;
    uint8_t value[SHOAL_STORE_BYTES_MAX];
    size_t size;
} memory = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

static struct shl_config patient, hasty;

static void make(enum trouble trouble)
{
    pthread_mutex_lock(&memory.lock);
    memory.trouble = trouble;
    pthread_cond_broadcast(&memory.changed);
    pthread_mutex_unlock(&memory.lock);
}

static void wait_while_it_blocks(void)
{
    memory.blocked++;
    pthread_cond_broadcast(&memory.changed);
    while (memory.trouble == BLOCKS)
        pthread_cond_wait(&memory.changed, &memory.lock);
    memory.blocked--;
}

static enum shoal_status read_it(void *arg, uint32_t timeout_ms, void *value, size_t capacity,
                                 size_t *size)
{
    enum shoal_status status = SHOAL_OK;
    assert_ptr_equal(arg, &memory);
    assert_true(timeout_ms <= 30000);
    pthread_mutex_lock(&memory.lock);
    wait_while_it_blocks();
    if (memory.trouble == FAILS)
        status = SHOAL_ERR_SYSTEM;
    assert_true(memory.size <= capacity);
    memcpy(value, memory.value, memory.size);
    *size = memory.trouble == LIES ? capacity + 1 : memory.size;
    pthread_mutex_unlock(&memory.lock);
    return status;
}

static enum shoal_status swap_it(void *arg, uint32_t timeout_ms, const void *expected,
                                 size_t expected_size, const void *desired, size_t desired_size,
                                 int *done)
{
    (void)arg;
    (void)timeout_ms;
    pthread_mutex_lock(&memory.lock);
    wait_while_it_blocks();
    *done = memory.size == expected_size && memcmp(memory.value, expected, expected_size) == 0;
    if (*done) {
        memcpy(memory.value, desired, desired_size);
        memory.size = desired_size;
    }
    enum shoal_status status = memory.trouble == FAILS_AFTERWARDS ? SHOAL_ERR_SYSTEM : SHOAL_OK;
    pthread_mutex_unlock(&memory.lock);
    return status;
}

static const struct shoal_store in_memory = {
    .struct_size = sizeof(in_memory), .arg = &memory, .read = read_it, .swap = swap_it};

static int set_up(void **state)
{
    (void)state;
    shl_log_configure(SHL_LOG_OFF, NULL);
    shl_test_config(&patient, (const char *[]){"SHOAL_STORE_TIMEOUT_MS=30000", NULL});
    shl_test_config(&hasty, (const char *[]){"SHOAL_STORE_TIMEOUT_MS=50", NULL});
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    shl_config_free(&patient);
    shl_config_free(&hasty);
    return 0;
}

static int begin(void **state)
{
    (void)state;
    make(NONE);
    memory.size = 0;
    return 0;
}

static void join(struct store_user *user, const struct shl_config *config)
{
    struct shl_store_options options = {.config = config, .custom = &in_memory};
    ASSERT_OK(store_user_open(user, &options));
}

static void it_keeps_the_contract(void **state)
{
    struct shl_store_options options = {.config = &patient, .custom = &in_memory};
    (void)state;
    store_contract_register(&options);
    store_contract_rivals(&options);
}

static void a_failure_is_unknown_and_passes(void **state)
{
    static struct store_user user;
    (void)state;
    join(&user, &patient);
    store_assert(store_user_read(&user), SHL_STORE_OK, 0, "");
    make(FAILS);
    store_assert(store_user_read(&user), SHL_STORE_UNKNOWN, 0, NULL);
    store_assert(store_user_swap(&user, 0, 0, "one", 3), SHL_STORE_UNKNOWN, 0, NULL);
    make(FAILS_AFTERWARDS); /* done, but who knows */
    store_assert(store_user_swap(&user, 0, 0, "two", 3), SHL_STORE_UNKNOWN, 0, NULL);
    make(LIES);
    store_assert(store_user_read(&user), SHL_STORE_UNKNOWN, 0, NULL);
    make(NONE);
    store_assert(store_user_read(&user), SHL_STORE_OK, 1, "two");
    store_user_close(&user);
}

static void who_blocks_is_not_waited_for(void **state)
{
    static struct store_user user;
    (void)state;
    join(&user, &hasty);
    store_assert(store_user_read_known(&user), SHL_STORE_OK, 0, "");
    make(BLOCKS);
    store_assert(store_user_swap(&user, 0, 0, "one", 3), SHL_STORE_UNKNOWN, 0, NULL);
    store_assert(store_user_read(&user), SHL_STORE_UNKNOWN, 0, NULL);
    store_assert(store_user_swap(&user, 0, 0, "two", 3), SHL_STORE_UNKNOWN, 0, NULL);
    make(NONE);
    store_user_read_known(&user);
    /* The first was under way and may have been done; the third was never begun. */
    assert_true(user.answer.version == 0 || memcmp(user.answer.bytes, "one", 3) == 0);
    assert_int_equal(user.surplus, 0);
    store_user_close(&user);
}

static void what_others_wrote_is_no_register(void **state)
{
    static struct store_user user;
    (void)state;
    join(&user, &patient);
    for (size_t size = 1; size < 64; size += 9) {
        memset(memory.value, 0x5a, size);
        memory.size = size;
        store_assert(store_user_read(&user), SHL_STORE_UNKNOWN, 0, NULL);
        store_assert(store_user_swap(&user, 0, 0, "one", 3), SHL_STORE_UNKNOWN, 0, NULL);
        assert_int_equal(memory.value[size - 1], 0x5a);
    }
    store_user_close(&user);
}

static void a_register_that_was_lost_is_another(void **state)
{
    static struct store_user user;
    (void)state;
    join(&user, &patient);
    store_assert(store_user_swap(&user, 0, 0, "one", 3), SHL_STORE_OK, 1, "");
    uint64_t incarnation = user.answer.incarnation;
    memory.size = 0;
    store_assert(store_user_swap(&user, incarnation, 1, "two", 3), SHL_STORE_CONFLICT, 0, "");
    assert_true(user.answer.incarnation != incarnation);
    store_assert(store_user_swap(&user, 0, 0, "three", 5), SHL_STORE_OK, 1, "");
    assert_true(user.answer.incarnation != incarnation);
    store_user_close(&user);
}

static void a_store_without_calls_is_refused(void **state)
{
    static struct store_user user;
    struct shoal_store store = in_memory;
    struct shl_store_options options = {.config = &patient, .custom = &store};
    (void)state;
    store.read = NULL;
    ASSERT_STATUS(SHOAL_ERR_INVALID, store_user_open(&user, &options));
    store = in_memory;
    store.struct_size = 8;
    ASSERT_STATUS(SHOAL_ERR_INVALID, store_user_open(&user, &options));
}

static enum shoal_status use_once(void *arg)
{
    struct store_user *user = arg;
    struct shl_store_options options = {.config = &patient, .custom = &in_memory};
    memory.size = 0;
    enum shoal_status status = store_user_open(user, &options);
    if (status == SHOAL_OK) {
        enum shl_store_result result = store_user_swap(user, 0, 0, "one", 3)->result;
        assert_true(result == SHL_STORE_OK || result == SHL_STORE_UNKNOWN);
        store_user_read_known(user);
    } else {
        user->store = NULL;
    }
    store_user_close(user);
    return status;
}

static void whatever_fails_once_nothing_leaks_or_hangs(void **state)
{
    static struct store_user user;
    (void)state;
    assert_true(shl_fault_sweep(SHL_FAULT_ALL, use_once, &user, 100) >= 5);
}

#define FRESH(test) cmocka_unit_test_setup(test, begin)

int main(void)
{
    const struct CMUnitTest tests[] = {
        FRESH(it_keeps_the_contract),
        FRESH(a_failure_is_unknown_and_passes),
        FRESH(who_blocks_is_not_waited_for),
        FRESH(what_others_wrote_is_no_register),
        FRESH(a_register_that_was_lost_is_another),
        FRESH(a_store_without_calls_is_refused),
        FRESH(whatever_fails_once_nothing_leaks_or_hangs),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
