/*
 * Manifests of any content, as YAML and as JSON: they are refused with a line, or checked to the
 * end; every finding has a file, a line and a message.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "check.h"
#include "fuzz/fuzz.h"

static void check(struct cni_arena *arena, struct cni_document *documents)
{
    struct cni_findings findings = {.arena = arena};
    cni_check_documents(&findings, documents, NULL);
    for (const struct cni_finding *finding = findings.first; finding; finding = finding->next)
        FUZZ_REQUIRE(finding->file && finding->line && *finding->message && finding->path);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    struct cni_arena *arena = cni_arena_create();
    struct cni_document *documents, *json = cni_arena_alloc(arena, sizeof(*json));
    struct cni_problem problem;
    const char *text = cni_arena_copy(arena, data, bytes);
    if (cni_yaml_read(arena, "fuzz.yaml", text, bytes, &documents, &problem))
        check(arena, documents);
    else
        FUZZ_REQUIRE(problem.line && problem.text[0]);
    json->file = "fuzz.json";
    if (cni_json_read(arena, json, text, bytes, &json->root, &problem))
        check(arena, json);
    else
        FUZZ_REQUIRE(problem.line && problem.text[0]);
    cni_arena_destroy(arena);
    return 0;
}
