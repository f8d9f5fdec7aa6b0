/*
 * YAML files: what is read, and each construct that is refused with its line.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "core/config_internal.h"
#include "support/test.h"

#include <stdlib.h>

static enum shoal_status read_text(struct shl_config_loader *loader, const char *text)
{
    memset(loader, 0, sizeof(*loader));
    return shl_config_read_yaml(loader, "f.yaml", text, strlen(text));
}

static void assert_refused(const char *text, const char *start, const char *part)
{
    struct shl_config_loader loader;
    enum shoal_status status = read_text(&loader, text);
    shl_config_drop(&loader);
    ASSERT_STATUS(SHOAL_ERR_CONFIG, status);
    ASSERT_DETAIL(part);
    if (strncmp(shl_error_text(), start, strlen(start)) != 0)
        fail_msg("\"%s\" does not begin with \"%s\"", shl_error_text(), start);
}

static void both_spellings_are_read(void **state)
{
    (void)state;
    struct shl_config_loader loader;
    ASSERT_OK(read_text(&loader, "# settings\n"
                                 "SHOAL_TIMEOUT_MS: 5000\n"
                                 "nt_bytes: 64K   # of results\n"
                                 "\n"
                                 "insecure: true\n"
                                 "\"transport\": 'shm,tcp'\n"
                                 "job: \"a: b\"\n"
                                 "interface: \"\"\n"));
    assert_int_equal(loader.values[SHL_KEY_timeout_ms].number, 5000);
    assert_int_equal(loader.origins[SHL_KEY_timeout_ms].line, 2);
    assert_int_equal(loader.values[SHL_KEY_nt_bytes].number, 65536);
    assert_true(loader.values[SHL_KEY_insecure].flag);
    assert_int_equal(loader.values[SHL_KEY_transport].index, 3);
    assert_string_equal(loader.values[SHL_KEY_job].text, "a: b");
    assert_string_equal(loader.values[SHL_KEY_interface].text, "");
    assert_int_equal(loader.origins[SHL_KEY_interface].line, 8);
    shl_config_drop(&loader);
}

static void flow_style_and_json_are_yaml_too(void **state)
{
    (void)state;
    struct shl_config_loader loader;
    ASSERT_OK(read_text(&loader, "{timeout_ms: 11, \"job\": \"x\"}"));
    assert_int_equal(loader.values[SHL_KEY_timeout_ms].number, 11);
    shl_config_drop(&loader);
    ASSERT_OK(read_text(&loader, "job: >\n  folded\n  text"));
    assert_string_equal(loader.values[SHL_KEY_job].text, "folded text");
    shl_config_drop(&loader);
}

static void a_file_without_settings_is_legal(void **state)
{
    (void)state;
    static const char *const texts[] = {"",
                                        "\n\n",
                                        "# nothing\n",
                                        "---\n",
                                        "---\n...\n",
                                        "{}",
                                        "\xef\xbb\xbf# after a byte order mark\n",
                                        "~",
                                        "null"};
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        struct shl_config_loader loader;
        ASSERT_OK(read_text(&loader, texts[i]));
        assert_null(loader.texts);
    }
}

static void names_and_values_are_checked_with_their_line(void **state)
{
    (void)state;
    assert_refused("a: 1\n", "f.yaml:1: ", "unknown setting a;");
    assert_refused("job: x\ntimeout: 5\n", "f.yaml:2: ", "did you mean timeout_ms?");
    assert_refused("SHOAL_TIMEOUT: 5\n", "f.yaml:1: ", "did you mean SHOAL_TIMEOUT_MS?");
    assert_refused("Timeout_ms: 50\n", "f.yaml:1: ", "did you mean timeout_ms?");
    assert_refused("job: x\n\ntimeout_ms: true\n", "f.yaml:3: ",
                   "SHOAL_TIMEOUT_MS is \"true\"; give a whole number from 10 to 86400000");
    assert_refused("timeout_ms: 5.5\n", "f.yaml:1: ", "is \"5.5\"");
    assert_refused("insecure: 7\n", "f.yaml:1: ", "give 1 or 0");
    assert_refused("timeout_ms: 50\nSHOAL_TIMEOUT_MS: 60\n", "f.yaml:2: ", "set twice");
    assert_refused("config_file: other.yaml\n", "f.yaml:1: ", "cannot name another");
    assert_refused("? timeout_ms\n", "f.yaml:1: ", "has no value");
}

static void missing_values_are_refused(void **state)
{
    (void)state;
    assert_refused("timeout_ms:\n", "f.yaml:1: ", "SHOAL_TIMEOUT_MS has no value");
    assert_refused("job: ~\n", "f.yaml:1: ", "SHOAL_JOB has no value");
    assert_refused("job: null\n", "f.yaml:1: ", "or \"\" for none");
    struct shl_config_loader loader;
    ASSERT_OK(read_text(&loader, "job: \"null\"\n"));
    assert_string_equal(loader.values[SHL_KEY_job].text, "null");
    shl_config_drop(&loader);
}

static void structure_is_refused(void **state)
{
    (void)state;
    assert_refused("job:\n  name: x\n", "f.yaml:2: ", "a nested mapping where a single value");
    assert_refused("job: x\ntransport: [shm, tcp]\n", "f.yaml:2: ", "a list where a single value");
    assert_refused("transport:\n  - shm\n", "f.yaml:2: ", "lists as `a,b`");
    assert_refused("- job\n", "f.yaml:1: ", "a list where settings belong");
    assert_refused("\njust words\n", "f.yaml:2: ", "a single value where settings belong");
    assert_refused("{a: b}: c\n", "f.yaml:1: ", "a nested mapping");
    assert_refused("[a]: c\n", "f.yaml:1: ", "a list");
    assert_refused("job: x\n---\njob: y\n", "f.yaml:2: ", "a second document");
}

static void anchors_aliases_and_tags_are_refused(void **state)
{
    (void)state;
    assert_refused("job: &a x\n", "f.yaml:1: ", "anchors are not allowed");
    assert_refused("&a job: x\n", "f.yaml:1: ", "anchors are not allowed");
    assert_refused("&a\njob: x\n", "f.yaml:1: ", "anchors are not allowed");
    assert_refused("job: *a\n", "f.yaml:1: ", "an alias");
    assert_refused("*a\n", "f.yaml:1: ", "an alias");
    assert_refused("job: !!str 5\n", "f.yaml:1: ", "tags are not allowed");
    assert_refused("<<: {job: x}\n", "f.yaml:1: ", "unknown setting <<");
}

static void broken_yaml_is_refused_with_its_line(void **state)
{
    (void)state;
    assert_refused("job: x\n  bad: y\n", "f.yaml:2: ", "not YAML: ");
    assert_refused("job: \"open\n", "f.yaml:2: ", "not YAML: ");
    assert_refused("job: x\n\tspin_us: 1\n", "f.yaml:2: ", "not YAML: ");
    assert_refused("{job: x", "f.yaml:2: ", "not YAML: "); /* where it ends */
    assert_refused("job: \xff\xfe\n", "f.yaml:1: ", "not YAML: ");
    assert_refused("job: \x01\n", "f.yaml:1: ", "not YAML: ");
    assert_refused("job: @x\n", "f.yaml:1: ", "not YAML: ");
}

static void zero_bytes_cannot_hide_the_rest(void **state)
{
    (void)state;
    assert_refused("job: \"a\\0b\"\n", "f.yaml:1: ", "zero byte");
    assert_refused("\"job\\0x\": a\n", "f.yaml:1: ", "zero byte");
    static const char raw[] = "job: a\0b\n";
    struct shl_config_loader loader;
    memset(&loader, 0, sizeof(loader));
    ASSERT_STATUS(SHOAL_ERR_CONFIG, shl_config_read_yaml(&loader, "f.yaml", raw, sizeof(raw) - 1));
    shl_config_drop(&loader);
}

/* Depth must cost nothing: the first nested event ends it. */
static void deep_nesting_is_refused_at_once(void **state)
{
    (void)state;
    size_t depth = 200000;
    char *text = malloc(depth + 6);
    memcpy(text, "job: ", 5);
    memset(text + 5, '[', depth);
    text[depth + 5] = 0;
    assert_refused(text, "f.yaml:1: ", "a list");
    free(text);
}

/* Every prefix of a legal file is read or refused, never worse. */
static void every_truncation_is_handled(void **state)
{
    (void)state;
    static const char text[] = "# c\nSHOAL_TIMEOUT_MS: 5000\n\"job\": 'it''s \\n'\ninsecure: on\n"
                               "interface: |\n  a\n  b\nnt_bytes: 1M\n";
    for (size_t bytes = 0; bytes < sizeof(text); bytes++) {
        char *copy = malloc(bytes ? bytes : 1);
        memcpy(copy, text, bytes);
        struct shl_config_loader loader;
        memset(&loader, 0, sizeof(loader));
        enum shoal_status status = shl_config_read_yaml(&loader, "f.yaml", copy, bytes);
        assert_true(status == SHOAL_OK || status == SHOAL_ERR_CONFIG);
        shl_config_drop(&loader);
        free(copy);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_spellings_are_read),
        cmocka_unit_test(flow_style_and_json_are_yaml_too),
        cmocka_unit_test(a_file_without_settings_is_legal),
        cmocka_unit_test(names_and_values_are_checked_with_their_line),
        cmocka_unit_test(missing_values_are_refused),
        cmocka_unit_test(structure_is_refused),
        cmocka_unit_test(anchors_aliases_and_tags_are_refused),
        cmocka_unit_test(broken_yaml_is_refused_with_its_line),
        cmocka_unit_test(zero_bytes_cannot_hide_the_rest),
        cmocka_unit_test(deep_nesting_is_refused_at_once),
        cmocka_unit_test(every_truncation_is_handled),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
