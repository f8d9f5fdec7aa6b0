/*
 * Reports: the order of findings, and JSON and SARIF that say the same as the text.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "read.h"

#include <shoal/version.h>

#include <jansson.h>
#include <stdlib.h>

static struct cni_findings findings;

static int create(void **state)
{
    (void)state;
    static struct cni_document document = {.file = "a file.yaml"};
    findings = (struct cni_findings){.arena = cni_arena_create(), .documents = 1};
    struct cni_node *late = cni_node_create(findings.arena, &document, CNI_MAP, 9);
    struct cni_node *early = cni_node_create(findings.arena, &document, CNI_TEXT, 3);
    cni_node_append(late, early, "odd\x1bkey");
    cni_find(&findings, CNI_RULE_cni_key, early, "late \x1b[2J \xc3\xa9");
    early->line = 2;
    cni_find(&findings, CNI_RULE_ipoib_master, early, "early");
    cni_find(&findings, CNI_RULE_ipoib_master, early, "early");
    cni_findings_sort(&findings);
    return 0;
}

static int destroy(void **state)
{
    (void)state;
    cni_arena_destroy(findings.arena);
    return 0;
}

static json_t *parsed(bool (*report)(const struct cni_findings *, FILE *))
{
    char *text = NULL;
    size_t bytes = 0;
    FILE *stream = open_memstream(&text, &bytes);
    assert_true(report(&findings, stream));
    fclose(stream);
    json_error_t error;
    json_t *root = json_loads(text, 0, &error);
    if (!root)
        fail_msg("%s in %s", error.text, text);
    free(text);
    return root;
}

static void text(void **state)
{
    (void)state;
    char *report = NULL;
    size_t bytes = 0;
    FILE *stream = open_memstream(&report, &bytes);
    const struct cni_report_options options = {.quiet = false};
    assert_true(cni_report_text(&findings, stream, &options));
    fclose(stream);
    assert_int_equal(strncmp(report, "a file.yaml:2: error: early [ipoib-master]\n", 43), 0);
    assert_non_null(strstr(report, "a file.yaml:3: warning: late ?[2J \xc3\xa9 [cni-unknown-key]"));
    assert_non_null(strstr(report, "    path   odd?key\n"));
    assert_non_null(strstr(report, "1 error, 1 warning, 0 notes in 1 document\n"));
    assert_null(strchr(report, 0x1b));
    free(report);
}

static bool report_json(const struct cni_findings *reported, FILE *out)
{
    return cni_report_data(reported, false, out);
}

static void json(void **state)
{
    (void)state;
    static const char *const members[] = {"rule",    "severity", "file", "path",
                                          "message", "cause",    "fix",  "ref"};
    json_t *root = parsed(report_json), *list = json_object_get(root, "findings");
    assert_int_equal(json_array_size(list), 2);
    assert_int_equal(json_integer_value(json_object_get(json_array_get(list, 0), "line")), 2);
    for (size_t i = 0; i < sizeof(members) / sizeof(members[0]); i++)
        assert_true(json_is_string(json_object_get(json_array_get(list, 1), members[i])));
    json_t *counts = json_object_get(root, "counts");
    assert_int_equal(json_integer_value(json_object_get(counts, "error")), 1);
    json_decref(root);
}

static void sarif(void **state)
{
    (void)state;
    const char *version, *driver_version, *rule, *level, *uri;
    int index, line;
    json_t *root = parsed(cni_report_sarif), *rules;
    assert_int_equal(
        json_unpack(
            root, "{s:s, s:[{s:{s:{s:s, s:o}}, s:[{s:s, s:i, s:s, s:[{s:{s:{s:s}, s:{s:i}}}]}]}]}",
            "version", &version, "runs", "tool", "driver", "version", &driver_version, "rules",
            &rules, "results", "ruleId", &rule, "ruleIndex", &index, "level", &level, "locations",
            "physicalLocation", "artifactLocation", "uri", &uri, "region", "startLine", &line),
        0);
    assert_string_equal(version, "2.1.0");
    assert_string_equal(rule, "ipoib-master");
    assert_string_equal(level, "error");
    assert_string_equal(uri, "a%20file.yaml");
    assert_int_equal(line, 2);
    assert_string_equal(
        json_string_value(json_object_get(json_array_get(rules, (size_t)index), "id")), rule);
    assert_string_equal(driver_version, SHOAL_VERSION_STRING);
    json_decref(root);
}

/* A path from the root is a URI of its own. */
static void sarif_absolute(void **state)
{
    (void)state;
    const char *uri;
    struct cni_finding *finding = findings.first;
    const char *before = finding->file;
    finding->file = "/a file.yaml";
    json_t *root = parsed(cni_report_sarif);
    assert_int_equal(json_unpack(root, "{s:[{s:[{s:[{s:{s:{s:s}}}]}]}]}", "runs", "results",
                                 "locations", "physicalLocation", "artifactLocation", "uri", &uri),
                     0);
    assert_string_equal(uri, "file:///a%20file.yaml");
    finding->file = before;
    json_decref(root);
}

static void rules(void **state)
{
    (void)state;
    assert_ptr_equal(cni_rule_find("memlock"), &cni_rules[CNI_RULE_memlock]);
    assert_null(cni_rule_find("memlok"));
    for (size_t i = 0; i < CNI_RULE_COUNT; i++) {
        const struct cni_rule *rule = &cni_rules[i];
        assert_true(*rule->title && *rule->cause && *rule->fix);
        assert_int_equal(strncmp(rule->ref, "https://", 8), 0);
        for (size_t j = 0; j < i; j++)
            assert_string_not_equal(rule->id, cni_rules[j].id);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(text, create, destroy),
        cmocka_unit_test_setup_teardown(json, create, destroy),
        cmocka_unit_test_setup_teardown(sarif, create, destroy),
        cmocka_unit_test_setup_teardown(sarif_absolute, create, destroy),
        cmocka_unit_test(rules),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
