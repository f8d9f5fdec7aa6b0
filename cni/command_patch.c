/*
 * `shoal-cni patch`.
 *
 * Invariant: nothing is printed unless it was read back, needs no further patch, and everything
 * that was not patched is as it was.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "check.h"
#include "command_intent.h"
#include "patch.h"
#include "source.h"

#include <string.h>

static const char usage[] =
    "usage: shoal-cni patch [OPTION]... FILE\n"
    "\n"
    "Puts what the plan needs into the pods of an MPIJob, PyTorchJob, TFJob, TrainJob, JobSet, Job "
    "or\n"
    "Pod, and prints the whole file: attachments, devices, the right to lock memory, /dev/shm and\n"
    "Shoal's variables, in the containers that train. Comments and order stay; what is there "
    "already\n"
    "stays; a second patch changes nothing. FILE is YAML or JSON, or - for standard input.\n"
    "\n" CNI_INTENT_OPTIONS "  -f, --file FILE      the same as FILE\n"
    "  -h, --help           print this\n"
    "\n"
    "What is wrong with the patched file together with the objects that `generate` writes is told "
    "on\n"
    "standard error. Exit status: 0 patched, 2 unreadable input or nothing to patch, 3 there is "
    "no\n"
    "plan, or the patched file has errors.\n"
    "\n"
    "Example: shoal-cni patch -i intent.yaml -n node7.json job.yaml > job-rdma.yaml\n";

struct text {
    const char *content;
    size_t bytes;
    struct cni_document *documents;
    uint32_t containers;
};

/* One round over a text; false after a complaint. */
static bool patch_once(struct cni_intent_request *request, const char *file, struct text *from,
                       struct text *to, json_t *advice)
{
    struct cni_problem problem;
    struct cni_edits edits;
    struct cni_patch patch = {.arena = request->findings.arena,
                              .plan = &request->plan,
                              .edits = &edits,
                              .advice = advice};
    cni_edits_init(&edits, patch.arena, from->content);
    cni_documents_expand(patch.arena, &from->documents);
    to->content = cni_patch_documents(&patch, from->documents, from->bytes, &to->bytes);
    to->containers = patch.containers;
    if (edits.refused)
        cni_complain("%s:%u: %s cannot be patched: %s", file, edits.refused->line,
                     cni_node_path(patch.arena, edits.refused), edits.reason);
    else if (!cni_yaml_read(patch.arena, file, to->content, to->bytes, &to->documents, &problem))
        cni_complain("%s: cannot be patched in place: line %u would be %s", file, problem.line,
                     problem.text);
    else
        return true;
    return false;
}

static bool patch_twice(struct cni_intent_request *request, const char *file, struct text *original,
                        struct text *patched)
{
    struct text again;
    json_t *advice = json_array(), *ignored = json_array(), *one;
    size_t index;
    bool good = patch_once(request, file, original, patched, advice);
    if (good && !patched->containers) {
        cni_complain("%s: nothing to patch; there is no workload, or none of its containers is one "
                     "that trains",
                     file);
        good = false;
    }
    good = good && patch_once(request, file, patched, &again, ignored);
    if (good &&
        (again.bytes != patched->bytes || memcmp(again.content, patched->content, again.bytes))) {
        cni_complain("%s: cannot be patched in place: its layout is unusual", file);
        good = false;
    }
    json_array_foreach(advice, index, one)
    {
        if (good && !request->quiet)
            cni_complain("note: %s", json_string_value(one));
    }
    json_decref(advice);
    json_decref(ignored);
    return good;
}

/* The patched file beside what is generated: findings go to standard error. */
static int judge(struct cni_intent_request *request, struct text *patched)
{
    struct cni_findings findings = {.arena = request->findings.arena};
    json_t *objects = cni_generate(&request->plan);
    struct cni_document *documents = cni_intent_objects(request, objects), **tail = &documents;
    json_decref(objects);
    if (!documents)
        return CNI_EXIT_INTERNAL;
    while (*tail)
        tail = &(*tail)->next;
    *tail = patched->documents;
    cni_check_documents(&findings, documents, request->nodes);
    cni_findings_drop_below(&findings, CNI_WARNING);
    cni_intent_report(request, &findings);
    return findings.by_severity[CNI_ERROR] ? CNI_EXIT_ERRORS : CNI_EXIT_CLEAN;
}

static bool read_original(struct cni_intent_request *request, const char *path,
                          struct text *original)
{
    struct cni_arena *arena = request->findings.arena;
    struct cni_problem problem;
    const char *error = NULL;
    original->content = cni_source_content(arena, path, &original->bytes, &error);
    if (!original->content)
        cni_complain("%s", error);
    else if (!cni_yaml_read(arena, path, original->content, original->bytes, &original->documents,
                            &problem))
        cni_complain("%s:%u: %s", path, problem.line, problem.text);
    else
        return true;
    return false;
}

static int run(struct cni_intent_request *request)
{
    struct text original = {.content = NULL}, patched = {.content = NULL};
    const char *path = request->file ? request->file : request->paths[0];
    if (!path || request->paths[request->file ? 0 : 1]) {
        cni_complain("patch takes one file");
        return CNI_EXIT_USAGE;
    }
    if (!read_original(request, path, &original))
        return CNI_EXIT_USAGE;
    if (!request->plan.possible) {
        cni_plan_text(&request->plan, stderr);
        return CNI_EXIT_ERRORS;
    }
    if (!patch_twice(request, path, &original, &patched))
        return CNI_EXIT_USAGE;
    int status = judge(request, &patched);
    bool good = fwrite(patched.content, 1, patched.bytes, stdout) == patched.bytes;
    return fflush(stdout) == 0 && good ? status : CNI_EXIT_INTERNAL;
}

int cni_command_patch(int argc, char **argv)
{
    return cni_intent_command(
        argc, argv,
        &(struct cni_intent_command){
            .usage = usage, .format = CNI_FORMAT_YAML, .takes_paths = true, .run = run});
}
