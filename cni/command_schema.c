/*
 * `shoal-cni schema`.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "commands.h"
#include "emit.h"
#include "schema.h"

#include "core/suggest.h"

#include <getopt.h>
#include <string.h>

#define KINDS_MAX 63

static const char usage[] =
    "usage: shoal-cni schema [OPTION]... [[GROUP/]VERSION/]KIND\n"
    "\n"
    "Prints the schema of a kind as JSON Schema, for editors and other checkers; or lists all "
    "kinds\n"
    "that `shoal-cni validate` knows. Objects are closed, as validate takes them.\n"
    "\n"
    "  -o, --output KIND   json (default), yaml\n"
    "  -q, --quiet         print nothing: the exit status tells\n"
    "      --color WHEN    auto, always, never: this output has no colours\n"
    "  -h, --help          print this\n"
    "\n"
    "Exit status: 0 printed, 2 there is no such kind.\n"
    "\n"
    "Example: shoal-cni schema RdmaIntent > rdmaintent.schema.json\n";

struct names {
    const char *list[KINDS_MAX + 1];
    size_t count;
};

static void print_row(void *user, const char *group, const char *version, const char *kind)
{
    (void)user;
    printf("%s%s%s/%s\n", group, *group ? "/" : "", version, kind);
}

static void gather(void *user, const char *group, const char *version, const char *kind)
{
    struct names *names = user;
    (void)group, (void)version;
    if (names->count < KINDS_MAX)
        names->list[names->count++] = kind;
}

/* Without a format only the status is wanted. */
static int print_schema(struct cni_arena *arena, const struct cni_schemas *schemas,
                        const char *name, const enum cni_format *format)
{
    const char *slash = strrchr(name, '/'), *kind = slash ? slash + 1 : name;
    const char *api = slash ? cni_arena_copy(arena, name, (size_t)(slash - name)) : NULL;
    json_t *schema = cni_schema_json(schemas, api, kind);
    if (schema && !format) {
        json_decref(schema);
        return CNI_EXIT_CLEAN;
    }
    if (schema)
        return cni_emit_value(schema, *format == CNI_FORMAT_YAML, stdout) ? CNI_EXIT_CLEAN
                                                                          : CNI_EXIT_INTERNAL;
    struct names names = {.count = 0};
    cni_schemas_each(schemas, gather, &names);
    const char *near = shl_suggest(kind, names.list);
    cni_complain_unknown("kind", name, near, "`shoal-cni schema` lists all");
    return CNI_EXIT_USAGE;
}

int cni_command_schema(int argc, char **argv)
{
    struct cni_options options = {
        .usage = usage, .formats = CNI_FORMATS_DATA, .format = CNI_FORMAT_JSON};
    int status = cni_options_parse(&options, argc, argv);
    if (status >= 0)
        return status;
    if (argc - optind > 1) {
        cni_complain("unexpected argument %s", argv[optind + 1]);
        return CNI_EXIT_USAGE;
    }
    struct cni_arena *arena = cni_arena_create();
    const struct cni_schemas *schemas = cni_schemas_load(arena);
    status = CNI_EXIT_CLEAN;
    if (optind < argc)
        status = print_schema(arena, schemas, argv[optind], options.quiet ? NULL : &options.format);
    else if (!options.quiet)
        cni_schemas_each(schemas, print_row, NULL);
    cni_arena_destroy(arena);
    return fflush(stdout) == 0 ? status : CNI_EXIT_INTERNAL;
}
