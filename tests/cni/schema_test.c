/*
 * Schema checks: every kind that is built in resolves, and objects are closed, with the exceptions
 * that schemas state.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "read.h"

#include <stdlib.h>

static void count_kind(void *user, const char *group, const char *version, const char *kind)
{
    uint32_t *count = user;
    assert_non_null(group);
    assert_true(*version && *kind);
    ++*count;
}

static void every_kind_resolves(void **state)
{
    (void)state;
    struct cni_arena *arena = cni_arena_create();
    uint32_t count = 0;
    cni_schemas_each(cni_schemas_load(arena), count_kind, &count);
    assert_int_equal(count, 34);
    cni_arena_destroy(arena);
}

#define POD "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\n"
#define CONTAINER "spec: {containers: [{name: a, image: b"

static void closed_objects(void **state)
{
    (void)state;
    assert_int_equal(findings_of(POD CONTAINER "}]}\n", CNI_RULE_schema_unknown), 0);
    assert_int_equal(findings_of(POD CONTAINER ", x: 1}], y: 2}\n", CNI_RULE_schema_unknown), 2);
    /* Open by their schema, or maps with any key. */
    assert_int_equal(
        findings_of(POD "status: {anything: 1}\n" CONTAINER "}]}\n", CNI_RULE_schema_unknown), 0);
    assert_int_equal(findings_of(POD "spec: {nodeSelector: {any: thing}, containers: []}\n",
                                 CNI_RULE_schema_unknown),
                     0);
}

static void quantities(void **state)
{
    (void)state;
    static const struct {
        const char *value;
        uint32_t wrong;
    } cases[] = {{"1", 0}, {"500m", 0}, {"1Gi", 0}, {"\"1e3\"", 0}, {"1Gb", 1}, {"[1]", 1}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char text[256];
        snprintf(text, sizeof(text), POD CONTAINER ", resources: {limits: {cpu: %s}}}]}\n",
                 cases[i].value);
        uint32_t found =
            findings_of(text, CNI_RULE_schema_value) + findings_of(text, CNI_RULE_schema_type);
        if (found != cases[i].wrong)
            fail_msg("%s: %u findings", cases[i].value, found);
    }
}

/* Two kinds of one name are told apart by their version. */
static void versions(void **state)
{
    (void)state;
    static const char text[] = "apiVersion: kubeflow.org/%s\n"
                               "kind: MPIJob\n"
                               "metadata: {name: a}\n"
                               "spec: {sshAuthMountPath: /x, mpiReplicaSpecs: {}}\n";
    char one[256], two[256], none[256];
    snprintf(one, sizeof(one), text, "v1");
    snprintf(two, sizeof(two), text, "v2beta1");
    snprintf(none, sizeof(none), text, "v9");
    assert_int_equal(findings_of(one, CNI_RULE_schema_unknown), 1);
    assert_int_equal(findings_of(two, CNI_RULE_schema_unknown), 0);
    assert_int_equal(findings_of(none, CNI_RULE_schema_kind), 1);
}

static void nothing_where_something_is_required(void **state)
{
    (void)state;
    assert_int_equal(findings_of(POD "spec:\n", CNI_RULE_schema_missing), 2);
    assert_int_equal(
        findings_of("apiVersion: v1\nkind: Pod\nspec: {containers: []}\n", CNI_RULE_schema_missing),
        1);
}

/* Findings are bounded, and the rest is counted. */
static void flood(void **state)
{
    (void)state;
    struct cni_findings findings = {.arena = cni_arena_create()};
    char *text = NULL;
    size_t bytes = 0;
    FILE *stream = open_memstream(&text, &bytes);
    fputs(POD CONTAINER "}], volumes: [", stream);
    for (uint32_t i = 0; i < CNI_FINDINGS_MAX + 10; i++)
        fprintf(stream, "{name: v, x%u: 1},\n", i);
    fputs("]}\n", stream);
    fclose(stream);
    cni_check_documents(&findings, read_yaml(findings.arena, text), NULL);
    assert_int_equal(findings.count, CNI_FINDINGS_MAX);
    assert_int_equal(findings.by_severity[CNI_ERROR], CNI_FINDINGS_MAX + 10);
    assert_int_equal(findings.omitted, 10);
    free(text);
    cni_arena_destroy(findings.arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_kind_resolves),
        cmocka_unit_test(closed_objects),
        cmocka_unit_test(quantities),
        cmocka_unit_test(versions),
        cmocka_unit_test(nothing_where_something_is_required),
        cmocka_unit_test(flood),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
