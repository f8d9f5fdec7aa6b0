/*
 * Log lines: form, levels, files, threads.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "core/log.h"

#include "support/fault.h"
#include "support/leaks.h"
#include "support/temp.h"
#include "support/test.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct fixture {
    struct shl_test_temp temp;
    char first[SHL_TEST_PATH_BYTES], second[SHL_TEST_PATH_BYTES];
};

static int set_up(void **state)
{
    struct fixture *fixture = calloc(1, sizeof(*fixture));
    shl_test_temp_create(&fixture->temp);
    shl_test_temp_write(&fixture->temp, "first", "", 0, fixture->first);
    shl_test_temp_write(&fixture->temp, "second", "", 0, fixture->second);
    *state = fixture;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;
    shl_log_configure(SHL_LOG_WARN, NULL);
    shl_log_set_rank(UINT32_MAX);
    shl_test_temp_remove(&fixture->temp);
    free(fixture);
    return 0;
}

static char *slurp(const char *path)
{
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    fseek(file, 0, SEEK_END);
    size_t bytes = (size_t)ftell(file);
    rewind(file);
    char *text = calloc(1, bytes + 1);
    assert_int_equal(fread(text, 1, bytes, file), bytes);
    fclose(file);
    return text;
}

static void assert_log(const char *path, const char *expected)
{
    char *text = slurp(path);
    assert_string_equal(text, expected);
    free(text);
}

static void a_line_has_level_and_rank(void **state)
{
    struct fixture *fixture = *state;
    ASSERT_OK(shl_log_configure(SHL_LOG_DEBUG, fixture->first));
    shl_log(SHL_LOG_ERROR, "no rank yet");
    shl_log_set_rank(3);
    shl_log(SHL_LOG_WARN, "%d of %s", 4096, "65536");
    shl_log(SHL_LOG_INFO, "a\nb\x1b[1m");
    shl_log(SHL_LOG_DEBUG, "%s", "");
    assert_log(fixture->first, "shoal ERROR: no rank yet\n"
                               "shoal WARN rank 3: 4096 of 65536\n"
                               "shoal INFO rank 3: a b [1m\n"
                               "shoal DEBUG rank 3: \n");
}

static void levels_above_the_configured_are_dropped(void **state)
{
    struct fixture *fixture = *state;
    for (unsigned level = SHL_LOG_OFF; level <= SHL_LOG_DEBUG; level++) {
        ASSERT_OK(shl_log_configure((enum shl_log_level)level, fixture->first));
        assert_false(shl_log_enabled(SHL_LOG_OFF));
        for (unsigned line = SHL_LOG_ERROR; line <= SHL_LOG_DEBUG; line++)
            assert_int_equal(shl_log_enabled((enum shl_log_level)line), line <= level);
    }
    ASSERT_OK(shl_log_configure(SHL_LOG_OFF, fixture->first));
    shl_log(SHL_LOG_ERROR, "nothing");
    assert_log(fixture->first, "");
}

static void a_long_line_is_cut_and_ends(void **state)
{
    struct fixture *fixture = *state;
    char text[10000];
    memset(text, 'x', sizeof(text) - 1);
    text[sizeof(text) - 1] = 0;
    ASSERT_OK(shl_log_configure(SHL_LOG_WARN, fixture->first));
    shl_log(SHL_LOG_WARN, "%s", text);
    shl_log(SHL_LOG_WARN, "next");
    char *log = slurp(fixture->first);
    assert_non_null(strstr(log, "xx\nshoal WARN: next\n"));
    assert_in_range(strlen(log), 1000, sizeof(text));
    free(log);
}

static void a_file_that_cannot_be_opened_changes_nothing(void **state)
{
    struct fixture *fixture = *state;
    ASSERT_OK(shl_log_configure(SHL_LOG_WARN, fixture->first));
    uint32_t fds = shl_test_open_fds();
    ASSERT_STATUS(SHOAL_ERR_SYSTEM, shl_log_configure(SHL_LOG_DEBUG, "/no/such/folder/log"));
    ASSERT_DETAIL("SHOAL_LOG_FILE /no/such/folder/log");
    assert_false(shl_log_enabled(SHL_LOG_INFO));
    shl_log(SHL_LOG_WARN, "still here");
    assert_log(fixture->first, "shoal WARN: still here\n");
    assert_int_equal(shl_test_open_fds(), fds);
}

static void files_are_appended_to_and_replaced(void **state)
{
    struct fixture *fixture = *state;
    ASSERT_OK(shl_log_configure(SHL_LOG_WARN, fixture->first));
    uint32_t fds = shl_test_open_fds();
    shl_log(SHL_LOG_WARN, "1");
    ASSERT_OK(shl_log_configure(SHL_LOG_WARN, fixture->second));
    shl_log(SHL_LOG_WARN, "2");
    ASSERT_OK(shl_log_configure(SHL_LOG_WARN, fixture->first));
    shl_log(SHL_LOG_WARN, "3");
    assert_int_equal(shl_test_open_fds(), fds);
    assert_log(fixture->first, "shoal WARN: 1\nshoal WARN: 3\n");
    assert_log(fixture->second, "shoal WARN: 2\n");
}

static enum shoal_status configure_twice(void *arg)
{
    struct fixture *fixture = arg;
    SHL_TRY(shl_log_configure(SHL_LOG_WARN, fixture->first));
    return shl_log_configure(SHL_LOG_WARN, fixture->second);
}

static void every_failing_call_is_reported(void **state)
{
    struct fixture *fixture = *state;
    ASSERT_OK(shl_log_configure(SHL_LOG_WARN, fixture->first)); /* opens the lasting descriptor */
    assert_int_equal(shl_fault_sweep(SHL_FAULT_ALL, configure_twice, fixture, 20), 4);
}

static void errno_survives_logging(void **state)
{
    struct fixture *fixture = *state;
    ASSERT_OK(shl_log_configure(SHL_LOG_WARN, fixture->first));
    errno = EDOM;
    shl_log(SHL_LOG_WARN, "any");
    assert_int_equal(errno, EDOM);
}

/* With stderr a pipe that nobody reads any more, SIGPIPE's default action would end the test. */
static void a_closed_pipe_does_not_kill(void **state)
{
    (void)state;
    int ends[2];
    int saved = dup(STDERR_FILENO);
    assert_true(saved >= 0);
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    assert_true(dup2(ends[1], STDERR_FILENO) >= 0);
    close(ends[0]);
    close(ends[1]);
    shl_log_configure(SHL_LOG_WARN, NULL);
    shl_log(SHL_LOG_ERROR, "into the void");
    dup2(saved, STDERR_FILENO);
    close(saved);
    sigset_t pending;
    sigpending(&pending);
    assert_false(sigismember(&pending, SIGPIPE));
}

/* ---- threads ---------------------------------------------------------------------------- */

#define WRITERS 4
#define LINES_EACH 300

static void *write_lines(void *arg)
{
    unsigned writer = *(unsigned *)arg;
    for (unsigned i = 0; i < LINES_EACH; i++)
        shl_log(SHL_LOG_WARN, "writer %u line %u %0*u end", writer, i, (int)(i % 200 + 1), 7u);
    return NULL;
}

/* Counts the lines of a file, each of which must be whole. */
static unsigned count_whole_lines(const char *path, unsigned *seen)
{
    char *log = slurp(path), *rest = NULL;
    unsigned count = 0;
    for (char *line = strtok_r(log, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
        unsigned writer, number, value;
        int at = 0;
        assert_int_equal(
            sscanf(line, "shoal WARN: writer %u line %u %u end%n", &writer, &number, &value, &at),
            3);
        assert_int_equal(line[at], 0);
        assert_true(writer < WRITERS && number < LINES_EACH);
        seen[writer * LINES_EACH + number]++;
        count++;
    }
    free(log);
    return count;
}

static void lines_of_threads_stay_whole_while_files_change(void **state)
{
    struct fixture *fixture = *state;
    pthread_t threads[WRITERS];
    unsigned numbers[WRITERS];
    ASSERT_OK(shl_log_configure(SHL_LOG_WARN, fixture->first));
    for (unsigned i = 0; i < WRITERS; i++) {
        numbers[i] = i;
        assert_int_equal(pthread_create(&threads[i], NULL, write_lines, &numbers[i]), 0);
    }
    for (int i = 0; i < 50; i++)
        ASSERT_OK(shl_log_configure(SHL_LOG_WARN, i % 2 ? fixture->first : fixture->second));
    for (unsigned i = 0; i < WRITERS; i++)
        pthread_join(threads[i], NULL);
    unsigned *seen = calloc(WRITERS * LINES_EACH, sizeof(*seen));
    unsigned count =
        count_whole_lines(fixture->first, seen) + count_whole_lines(fixture->second, seen);
    assert_int_equal(count, WRITERS * LINES_EACH);
    for (unsigned i = 0; i < WRITERS * LINES_EACH; i++)
        assert_int_equal(seen[i], 1);
    free(seen);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_line_has_level_and_rank, set_up, tear_down),
        cmocka_unit_test_setup_teardown(levels_above_the_configured_are_dropped, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_long_line_is_cut_and_ends, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_file_that_cannot_be_opened_changes_nothing, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(files_are_appended_to_and_replaced, set_up, tear_down),
        cmocka_unit_test_setup_teardown(every_failing_call_is_reported, set_up, tear_down),
        cmocka_unit_test_setup_teardown(errno_survives_logging, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_closed_pipe_does_not_kill, set_up, tear_down),
        cmocka_unit_test_setup_teardown(lines_of_threads_stay_whole_while_files_change, set_up,
                                        tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
