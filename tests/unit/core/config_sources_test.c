/*
 * The sources of the configuration together: which wins, files that cannot be read, failing calls,
 * printing and the digest.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "core/config.h"

#include "core/config_internal.h"
#include "support/fault.h"
#include "support/temp.h"
#include "support/test.h"

#include <stdio.h>
#include <stdlib.h>

static char *no_environment[] = {NULL};

static enum shoal_status load_with(struct shl_config *config, const char *setting)
{
    const struct shl_config_options options = {
        .settings = &setting, .setting_count = setting ? 1 : 0, .environment = no_environment};
    return shl_config_load(&options, config);
}

/* ---- order of sources -------------------------------------------------------------------- */

struct fixture {
    struct shl_test_temp temp;
    char file[SHL_TEST_PATH_BYTES];
};

static int set_up(void **state)
{
    static const char content[] = "timeout_ms: 1000\nSHOAL_JOB: from-file\nspin_us: 1\n";
    struct fixture *fixture = calloc(1, sizeof(*fixture));
    shl_test_temp_create(&fixture->temp);
    shl_test_temp_write(&fixture->temp, "shoal.yaml", content, sizeof(content) - 1, fixture->file);
    *state = fixture;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;
    shl_test_temp_remove(&fixture->temp);
    free(fixture);
    return 0;
}

static void later_sources_win(void **state)
{
    struct fixture *fixture = *state;
    char *environment[] = {"SHOAL_TIMEOUT_MS=2000", "SHOAL_JOB=from-environment", NULL};
    const char *settings[] = {"SHOAL_TIMEOUT_MS=3000", "SHOAL_TIMEOUT_MS=4000"};
    const struct shl_config_options options = {.file = fixture->file,
                                               .settings = settings,
                                               .setting_count = 2,
                                               .environment = environment};
    struct shl_config config;
    ASSERT_OK(shl_config_load(&options, &config));
    assert_int_equal(config.timeout_ms, 4000);
    assert_int_equal(config.origins[SHL_KEY_timeout_ms].source, SHL_CONFIG_CALLER);
    assert_string_equal(config.job, "from-environment");
    assert_int_equal(config.origins[SHL_KEY_job].source, SHL_CONFIG_ENVIRONMENT);
    assert_int_equal(config.spin_us, 1);
    assert_int_equal(config.origins[SHL_KEY_spin_us].source, SHL_CONFIG_FILE);
    assert_int_equal(config.origins[SHL_KEY_spin_us].line, 3);
    assert_int_equal(config.origins[SHL_KEY_port].source, SHL_CONFIG_DEFAULT);
    assert_string_equal(config.config_file, fixture->file);
    shl_config_free(&config);
}

static void the_file_may_be_named_by_every_source(void **state)
{
    struct fixture *fixture = *state;
    char variable[2 * SHL_TEST_PATH_BYTES];
    snprintf(variable, sizeof(variable), "SHOAL_CONFIG_FILE=%s", fixture->file);
    char *environment[] = {variable, NULL};
    char *wrong_environment[] = {"SHOAL_CONFIG_FILE=/no/such/file", NULL};
    const char *setting = variable, *none = "SHOAL_CONFIG_FILE=";
    const struct shl_config_options legal[] = {
        {.environment = environment},
        {.settings = &setting, .setting_count = 1, .environment = wrong_environment},
        {.file = fixture->file, .environment = wrong_environment},
    };
    struct shl_config config;
    for (size_t i = 0; i < 3; i++) {
        ASSERT_OK(shl_config_load(&legal[i], &config));
        assert_int_equal(config.timeout_ms, 1000);
        shl_config_free(&config);
    }
    const struct shl_config_options switched_off = {
        .settings = &none, .setting_count = 1, .environment = environment};
    ASSERT_OK(shl_config_load(&switched_off, &config));
    assert_int_equal(config.timeout_ms, 300000);
    shl_config_free(&config);
}

static void a_file_that_cannot_be_read_is_named(void **state)
{
    struct fixture *fixture = *state;
    static const struct {
        const char *path, *reason;
    } cases[] = {{"/no/such/file", "No such file"}, {"/tmp", "Is a directory"}};
    struct shl_config config;
    for (size_t i = 0; i < 2; i++) {
        const struct shl_config_options options = {.file = cases[i].path,
                                                   .environment = no_environment};
        ASSERT_STATUS(SHOAL_ERR_CONFIG, shl_config_load(&options, &config));
        ASSERT_DETAIL(cases[i].path);
        ASSERT_DETAIL(cases[i].reason);
        ASSERT_DETAIL("correct SHOAL_CONFIG_FILE");
    }
    size_t bytes = (1u << 20) + 1;
    char *spaces = malloc(bytes);
    memset(spaces, '\n', bytes);
    shl_test_temp_write(&fixture->temp, "large", spaces, bytes, fixture->file);
    free(spaces);
    const struct shl_config_options options = {.file = fixture->file,
                                               .environment = no_environment};
    ASSERT_STATUS(SHOAL_ERR_CONFIG, shl_config_load(&options, &config));
    ASSERT_DETAIL("File too large");
}

static void a_bad_value_in_the_file_is_an_error_even_if_overridden(void **state)
{
    struct fixture *fixture = *state;
    static const char content[] = "\n\ntimeout_ms: never\n";
    shl_test_temp_write(&fixture->temp, "bad.yaml", content, sizeof(content) - 1, fixture->file);
    const char *setting = "SHOAL_TIMEOUT_MS=50";
    const struct shl_config_options options = {.file = fixture->file,
                                               .settings = &setting,
                                               .setting_count = 1,
                                               .environment = no_environment};
    struct shl_config config;
    ASSERT_STATUS(SHOAL_ERR_CONFIG, shl_config_load(&options, &config));
    ASSERT_DETAIL("bad.yaml:3: SHOAL_TIMEOUT_MS is \"never\"");
}

static enum shoal_status load_and_free(void *arg)
{
    const char *setting = "SHOAL_JOB=mine";
    struct shl_config config;
    struct fixture *fixture = arg;
    const struct shl_config_options options = {.file = fixture->file,
                                               .settings = &setting,
                                               .setting_count = 1,
                                               .environment = no_environment};
    SHL_TRY(shl_config_load(&options, &config));
    shl_config_free(&config);
    return SHOAL_OK;
}

static void every_failing_call_is_reported(void **state)
{
    /* content, open, two reads, three kept texts, origins, strings */
    assert_int_equal(shl_fault_sweep(SHL_FAULT_ALL, load_and_free, *state, 50), 9);
}

/* ---- printing and digest ----------------------------------------------------------------- */

struct printed {
    char settings[64][256];
    const char *pointers[64];
    size_t count;
    bool secret_seen;
};

static void collect(void *arg, const char *key, const char *value, const char *source,
                    const char *help)
{
    struct printed *printed = arg;
    assert_true(strlen(help) > 0);
    assert_true(strlen(source) > 0);
    if (strcmp(key, "SHOAL_SECRET") == 0)
        printed->secret_seen = strcmp(value, "set") == 0;
    else if (strcmp(key, "SHOAL_CONFIG_FILE") != 0 && printed->count < 64) {
        snprintf(printed->settings[printed->count], sizeof(printed->settings[0]), "%s=%s", key,
                 value);
        printed->pointers[printed->count] = printed->settings[printed->count];
        printed->count++;
    }
}

static void what_is_printed_can_be_read_again(void **state)
{
    (void)state;
    static const char *const settings[] = {"SHOAL_TRANSPORT=tcp",      "SHOAL_NT_BYTES=3M",
                                           "SHOAL_SHM_COPY=staged",    "SHOAL_INSECURE=yes",
                                           "SHOAL_TCP_CHUNK_BYTES=77", "SHOAL_SECRET=hunter2",
                                           "SHOAL_TCP_FLOWS=4"};
    const struct shl_config_options options = {
        .settings = settings, .setting_count = 7, .environment = no_environment};
    struct shl_config config, again;
    struct printed *printed = calloc(1, sizeof(*printed));
    ASSERT_OK(shl_config_load(&options, &config));
    shl_config_print(&config, collect, printed);
    assert_true(printed->secret_seen);
    const struct shl_config_options second = {.settings = printed->pointers,
                                              .setting_count = printed->count,
                                              .environment = no_environment};
    ASSERT_OK(shl_config_load(&second, &again));
    assert_int_equal(again.transport, config.transport);
    assert_int_equal(again.nt_bytes, 3145728);
    assert_int_equal(again.tcp_chunk_bytes, 77);
    assert_int_equal(again.shm_copy, config.shm_copy);
    assert_true(again.insecure);
    assert_true(shl_config_digest(&again) == shl_config_digest(&config));
    shl_config_free(&again);
    shl_config_free(&config);
    free(printed);
}

static void note_source(void *arg, const char *key, const char *value, const char *source,
                        const char *help)
{
    (void)value;
    (void)help;
    if (strcmp(key, "SHOAL_SPIN_US") == 0)
        snprintf(arg, SHL_TEST_PATH_BYTES, "%s", source);
}

static void the_source_of_a_file_has_its_line(void **state)
{
    struct fixture *fixture = *state;
    char source[SHL_TEST_PATH_BYTES], expected[SHL_TEST_PATH_BYTES + 8];
    const struct shl_config_options options = {.file = fixture->file,
                                               .environment = no_environment};
    struct shl_config config;
    ASSERT_OK(shl_config_load(&options, &config));
    shl_config_print(&config, note_source, source);
    snprintf(expected, sizeof(expected), "%s:3", fixture->file);
    assert_string_equal(source, expected);
    shl_config_free(&config);
}

static uint64_t digest_with(const char *setting)
{
    struct shl_config config;
    ASSERT_OK(load_with(&config, setting));
    uint64_t digest = shl_config_digest(&config);
    shl_config_free(&config);
    return digest;
}

static void the_digest_holds_what_must_agree(void **state)
{
    (void)state;
    uint64_t base = digest_with(NULL);
    assert_true(digest_with("SHOAL_HEARTBEAT_MS=100") == base);
    assert_true(digest_with("SHOAL_HEARTBEAT_MS=201") != base);
    assert_true(digest_with("SHOAL_ALGORITHM=allreduce=ring") != base);
    assert_true(digest_with("SHOAL_TRANSPORT=tcp,shm") == base);
    assert_true(digest_with("SHOAL_TRANSPORT=tcp") != base);
    assert_true(digest_with("SHOAL_RANK=1") == base);
    assert_true(digest_with("SHOAL_TIMEOUT_MS=77") == base);
    assert_true(digest_with("SHOAL_SECRET=other") == base);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_printed_can_be_read_again),
        cmocka_unit_test(the_digest_holds_what_must_agree),
        cmocka_unit_test_setup_teardown(later_sources_win, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_file_may_be_named_by_every_source, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_file_that_cannot_be_read_is_named, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_bad_value_in_the_file_is_an_error_even_if_overridden,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(every_failing_call_is_reported, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_source_of_a_file_has_its_line, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
