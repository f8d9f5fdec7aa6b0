/*
 * The probe: what the transport's own try of each usable port and GID saw.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "doctor.h"
#include "doctor_iwarp.h"

#include "core/config.h"
#include "transport/verbs/verbs_probe.h"

#include <string.h>

#define WRITE_TIMEOUT_MS 5000

static const enum cni_check_number checks[SHL_VERBS_PROBE_STEPS] = {
    [SHL_VERBS_PROBE_OPEN] = CNI_CHECK_probe_open,
    [SHL_VERBS_PROBE_SMALL] = CNI_CHECK_probe_small,
    [SHL_VERBS_PROBE_LARGE] = CNI_CHECK_probe_large,
    [SHL_VERBS_PROBE_PAIR] = CNI_CHECK_probe_pair,
    [SHL_VERBS_PROBE_CONNECT] = CNI_CHECK_probe_connect,
    [SHL_VERBS_PROBE_WRITE] = CNI_CHECK_probe_write,
    [SHL_VERBS_PROBE_RELEASE] = CNI_CHECK_probe_release,
};

static const char *name_of(struct cni_doctor *doctor, const struct shl_verbs_port *port)
{
    if (!port->port)
        return cni_arena_format(doctor->arena, "%s", port->device);
    if (!*port->gid_text)
        return cni_arena_format(doctor->arena, "%s:%u", port->device, port->port);
    return cni_arena_format(doctor->arena, "%s:%u GID %u %s", port->device, port->port,
                            port->gid_index, port->gid_text);
}

static void try_port(struct cni_doctor *doctor, const struct shl_config *config,
                     const struct shl_verbs_port *port)
{
    const struct shl_verbs_probe_settings settings = {config, SHL_VERBS_PROBE_LARGE_BYTES,
                                                      WRITE_TIMEOUT_MS};
    const char *name = name_of(doctor, port);
    struct shl_verbs_probe probe;
    shl_verbs_probe_run(port, &settings, &probe);
    for (int step = 0; step < SHL_VERBS_PROBE_STEPS; step++) {
        const char *seen = probe.steps[step].seen;
        if (probe.steps[step].verdict == SHL_VERBS_PROBE_GOOD)
            cni_doctor_good(doctor, checks[step], "%s: %s", name, seen);
        else if (probe.steps[step].verdict == SHL_VERBS_PROBE_BAD)
            cni_doctor_bad(doctor, checks[step], CNI_ERROR, "%s: %s", name, seen);
    }
}

/* Over the first IPv4 address of its interface; false: there is none. */
static bool try_iwarp(struct cni_doctor *doctor, const struct shl_verbs_port *port)
{
    const json_t *device, *name, *address;
    size_t i, j, k;
    json_array_foreach(json_object_get(doctor->inventory, "rdma"), i, device)
    {
        if (strcmp(cni_doctor_text_of(device, "name"), port->device) != 0)
            continue;
        json_array_foreach(json_object_get(device, "netdevs"), j, name)
        {
            const char *interface = json_string_value(name);
            const json_t *netdev = cni_doctor_netdev(doctor, interface);
            json_array_foreach(json_object_get(netdev, "addresses"), k, address)
            {
                const char *text = json_string_value(address);
                size_t length = strcspn(text, "/");
                if (strchr(text, ':'))
                    continue;
                cni_doctor_iwarp(doctor, port->device, interface,
                                 cni_arena_copy(doctor->arena, text, length));
                return true;
            }
        }
    }
    return false;
}

/* Ports are sorted: usable ones first. */
static void try_ports(struct cni_doctor *doctor, const struct shl_config *config,
                      const struct shl_verbs_port *ports, uint32_t count)
{
    bool any = count && ports[0].usable;
    if (!count)
        cni_doctor_bad(doctor, CNI_CHECK_probe_ports, CNI_ERROR, "libibverbs lists no device");
    for (uint32_t i = 0; i < count; i++) {
        const char *name = name_of(doctor, &ports[i]);
        if (ports[i].kind == SHL_VERBS_IWARP && ports[i].active && try_iwarp(doctor, &ports[i]))
            continue;
        if (!ports[i].usable) { /* those that pods see and were not given are nothing to repair */
            cni_doctor_bad(doctor, CNI_CHECK_probe_ports, any ? CNI_NOTE : CNI_ERROR,
                           "%s is not tried: %s", name, ports[i].reason);
            continue;
        }
        cni_doctor_good(doctor, CNI_CHECK_probe_ports, "%s%s%s%s", name,
                        *ports[i].interface ? " of " : "", ports[i].interface,
                        ports[i].spare_gid ? ", not the one that Shoal takes" : "");
        if (ports[i].kind != SHL_VERBS_IWARP) /* which connects to itself by rdma_cm only */
            try_port(doctor, config, &ports[i]);
    }
}

void cni_doctor_probe(struct cni_doctor *doctor)
{
    struct shl_config config;
    uint32_t count = 0;
    cni_doctor_addresses_probe(doctor);
    if (shl_config_load(NULL, &config) != SHOAL_OK) {
        cni_doctor_bad(doctor, CNI_CHECK_probe_ports, CNI_ERROR, "%s", shl_error_text());
        return;
    }
    struct shl_verbs_port *ports =
        cni_arena_alloc(doctor->arena, SHL_VERBS_PORTS_MAX * sizeof(*ports));
    if (shl_verbs_gids_find(&config, ports, SHL_VERBS_PORTS_MAX, &count) == SHOAL_OK)
        try_ports(doctor, &config, ports, count);
    else
        cni_doctor_bad(doctor, CNI_CHECK_probe_ports, CNI_ERROR, "%s", shl_error_text());
    shl_config_free(&config);
}
