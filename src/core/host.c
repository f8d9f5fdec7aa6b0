/*
 * Reads the identity of the host from the kernel.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "core/host.h"

#include "core/file.h"
#include "core/sys.h"

#include <stdio.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

/* Namespaces are compared by the inode of their link; 0 where /proc is missing. */
static uint64_t namespace_inode(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 ? (uint64_t)info.st_ino : 0;
}

/* Without a boot id no other process may be taken for a neighbour: a name nobody else has. */
static enum shoal_status invent_boot_id(struct shl_host *host)
{
    unsigned char bytes[12];
    if (shl_random->bytes(bytes, sizeof(bytes)) != 0)
        return shl_fail_errno("getrandom, asked because /proc/sys/kernel/random/boot_id cannot be "
                              "read");
    int used = snprintf(host->boot_id, sizeof(host->boot_id), "random-");
    for (size_t i = 0; i < sizeof(bytes); i++)
        used +=
            snprintf(host->boot_id + used, sizeof(host->boot_id) - (size_t)used, "%02x", bytes[i]);
    return SHOAL_OK;
}

enum shoal_status shl_host_identify(struct shl_host *host)
{
    struct shl_host found = {.pid = (uint64_t)getpid()};
    char *boot_id = found.boot_id;
    if (shl_file_read_line("/proc/sys/kernel/random/boot_id", boot_id, sizeof(found.boot_id)) < 0 ||
        !*boot_id)
        SHL_TRY(invent_boot_id(&found));
    struct utsname uts;
    if (uname(&uts) == 0)
        snprintf(found.name, sizeof(found.name), "%s", uts.nodename);
    found.net_namespace = namespace_inode("/proc/self/ns/net");
    found.pid_namespace = namespace_inode("/proc/self/ns/pid");
    *host = found;
    return SHOAL_OK;
}

void shl_host_id_format(const struct shl_host *host, char *text, size_t capacity)
{
    snprintf(text, capacity, "%s/%llu/%s", host->boot_id, (unsigned long long)host->net_namespace,
             host->name);
}
