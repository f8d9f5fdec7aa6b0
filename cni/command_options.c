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

bool cni_format_parse(const char *name, enum cni_format *format)
{
    static const char *const names[] = {"text", "json", "sarif"};
    for (size_t i = 0; i < 3; i++)
        if (strcmp(name, names[i]) == 0) {
            *format = (enum cni_format)i;
            return true;
        }
    cni_complain("no output format %s; there are text, json and sarif", name);
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
