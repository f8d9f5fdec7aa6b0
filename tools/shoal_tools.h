/*
 * The subcommands of the program `shoal`, and what they share.
 *
 * A subcommand is a line of shoal_tools.def and a file shoal_<name>.c with
 * int shoal_tool_<name>(int argc, char **argv); argv[0] is "shoal <name>". It returns the
 * exit status: 0, 1 for a failure, 2 for wrong usage; doctor also those of shoal-cni.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef SHOAL_TOOLS_H
#define SHOAL_TOOLS_H

#include "control/handshake.h"
#include "core/config.h"

#include <stdbool.h>
#include <stdio.h>

#define SHOAL_EXIT_FAILURE 1
#define SHOAL_EXIT_USAGE 2

struct option;

struct shoal_tool {
    const char *name;
    const char *help; /* one line, for `shoal --help` */
    int (*main)(int argc, char **argv);
};

#define SHOAL_TOOL(name, help) int shoal_tool_##name(int argc, char **argv);
#include "shoal_tools.def"
#undef SHOAL_TOOL

/* shoal_tool_colour - whether to write escapes: a terminal, and neither NO_COLOR nor TERM=dumb. */
bool shoal_tool_colour(FILE *out);

/* shoal_tool_error - "shoal info: text" on stderr. */
void shoal_tool_error(const char *tool, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* shoal_tool_suggest - after getopt_long has returned '?': the nearest option, if it was unknown.
 */
void shoal_tool_suggest(char **argv, const struct option *options);

/* shoal_tool_key - the key of a job, from `secret_file` or, if that is NULL, as the settings say.
 * False: a line was printed. */
bool shoal_tool_key(const char *tool, struct shl_config *config, const char *secret_file,
                    const char *job, struct shl_key *key);

#endif
