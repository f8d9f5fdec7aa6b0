/*
 * `shoal-cni doctor`, which is also `shoal doctor`.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "commands.h"
#include "doctor.h"

#include <errno.h>
#include <getopt.h>
#include <string.h>
#include <unistd.h>

static const char usage[] =
    "usage: %s doctor --pod|--node [OPTION]...\n"
    "\n"
    "Checks the pod or node that it runs in: what was seen, why it matters, and the command that "
    "cures\n"
    "it. Needs no rights, and changes nothing.\n"
    "\n"
    "      --pod              this is a pod\n"
    "      --node             this is a node\n"
    "      --probe            also try each device, port and GID that could be used: register a "
    "little\n"
    "                         memory and 64 MiB, make a queue pair, write through it to itself; "
    "and\n"
    "                         ask on each rail whether others have its address, too\n"
    "      --peer HOST[:PORT] also the way to another pod or node; with a port, connect to it\n"
    "      --sysfs-root DIR   look at DIR, where a capture of `inspect` was unpacked\n"
    "  -o, --output KIND      text (default), json, yaml\n"
    "      --json             the same as -o json\n"
    "  -q, --quiet            one line for each thing that is wrong\n"
    "      --strict           exit status 4 when there are warnings\n"
    "      --color WHEN       auto (default), always, never\n"
    "  -h, --help             print this\n"
    "\n"
    "`shoal-cni explain CHECK` explains a check. Exit status: 0 no errors, 2 DIR is no folder, 3 "
    "errors,\n"
    "4 warnings with --strict, 5 nothing of RDMA is there.\n"
    "\n"
    "Example: %s doctor --pod --probe --peer digits-worker-0\n";

struct request {
    const char *root, *peer, *colour;
    bool pod, node, probe, quiet, strict, painted;
    enum cni_format format;
};

/* The exit status, or -1 to go on. */
static int parse_options(struct request *request, int argc, char **argv)
{
    static const struct option options[] = {
        {"pod", no_argument, NULL, 'p'},          {"node", no_argument, NULL, 'n'},
        {"peer", required_argument, NULL, 'P'},   {"sysfs-root", required_argument, NULL, 'r'},
        {"output", required_argument, NULL, 'o'}, {"quiet", no_argument, NULL, 'q'},
        {"strict", no_argument, NULL, 's'},       {"color", required_argument, NULL, 'c'},
        {"probe", no_argument, NULL, 'b'},        {"json", no_argument, NULL, 'j'},
        {"help", no_argument, NULL, 'h'},         {NULL, 0, NULL, 0}};
    for (int option; (option = getopt_long(argc, argv, "o:qh", options, NULL)) != -1;) {
        if (option == 'h') {
            printf(usage, cni_program, cni_program);
            return CNI_EXIT_CLEAN;
        }
        if (option == '?' ||
            (option == 'o' && !cni_format_parse(optarg, CNI_FORMATS_REPORT, &request->format)))
            return CNI_EXIT_USAGE;
        if (option == 'j')
            request->format = CNI_FORMAT_JSON;
        request->probe |= option == 'b';
        request->pod |= option == 'p';
        request->node |= option == 'n';
        request->quiet |= option == 'q';
        request->strict |= option == 's';
        request->peer = option == 'P' ? optarg : request->peer;
        request->root = option == 'r' ? optarg : request->root;
        request->colour = option == 'c' ? optarg : request->colour;
    }
    if (optind < argc)
        cni_complain("unexpected argument %s", argv[optind]);
    else if (request->pod == request->node)
        cni_complain("say which it is: --pod or --node");
    else if (request->probe && strcmp(request->root, "/") != 0)
        cni_complain("--probe tries this machine: leave --sysfs-root out");
    else
        return cni_colour_parse(request->colour, stdout, &request->painted) ? -1 : CNI_EXIT_USAGE;
    return CNI_EXIT_USAGE;
}

static int verdict(const struct request *request, const struct cni_doctor *doctor, bool found)
{
    if (!found)
        return CNI_EXIT_NOTHING;
    if (doctor->by_severity[CNI_ERROR])
        return CNI_EXIT_ERRORS;
    return request->strict && doctor->by_severity[CNI_WARNING] ? CNI_EXIT_WARNINGS : CNI_EXIT_CLEAN;
}

static int examine(const struct request *request, struct cni_arena *arena)
{
    struct cni_doctor doctor = {.arena = arena,
                                .pod = request->pod,
                                .live = strcmp(request->root, "/") == 0,
                                .environment = (const char *const *)environ};
    doctor.sysfs = cni_sysfs_open(arena, request->root, false);
    if (!doctor.sysfs) {
        cni_complain("%s: %s", request->root, strerror(errno));
        return CNI_EXIT_USAGE;
    }
    doctor.inventory = cni_inventory(doctor.sysfs);
    bool found = cni_doctor_run(&doctor);
    if (request->probe)
        cni_doctor_probe(&doctor);
    if (request->peer)
        cni_doctor_peer(&doctor, request->peer);
    bool good = request->format == CNI_FORMAT_TEXT
                    ? cni_doctor_text(&doctor, stdout, request->painted, request->quiet)
                    : cni_doctor_data(&doctor, request->format == CNI_FORMAT_YAML, stdout);
    json_decref(doctor.inventory);
    return good ? verdict(request, &doctor, found) : CNI_EXIT_INTERNAL;
}

int cni_command_doctor(int argc, char **argv)
{
    struct request request = {.root = "/", .colour = "auto"};
    cni_command_name(argv); /* called by shoal as well */
    int status = parse_options(&request, argc, argv);
    if (status >= 0)
        return status;
    struct cni_arena *arena = cni_arena_create();
    status = examine(&request, arena);
    cni_arena_destroy(arena);
    return status;
}
