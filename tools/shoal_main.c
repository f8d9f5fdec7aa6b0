/*
 * The program `shoal`: finds the subcommand and hands over.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "core/suggest.h"
#include "shoal_tools.h"

#include <shoal/version.h>
#include <string.h>

static const struct shoal_tool tools[] = {
#define SHOAL_TOOL(name, help) {#name, help, shoal_tool_##name},
#include "shoal_tools.def"
#undef SHOAL_TOOL
};

static const char *const tool_names[] = {
#define SHOAL_TOOL(name, help) #name,
#include "shoal_tools.def"
#undef SHOAL_TOOL
    NULL};

static void print_help(FILE *out)
{
    fputs("usage: shoal COMMAND [OPTION]...\n\n"
          "Collective communication for jobs that gain and lose workers.\n\n",
          out);
    for (size_t i = 0; i < sizeof(tools) / sizeof(tools[0]); i++)
        fprintf(out, "  %-12s %s\n", tools[i].name, tools[i].help);
    fputs("\n  --help       print this; `shoal COMMAND --help` prints a command's options\n"
          "  --version    print the version\n",
          out);
}

static int fail_unknown(const char *word)
{
    const char *nearest = shl_suggest(word, tool_names);
    fprintf(stderr, "shoal: unknown %s '%s'; ", word[0] == '-' ? "option" : "command", word);
    if (nearest)
        fprintf(stderr, "did you mean '%s'?\n", nearest);
    else
        fputs("`shoal --help` lists all\n", stderr);
    return SHOAL_EXIT_USAGE;
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        print_help(stderr);
        return SHOAL_EXIT_USAGE;
    }
    const char *word = argv[1];
    if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0 || strcmp(word, "help") == 0) {
        print_help(stdout);
        return 0;
    }
    if (strcmp(word, "--version") == 0 || strcmp(word, "-V") == 0) {
        printf("shoal %s\n", shoal_version_string());
        return 0;
    }
    for (size_t i = 0; i < sizeof(tools) / sizeof(tools[0]); i++) {
        if (strcmp(word, tools[i].name) == 0) {
            char name[32]; /* as getopt puts it before what it says */
            snprintf(name, sizeof(name), "shoal %s", tools[i].name);
            argv[1] = name;
            return tools[i].main(argc - 1, argv + 1);
        }
    }
    return fail_unknown(word);
}
