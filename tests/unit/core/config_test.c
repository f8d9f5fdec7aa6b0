/*
 * Settings of the caller and the environment: values, names, and what is refused.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "core/config.h"

#include "core/config_internal.h"
#include "support/test.h"

#include <stdio.h>

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
    ASSERT_DETAIL("SHOAL_DEAD_AFTER_MS is 1350");
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
    assert_refused("timeout_ms=5", "unknown setting timeout_ms; did you mean SHOAL_TIMEOUT_MS?");
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
    struct shl_config config;
    for (size_t i = 0; i < sizeof(foreign) / sizeof(foreign[0]); i++) {
        ASSERT_OK(load_environment(&config, foreign[i]));
        assert_int_equal(config.port, 0);
        shl_config_free(&config);
    }
    ASSERT_OK(load_environment(&config, "SHOAL_TEST_FAULT=on=send,do=kill")); /* not foreign */
    assert_string_equal(config.test_fault, "on=send,do=kill");
    shl_config_free(&config);
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
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
