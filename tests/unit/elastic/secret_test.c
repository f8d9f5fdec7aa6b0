/*
 * Where the secret comes from, and what is refused.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "elastic/secret.h"

#include "support/fault.h"
#include "support/temp.h"
#include "support/test.h"

#include <stdio.h>
#include <sys/stat.h>

static struct shl_test_temp temp;

static enum shoal_status load(const char *file, const char *text, struct shl_secret *secret)
{
    struct shl_config config = {.secret_file = file, .secret = text};
    return shl_secret_load(&config, secret);
}

static const char *write_file(const void *content, size_t bytes, mode_t mode)
{
    static char path[SHL_TEST_PATH_BYTES];
    shl_test_temp_write(&temp, "secret", content, bytes, path);
    assert_int_equal(chmod(path, mode), 0);
    return path;
}

static void none_is_legal(void **state)
{
    struct shl_secret secret;
    (void)state;
    ASSERT_OK(load("", "", &secret));
    assert_int_equal(secret.bytes, 0);
}

static void one_newline_at_the_end_does_not_count(void **state)
{
    struct shl_secret secret;
    (void)state;
    ASSERT_OK(load(write_file("0123456789abcdef\n", 17, 0600), "", &secret));
    assert_int_equal(secret.bytes, 16);
    assert_memory_equal(secret.data, "0123456789abcdef", 16);
    ASSERT_OK(load(write_file("0123456789abcdef\n\n", 18, 0400), "", &secret));
    assert_int_equal(secret.bytes, 17);
    ASSERT_OK(load("", "0123456789abcdef\n", &secret));
    assert_int_equal(secret.bytes, 16);
}

static void binary_secrets_are_whole(void **state)
{
    uint8_t bytes[SHL_SECRET_BYTES_MAX];
    struct shl_secret secret;
    (void)state;
    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = (uint8_t)i;
    ASSERT_OK(load(write_file(bytes, sizeof(bytes), 0600), "", &secret));
    assert_int_equal(secret.bytes, sizeof(bytes));
    assert_memory_equal(secret.data, bytes, sizeof(bytes));
    shl_secret_wipe(&secret);
    assert_int_equal(secret.bytes, 0);
    assert_int_equal(secret.data[100], 0);
}

static void short_and_long_ones_are_refused(void **state)
{
    uint8_t bytes[SHL_SECRET_BYTES_MAX + 1] = {0};
    struct shl_secret secret;
    (void)state;
    ASSERT_STATUS(SHOAL_ERR_CONFIG, load(write_file("0123456789abcde\n", 16, 0600), "", &secret));
    ASSERT_DETAIL("15 bytes, a secret needs 16");
    assert_int_equal(secret.bytes, 0);
    assert_int_equal(secret.data[0], 0); /* and what was read is gone */
    ASSERT_STATUS(SHOAL_ERR_CONFIG, load("", "short", &secret));
    ASSERT_DETAIL("SHOAL_SECRET holds 5");
    ASSERT_STATUS(SHOAL_ERR_CONFIG, load(write_file(bytes, sizeof(bytes), 0600), "", &secret));
    ASSERT_DETAIL("more than 1024");
    char text[SHL_SECRET_BYTES_MAX + 2];
    memset(text, 'x', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    ASSERT_STATUS(SHOAL_ERR_CONFIG, load("", text, &secret));
}

static void a_file_that_others_may_use_is_refused(void **state)
{
    static const mode_t bad[] = {0604, 0602, 0601, 0620, 0644, 0666};
    struct shl_secret secret;
    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        ASSERT_STATUS(SHOAL_ERR_CONFIG,
                      load(write_file("0123456789abcdef", 16, bad[i]), "", &secret));
        ASSERT_DETAIL("chmod 600");
    }
    /* Mounted secrets of a pod are often readable by its group. */
    ASSERT_OK(load(write_file("0123456789abcdef", 16, 0440), "", &secret));
}

static void a_missing_file_is_named(void **state)
{
    struct shl_secret secret;
    (void)state;
    ASSERT_STATUS(SHOAL_ERR_CONFIG, load("/no/such/file", "", &secret));
    ASSERT_DETAIL("/no/such/file: No such file");
    ASSERT_STATUS(SHOAL_ERR_CONFIG, load(temp.path, "", &secret)); /* a folder */
}

static void two_sources_are_one_too_many(void **state)
{
    struct shl_secret secret;
    (void)state;
    ASSERT_STATUS(SHOAL_ERR_CONFIG,
                  load(write_file("0123456789abcdef", 16, 0600), "0123456789abcdef", &secret));
    ASSERT_DETAIL("both set");
}

static enum shoal_status load_once(void *arg)
{
    struct shl_secret secret;
    return load(arg, "", &secret);
}

static void a_failing_kernel_is_an_error(void **state)
{
    char path[SHL_TEST_PATH_BYTES];
    (void)state;
    snprintf(path, sizeof(path), "%s", write_file("0123456789abcdef", 16, 0600));
    assert_true(shl_fault_sweep(SHL_FAULT_ALL, load_once, path, 20) >= 2);
}

static int set_up(void **state)
{
    (void)state;
    shl_test_temp_create(&temp);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    shl_test_temp_remove(&temp);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(none_is_legal),
        cmocka_unit_test(one_newline_at_the_end_does_not_count),
        cmocka_unit_test(binary_secrets_are_whole),
        cmocka_unit_test(short_and_long_ones_are_refused),
        cmocka_unit_test(a_file_that_others_may_use_is_refused),
        cmocka_unit_test(a_missing_file_is_named),
        cmocka_unit_test(two_sources_are_one_too_many),
        cmocka_unit_test(a_failing_kernel_is_an_error),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
