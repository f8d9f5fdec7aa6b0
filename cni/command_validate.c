/*
 * `shoal-cni validate`.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "check.h"
#include "commands.h"
#include "source.h"

#include <getopt.h>

static const char usage[] =
    "usage: shoal-cni validate [OPTION]... FILE...\n"
    "\n"
    "Checks manifests against the schemas of their kinds, with no unknown fields let through; CNI\n"
    "configurations against what each plugin reads; and all of them against each other: give the\n"
    "files that are applied together. FILE is YAML (any number of documents), JSON, a folder of\n"
    "these, or - for standard input. A CNI configuration may also stand by itself.\n"
    "\n"
    "  -f, --file FILE     the same as FILE\n"
    "  -n, --node FILE     an inventory that `shoal-cni inspect` printed; may be given several "
    "times\n"
    "  -o, --output KIND   text (default), json, yaml, sarif\n"
    "  -q, --quiet         one line a finding\n"
    "      --strict        exit status 4 when there are warnings\n"
    "      --color WHEN    auto (default), always, never\n"
    "  -h, --help          print this\n"
    "\n"
    "Each finding names a rule, which `shoal-cni explain RULE` explains, file and line, path, "
    "cause,\n"
    "fix and reference. Exit status: 0 no errors, 2 unreadable input, 3 errors, 4 warnings with\n"
    "--strict.\n"
    "\n"
    "Example: shoal-cni validate --node node7.json networks.yaml policy.yaml job.yaml\n";

struct request {
    enum cni_format format;
    bool quiet, strict, colour, readable;
    struct cni_findings *findings;
    struct cni_document *documents, *nodes;
};

static void read_source(struct request *request, const char *path)
{
    const char *error = NULL;
    if (!cni_source_read(request->findings, path, &request->documents, &error))
        request->readable = false;
    if (error)
        cni_complain("%s", error);
}

static void read_inventory(struct request *request, const char *path)
{
    const char *error = NULL;
    if (cni_source_read_inventory(request->findings, path, &request->nodes, &error))
        return;
    cni_complain("%s", error);
    request->readable = false;
}

static bool report(const struct request *request)
{
    const struct cni_report_options options = {.colour = request->colour, .quiet = request->quiet};
    switch (request->format) {
    case CNI_FORMAT_JSON:
    case CNI_FORMAT_YAML:
        return cni_report_data(request->findings, request->format == CNI_FORMAT_YAML, stdout);
    case CNI_FORMAT_SARIF:
        return cni_report_sarif(request->findings, stdout);
    default:
        return cni_report_text(request->findings, stdout, &options);
    }
}

static int verdict(const struct request *request)
{
    if (!request->readable)
        return CNI_EXIT_USAGE;
    if (request->findings->by_severity[CNI_ERROR])
        return CNI_EXIT_ERRORS;
    if (request->strict && request->findings->by_severity[CNI_WARNING])
        return CNI_EXIT_WARNINGS;
    return CNI_EXIT_CLEAN;
}

static int parse_options(struct request *request, int argc, char **argv)
{
    static const struct option options[] = {
        {"file", required_argument, NULL, 'f'},   {"node", required_argument, NULL, 'n'},
        {"output", required_argument, NULL, 'o'}, {"quiet", no_argument, NULL, 'q'},
        {"strict", no_argument, NULL, 's'},       {"color", required_argument, NULL, 'c'},
        {"help", no_argument, NULL, 'h'},         {NULL, 0, NULL, 0}};
    const char *colour = "auto";
    for (int option; (option = getopt_long(argc, argv, "f:n:o:qh", options, NULL)) != -1;) {
        if (option == 'f')
            read_source(request, optarg);
        else if (option == 'n')
            read_inventory(request, optarg);
        else if (option == 'o' && !cni_format_parse(optarg, CNI_FORMATS_ALL, &request->format))
            return CNI_EXIT_USAGE;
        else if (option == 'q')
            request->quiet = true;
        else if (option == 's')
            request->strict = true;
        else if (option == 'c')
            colour = optarg;
        else if (option == 'h') {
            fputs(usage, stdout);
            return CNI_EXIT_CLEAN;
        } else if (option == '?') {
            return CNI_EXIT_USAGE;
        }
    }
    for (int i = optind; i < argc; i++)
        read_source(request, argv[i]);
    return cni_colour_parse(colour, stdout, &request->colour) ? -1 : CNI_EXIT_USAGE;
}

int cni_command_validate(int argc, char **argv)
{
    struct cni_findings findings = {.arena = cni_arena_create()};
    struct request request = {.readable = true, .findings = &findings};
    int status = parse_options(&request, argc, argv);
    if (status < 0 && !request.documents && request.readable) {
        cni_complain("nothing to validate; name a file, a folder, or - for standard input");
        status = CNI_EXIT_USAGE;
    }
    if (status < 0) {
        cni_check_documents(&findings, request.documents, request.nodes);
        status = report(&request) ? verdict(&request) : CNI_EXIT_INTERNAL;
    }
    cni_arena_destroy(findings.arena);
    return status;
}
