/*
 * Manifests in a test.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "read.h"

char *read_file(const char *path)
{
    FILE *file = fopen(path, "r");
    char *content = NULL;
    size_t bytes = 0;
    if (!file)
        return NULL;
    ssize_t got = getdelim(&content, &bytes, 0, file);
    fclose(file);
    if (got < 0 && content)
        content[0] = 0;
    return content;
}

struct cni_document *read_yaml(struct cni_arena *arena, const char *text)
{
    struct cni_document *documents;
    struct cni_problem problem;
    if (!cni_yaml_read(arena, "test.yaml", text, strlen(text), &documents, &problem))
        fail_msg("line %u: %s", problem.line, problem.text);
    return documents;
}

void assert_yaml_refused(const char *text, uint32_t line, const char *part)
{
    struct cni_arena *arena = cni_arena_create();
    struct cni_document *documents;
    struct cni_problem problem;
    assert_false(cni_yaml_read(arena, "test.yaml", text, strlen(text), &documents, &problem));
    if (!strstr(problem.text, part))
        fail_msg("\"%s\" is not in \"%s\"", part, problem.text);
    assert_int_equal(problem.line, line);
    cni_arena_destroy(arena);
}

char *report_of(const char *path, const char *const *nodes)
{
    struct cni_findings findings = {.arena = cni_arena_create()};
    const struct cni_report_options options = {.quiet = true};
    struct cni_document *documents = NULL, *inventories = NULL;
    const char *error = NULL;
    char *text = NULL;
    size_t bytes = 0;
    cni_source_read(&findings, path, &documents, &error);
    if (error)
        fail_msg("%s", error);
    for (; nodes && *nodes; nodes++)
        if (!cni_source_read_inventory(&findings, *nodes, &inventories, &error))
            fail_msg("%s", error);
    cni_check_documents(&findings, documents, inventories);
    FILE *stream = open_memstream(&text, &bytes);
    assert_non_null(stream);
    assert_true(cni_report_text(&findings, stream, &options));
    fclose(stream);
    cni_arena_destroy(findings.arena);
    return text;
}

uint32_t findings_of(const char *text, enum cni_rule_number rule)
{
    struct cni_findings findings = {.arena = cni_arena_create()};
    uint32_t count = 0;
    cni_check_documents(&findings, read_yaml(findings.arena, text), NULL);
    for (const struct cni_finding *finding = findings.first; finding; finding = finding->next)
        count += finding->rule == &cni_rules[rule];
    cni_arena_destroy(findings.arena);
    return count;
}
