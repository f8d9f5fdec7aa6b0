/*
 * Status texts, the thread's error detail, and names of types.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "support/test.h"

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <shoal/types.h>

static const int all_statuses[] = {SHOAL_OK,
                                   SHOAL_IN_PROGRESS,
                                   SHOAL_ERR_INVALID,
                                   SHOAL_ERR_UNSUPPORTED,
                                   SHOAL_ERR_BUSY,
                                   SHOAL_ERR_FORKED,
                                   SHOAL_ERR_CONFIG,
                                   SHOAL_ERR_MISMATCH,
                                   SHOAL_ERR_TIMEOUT,
                                   SHOAL_ERR_ABORTED,
                                   SHOAL_ERR_PEER,
                                   SHOAL_ERR_AUTH,
                                   SHOAL_ERR_VERSION,
                                   SHOAL_ERR_ABSENT,
                                   SHOAL_ERR_EPOCH,
                                   SHOAL_ERR_STORE,
                                   SHOAL_ERR_STEP_RETRY,
                                   SHOAL_ERR_STATE_LOST,
                                   SHOAL_ERR_NOMEM,
                                   SHOAL_ERR_SYSTEM,
                                   SHOAL_ERR_INTERNAL};

#define STATUS_COUNT (sizeof(all_statuses) / sizeof(all_statuses[0]))

static void every_status_has_its_own_text(void **state)
{
    (void)state;
    const char *unknown = shoal_status_string(12345);
    for (size_t i = 0; i < STATUS_COUNT; i++) {
        const char *text = shoal_status_string(all_statuses[i]);
        assert_string_not_equal(text, unknown);
        for (size_t j = 0; j < i; j++)
            assert_string_not_equal(text, shoal_status_string(all_statuses[j]));
    }
    assert_string_equal(shoal_status_string(INT_MIN), unknown);
    assert_string_equal(shoal_status_string(-83), unknown);
}

static void a_failure_records_one_line(void **state)
{
    (void)state;
    ASSERT_STATUS(SHOAL_ERR_INVALID, shl_fail(SHOAL_ERR_INVALID, "rank %u of %u", 7u, 4u));
    assert_string_equal(shoal_last_error(), "rank 7 of 4");
    assert_string_equal(shl_error_text(), "rank 7 of 4");
    shl_fail(SHOAL_ERR_PEER, "a\nb\tc\x1b[31md\x7f%s", "\r");
    assert_string_equal(shoal_last_error(), "a b c [31md  ");
}

static void text_beyond_ascii_stays(void **state)
{
    (void)state;
    shl_fail(SHOAL_ERR_INVALID, "gr\xc3\xb6\xc3\x9f"
                                "e");
    assert_string_equal(shoal_last_error(), "gr\xc3\xb6\xc3\x9f"
                                            "e");
}

static void a_detail_may_quote_the_old_one(void **state)
{
    (void)state;
    shl_fail(SHOAL_ERR_PEER, "connection reset");
    shl_fail(SHOAL_ERR_PEER, "rank 3: %s", shl_error_text());
    assert_string_equal(shoal_last_error(), "rank 3: connection reset");
    shl_error_set(shl_error_text());
    assert_string_equal(shoal_last_error(), "rank 3: connection reset");
    shl_error_set(NULL);
    assert_string_equal(shoal_last_error(), "");
}

static void a_detail_too_long_is_cut(void **state)
{
    (void)state;
    char text[5000];
    memset(text, 'x', sizeof(text) - 1);
    text[sizeof(text) - 1] = 0;
    shl_fail(SHOAL_ERR_INVALID, "%s", text);
    size_t length = strlen(shoal_last_error());
    assert_in_range(length, 500, sizeof(text) - 2);
    errno = EIO;
    shl_fail_errno("%s", text); /* no room for errno's text: no overflow either */
    assert_int_equal(strlen(shoal_last_error()), length);
    shl_error_set(text);
    assert_int_equal(strlen(shoal_last_error()), length);
}

static void errno_becomes_a_status(void **state)
{
    (void)state;
    errno = ENOENT;
    ASSERT_STATUS(SHOAL_ERR_SYSTEM, shl_fail_errno("open of %s", "/x"));
    assert_string_equal(shoal_last_error(), "open of /x: No such file or directory (errno 2)");
    assert_int_equal(errno, ENOENT);
    errno = ENOMEM;
    ASSERT_STATUS(SHOAL_ERR_NOMEM, shl_fail_errno("mmap"));
    assert_int_equal(errno, ENOMEM);
    errno = EINTR;
    shl_fail(SHOAL_ERR_PEER, "any");
    assert_int_equal(errno, EINTR);
}

static void *other_thread(void *arg)
{
    *(int *)arg = shoal_last_error()[0];
    shl_fail(SHOAL_ERR_PEER, "other");
    return NULL;
}

static void every_thread_has_its_own_detail(void **state)
{
    (void)state;
    pthread_t thread;
    int first = -1;
    shl_fail(SHOAL_ERR_PEER, "mine");
    assert_int_equal(pthread_create(&thread, NULL, other_thread, &first), 0);
    pthread_join(thread, NULL);
    assert_int_equal(first, 0);
    assert_string_equal(shoal_last_error(), "mine");
}

static enum shoal_status try_twice(enum shoal_status first, enum shoal_status second)
{
    SHL_TRY(first);
    SHL_TRY(second);
    return SHOAL_OK;
}

static void try_passes_only_errors_on(void **state)
{
    (void)state;
    assert_int_equal(try_twice(SHOAL_OK, SHOAL_ERR_PEER), SHOAL_ERR_PEER);
    assert_int_equal(try_twice(SHOAL_ERR_AUTH, SHOAL_ERR_PEER), SHOAL_ERR_AUTH);
    assert_int_equal(try_twice(SHOAL_IN_PROGRESS, SHOAL_OK), SHOAL_OK);
}

static void types_have_names_and_sizes(void **state)
{
    (void)state;
    static const size_t sizes[SHOAL_DTYPE_COUNT] = {1, 1, 4, 4, 8, 8, 2, 2, 4, 8, 1, 1};
    for (unsigned i = 0; i < SHOAL_DTYPE_COUNT; i++) {
        assert_int_equal(shoal_dtype_bytes((enum shoal_dtype)i), sizes[i]);
        for (unsigned j = 0; j < i; j++)
            assert_string_not_equal(shoal_dtype_string((enum shoal_dtype)i),
                                    shoal_dtype_string((enum shoal_dtype)j));
    }
    assert_string_equal(shoal_dtype_string(SHOAL_BF16), "bf16");
    assert_string_equal(shoal_dtype_string(SHOAL_F8E5M2), "f8e5m2");
    assert_string_equal(shoal_op_string(SHOAL_AVG), "avg");
    assert_string_equal(shoal_op_string(SHOAL_OP_USER_FIRST + 3), "user");
    assert_string_equal(shoal_collective_string(SHOAL_REDUCE_SCATTER), "reduce_scatter");
}

static void values_that_are_no_type_are_refused(void **state)
{
    (void)state;
    assert_int_equal(shoal_dtype_bytes((enum shoal_dtype)SHOAL_DTYPE_COUNT), 0);
    assert_int_equal(shoal_dtype_bytes((enum shoal_dtype) - 1), 0);
    assert_string_equal(shoal_dtype_string((enum shoal_dtype)99), "unknown");
    assert_string_equal(shoal_op_string(SHOAL_OP_COUNT), "unknown");
    assert_string_equal(shoal_op_string(SHOAL_OP_USER_FIRST - 1), "unknown");
    assert_string_equal(shoal_collective_string((enum shoal_collective)6), "unknown");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_status_has_its_own_text),
        cmocka_unit_test(a_failure_records_one_line),
        cmocka_unit_test(text_beyond_ascii_stays),
        cmocka_unit_test(a_detail_may_quote_the_old_one),
        cmocka_unit_test(a_detail_too_long_is_cut),
        cmocka_unit_test(errno_becomes_a_status),
        cmocka_unit_test(every_thread_has_its_own_detail),
        cmocka_unit_test(try_passes_only_errors_on),
        cmocka_unit_test(types_have_names_and_sizes),
        cmocka_unit_test(values_that_are_no_type_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
