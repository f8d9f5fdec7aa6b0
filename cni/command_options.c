/*
 * What commands share: complaints, and values of options.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "commands.h"

#include <getopt.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const char *cni_program = "shoal-cni";

void cni_complain(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fprintf(stderr, "%s: ", cni_program);
    vfprintf(stderr, format, arguments);
    putc('\n', stderr);
    va_end(arguments);
}

void cni_complain_unknown(const char *what, const char *name, const char *near, const char *remedy)
{
    if (near)
        cni_complain("no %s %s, did you mean %s? %s", what, name, near, remedy);
    else
        cni_complain("no %s %s; %s", what, name, remedy);
}

void cni_command_name(char **argv)
{
    static char name[64];
    if (strchr(argv[0], ' '))
        return; /* named already */
    snprintf(name, sizeof(name), "%s %s", cni_program, argv[0]);
    argv[0] = name;
}

bool cni_format_parse(const char *name, unsigned formats, enum cni_format *format)
{
    static const char *const names[] = {"text", "json", "yaml", "sarif"};
    char known[64] = "";
    for (size_t i = 0; i < 4; i++) {
        if (!(formats & 1u << i))
            continue;
        if (strcmp(name, names[i]) == 0) {
            *format = (enum cni_format)i;
            return true;
        }
        snprintf(known + strlen(known), sizeof(known) - strlen(known), "%s%s",
                 !*known            ? ""
                 : formats >> i > 1 ? ", "
                                    : " and ",
                 names[i]);
    }
    cni_complain("no output format %s; there %s %s", name, strstr(known, " and ") ? "are" : "is",
                 known);
    return false;
}

bool cni_colour_parse(const char *name, FILE *stream, bool *colour)
{
    const char *off = getenv("NO_COLOR");
    *colour = strcmp(name, "always") == 0;
    if (strcmp(name, "auto") == 0)
        *colour = isatty(fileno(stream)) && !(off && *off);
    else if (!*colour && strcmp(name, "never") != 0) {
        cni_complain("--color takes auto, always or never, not %s", name);
        return false;
    }
    return true;
}

int cni_options_parse(struct cni_options *options, int argc, char **argv)
{
    static const struct option shared[] = {{"output", required_argument, NULL, 'o'},
                                           {"quiet", no_argument, NULL, 'q'},
                                           {"color", required_argument, NULL, 'c'},
                                           {"help", no_argument, NULL, 'h'},
                                           {NULL, 0, NULL, 0}};
    struct option all[CNI_OPTIONS_OWN_MAX + sizeof(shared) / sizeof(shared[0])];
    size_t own = 0;
    bool colour; /* of output that has none */
    for (; options->own && options->own[own].name && own < CNI_OPTIONS_OWN_MAX; own++)
        all[own] = options->own[own];
    memcpy(&all[own], shared, sizeof(shared));
    for (int option; (option = getopt_long(argc, argv, "o:qh", all, NULL)) != -1;) {
        if (option == 'h') {
            fputs(options->usage, stdout);
            return CNI_EXIT_CLEAN;
        }
        if (option < CNI_OPTIONS_OWN_MAX)
            options->values[option] = optarg;
        else if (option == 'q')
            options->quiet = true;
        else if (!(option == 'o' && cni_format_parse(optarg, options->formats, &options->format)) &&
                 !(option == 'c' && cni_colour_parse(optarg, stdout, &colour)))
            return CNI_EXIT_USAGE;
    }
    return -1;
}
