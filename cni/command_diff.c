/*
 * `shoal-cni diff`.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "check.h"
#include "commands.h"
#include "diff.h"
#include "source.h"

#include <getopt.h>

static const char usage[] =
    "usage: shoal-cni diff [OPTION]... OLD NEW\n"
    "\n"
    "Says what differs between two sets of manifests, or between the inventories of two nodes, by\n"
    "object and path. The order of keys, comments and layout do not matter; JSON inside texts is\n"
    "compared as JSON. OLD and NEW are files, folders, or - for standard input.\n"
    "\n"
    "  -o, --output KIND   text (default), json, yaml\n"
    "  -q, --quiet         print nothing: the exit status tells\n"
    "      --color WHEN    auto, always, never: this output has no colours\n"
    "  -h, --help          print this\n"
    "\n"
    "Exit status: 0 nothing differs, 2 unreadable input, 3 something differs.\n"
    "\n"
    "Example: shoal-cni diff node7.json node8.json\n";

static bool read_side(struct cni_findings *findings, const char *path,
                      struct cni_document **documents)
{
    const struct cni_report_options quiet = {.quiet = true};
    const char *error = NULL;
    if (cni_source_read(findings, path, documents, &error)) {
        cni_documents_expand(findings->arena, documents);
        return true;
    }
    if (error)
        cni_complain("%s", error);
    else
        cni_report_text(findings, stderr, &quiet);
    return false;
}

/* Without a format only the status is wanted. */
static int run(struct cni_findings *findings, const char *const *paths,
               const enum cni_format *format)
{
    struct cni_document *old = NULL, *new = NULL;
    if (!read_side(findings, paths[0], &old) || !read_side(findings, paths[1], &new))
        return CNI_EXIT_USAGE;
    const struct cni_change *changes = cni_diff(findings->arena, old, new);
    if (format &&
        !(*format == CNI_FORMAT_TEXT ? cni_diff_text(changes, stdout)
                                     : cni_diff_data(changes, *format == CNI_FORMAT_YAML, stdout)))
        return CNI_EXIT_INTERNAL;
    return changes ? CNI_EXIT_ERRORS : CNI_EXIT_CLEAN;
}

int cni_command_diff(int argc, char **argv)
{
    struct cni_options options = {
        .usage = usage, .formats = CNI_FORMATS_REPORT, .format = CNI_FORMAT_TEXT};
    int status = cni_options_parse(&options, argc, argv);
    if (status >= 0)
        return status;
    if (argc - optind != 2) {
        cni_complain("diff takes two files; see diff --help");
        return CNI_EXIT_USAGE;
    }
    struct cni_findings findings = {.arena = cni_arena_create()};
    status =
        run(&findings, (const char *const *)&argv[optind], options.quiet ? NULL : &options.format);
    cni_arena_destroy(findings.arena);
    return status;
}
