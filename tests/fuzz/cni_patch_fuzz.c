/*
 * Intents and workloads of any content: an intent is refused or becomes a plan whose objects pass
 * our own rules; a workload is patched so that it reads back and needs no further patch, or is
 * refused.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "check.h"
#include "emit.h"
#include "fuzz/fuzz.h"
#include "patch.h"

static const char inventory[] =
    "{schema: shoal.dev/inventory/v1alpha1, rdma_netns_mode: shared, gpus: [], modules: [], "
    "rdma: [{name: a, pci: '0000:01:00.0', vendor: '0x15b3', device: '0x1021', netdevs: [e0], "
    "ports: [{state: ACTIVE, link_layer: Ethernet}]}], "
    "netdevs: [{name: e0, kind: ethernet, mtu: 9000, functions: {total: 128}}]}";

static struct cni_document *read_text(struct cni_arena *arena, const char *text, size_t bytes)
{
    struct cni_document *documents;
    struct cni_problem problem;
    return cni_yaml_read(arena, "fuzz.yaml", text, bytes, &documents, &problem) ? documents : NULL;
}

/* What is generated has no errors. */
static void check_objects(struct cni_arena *arena, const struct cni_plan *plan)
{
    struct cni_findings findings = {.arena = arena};
    char *text = NULL;
    size_t bytes = 0;
    FILE *out = open_memstream(&text, &bytes);
    json_t *objects = cni_generate(plan);
    FUZZ_REQUIRE(out && cni_emit_documents(objects, out));
    fclose(out);
    struct cni_document *documents = read_text(arena, text, bytes);
    FUZZ_REQUIRE(documents);
    cni_check_documents(&findings, documents, NULL);
    FUZZ_REQUIRE(findings.by_severity[CNI_ERROR] == 0);
    json_decref(objects);
    free(text);
}

static void try_plan(struct cni_arena *arena, struct cni_document *documents,
                     const struct cni_document *node, struct cni_intent *intent,
                     struct cni_plan *plan)
{
    struct cni_findings findings = {.arena = arena};
    bool lonely = !documents->next && cni_intent_is(documents->root);
    if (!lonely)
        return;
    cni_check_documents(&findings, documents, NULL);
    if (findings.by_severity[CNI_ERROR] || !cni_intent_read(&findings, documents->root, intent))
        return;
    cni_plan_make(plan, arena, intent, node);
    json_decref(cni_plan_json(plan));
    if (plan->possible)
        check_objects(arena, plan);
}

/* False when the text was refused. */
static bool patch(struct cni_arena *arena, const struct cni_plan *plan, const char *text,
                  size_t bytes, const char **patched, size_t *patched_bytes)
{
    struct cni_edits edits;
    struct cni_patch state = {
        .arena = arena, .plan = plan, .edits = &edits, .advice = json_array()};
    struct cni_document *documents = read_text(arena, text, bytes);
    cni_edits_init(&edits, arena, text);
    if (documents) {
        cni_documents_expand(arena, &documents);
        *patched = cni_patch_documents(&state, documents, bytes, patched_bytes);
    }
    json_decref(state.advice);
    return documents && !edits.refused;
}

/* A plan of our own, made once: reading the schemas takes far longer than a patch. */
static const struct cni_plan *usual_plan(const struct cni_document **node)
{
    static const char text[] = "apiVersion: shoal.dev/v1alpha1\nkind: RdmaIntent\n"
                               "metadata: {name: a}\nspec: {pod: {shm: 1Gi}, qos: {priority: 3}}";
    static struct cni_arena *arena;
    static struct cni_intent intent;
    static struct cni_plan plan;
    static struct cni_document *inventories;
    if (!arena) {
        arena = cni_arena_create();
        inventories = read_text(arena, inventory, sizeof(inventory) - 1);
        try_plan(arena, read_text(arena, text, sizeof(text) - 1), inventories, &intent, &plan);
        FUZZ_REQUIRE(plan.possible);
    }
    *node = inventories;
    return &plan;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    const struct cni_document *node;
    const struct cni_plan *usual = usual_plan(&node);
    struct cni_arena *arena = cni_arena_create();
    struct cni_intent *intent = cni_arena_alloc(arena, sizeof(*intent));
    struct cni_plan *plan = cni_arena_alloc(arena, sizeof(*plan));
    const char *text = cni_arena_copy(arena, data, bytes), *once, *twice;
    struct cni_document *documents = read_text(arena, text, bytes);
    size_t once_bytes, twice_bytes;
    if (documents)
        try_plan(arena, documents, node, intent, plan);
    if (patch(arena, usual, text, bytes, &once, &once_bytes) &&
        patch(arena, usual, once, once_bytes, &twice, &twice_bytes))
        FUZZ_REQUIRE(twice_bytes >= once_bytes); /* where they differ, the program refuses */
    cni_arena_destroy(arena);
    return 0;
}
