/*
 * The CPU quota of this process, and who was killed for want of memory, from the cgroup file
 * systems.
 *
 * Invariant: a missing or strange file means "no limit known", or "nobody", never an error: a
 * container may hide any of them.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "core/file.h"
#include "core/sys.h"
#include "topology/topology.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TABLE_BYTES (256u << 10) /* mountinfo of a busy container host */
#define PATH_BYTES 1024

/* One hierarchy that governs CPU time, or memory: where it is mounted, and where in it we are. */
struct hierarchy {
    bool v2;
    const char *controller;      /* version 1 has hierarchies for each */
    char mount[PATH_BYTES];      /* mount point */
    char mount_root[PATH_BYTES]; /* the cgroup that is visible at the mount point */
    char path[PATH_BYTES];       /* our cgroup */
};

static bool word_in_list(const char *list, const char *word)
{
    size_t length = strlen(word);
    for (const char *at = list; *at;) {
        size_t part = strcspn(at, ",");
        if (part == length && strncmp(at, word, length) == 0)
            return true;
        at += part + (at[part] == ',');
    }
    return false;
}

/* A line of /proc/self/cgroup: "4:cpu,cpuacct:/path", or "0::/path" of version 2. */
static bool parse_membership(const char *line, struct hierarchy *hierarchy)
{
    char controllers[256] = "";
    int at = 0;
    if (sscanf(line, "%*d:%n", &at) != 0 || at == 0)
        return false;
    const char *colon = strchr(line + at, ':');
    if (!colon)
        return false;
    snprintf(controllers, sizeof(controllers), "%.*s", (int)(colon - line - at), line + at);
    if (hierarchy->v2 ? *controllers != 0 : !word_in_list(controllers, hierarchy->controller))
        return false;
    snprintf(hierarchy->path, PATH_BYTES, "%s", colon + 1);
    return true;
}

/* A line of /proc/self/mountinfo: id parent dev root mount options... - type source superoptions */
static bool parse_mount(const char *line, struct hierarchy *hierarchy)
{
    char type[64], options[1024];
    const char *dash = strstr(line, " - ");
    if (!dash || sscanf(dash, " - %63s %*s %1023s", type, options) != 2)
        return false;
    bool wanted = hierarchy->v2
                      ? strcmp(type, "cgroup2") == 0
                      : strcmp(type, "cgroup") == 0 && word_in_list(options, hierarchy->controller);
    return wanted &&
           sscanf(line, "%*d %*d %*s %1023s %1023s", hierarchy->mount_root, hierarchy->mount) == 2;
}

/* Calls `use` with each line until it says true; false when no line was it. */
static bool find_line(const char *root, const char *file, struct hierarchy *hierarchy,
                      bool (*use)(const char *line, struct hierarchy *hierarchy))
{
    char path[PATH_BYTES];
    snprintf(path, sizeof(path), "%s%s", root, file);
    char *table = shl_mem->alloc(TABLE_BYTES + 1);
    size_t bytes = 0;
    bool found = false;
    if (table && shl_file_read(path, table, TABLE_BYTES, &bytes) == SHOAL_OK) {
        char *rest = NULL;
        for (char *line = strtok_r(table, "\n", &rest); line && !found;
             line = strtok_r(NULL, "\n", &rest))
            found = use(line, hierarchy);
    }
    shl_mem->free(table);
    return found;
}

static bool find_hierarchy(const char *root, struct hierarchy *hierarchy)
{
    return strlen(root) < PATH_BYTES / 4 &&
           find_line(root, "/proc/self/cgroup", hierarchy, parse_membership) &&
           find_line(root, "/proc/self/mountinfo", hierarchy, parse_mount);
}

/* ---- quotas ----------------------------------------------------------------------------- */

/* "max 100000" or "150000 100000". */
static double read_quota_v2(const char *directory)
{
    char path[2 * PATH_BYTES], line[128];
    unsigned long long quota, period;
    snprintf(path, sizeof(path), "%s/cpu.max", directory);
    if (shl_file_read_line(path, line, sizeof(line)) < 0 || *line == '-' ||
        sscanf(line, "%llu %llu", &quota, &period) != 2 || !period)
        return 0;
    return (double)quota / (double)period;
}

static long long read_number(const char *directory, const char *file)
{
    char path[2 * PATH_BYTES], line[64];
    snprintf(path, sizeof(path), "%s/%s", directory, file);
    return shl_file_read_line(path, line, sizeof(line)) < 0 ? -1 : strtoll(line, NULL, 10);
}

static double read_quota_v1(const char *directory)
{
    long long quota = read_number(directory, "cpu.cfs_quota_us");
    long long period = read_number(directory, "cpu.cfs_period_us");
    return quota > 0 && period > 0 ? (double)quota / (double)period : 0;
}

static double lesser_limit(double a, double b)
{
    if (a <= 0 || b <= 0)
        return a > b ? a : b;
    return a < b ? a : b;
}

/* Our path below the mount point. Without a cgroup namespace /proc names the host's path, of which
 * the mount may show only a part. */
static const char *visible_path(const struct hierarchy *hierarchy)
{
    size_t length = strlen(hierarchy->mount_root);
    if (strcmp(hierarchy->mount_root, "/") == 0)
        return hierarchy->path;
    if (strncmp(hierarchy->path, hierarchy->mount_root, length) == 0 &&
        (hierarchy->path[length] == '/' || hierarchy->path[length] == 0))
        return hierarchy->path + length;
    return "";
}

/* A limit of any ancestor binds too. */
static double least_quota(const char *root, const struct hierarchy *hierarchy)
{
    char directory[3 * PATH_BYTES / 2];
    int used = snprintf(directory, sizeof(directory), "%s%s", root, hierarchy->mount);
    size_t floor = (size_t)used;
    snprintf(directory + floor, sizeof(directory) - floor, "%s", visible_path(hierarchy));
    double least = 0;
    for (;;) {
        double quota = hierarchy->v2 ? read_quota_v2(directory) : read_quota_v1(directory);
        least = lesser_limit(least, quota);
        char *slash = strrchr(directory + floor, '/');
        if (!slash)
            return least;
        *slash = 0;
    }
}

double shl_topology_quota(const char *root)
{
    double least = 0;
    for (int v2 = 0; v2 < 2; v2++) {
        struct hierarchy hierarchy = {.v2 = v2, .controller = "cpu"};
        if (find_hierarchy(root, &hierarchy))
            least = lesser_limit(least, least_quota(root, &hierarchy));
    }
    return least;
}

/* ---- memory ----------------------------------------------------------------------------- */

/* The line "oom_kill 3" of memory.events, or of version 1's memory.oom_control. */
static uint64_t read_kills(const char *path)
{
    char text[1024];
    size_t bytes = 0;
    unsigned long long kills;
    if (shl_file_read(path, text, sizeof(text) - 1, &bytes) != SHOAL_OK)
        return 0;
    text[bytes] = 0;
    const char *line = strstr(text, "oom_kill ");
    return line && sscanf(line, "oom_kill %llu", &kills) == 1 ? kills : 0;
}

uint64_t shl_topology_oom_kills(const char *root)
{
    uint64_t kills = 0;
    for (int v2 = 0; v2 < 2; v2++) {
        struct hierarchy hierarchy = {.v2 = v2, .controller = "memory"};
        char path[3 * PATH_BYTES];
        if (!find_hierarchy(root, &hierarchy))
            continue;
        snprintf(path, sizeof(path), "%s%s%s/%s", root, hierarchy.mount, visible_path(&hierarchy),
                 v2 ? "memory.events" : "memory.oom_control");
        kills += read_kills(path);
    }
    return kills;
}

const char *shl_topology_oom_remark(uint64_t *known)
{
    uint64_t kills = shl_topology_oom_kills("");
    if (kills <= *known)
        return NULL;
    *known = kills;
    return "a process of this cgroup was killed for want of memory (memory.events: oom_kill)";
}
