/*
 * Options and reading of the commands that begin with an intent.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "command_intent.h"

#include "check.h"
#include "emit.h"
#include "source.h"

#include <getopt.h>
#include <stdlib.h>

static bool read_intent(struct cni_intent_request *request, const char *path)
{
    const char *error = NULL;
    bool good = cni_source_read(&request->findings, path, &request->intents, &error);
    if (error)
        cni_complain("%s", error);
    return good;
}

static bool read_node(struct cni_intent_request *request, const char *path)
{
    const char *error = NULL;
    bool good = cni_source_read_inventory(&request->findings, path, &request->nodes, &error);
    if (error)
        cni_complain("%s", error);
    return good;
}

void cni_intent_report(const struct cni_intent_request *request, struct cni_findings *findings)
{
    const struct cni_report_options lines = {.colour = request->colour, .quiet = true};
    if (request->quiet)
        cni_findings_drop_below(findings, CNI_ERROR);
    cni_report_text(findings, stderr, &lines);
}

static bool take_format(const struct cni_intent_command *command, const char *name,
                        enum cni_format *format)
{
    if (command->formats)
        return cni_format_parse(name, command->formats, format);
    cni_complain("what is patched keeps the format of its file: leave --output out");
    return false;
}

/* The exit status, or -1 to go on. */
static int parse_options(struct cni_intent_request *request, int argc, char **argv,
                         const struct cni_intent_command *command)
{
    static const struct option options[] = {
        {"intent", required_argument, NULL, 'i'}, {"node", required_argument, NULL, 'n'},
        {"output", required_argument, NULL, 'o'}, {"file", required_argument, NULL, 'f'},
        {"quiet", no_argument, NULL, 'q'},        {"color", required_argument, NULL, 'c'},
        {"help", no_argument, NULL, 'h'},         {NULL, 0, NULL, 0}};
    bool good = cni_colour_parse("auto", stderr, &request->colour);
    request->format = command->format;
    for (int option;
         good && (option = getopt_long(argc, argv, "i:n:o:f:qh", options, NULL)) != -1;) {
        if (option == 'h') {
            fputs(command->usage, stdout);
            return CNI_EXIT_CLEAN;
        }
        if (option == 'f')
            request->file = optarg;
        request->quiet |= option == 'q';
        good = option == 'i'   ? read_intent(request, optarg)
               : option == 'n' ? read_node(request, optarg)
               : option == 'o' ? take_format(command, optarg, &request->format)
               : option == 'c' ? cni_colour_parse(optarg, stderr, &request->colour)
                               : option == 'f' || option == 'q';
    }
    request->paths = (const char *const *)&argv[optind];
    if (!good)
        cni_intent_report(request, &request->findings);
    if (good && !command->takes_paths && (argv[optind] || request->file)) {
        cni_complain("unexpected argument %s", request->file ? request->file : argv[optind]);
        return CNI_EXIT_USAGE;
    }
    return good ? -1 : CNI_EXIT_USAGE;
}

static bool take_intent(struct cni_intent_request *request)
{
    static const char fallback[] = CNI_INTENT_DEFAULT;
    struct cni_problem problem;
    const struct cni_document *document = request->intents;
    if (!document && !request->findings.count &&
        cni_yaml_read(request->findings.arena, "(default intent)", fallback, sizeof(fallback) - 1,
                      &request->intents, &problem))
        document = request->intents;
    if (!document || document->next || !cni_intent_is(document->root)) {
        cni_complain("%s: not one RdmaIntent", document ? document->file : "the intent");
        return false;
    }
    cni_check_documents(&request->findings, request->intents, NULL);
    if (request->findings.by_severity[CNI_ERROR])
        return false;
    return cni_intent_read(&request->findings, document->root, &request->intent);
}

static int run_request(struct cni_intent_request *request,
                       int (*run)(struct cni_intent_request *request))
{
    if (!take_intent(request)) {
        cni_intent_report(request, &request->findings);
        return request->findings.by_severity[CNI_ERROR] ? CNI_EXIT_ERRORS : CNI_EXIT_USAGE;
    }
    cni_plan_make(&request->plan, request->findings.arena, &request->intent, request->nodes);
    return run(request);
}

int cni_intent_command(int argc, char **argv, const struct cni_intent_command *command)
{
    struct cni_intent_request *request = calloc(1, sizeof(*request));
    if (!request)
        return CNI_EXIT_INTERNAL;
    request->findings.arena = cni_arena_create();
    int status = parse_options(request, argc, argv, command);
    if (status < 0)
        status = run_request(request, command->run);
    cni_arena_destroy(request->findings.arena);
    free(request);
    return status;
}

struct cni_document *cni_intent_objects(struct cni_intent_request *request, const json_t *objects)
{
    struct cni_findings findings = {.arena = request->findings.arena};
    struct cni_document *documents = NULL;
    struct cni_problem problem;
    char *text = NULL;
    size_t bytes = 0;
    FILE *out = open_memstream(&text, &bytes);
    bool good = out && cni_emit_documents(objects, out);
    if (out)
        fclose(out);
    const char *kept = cni_arena_copy(findings.arena, text ? text : "", bytes);
    free(text);
    if (!good || !cni_yaml_read(findings.arena, "(generated)", kept, bytes, &documents, &problem)) {
        cni_complain("the generated objects cannot be read back");
        return NULL;
    }
    cni_check_documents(&findings, documents, NULL);
    if (!findings.by_severity[CNI_ERROR])
        return documents;
    cni_complain("the generated objects do not pass our own rules");
    cni_intent_report(request, &findings);
    return NULL;
}
