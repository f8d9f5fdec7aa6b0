/*
 * What libibverbs tells and no file does: which devices it lists, and the size of packets that is
 * in use on their ports.
 *
 * Invariant: nothing is asked of a captured tree; it has the answers as files.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "inventory.h"

#include "core/config.h"
#include "transport/verbs/verbs_port.h"

#include <stdlib.h>
#include <string.h>

#define FILE_OF_PORT "/verbs/%s/%u/active_mtu" /* in captures */
#define FILE_OF_DEVICE "/verbs/%s/user_space"

struct cni_verbs {
    struct cni_sysfs *sysfs;
    bool answered; /* `ports` has every device that libibverbs lists */
    uint32_t count;
    struct shl_verbs_port ports[SHL_VERBS_PORTS_MAX];
};

/* Whatever the environment says of Shoal: the inventory is not of one job. */
static bool take_defaults(struct shl_config *config)
{
    char *nothing[] = {NULL};
    const struct shl_config_options options = {.environment = nothing};
    return shl_config_load(&options, config) == SHOAL_OK;
}

struct cni_verbs *cni_verbs_open(struct cni_sysfs *sysfs)
{
    struct shl_config config;
    struct cni_verbs *verbs = calloc(1, sizeof(*verbs));
    if (!verbs)
        return NULL;
    verbs->sysfs = sysfs;
    if (cni_sysfs_live(sysfs) && take_defaults(&config)) {
        if (shl_verbs_ports_find(&config, verbs->ports, SHL_VERBS_PORTS_MAX, &verbs->count) !=
            SHOAL_OK)
            verbs->count = 0;
        else
            verbs->answered = verbs->count < SHL_VERBS_PORTS_MAX;
        shl_config_free(&config);
    }
    return verbs;
}

void cni_verbs_close(struct cni_verbs *verbs)
{
    free(verbs);
}

int64_t cni_verbs_active_mtu(struct cni_verbs *verbs, const char *device, uint32_t port)
{
    char text[16];
    if (!verbs || !cni_sysfs_live(verbs->sysfs))
        return verbs ? cni_sysfs_integer(verbs->sysfs, FILE_OF_PORT, device, port) : -1;
    for (uint32_t i = 0; i < verbs->count; i++) {
        const struct shl_verbs_port *at = &verbs->ports[i];
        if (strcmp(at->device, device) != 0 || at->port != port || !at->mtu_bytes)
            continue;
        snprintf(text, sizeof(text), "%u", at->mtu_bytes);
        cni_sysfs_add(verbs->sysfs, text, FILE_OF_PORT, device, port);
        return at->mtu_bytes;
    }
    return -1;
}

const char *cni_verbs_user_space(struct cni_verbs *verbs, const char *device, bool has_node)
{
    const char *found = has_node ? "unlisted" : NULL;
    if (!verbs || !cni_sysfs_live(verbs->sysfs))
        return verbs ? cni_sysfs_text(verbs->sysfs, FILE_OF_DEVICE, device) : NULL;
    for (uint32_t i = 0; i < verbs->count; i++)
        if (strcmp(verbs->ports[i].device, device) == 0)
            found = "listed";
    if (!verbs->answered || !found)
        return NULL;
    return cni_sysfs_add(verbs->sysfs, found, FILE_OF_DEVICE, device);
}
