/*
 * `shoal-cni inspect`.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "commands.h"
#include "emit.h"
#include "inventory.h"

#include <errno.h>
#include <getopt.h>
#include <string.h>
#include <unistd.h>

static const char usage[] =
    "usage: shoal-cni inspect [OPTION]...\n"
    "\n"
    "Prints what this node has of RDMA as JSON: devices, ports and GIDs, network devices with "
    "their\n"
    "virtual functions and what lies above and below them, GPUs and how far they are from each "
    "RDMA\n"
    "device, the RDMA namespace mode, the limit of locked memory, and modules. Needs no rights.\n"
    "\n"
    "      --capture FILE     also write what was looked at to FILE, a tar archive\n"
    "      --sysfs-root DIR   look at DIR, where such an archive was unpacked, not at this node\n"
    "      --hwloc-xml FILE   places from FILE, a topology that lstopo exported\n"
    "  -o, --output KIND      json (default), yaml\n"
    "  -q, --quiet            print nothing: the exit status and the capture tell\n"
    "      --color WHEN       auto, always, never: this output has no colours\n"
    "  -h, --help             print this\n"
    "\n"
    "Unknown values are null. Exit status: 0 something of RDMA was found, 5 nothing was, 1 FILE or "
    "what\n"
    "is printed cannot be written, 2 DIR is no folder.\n"
    "\n"
    "Example: shoal-cni inspect --capture node7.tar > node7.json\n";

/* Options of its own: their values. */
enum { CAPTURE, ROOT, TOPOLOGY };

static bool write_capture(const struct cni_sysfs *sysfs, const char *path)
{
    FILE *file = fopen(path, "we");
    bool good = file && cni_sysfs_capture(sysfs, file);
    int problem = errno;
    if (file && fclose(file) != 0 && good) {
        problem = errno;
        good = false;
    }
    if (!good)
        cni_complain("%s: %s", path, strerror(problem));
    return good;
}

static int inspect(const struct cni_options *options, struct cni_arena *arena)
{
    const char *capture = options->values[CAPTURE], *topology = options->values[TOPOLOGY];
    const char *root = options->values[ROOT] ? options->values[ROOT] : "/";
    struct cni_sysfs *sysfs = cni_sysfs_open(arena, root, capture != NULL);
    if (!sysfs) {
        cni_complain("%s: %s", root, strerror(errno));
        return CNI_EXIT_USAGE;
    }
    json_t *inventory = cni_inventory(sysfs);
    if (topology && access(topology, R_OK) != 0) {
        cni_complain("%s: %s", topology, strerror(errno));
        json_decref(inventory);
        return CNI_EXIT_USAGE;
    }
    if (topology && !cni_inventory_hwloc(inventory, topology)) {
        cni_complain("%s: no topology of hwloc", topology);
        json_decref(inventory);
        return CNI_EXIT_USAGE;
    }
    bool found = json_array_size(json_object_get(inventory, "rdma")) > 0;
    bool printed =
        options->quiet || cni_emit_value(inventory, options->format == CNI_FORMAT_YAML, stdout);
    if (options->quiet)
        json_decref(inventory);
    if ((capture && !write_capture(sysfs, capture)) || !printed)
        return CNI_EXIT_INTERNAL;
    return found ? CNI_EXIT_CLEAN : CNI_EXIT_NOTHING;
}

int cni_command_inspect(int argc, char **argv)
{
    static const struct option own[] = {{"capture", required_argument, NULL, CAPTURE},
                                        {"sysfs-root", required_argument, NULL, ROOT},
                                        {"hwloc-xml", required_argument, NULL, TOPOLOGY},
                                        {NULL, 0, NULL, 0}};
    struct cni_options options = {
        .usage = usage, .formats = CNI_FORMATS_DATA, .format = CNI_FORMAT_JSON, .own = own};
    int status = cni_options_parse(&options, argc, argv);
    if (status >= 0)
        return status;
    if (optind < argc) {
        cni_complain("unexpected argument %s", argv[optind]);
        return CNI_EXIT_USAGE;
    }
    struct cni_arena *arena = cni_arena_create();
    status = inspect(&options, arena);
    cni_arena_destroy(arena);
    return status;
}
