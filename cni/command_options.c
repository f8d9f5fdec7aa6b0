/*
 * What commands share: complaints, and values of options.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "commands.h"

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
