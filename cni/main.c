/*
 * shoal-cni: RDMA networking for pods, checked before it is applied.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "commands.h"

#include "core/suggest.h"

#include <shoal/version.h>

#include <string.h>

static const char usage[] =
    "usage: shoal-cni COMMAND [OPTION]... [ARGUMENT]...\n"
    "\n"
    "RDMA networking for pods: planned, written and checked, without a cluster.\n"
    "\n"
    "  inspect            print what this node has of RDMA, as JSON\n"
    "  plan               choose how pods get at the devices of nodes, and say why\n"
    "  generate           write the attachments, policies and pools of that plan\n"
    "  patch FILE         put what the plan needs into the pods of a workload\n"
    "  validate FILE...   find what is wrong, with cause and fix\n"
    "  doctor             check the pod or node that it runs in\n"
    "  explain [RULE]     explain a rule or a check, or list all of them\n"
    "  diff OLD NEW       say what differs between manifests, or between nodes\n"
    "  schema [KIND]      print the schema of a kind, or list all of them\n"
    "\n"
    "  -h, --help         print this; after a command, its options\n"
    "  --version          print the version\n"
    "\n"
    "Exit status: 0 nothing wrong; 1 internal fault; 2 wrong usage or unreadable input; 3 errors\n"
    "found; 4 warnings found, with --strict; 5 the node has nothing of RDMA.\n";

struct command {
    const char *name;
    int (*run)(int argc, char **argv);
};

static const struct command commands[] = {
    {"inspect", cni_command_inspect},   {"plan", cni_command_plan},
    {"generate", cni_command_generate}, {"patch", cni_command_patch},
    {"validate", cni_command_validate}, {"doctor", cni_command_doctor},
    {"explain", cni_command_explain},   {"diff", cni_command_diff},
    {"schema", cni_command_schema},
};
#define COMMANDS (sizeof(commands) / sizeof(commands[0]))

static int unknown(const char *name)
{
    const char *names[COMMANDS + 1] = {NULL};
    for (size_t i = 0; i < COMMANDS; i++)
        names[i] = commands[i].name;
    const char *near = shl_suggest(name, names);
    cni_complain_unknown("command", name, near, "see shoal-cni --help");
    return CNI_EXIT_USAGE;
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        fputs(usage, stderr);
        return CNI_EXIT_USAGE;
    }
    for (size_t i = 0; i < COMMANDS; i++)
        if (strcmp(argv[1], commands[i].name) == 0) {
            cni_command_name(argv + 1);
            return commands[i].run(argc - 1, argv + 1);
        }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 ||
        strcmp(argv[1], "help") == 0) {
        fputs(usage, stdout);
        return CNI_EXIT_CLEAN;
    }
    if (strcmp(argv[1], "--version") == 0) {
        printf("shoal-cni %s\n", SHOAL_VERSION_STRING);
        return CNI_EXIT_CLEAN;
    }
    if (argv[1][0] == '-') {
        cni_complain("the command comes before its options, such as %s; see shoal-cni --help",
                     argv[1]);
        return CNI_EXIT_USAGE;
    }
    return unknown(argv[1]);
}
