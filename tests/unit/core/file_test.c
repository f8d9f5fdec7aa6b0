/*
 * Reading small files: sizes at the limits, and what is not a file.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "core/file.h"

#include "support/fault.h"
#include "support/leaks.h"
#include "support/temp.h"
#include "support/test.h"

#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>

static void a_file_fits_exactly_or_is_too_large(void **state)
{
    char path[SHL_TEST_PATH_BYTES], content[8];
    size_t bytes = 99;
    shl_test_temp_write(*state, "five", "12345", 5, path);
    for (size_t capacity = 5; capacity <= sizeof(content); capacity++) {
        ASSERT_OK(shl_file_read(path, content, capacity, &bytes));
        assert_int_equal(bytes, 5);
        assert_memory_equal(content, "12345", 5);
    }
    bytes = 99;
    for (size_t capacity = 0; capacity < 5; capacity++) {
        ASSERT_STATUS(SHOAL_ERR_SYSTEM, shl_file_read(path, content, capacity, &bytes));
        assert_int_equal(errno, EFBIG);
        ASSERT_DETAIL(path);
    }
    assert_int_equal(bytes, 99);
    shl_test_temp_write(*state, "empty", "", 0, path);
    ASSERT_OK(shl_file_read(path, content, 0, &bytes));
    assert_int_equal(bytes, 0);
}

static void a_line_ends_at_its_newline(void **state)
{
    static const struct {
        const char *content, *line;
    } cases[] = {{"", ""}, {"\n", ""}, {"abc", "abc"}, {"abc\n", "abc"}, {"abc\ndef\nghi", "abc"}};
    for (size_t i = 0; i < 5; i++) {
        char path[SHL_TEST_PATH_BYTES], line[8];
        shl_test_temp_write(*state, "line", cases[i].content, strlen(cases[i].content), path);
        ASSERT_OK(shl_file_read_line(path, line, sizeof(line)));
        assert_string_equal(line, cases[i].line);
    }
}

static void a_line_must_fit_with_its_end(void **state)
{
    char path[SHL_TEST_PATH_BYTES], line[8];
    shl_test_temp_write(*state, "line", "abc\n", 4, path);
    ASSERT_OK(shl_file_read_line(path, line, 4));
    ASSERT_STATUS(SHOAL_ERR_SYSTEM, shl_file_read_line(path, line, 3));
    assert_int_equal(errno, EFBIG);
    ASSERT_STATUS(SHOAL_ERR_SYSTEM, shl_file_read_line(path, line, 0));
    shl_test_temp_write(*state, "line", "abcd", 4, path);
    ASSERT_STATUS(SHOAL_ERR_SYSTEM, shl_file_read_line(path, line, 4));
    ASSERT_OK(shl_file_read_line(path, line, 5));
}

static void what_is_no_file_is_an_error(void **state)
{
    struct shl_test_temp *temp = *state;
    char line[8], path[2 * SHL_TEST_PATH_BYTES];
    size_t bytes;
    uint32_t fds = shl_test_open_fds();
    ASSERT_STATUS(SHOAL_ERR_SYSTEM, shl_file_read_line("/no/such/file", line, sizeof(line)));
    assert_int_equal(errno, ENOENT);
    ASSERT_STATUS(SHOAL_ERR_SYSTEM, shl_file_read(temp->path, line, sizeof(line), &bytes));
    assert_int_equal(errno, EISDIR);
    snprintf(path, sizeof(path), "%s/pipe", temp->path);
    assert_int_equal(mkfifo(path, 0600), 0);
    ASSERT_OK(shl_file_read_line(path, line, sizeof(line))); /* no writer: empty, and no wait */
    assert_string_equal(line, "");
    assert_int_equal(shl_test_open_fds(), fds);
}

static enum shoal_status read_both(void *arg)
{
    char content[16];
    size_t bytes;
    SHL_TRY(shl_file_read(arg, content, sizeof(content), &bytes));
    return shl_file_read_line(arg, content, sizeof(content));
}

static void every_failing_call_is_reported(void **state)
{
    char path[SHL_TEST_PATH_BYTES];
    shl_test_temp_write(*state, "five", "12345", 5, path);
    assert_int_equal(shl_fault_sweep(SHL_FAULT_ALL, read_both, path, 20), 6);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SHL_TEST_IN_FOLDER(a_file_fits_exactly_or_is_too_large),
        SHL_TEST_IN_FOLDER(a_line_ends_at_its_newline),
        SHL_TEST_IN_FOLDER(a_line_must_fit_with_its_end),
        SHL_TEST_IN_FOLDER(what_is_no_file_is_an_error),
        SHL_TEST_IN_FOLDER(every_failing_call_is_reported),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
