/*
 * `shoal info`: build, host, topology, limits and network interfaces.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "build_info.h"
#include "core/host.h"
#include "device/reduce.h"
#include "shoal_info.h"
#include "topology/topology.h"

#include <ifaddrs.h>
#include <net/if.h>
#include <netdb.h>
#include <netinet/in.h>
#include <shoal/version.h>
#include <stdbool.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/utsname.h>

/* ---- build ------------------------------------------------------------------------------ */

/* "verbs     off  (why)" a line, as the configure summary prints them. */
static json_t *parts(void)
{
    json_t *list = json_object();
    char text[] = BUILD_PARTS;
    char *rest = NULL;
    for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
        char name[32], state[8];
        int at = 0;
        if (sscanf(line, "%31s %7s %n", name, state, &at) >= 2) {
            char value[256];
            snprintf(value, sizeof(value), "%s %s", state, line + at);
            json_object_set_new(list, name, json_string(value));
        }
    }
    return list;
}

json_t *shoal_info_build(void)
{
    json_t *kernels = json_object();
    for (unsigned dtype = 0; dtype < SHOAL_DTYPE_COUNT; dtype++)
        json_object_set_new(kernels, shoal_dtype_string((enum shoal_dtype)dtype),
                            json_string(shl_reducer_get((enum shoal_dtype)dtype, SHOAL_SUM)->isa));
    return json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:o, s:o}", "version", shoal_version_string(),
                     "type", BUILD_TYPE, "compiler", BUILD_COMPILER, "processor", BUILD_PROCESSOR,
                     "flags", BUILD_FLAGS, "sanitizers", *BUILD_SANITIZE ? BUILD_SANITIZE : "none",
                     "parts", parts(), "kernels", kernels);
}

/* ---- host and topology ------------------------------------------------------------------ */

json_t *shoal_info_host(void)
{
    struct shl_host host;
    struct utsname uts;
    if (shl_host_identify(&host) != SHOAL_OK)
        return json_pack("{s:s}", "error", shoal_last_error());
    if (uname(&uts) != 0)
        memset(&uts, 0, sizeof(uts));
    char id[SHL_HOST_ID_BYTES];
    shl_host_id_format(&host, id, sizeof(id));
    return json_pack("{s:s, s:s, s:I, s:I, s:s, s:s}", "name", host.name, "boot_id", host.boot_id,
                     "net_namespace", (json_int_t)host.net_namespace, "pid_namespace",
                     (json_int_t)host.pid_namespace, "identity", id, "kernel", uts.release);
}

static json_t *numa_nodes(const struct shl_topology *found)
{
    json_t *nodes = json_array();
    for (uint32_t i = 0; i < found->numa_count && i < SHL_NUMA_MAX; i++)
        json_array_append_new(nodes,
                              json_pack("{s:i, s:i, s:I}", "node", (int)found->numa[i].os_index,
                                        "cpus", (int)found->numa[i].cpus, "memory_bytes",
                                        (json_int_t)found->numa[i].memory_bytes));
    return nodes;
}

json_t *shoal_info_topology(void)
{
    const struct shl_topology *found = shl_topology();
    json_t *quota = found->quota_cpus > 0 ? json_real(found->quota_cpus) : json_null();
    return json_pack(
        "{s:i, s:i, s:i, s:i, s:o, s:i, s:I, s:i, s:I, s:i, s:I, s:s, s:o}", "machine_cpus",
        (int)found->machine_cpus, "allowed_cpus", (int)found->allowed_cpus, "bound_cpus",
        (int)found->bound_cpus, "cores", (int)found->cores, "quota_cpus", quota, "usable_cpus",
        (int)found->usable_cpus, "l2_bytes", (json_int_t)found->l2_bytes, "l2_count",
        (int)found->l2_count, "l3_bytes", (json_int_t)found->l3_bytes, "l3_count",
        (int)found->l3_count, "memory_bytes", (json_int_t)found->memory_bytes, "source",
        found->from_hwloc ? "hwloc" : "kernel counts; hwloc failed", "numa", numa_nodes(found));
}

/* ---- limits ----------------------------------------------------------------------------- */

static json_t *limit_value(rlim_t value)
{
    return value == RLIM_INFINITY ? json_string("unlimited") : json_integer((json_int_t)value);
}

static json_t *limit(__rlimit_resource_t which)
{
    struct rlimit found;
    if (getrlimit(which, &found) != 0)
        return json_null();
    return json_pack("{s:o, s:o}", "soft", limit_value(found.rlim_cur), "hard",
                     limit_value(found.rlim_max));
}

json_t *shoal_info_limits(void)
{
    return json_pack("{s:o, s:o, s:o, s:o, s:o}", "memlock_bytes", limit(RLIMIT_MEMLOCK),
                     "open_files", limit(RLIMIT_NOFILE), "processes", limit(RLIMIT_NPROC),
                     "address_space_bytes", limit(RLIMIT_AS), "file_size_bytes",
                     limit(RLIMIT_FSIZE));
}

/* ---- interfaces ------------------------------------------------------------------------- */

/* The entry of this name, made when it is new. Borrowed. */
static json_t *interface_named(json_t *list, const struct ifaddrs *from)
{
    json_t *known = json_object_get(list, from->ifa_name);
    if (known)
        return known;
    bool up = (from->ifa_flags & IFF_UP) && (from->ifa_flags & IFF_RUNNING);
    known = json_pack("{s:b, s:b, s:[]}", "up", up, "loopback",
                      (from->ifa_flags & IFF_LOOPBACK) != 0, "addresses");
    json_object_set_new(list, from->ifa_name, known);
    return known;
}

static void append_address(json_t *interface, const struct sockaddr *address)
{
    char text[NI_MAXHOST];
    socklen_t bytes =
        address->sa_family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6);
    if (getnameinfo(address, bytes, text, sizeof(text), NULL, 0, NI_NUMERICHOST) == 0)
        json_array_append_new(json_object_get(interface, "addresses"), json_string(text));
}

json_t *shoal_info_interfaces(void)
{
    json_t *list = json_object();
    struct ifaddrs *found = NULL;
    if (getifaddrs(&found) != 0)
        return list;
    for (const struct ifaddrs *at = found; at; at = at->ifa_next) {
        json_t *interface = interface_named(list, at);
        if (at->ifa_addr &&
            (at->ifa_addr->sa_family == AF_INET || at->ifa_addr->sa_family == AF_INET6))
            append_address(interface, at->ifa_addr);
    }
    freeifaddrs(found);
    return list;
}
