/*
 * What the subcommands share.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "shoal_tools.h"

#include "core/suggest.h"
#include "elastic/secret.h"

#include <getopt.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define OPTIONS_MAX 64 /* of a subcommand, for suggestions */

bool shoal_tool_colour(FILE *out)
{
    const char *no_color = getenv("NO_COLOR");
    const char *term = getenv("TERM");
    return isatty(fileno(out)) && !(no_color && *no_color) && term && strcmp(term, "dumb") != 0;
}

void shoal_tool_error(const char *tool, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fprintf(stderr, "shoal %s: ", tool);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
}

void shoal_tool_suggest(char **argv, const struct option *options)
{
    const char *names[OPTIONS_MAX + 1] = {NULL};
    char word[64];
    if (optopt || strncmp(argv[optind - 1], "--", 2) != 0)
        return; /* one that is known, but for its value */
    for (size_t i = 0; i < OPTIONS_MAX && options[i].name; i++)
        names[i] = options[i].name;
    snprintf(word, sizeof(word), "%s", argv[optind - 1] + 2);
    word[strcspn(word, "=")] = '\0';
    const char *nearest = shl_suggest(word, names);
    if (nearest)
        fprintf(stderr, "did you mean --%s?\n", nearest);
}

bool shoal_tool_key(const char *tool, struct shl_config *config, const char *secret_file,
                    const char *job, struct shl_key *key)
{
    struct shl_secret secret;
    if (secret_file) {
        config->secret = "";
        config->secret_file = secret_file;
    }
    enum shoal_status status = shl_secret_load(config, &secret);
    if (status == SHOAL_OK)
        status = shl_key_derive(secret.bytes ? secret.data : NULL, secret.bytes, job, key);
    shl_secret_wipe(&secret);
    if (status < 0)
        shoal_tool_error(tool, "%s", shl_error_text());
    return status == SHOAL_OK;
}
