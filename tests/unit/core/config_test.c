/*
 * Loading the configuration: sources and their order, what is refused, printing, the digest.
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

static enum shoal_status load_environment(struct shl_config *config, const char *variable)
{
    char copy[256];
    snprintf(copy, sizeof(copy), "%s", variable);
    char *environment[] = {"HOME=/", copy, NULL};
    const struct shl_config_options options = {.environment = environment};
    return shl_config_load(&options, config);
}

static void assert_refused(const char *setting, const char *part)
{
    struct shl_config config = {.timeout_ms = 77};
    ASSERT_STATUS(SHOAL_ERR_CONFIG, load_with(&config, setting));
    ASSERT_DETAIL(part);
    ASSERT_DETAIL("setting 0 of the call");
    assert_int_equal(config.timeout_ms, 77); /* outputs only on success */
}

/* ---- values ----------------------------------------------------------------------------- */

static void defaults_are_those_of_the_table(void **state)
{
    (void)state;
    struct shl_config config;
    ASSERT_OK(load_with(&config, NULL));
    assert_int_equal(config.timeout_ms, 300000);
    assert_string_equal(config.job, "default");
    assert_string_equal(config.secret, "");
    assert_false(config.insecure);
    assert_int_equal(config.transport, 3);
    assert_int_equal(config.log_level, 2);
    for (unsigned i = 0; i < SHL_CONFIG_KEY_COUNT; i++)
        assert_int_equal(config.origins[i].source, SHL_CONFIG_DEFAULT);
    shl_config_free(&config);
    assert_null(config.origins);
    shl_config_free(&config);
}

static void numbers_have_ranges(void **state)
{
    (void)state;
    struct shl_config config;
    ASSERT_OK(load_with(&config, "SHOAL_TIMEOUT_MS=10"));
    assert_int_equal(config.timeout_ms, 10);
    shl_config_free(&config);
    ASSERT_OK(load_with(&config, "SHOAL_TIMEOUT_MS=86400000"));
    shl_config_free(&config);
    assert_refused("SHOAL_TIMEOUT_MS=9",
                   "SHOAL_TIMEOUT_MS is \"9\"; give a whole number from 10 to 86400000");
    static const char *const bad[] = {"",    "86400001", "-5",  "+5",  " 50",
                                      "50 ", "0x50",     "5e3", "50s", "18446744073709551666"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        char setting[64], shown[64];
        snprintf(setting, sizeof(setting), "SHOAL_TIMEOUT_MS=%s", bad[i]);
        snprintf(shown, sizeof(shown), "is \"%s\"", bad[i]);
        assert_refused(setting, shown);
    }
    assert_refused("SHOAL_TIMEOUT_MS=5K", "is \"5K\""); /* only sizes have suffixes */
}

static void sizes_have_suffixes(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        uint64_t bytes;
    } legal[] = {{"0", 0},
                 {"4096", 4096},
                 {"64K", 65536},
                 {"64k", 65536},
                 {"64KiB", 65536},
                 {"3M", 3145728},
                 {"2G", 2147483648u},
                 {"2GiB", 2147483648u},
                 {"1T", 1099511627776u}};
    for (size_t i = 0; i < sizeof(legal) / sizeof(legal[0]); i++) {
        char setting[64];
        struct shl_config config;
        snprintf(setting, sizeof(setting), "SHOAL_NT_BYTES=%s", legal[i].text);
        ASSERT_OK(load_with(&config, setting));
        assert_true(config.nt_bytes == legal[i].bytes);
        shl_config_free(&config);
    }
    static const char *const bad[] = {
        "K", "1B", "1KB", "1Ki", "1 K", "2T", "1P", "1KiBx", "17592186044416T"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        char setting[64];
        snprintf(setting, sizeof(setting), "SHOAL_NT_BYTES=%s", bad[i]);
        assert_refused(setting, "with K, M, G or T");
    }
}

static void flags_have_four_spellings(void **state)
{
    (void)state;
    static const char *const texts[] = {"1", "true", "YES", "on", "0", "False", "no", "OFF"};
    for (size_t i = 0; i < 8; i++) {
        char setting[64];
        struct shl_config config;
        snprintf(setting, sizeof(setting), "SHOAL_INSECURE=%s", texts[i]);
        ASSERT_OK(load_with(&config, setting));
        assert_int_equal(config.insecure, i < 4);
        shl_config_free(&config);
    }
    assert_refused("SHOAL_INSECURE=2", "give 1 or 0");
    assert_refused("SHOAL_INSECURE=", "is \"\"");
}

static void choices_and_sets_have_names(void **state)
{
    (void)state;
    struct shl_config config;
    ASSERT_OK(load_with(&config, "SHOAL_SHM_COPY=cma"));
    assert_int_equal(config.shm_copy, 2);
    shl_config_free(&config);
    ASSERT_OK(load_with(&config, "SHOAL_TRANSPORT=tcp"));
    assert_int_equal(config.transport, 2);
    shl_config_free(&config);
    ASSERT_OK(load_with(&config, "SHOAL_TRANSPORT=tcp,shm,tcp"));
    assert_int_equal(config.transport, 3);
    shl_config_free(&config);
    assert_refused("SHOAL_SHM_COPY=cms", "allowed: auto, staged, cma; did you mean cma?");
    assert_refused("SHOAL_SHM_COPY=teleport", "allowed: auto, staged, cma");
    assert_refused("SHOAL_TRANSPORT=", "is \"\"");
    assert_refused("SHOAL_TRANSPORT=shm,", "is \"\"");
    assert_refused("SHOAL_TRANSPORT=,shm", "is \"\"");
    assert_refused("SHOAL_TRANSPORT=shm, tcp", "is \" tcp\"");
    assert_refused(
        "SHOAL_TRANSPORT=shm,verbs_with_a_name_longer_than_any_buffer_that_holds_it_here",
        "allowed: shm, tcp");
}

static void settings_that_belong_together_are_checked(void **state)
{
    (void)state;
    struct shl_config config;
    ASSERT_STATUS(SHOAL_ERR_CONFIG, load_with(&config, "SHOAL_HEARTBEAT_MS=700"));
    ASSERT_DETAIL("SHOAL_DEAD_AFTER_MS is 1200");
    ASSERT_DETAIL("SHOAL_HEARTBEAT_MS=700; raise it to 1400");
    ASSERT_OK(load_with(&config, "SHOAL_HEARTBEAT_MS=600"));
    shl_config_free(&config);
}

/* ---- names ------------------------------------------------------------------------------ */

static void unknown_names_get_a_suggestion(void **state)
{
    (void)state;
    assert_refused("SHOAL_TIMEOUT=5",
                   "unknown setting SHOAL_TIMEOUT; did you mean SHOAL_TIMEOUT_MS?");
    assert_refused("SHOAL_INTERFAEC=eth0", "did you mean SHOAL_INTERFACE?");
    assert_refused("SHOAL_QQQQQQQQQQQQQQQQQQQQQQ=1", "`shoal info` lists all");
    assert_refused("timeout_ms=5", "unknown setting timeout_ms");
    assert_refused("shoal_timeout_ms=50", "did you mean SHOAL_TIMEOUT_MS?");
    assert_refused("=5", "unknown setting");
    assert_refused("SHOAL_SECRET", "has no \"=\"");
}

static void a_misplaced_secret_is_not_quoted(void **state)
{
    (void)state;
    struct shl_config config;
    ASSERT_STATUS(SHOAL_ERR_CONFIG, load_with(&config, "SHOAL_SECRTE=hunter2"));
    assert_null(strstr(shl_error_text(), "hunter2"));
    ASSERT_STATUS(SHOAL_ERR_CONFIG, load_with(&config, "SHOAL_SECRET:hunter2"));
    assert_null(strstr(shl_error_text(), "hunter2"));
}

static void a_missing_setting_is_refused(void **state)
{
    (void)state;
    struct shl_config config;
    const char *none = NULL;
    const struct shl_config_options options = {
        .settings = &none, .setting_count = 1, .environment = no_environment};
    ASSERT_STATUS(SHOAL_ERR_CONFIG, shl_config_load(&options, &config));
}

static void the_environment_is_checked(void **state)
{
    (void)state;
    struct shl_config config;
    ASSERT_OK(load_environment(&config, "SHOAL_RANK=3"));
    assert_string_equal(config.rank, "3");
    assert_int_equal(config.origins[SHL_KEY_rank].source, SHL_CONFIG_ENVIRONMENT);
    shl_config_free(&config);
    ASSERT_STATUS(SHOAL_ERR_CONFIG, load_environment(&config, "SHOAL_TIMEOUT_M=5"));
    assert_string_equal(shl_error_text(), "environment: unknown setting SHOAL_TIMEOUT_M; did you "
                                          "mean SHOAL_TIMEOUT_MS?");
    ASSERT_STATUS(SHOAL_ERR_CONFIG, load_environment(&config, "SHOAL_=5"));
    ASSERT_STATUS(SHOAL_ERR_CONFIG, load_environment(&config, "SHOAL_PORT=x"));
    ASSERT_DETAIL("environment: SHOAL_PORT is \"x\"");
}

static void foreign_variables_are_passed_over(void **state)
{
    (void)state;
    static const char *const foreign[] = {"SHOAL_TEST_ANYTHING=1",
                                          "SHOAL_SERVICE_HOST=10.0.0.7",
                                          "SHOAL_SERVICE_PORT=29500",
                                          "SHOAL_SERVICE_PORT_RENDEZVOUS=29500",
                                          "SHOAL_PORT=tcp://10.0.0.7:29500",
                                          "SHOAL_PORT_29500_TCP=tcp://10.0.0.7:29500",
                                          "SHOAL_PORT_29500_TCP_PROTO=tcp",
                                          "SHOAL_PORT_29500_TCP_PORT=29500",
                                          "SHOAL_PORT_29500_UDP_ADDR=10.0.0.7",
                                          "SHOAL_COORDINATOR_SERVICE_HOST=10.0.0.7",
                                          "SHOAL_COORDINATOR_PORT=tcp://10.0.0.7:29500",
                                          "SHOALS=5",
                                          "SHOAL_NO_EQUALS"};
    for (size_t i = 0; i < sizeof(foreign) / sizeof(foreign[0]); i++) {
        struct shl_config config;
        ASSERT_OK(load_environment(&config, foreign[i]));
        assert_int_equal(config.port, 0);
        shl_config_free(&config);
    }
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
    assert_true(digest_with("SHOAL_HEARTBEAT_MS=200") == base);
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
        cmocka_unit_test(defaults_are_those_of_the_table),
        cmocka_unit_test(numbers_have_ranges),
        cmocka_unit_test(sizes_have_suffixes),
        cmocka_unit_test(flags_have_four_spellings),
        cmocka_unit_test(choices_and_sets_have_names),
        cmocka_unit_test(settings_that_belong_together_are_checked),
        cmocka_unit_test(unknown_names_get_a_suggestion),
        cmocka_unit_test(a_misplaced_secret_is_not_quoted),
        cmocka_unit_test(a_missing_setting_is_refused),
        cmocka_unit_test(the_environment_is_checked),
        cmocka_unit_test(foreign_variables_are_passed_over),
        cmocka_unit_test_setup_teardown(later_sources_win, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_file_may_be_named_by_every_source, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_file_that_cannot_be_read_is_named, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_bad_value_in_the_file_is_an_error_even_if_overridden,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(every_failing_call_is_reported, set_up, tear_down),
        cmocka_unit_test(what_is_printed_can_be_read_again),
        cmocka_unit_test_setup_teardown(the_source_of_a_file_has_its_line, set_up, tear_down),
        cmocka_unit_test(the_digest_holds_what_must_agree),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
